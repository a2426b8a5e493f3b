"""Secured meshes in virtual time.

The trust map, the introduction of nodes, the guard, the keys of datagrams and their renewal are those of real nodes.
Only the primitives are replaced: see :mod:`meshp2p.simulation.secured.nominal`. The exchange of messages about trust is
:mod:`meshp2p.simulation.trust_links`, as :mod:`meshp2p.net.mesh_trust` and :mod:`meshp2p.net.tls` are in a real node.
"""
