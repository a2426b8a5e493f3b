"""The node for agents that use plain threads: the API of :mod:`meshp2p` without ``await``.

::

    with meshp2p.blocking.open_node(capabilities=["summarise"]) as node:

        @node.handler("Query")
        def answer(message): ...

        reply = node.query("planner-1", {"question": "what next?"}, timeout=5)

The node runs in its own thread and stays responsive whatever the agent's threads do. Handlers run in a small thread
pool. Any number of threads may use a node. Every call that waits takes a ``timeout`` in seconds and raises
:class:`~meshp2p.errors.WaitTimeout` (a query :class:`~meshp2p.errors.QueryTimeout`) when it expires. Ctrl-C interrupts
every wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction
from meshp2p.node.options import NodeOptions
from meshp2p.threaded.blocking_node import (
    CONCURRENCY,
    BlockingDelegation,
    BlockingIterator,
    BlockingLease,
    BlockingMap,
    BlockingMessage,
    BlockingNode,
)
from meshp2p.threaded.opening import NodeOpening

__all__ = [
    "CONCURRENCY",
    "Delegation",
    "Lease",
    "MeshNode",
    "NodeIterator",
    "ReceivedMessage",
    "SharedMap",
    "open_node",
]

Delegation = BlockingDelegation
Lease = BlockingLease
MeshNode = BlockingNode
NodeIterator = BlockingIterator
ReceivedMessage = BlockingMessage
SharedMap = BlockingMap


def open_node(
    config: NodeConfig | None = None,
    *,
    handlers: Mapping[str, HandlerFunction] | None = None,
    **options: Unpack[NodeOptions],
) -> BlockingNode:
    """Join a mesh: ``with meshp2p.blocking.open_node(...) as node``, or ``node.start()`` and ``node.close()``.

    ``options`` are those of :func:`meshp2p.open_node`. The block begins when the node serves requests and has confirmed
    that its id is unique. At its end the node leaves the mesh. ``handlers`` maps kinds to handlers, which are
    registered before the block begins. If the node fails, its next call and the end of the block raise the error.
    Handlers that are still running then are not awaited, and their results are discarded: their messages are delivered
    again.

    Raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is started. If
    another live node has had this id for longer, raises :class:`~meshp2p.errors.IdConflict`, at any time. If the
    machine is revoked from a secured mesh, raises :class:`~meshp2p.errors.Revoked`, at any time.
    """
    return MeshNode(NodeOpening(config, handlers, options, is_async=False))
