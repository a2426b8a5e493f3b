"""What an agent iterates over: events, messages, parts of an answer, progress, changes of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from meshp2p.errors import NodeClosed
from meshp2p.threaded.feed import AgentFeed

__all__ = ["NodeIterator"]

_T = TypeVar("_T")


class NodeIterator(Generic[_T]):
    """An asynchronous iterator of what a node gives. Each item goes to one reader. A cancelled wait loses none.

    It ends when the node has left; :meth:`close` it, leave its ``async with``, or forget it, when it is no longer read.
    """

    def __init__(self, feed: AgentFeed[Any], wrap: Callable[[Any], _T]) -> None:
        self._feed = feed
        self._wrap = wrap

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        return self._wrap(await self._feed.next())

    async def get(self, *, timeout: float | None = None) -> _T:
        """The next item.

        Raises :class:`~meshp2p.errors.WaitTimeout` if none came within ``timeout`` seconds, and then none is lost, and
        :class:`~meshp2p.errors.NodeClosed` if none will come any more.
        """
        try:
            return self._wrap(await self._feed.next(timeout))
        except StopAsyncIteration:
            raise NodeClosed("nothing further comes") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing further comes here. A message that was not acknowledged is for the next inbox or handler; an agent
        that still answers is cancelled."""
        self._feed.close()
