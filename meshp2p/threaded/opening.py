"""Open a node."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Unpack

import trio

from meshp2p.errors import WrongLoop
from meshp2p.node.arguments import check_flag
from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction, check_handlers
from meshp2p.node.local_node import LocalNode
from meshp2p.node.options import NodeOptions
from meshp2p.node.platform import SystemPlatform
from meshp2p.node.runner import open_node_on
from meshp2p.node.settings import choose_config
from meshp2p.threaded.agent_side import AgentSide
from meshp2p.threaded.blocking_node import BlockingMessage
from meshp2p.threaded.life import BlockLife, Life, LoopLife, OpenLocal, ThreadLife, open_in_loop
from meshp2p.threaded.mesh_node import MeshNode
from meshp2p.threaded.node_thread import NodeThread
from meshp2p.threaded.thread_side import ThreadSide
from meshp2p.threaded.trio_side import TrioSide

__all__ = ["NodeOpening", "node_in_loop", "node_opener", "open_node"]

node_opener: Final[ContextVar[OpenLocal | None]] = ContextVar("meshp2p.node_opener", default=None)
"""The function that opens the nodes of :func:`open_node` in this context. If None, they are opened on this machine.

:mod:`meshp2p.testing` sets it, so that an agent's own code can run on a virtual network.
"""


def open_node(
    config: NodeConfig | None = None,
    *,
    handlers: Mapping[str, HandlerFunction] | None = None,
    in_loop: bool = False,
    **options: Unpack[NodeOptions],
) -> MeshNode:
    """Join a mesh, on trio or asyncio.

    Use ``async with meshp2p.open_node(...) as node``, or ``await node.start()`` and ``await node.close()``. ``options``
    are those of :class:`~meshp2p.NodeConfig`, and ``preset``. A ``config`` is complete; without one,
    :func:`~meshp2p.load_config` finds the missing options. The block begins when the node serves requests and has
    confirmed that its id is unique. That takes until it meets a peer, or ``settle_timeout`` if there is none. At the
    end of the block the node leaves the mesh. If the node fails, the block is cancelled and raises the error.
    ``handlers`` maps kinds to handlers, which are registered before the block begins, so that no query comes too early.

    The node runs in its own thread, and stays responsive while the agent's loop is blocked. Handlers run in the agent's
    loop. With ``in_loop=True`` (trio only) the node runs in the agent's loop and does not respond while that is
    blocked. On the virtual network of :mod:`meshp2p.testing` it always runs in the loop.

    Opening raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is
    started, and :class:`~meshp2p.errors.WrongLoop` if no supported loop is running. If another live node has had this
    id for longer, it raises :class:`~meshp2p.errors.IdConflict`, at any time. If its machine is revoked from a
    secured mesh, it raises :class:`~meshp2p.errors.Revoked`, at any time.
    """
    return MeshNode(NodeOpening(config, handlers, options, in_loop=in_loop))


class NodeOpening:
    """The arguments with which a node is opened. Without ``is_async`` it is for plain threads."""

    def __init__(
        self,
        config: NodeConfig | None,
        handlers: Mapping[str, HandlerFunction] | None,
        options: NodeOptions,
        *,
        in_loop: bool = False,
        is_async: bool = True,
    ) -> None:
        self.handlers: Mapping[str, HandlerFunction] = {} if handlers is None else handlers
        self._config = config
        self._options = options
        self._in_loop = in_loop
        self._is_async = is_async

    def open(self) -> contextlib.AbstractAsyncContextManager[Life]:
        config, open_local = self._choose()
        if open_local is not None:
            return open_in_loop(config, open_local)
        return ThreadLife.run_block(config, self._make_side)

    async def start(self) -> Life:
        config, open_local = self._choose()
        if open_local is not None:
            return await LoopLife.begin(config, open_local)
        return await ThreadLife.begin(config, self._make_side)

    def _choose(self) -> tuple[NodeConfig, OpenLocal | None]:
        """Return the configuration, and what opens the node in this loop, or None if it runs in a thread."""
        check_flag("in_loop", self._in_loop)
        check_handlers(self.handlers, is_async=self._is_async)
        opener = node_opener.get() if self._is_async else None
        environment: dict[str, str] | None = None if opener is None else {}  # a virtual one has none
        config = choose_config(self._config, self._options, environment)
        if opener is None and self._in_loop:
            if not trio.lowlevel.in_trio_task():
                raise WrongLoop("in_loop = True needs a trio loop: leave it out to run the node in its own thread")
            opener = functools.partial(open_node_on, SystemPlatform())
        return config, opener

    def _make_side(self, thread: NodeThread) -> AgentSide:
        return _side_of_loop() if self._is_async else ThreadSide(thread, BlockingMessage)


def node_in_loop(node: LocalNode) -> MeshNode:
    """Return the public object of a node that runs in this loop."""
    return MeshNode(None, BlockLife(node))


def _side_of_loop() -> AgentSide:
    """Return the agent's side for the loop that is running."""
    if trio.lowlevel.in_trio_task():
        return TrioSide()
    from meshp2p.threaded.asyncio_side import AsyncioSide  # noqa: PLC0415  # asyncio takes long to load

    try:
        return AsyncioSide()
    except RuntimeError:  # of asyncio
        raise WrongLoop("no trio or asyncio loop is running: in plain code use meshp2p.blocking.open_node()") from None
