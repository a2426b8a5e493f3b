"""Event subscriptions: first the current state, then each change. A slow reader never blocks the node."""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import trio

from meshp2p.core.events import Event
from meshp2p.errors import NodeClosed
from meshp2p.node.events import EventsLost, NetworkProblemFound

__all__ = ["Feed", "Readers", "Subscriptions"]

_T = TypeVar("_T")
_U = TypeVar("_U")

BUFFER_MAX: Final = 4096
"""How many events may wait for one reader. Chosen, not measured: enough for a mesh of a thousand that starts at
once."""


class Feed(Generic[_T]):
    """An asynchronous iterator: first a snapshot, then the items that are put in."""

    def __init__(self, snapshot: Iterable[_T], show: Callable[[Any], _T | None] = lambda event: event) -> None:
        self._show = show
        self._buffer: collections.deque[_T] = collections.deque(snapshot)
        self._room = len(self._buffer) + BUFFER_MAX
        self._lost = 0
        self._arrived = trio.Event()
        self._is_ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T | EventsLost:
        await trio.lowlevel.checkpoint()
        while (event := self.receive_nowait()) is None:
            if self._is_ended:
                raise StopAsyncIteration
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        return event

    def receive_nowait(self) -> _T | EventsLost | None:
        """Return the next event if there is one, else None."""
        if self._buffer:
            return self._buffer.popleft()
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        return None

    def put(self, event: Any) -> bool:
        """Add an event. Return whether it was lost instead. Called by the node; never waits. While events are lost,
        later ones are lost too, so that the order is kept."""
        if self._is_ended:
            return False
        is_lost = self._lost > 0 or len(self._buffer) >= self._room
        if is_lost:
            self._lost += 1
        elif (shown := self._show(event)) is not None:
            self._buffer.append(shown)
        self._arrived.set()
        return is_lost

    def end(self) -> None:
        """Mark the end: nothing follows."""
        self._is_ended = True
        self._arrived.set()

    def close(self) -> None:
        """Close the feed: its reader is done."""
        self._buffer.clear()
        self._lost = 0
        self.end()


class EventReader(Protocol):
    """The readers of events."""

    def put(self, event: Any) -> bool:
        """Take an event. Return whether it was lost instead."""

    def end(self) -> None:
        """Mark the end: no item follows."""


class Readers(Generic[_T]):
    """All readers of one kind of event, and all waiters for a condition. Closed readers are forgotten."""

    def __init__(self) -> None:
        self._readers: weakref.WeakSet[EventReader] = weakref.WeakSet()
        self.lost: int = 0
        """How many events slow readers lost."""
        self._changed = trio.Event()
        self._is_ended = False

    def __bool__(self) -> bool:
        """Whether there are readers."""
        return bool(self._readers)

    def open(self, snapshot: Iterable[_U], show: Callable[[Any], _U | None] = lambda event: event) -> Feed[_U]:
        """Open a new reader: first the snapshot, then each event. It ends when the node has left."""
        feed = Feed(snapshot, show)
        if self._is_ended:
            feed.end()
        self.add(feed)
        return feed

    def add(self, reader: EventReader) -> None:
        """Give each event to this reader too."""
        self._readers.add(reader)

    def put(self, event: _T) -> None:
        for reader in list(self._readers):
            self.lost += reader.put(event)
        self.wake()

    def wake(self) -> None:
        """Check all conditions that are waited for."""
        self._changed.set()
        self._changed = trio.Event()

    def end(self) -> None:
        self._is_ended = True
        for reader in list(self._readers):
            reader.end()
        self._changed.set()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds()`` is true; it is checked after each event. Raises :class:`NodeClosed` if the node leaves
        before."""
        await trio.lowlevel.checkpoint()
        while not holds():
            if self._is_ended:
                raise NodeClosed("the node left the mesh before the awaited event")
            await self._changed.wait()


class Subscriptions(Readers[Event | NetworkProblemFound]):
    """All readers of one node's events, and all waiters for a condition that depends on them."""
