"""The iterator for events, messages, parts of an answer, progress reports, and changes of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from meshp2p.errors import NodeClosed
from meshp2p.threaded.feed import AgentFeed

__all__ = ["NodeIterator"]

_T = TypeVar("_T")


class NodeIterator(Generic[_T]):
    """An asynchronous iterator over items from a node. Each item goes to one reader. A cancelled wait loses no item.

    It ends when the node has left. When you stop reading, call :meth:`close`, leave its ``async with`` block, or drop
    it.
    """

    def __init__(self, feed: AgentFeed[Any], wrap: Callable[[Any], _T]) -> None:
        self._feed = feed
        self._wrap = wrap

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        return self._wrap(await self._feed.next())

    async def get(self, *, timeout: float | None = None) -> _T:
        """Return the next item.

        Raises :class:`~meshp2p.errors.WaitTimeout` if none came within ``timeout`` seconds (no item is lost), and
        :class:`~meshp2p.errors.NodeClosed` if no more will come.
        """
        try:
            return self._wrap(await self._feed.next(timeout))
        except StopAsyncIteration:
            raise NodeClosed("no more items will come") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the iteration. Unacknowledged messages go to the next inbox or handler. An agent that is still answering
        is cancelled."""
        self._feed.close()
