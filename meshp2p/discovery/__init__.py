"""Sources of first peers: multicast DNS, a beacon, seeds, and a cache of known peers.

Sources offer sightings and do not decide which nodes are dead; :mod:`meshp2p.discovery.source` has the contract.
"""
