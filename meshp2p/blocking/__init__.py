"""The node for agents that are plain threads: the same names as on trio, without ``await``.

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

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshp2p.blocking.node import CONCURRENCY, MeshNode
from meshp2p.blocking.pool import Pool
from meshp2p.blocking.shared import SharedMap
from meshp2p.blocking.things import Delegation, Lease, NodeIterator, ReceivedMessage, wait
from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction, check_handlers
from meshp2p.node.settings import choose_config
from meshp2p.node.thread import NodeThread, Opening

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

HANDLER_THREADS: Final = 16
"""Threads in which handlers of one node run, at most; they are made as they are needed. Chosen, not measured."""


@contextlib.contextmanager
def open_node(
    config: NodeConfig | None = None, *, handlers: Mapping[str, HandlerFunction] | None = None, **options: Any
) -> Iterator[MeshNode]:
    """Join a mesh: run a node for as long as the block does, and leave properly at its end.

    ``options`` are those of :func:`meshp2p.open_node`. The block begins when the node serves and its id is
    known to be its own. ``handlers`` are added before it begins. What the node fails with is raised by its next call,
    and at the end of the block. Handlers that still run then are not waited for, and what they return is thrown away:
    their messages are handed out again.

    Raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is started, and
    :class:`~meshp2p.errors.IdConflict`, at any time, where another live node holds this id for longer.
    """
    handlers = handlers or {}
    check_handlers(handlers, is_async=False)
    thread = NodeThread(choose_config(config, options))
    pool = Pool(HANDLER_THREADS)
    thread.start()
    try:
        node = MeshNode(thread, pool, wait(Opening(thread), None, ""))
        for kind, function in handlers.items():
            node.handler(kind)(function)
        yield node
    finally:
        if not thread.is_forked:
            thread.stop()
            pool.close()
            thread.ended.result()
    if thread.failure is not None and not thread.is_forked:
        raise thread.failure
