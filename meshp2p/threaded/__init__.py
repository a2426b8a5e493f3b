"""The node as agents hold it: in a thread of its own, or in the agent's own trio loop.

Each operation is written once, in :class:`~meshp2p.threaded.mesh_node.MeshNode` and the classes beside it, as an async
method over a :class:`~meshp2p.threaded.bridge.Bridge`. The blocking face runs the same methods on a bridge that blocks.
"""
