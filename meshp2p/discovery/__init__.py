"""Where first peers come from: multicast DNS, a beacon, seeds, and a cache of peers met before.

Every source offers sightings and none of them says who is dead; :mod:`meshp2p.discovery.source` has the contract.
"""
