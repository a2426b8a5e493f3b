"""How a node begins and ends: in a thread of its own, or in the agent's own trio loop."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import trio

from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction
from meshp2p.node.local_node import LocalNode
from meshp2p.threaded.agent_side import AgentSide
from meshp2p.threaded.bridge import Bridge, LoopBridge, ThreadBridge
from meshp2p.threaded.node_thread import NodeThread

__all__ = ["BlockLife", "Life", "LoopLife", "OpenLocal", "Opening", "ThreadLife", "open_in_loop"]

OpenLocal = Callable[[NodeConfig], contextlib.AbstractAsyncContextManager[LocalNode]]


class Life(Protocol):
    """A node that runs."""

    bridge: Bridge
    node: LocalNode

    async def end(self) -> None:
        """Let it leave, and wait for its end. Raises what it failed with."""


class Opening(Protocol):
    """How to begin one. Both raise :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before
    anything is started."""

    handlers: Mapping[str, HandlerFunction]

    def open(self) -> contextlib.AbstractAsyncContextManager[Life]:
        """Run a node for the time of a block. If it fails the block is cancelled, and what it failed with comes out."""

    async def start(self) -> Life: ...


class ThreadLife:
    """A node in a thread of its own."""

    def __init__(self, thread: NodeThread, side: AgentSide, node: LocalNode) -> None:
        self.bridge: Bridge = ThreadBridge(thread, side)
        self.node: LocalNode = node
        self._thread = thread
        self._side = side

    @classmethod
    async def begin(cls, config: NodeConfig, make_side: Callable[[NodeThread], AgentSide]) -> ThreadLife:
        """``make_side`` raises :class:`~meshp2p.errors.WrongLoop` before anything is started."""
        thread = NodeThread(config)
        side = make_side(thread)
        thread.start()
        try:
            return cls(thread, side, await side.wait(thread.opened, thread.stop))
        except BaseException:
            await _stop(thread, side)
            raise

    @classmethod
    @contextlib.asynccontextmanager
    async def run_block(cls, config: NodeConfig, make_side: Callable[[NodeThread], AgentSide]) -> AsyncIterator[Life]:
        life = await cls.begin(config, make_side)
        try:
            with life._side.cut(life._thread.ended):
                yield life
        finally:
            await _stop(life._thread, life._side)
        life._check()

    async def end(self) -> None:
        await _stop(self._thread, self._side)
        self._check()

    def _check(self) -> None:
        if self._thread.failure is not None and not self._thread.is_forked:
            raise self._thread.failure


async def _stop(thread: NodeThread, side: AgentSide) -> None:
    if not thread.is_forked:
        thread.stop()
        try:
            await side.wait_shielded(thread.ended)
        finally:
            await side.end()


class LoopLife:
    """A node in the agent's own trio loop, in a system task of it."""

    def __init__(self) -> None:
        self.bridge: Bridge = LoopBridge()
        self.node: LocalNode
        self._closing = trio.Event()
        self._begun = trio.Event()
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self._failure: BaseException | None = None

    @classmethod
    async def begin(cls, config: NodeConfig, open_local: OpenLocal) -> LoopLife:
        life = cls()
        trio.lowlevel.spawn_system_task(life._host, config, open_local, context=contextvars.copy_context())
        try:
            await life._begun.wait()
        except trio.Cancelled:
            life._scope.cancel()
            raise
        if life._failure is not None:
            raise life._failure
        return life

    async def _host(self, config: NodeConfig, open_local: OpenLocal) -> None:
        try:
            with self._scope:
                async with open_local(config) as self.node:
                    self._begun.set()
                    await self._closing.wait()
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised by begin() or end()
            self._failure = error
        finally:
            self._begun.set()
            self._ended.set()

    async def end(self) -> None:
        self._closing.set()
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        if self._failure is not None:
            raise self._failure.with_traceback(None)


@contextlib.asynccontextmanager
async def open_in_loop(config: NodeConfig, open_local: OpenLocal) -> AsyncIterator[Life]:
    """A node in the agent's own loop, for the time of a block. Its :meth:`Life.end` tells the mesh that it goes."""
    async with open_local(config) as node:
        yield BlockLife(node)


class BlockLife:
    """A node in the agent's own loop that ends with its block."""

    def __init__(self, node: LocalNode) -> None:
        self.bridge: Bridge = LoopBridge()
        self.node: LocalNode = node

    async def end(self) -> None:
        await self.node.leave()
