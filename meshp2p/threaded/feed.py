"""The source of an iterator of the agent: in the node's loop, read from the same loop or from outside."""

from __future__ import annotations

import collections
import contextlib
import weakref
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import trio

from meshp2p.errors import NodeClosed
from meshp2p.node.within import check_timeout, within
from meshp2p.threaded.agent_side import AgentSide
from meshp2p.threaded.node_thread import NodeThread
from meshp2p.threaded.trio_loop import TrioLoop

__all__ = ["AgentFeed", "ItemSource", "LoopFeed", "ThreadFeed"]

_T = TypeVar("_T")
_Item_co = TypeVar("_Item_co", covariant=True)

BATCH: Final = 64
"""Items that are fetched from the node's thread at a time. Chosen, not measured."""


class ItemSource(Protocol[_Item_co]):
    """An iterator in the node's loop."""

    async def __anext__(self) -> _Item_co: ...
    def receive_nowait(self) -> _Item_co | None: ...
    def close(self) -> None: ...


class AgentFeed(Protocol[_Item_co]):
    """The items of a source, for any number of readers of one agent. It is closed when nobody refers to it."""

    async def next(self, timeout: float | None = None) -> _Item_co:
        """The next item. A wait that is cancelled loses none.

        Raises ``StopAsyncIteration`` if no more items will come, and :class:`~meshp2p.errors.WaitTimeout` after
        ``timeout`` seconds.
        """

    def close(self) -> None:
        """Nothing further comes. From any thread, and as often as one likes."""


class LoopFeed(Generic[_T]):
    """A source in the reader's own loop."""

    def __init__(self, loop: TrioLoop, source: ItemSource[_T]) -> None:
        self._loop = loop
        self._source = source

        def close_later() -> None:  # perhaps in another thread
            with contextlib.suppress(trio.RunFinishedError):
                loop.token.run_sync_soon(source.close)

        self._forget = weakref.finalize(self, close_later)
        self._forget.atexit = False

    async def next(self, timeout: float | None = None) -> _T:
        self._loop.check()
        check_timeout(timeout)
        return await within(self._source.__anext__, timeout, "nothing came")

    def close(self) -> None:
        if self._forget.detach() is not None:
            self._loop.check()
            self._source.close()


class ThreadFeed(Generic[_T]):
    """A source in the node's thread, which several items are fetched from at a time."""

    def __init__(
        self, thread: NodeThread, side: AgentSide, open_source: Callable[[], ItemSource[_T]], *, ends_with_node: bool
    ) -> None:
        def open_and_keep() -> tuple[ItemSource[_T], Callable[[], None]]:
            source = open_source()
            return source, thread.keep(source, source.close)

        self._waiting: collections.deque[_T] = collections.deque()
        self._ends_with_node = ends_with_node
        self._thread = thread
        self._side = side
        self._lock = trio.Lock()
        self._is_closed = False
        self._source, self._drop = thread.call(open_and_keep)
        weakref.finalize(self, self._drop).atexit = False

    async def next(self, timeout: float | None = None) -> _T:
        if not self._thread.ended.done():
            self._side.check()
        check_timeout(timeout)
        while not self._is_closed:
            try:
                return self._waiting.popleft()
            except IndexError:
                pass
            try:
                fill = self._thread.submit(lambda: within(self._fill, timeout, "nothing came"))
                is_more = await self._side.wait(fill.future, fill.cancel)
            except NodeClosed:
                if not self._ends_with_node or self._thread.is_forked:
                    raise
                is_more = False
            if not is_more:
                break
        raise StopAsyncIteration

    async def _fill(self) -> bool:
        """Wait until something waits here; False if nothing will any more."""
        async with self._lock:  # of several readers the next looks whether the one before left something
            if not self._waiting:
                try:
                    self._waiting.append(await self._source.__anext__())
                except StopAsyncIteration:
                    return False
                while len(self._waiting) < BATCH and (item := self._source.receive_nowait()) is not None:
                    self._waiting.append(item)
            return True

    def close(self) -> None:
        self._is_closed = True
        self._drop()
