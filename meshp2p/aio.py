"""An alias of :mod:`meshp2p`, which works on trio and asyncio."""

from __future__ import annotations

from meshp2p.node.received import ReceivedMessage
from meshp2p.threaded.delegation import Delegation
from meshp2p.threaded.lease import Lease
from meshp2p.threaded.mesh_node import MeshNode
from meshp2p.threaded.node_iterator import NodeIterator
from meshp2p.threaded.opening import open_node
from meshp2p.threaded.shared_map import SharedMap

__all__ = ["Delegation", "Lease", "MeshNode", "NodeIterator", "ReceivedMessage", "SharedMap", "open_node"]
