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

__all__ = ["BlockLife", "Life", "LoopLife", "Opening", "ThreadLife", "open_in_loop"]

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
    """A node in the agent's own trio loop."""

    def __init__(self, node: LocalNode) -> None:
        self.bridge: Bridge = LoopBridge()
        self.node: LocalNode = node
        self.closing: trio.Event = trio.Event()
        self.ended: trio.Event = trio.Event()
        self.failure: BaseException | None = None

    @classmethod
    async def begin(cls, config: NodeConfig, open_local: OpenLocal) -> LoopLife:
        """Run it in a system task."""
        begun, lives, failures = trio.Event(), list[LoopLife](), list[BaseException]()
        scope = trio.CancelScope()

        async def host() -> None:
            try:
                with scope:
                    async with open_local(config) as node:
                        lives.append(cls(node))
                        begun.set()
                        await lives[0].closing.wait()
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001 - it is told by start() or close()
                failures.append(error)
            finally:
                begun.set()
                for one in lives:
                    one.failure = failures[0] if failures else None
                    one.ended.set()

        trio.lowlevel.spawn_system_task(host, context=contextvars.copy_context())
        try:
            await begun.wait()
        except trio.Cancelled:
            scope.cancel()
            raise
        if not lives:
            raise failures[0]
        return lives[0]

    async def end(self) -> None:
        self.closing.set()
        with trio.CancelScope(shield=True):
            await self.ended.wait()
        if self.failure is not None:
            raise self.failure.with_traceback(None)


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
