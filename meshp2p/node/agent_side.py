"""The loop of an agent beside its node's thread: how to wait for the thread, how to run a handler, how to cut a block
short, and what iterates there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, Self, TypeVar

from meshp2p.errors import NodeClosed
from meshp2p.node.outside import Errand, Feed
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.thread import Waitable

__all__ = ["AgentSide", "Block", "IsolatedIterator"]

_T = TypeVar("_T")


class Block(contextlib.AbstractContextManager["Block", bool], Protocol):
    """A block of the agent's that can be cut short: then it is cancelled, and ends quietly."""

    def cut(self, _: object = None) -> None:
        """From any thread. Nothing where it has ended."""


class AgentSide(Protocol):
    """The agent's loop."""

    async def wait(self, operation: Waitable[_T]) -> _T:
        """Wait for its end, and give its result. Cancelled, cancel it and wait for its end."""

    async def wait_shielded(self, future: Future[None]) -> None:
        """Wait, whatever cancels."""

    def start(self, errand: Errand[ReceivedMessage]) -> None:
        """Perform it, soon; from the node's thread."""

    def cancel(self, errand: Errand[ReceivedMessage]) -> None:
        """Cancel what was started; from the node's thread."""

    async def end(self) -> None:
        """Cancel the handlers that still run, and wait for their end."""

    def open_block(self) -> Block: ...


class IsolatedIterator(Generic[_T]):
    """An asynchronous iterator of a node's events or messages. A cancelled wait loses none. It ends when the node has
    left; :meth:`close` it, leave its ``async with``, or forget it, when it is no longer read."""

    def __init__(self, side: AgentSide, feed: Feed[Any], wrap: Callable[[Any], _T]) -> None:
        self._side = side
        self._feed = feed
        self._wrap = wrap

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        while True:
            try:
                return self._wrap(self._feed.waiting.popleft())
            except IndexError:
                pass
            try:
                is_more = await self._side.wait(self._feed.fill())
            except NodeClosed:
                if not self._feed.is_over:
                    raise
                is_more = False
            if not is_more:
                raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing further comes here. A message that was not acknowledged is for the next inbox or handler."""
        self._feed.close()
