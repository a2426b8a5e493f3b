"""The connection between an agent's objects and its node: in the agent's own loop, or in another thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import trio

from meshp2p.errors import NodeClosed
from meshp2p.node.handlers import HandlerFunction, Parameters
from meshp2p.node.payload import EncodedPayload
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.within import check_timeout, within
from meshp2p.threaded.agent_side import AgentSide
from meshp2p.threaded.feed import AgentFeed, ItemSource, LoopFeed, ThreadFeed
from meshp2p.threaded.handler_call import HandlerCall, forwarded
from meshp2p.threaded.node_thread import Hold, NodeThread
from meshp2p.threaded.trio_loop import TrioLoop

__all__ = ["Bridge", "LoopBridge", "ThreadBridge"]

_T = TypeVar("_T")


class Bridge(Protocol):
    """The way from an agent to its node. The functions given to it run in the node's loop, except those of ``read``.

    Every method that waits raises :class:`~meshp2p.errors.WrongLoop` if the caller may not wait here.
    """

    async def run(self, function: Callable[[], Awaitable[_T]], timeout: float | None = None, what: str = "") -> _T:
        """Await a function; cancelling this cancels it. After ``timeout`` seconds
        :class:`~meshp2p.errors.WaitTimeout` says ``what`` did not happen."""

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function that takes a moment."""

    def read(self, function: Callable[[], _T]) -> _T:
        """Call a function, in the caller's thread, that may be called in any."""

    def now(self) -> float:
        """Seconds, by the clock of time-outs."""

    def hold(
        self, make: Callable[[], contextlib.AbstractAsyncContextManager[_T]], *, is_cut: bool = False
    ) -> contextlib.AbstractAsyncContextManager[_T]:
        """Enter and leave an asynchronous context manager in the node's loop. With ``is_cut`` the caller's block is
        cancelled if the manager's block ends by itself."""

    def iterate(self, open_source: Callable[[], ItemSource[_T]], *, ends_with_node: bool = True) -> AgentFeed[_T]:
        """Iterate over a source. With ``ends_with_node`` the iteration ends when the node has left; otherwise that
        raises :class:`~meshp2p.errors.NodeClosed`, because items are missing."""

    def forward(self, kind: str, function: HandlerFunction) -> HandlerFunction:
        """Return a handler that calls ``function`` in the agent's loop or thread."""

    def received(self, message: ReceivedMessage) -> ReceivedMessage:
        """The message as the agent may use it."""


class LoopBridge:
    """A node in the agent's own trio loop, which is the one that runs now."""

    def __init__(self) -> None:
        self._loop = TrioLoop()

    async def run(self, function: Callable[[], Awaitable[_T]], timeout: float | None = None, what: str = "") -> _T:
        self._loop.check()
        check_timeout(timeout)
        return await within(function, timeout, what)

    def call(self, function: Callable[[], _T]) -> _T:
        self._loop.check()
        return function()

    def read(self, function: Callable[[], _T]) -> _T:
        return function()

    def now(self) -> float:
        return trio.current_time()

    @contextlib.asynccontextmanager
    async def hold(
        self, make: Callable[[], contextlib.AbstractAsyncContextManager[_T]], *, is_cut: bool = False
    ) -> AsyncIterator[_T]:
        self._loop.check()
        async with make() as given:  # what is cut cancels the block itself
            yield given

    def iterate(self, open_source: Callable[[], ItemSource[_T]], *, ends_with_node: bool = True) -> AgentFeed[_T]:
        self._loop.check()
        return LoopFeed(self._loop, open_source())

    def forward(self, kind: str, function: HandlerFunction) -> HandlerFunction:
        return function

    def received(self, message: ReceivedMessage) -> ReceivedMessage:
        return message


class ThreadBridge:
    """A node in a thread of its own. ``side`` is the agent's loop or thread."""

    def __init__(self, thread: NodeThread, side: AgentSide) -> None:
        self._thread = thread
        self._side = side

    def _check(self) -> None:
        self._thread.check()  # first: a node that is gone is gone everywhere
        self._side.check()

    async def run(self, function: Callable[[], Awaitable[_T]], timeout: float | None = None, what: str = "") -> _T:
        self._check()
        check_timeout(timeout)
        operation = self._thread.submit(lambda: within(function, timeout, what))
        return await self._side.wait(operation.future, operation.cancel)

    def call(self, function: Callable[[], _T]) -> _T:
        return self._thread.call(function)

    def read(self, function: Callable[[], _T]) -> _T:
        self._thread.check()
        return function()

    def now(self) -> float:
        return time.monotonic()

    @contextlib.asynccontextmanager
    async def hold(
        self, make: Callable[[], contextlib.AbstractAsyncContextManager[_T]], *, is_cut: bool = False
    ) -> AsyncIterator[_T]:
        self._check()
        hold = Hold(self._thread, make)
        given = await self._side.wait(hold.future, hold.cancel)
        try:
            with self._side.cut(hold.block.future) if is_cut else contextlib.nullcontext():
                yield given
        finally:
            if not self._thread.is_forked:
                hold.release()
                with contextlib.suppress(NodeClosed):
                    await self._side.wait(hold.block.future, hold.cancel)

    def iterate(self, open_source: Callable[[], ItemSource[_T]], *, ends_with_node: bool = True) -> AgentFeed[_T]:
        return ThreadFeed(self._thread, self._side, open_source, ends_with_node=ends_with_node)

    def forward(self, kind: str, function: HandlerFunction) -> HandlerFunction:
        parameters = Parameters(kind, function, is_async=self._side.is_async)

        def make(message: ReceivedMessage) -> HandlerCall:
            return HandlerCall(self._thread, self._side, function, parameters, self._side.shown(self.received(message)))

        return forwarded(function, parameters, make)

    def received(self, message: ReceivedMessage) -> ReceivedMessage:
        return ReceivedMessage(message._message, _Answering(self, message))


class _Answering:
    """The link from a received message to its node, on the agent's side."""

    def __init__(self, bridge: ThreadBridge, inner: ReceivedMessage) -> None:
        self._bridge = bridge
        self._inner = inner

    async def acknowledge_received(self, _: ReceivedMessage) -> None:
        await self._inner.acknowledge()

    async def reply_to(self, _: ReceivedMessage, payload: EncodedPayload) -> str:
        return await self._inner.reply(payload)

    async def wait(self, function: Callable[[], Awaitable[Any]], timeout: float | None, what: str) -> Any:
        return await self._bridge.run(function, timeout, what)
