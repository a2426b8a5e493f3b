"""The node for agents that are plain threads: the names of :mod:`meshp2p`, without ``await``.

::

    with meshp2p.blocking.open_node(capabilities=["summarise"]) as node:

        @node.handler("Query")
        def answer(message): ...

        reply = node.query("planner-1", {"question": "what next?"}, timeout=5)

The node runs in a thread of its own, and stays alive to the others whatever the agent's threads do. Handlers run in a
few threads of their own. A node may be used from any number of threads. Whatever waits takes a ``timeout`` in seconds,
and raises :class:`~meshp2p.errors.WaitTimeout` (a query :class:`~meshp2p.errors.QueryTimeout`); Ctrl-C ends each wait.
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

    ``options`` are those of :func:`meshp2p.open_node`. The block begins when the node serves and its id is known to be
    its own; at its end the node leaves properly. ``handlers`` are added before it begins. What the node fails with is
    raised by its next call, and at the end of the block. Handlers that still run then are not waited for, and what they
    return is thrown away: their messages are handed out again.

    Raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is started, and
    :class:`~meshp2p.errors.IdConflict`, at any time, if another live node has held this id for longer.
    """
    return MeshNode(NodeOpening(config, handlers or {}, options, is_async=False))
