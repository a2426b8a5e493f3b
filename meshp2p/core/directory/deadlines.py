"""The deadlines of many items, most of which are done long before."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from meshp2p.core.directory.timers import Timer, Timers

__all__ = ["Deadlines"]

_Key = TypeVar("_Key", bound=Hashable)

SLACK = 64
"""How many keys of finished items may stay, beside as many as were live at the last sweep. Chosen, not measured."""


class Deadlines(Generic[_Key]):
    """A heap of deadlines; ``timer`` is set for the earliest.

    The key of a finished item, as ``is_live`` tells, is not removed at once: it is dropped when there are as many of
    them as live ones.
    """

    def __init__(self, is_live: Callable[[_Key], bool], timers: Timers, timer: Timer) -> None:
        self._is_live = is_live
        self._timers = timers
        self._timer = timer
        self._heap: list[tuple[float, int, _Key]] = []
        self._count = 0
        self._sweep_at = SLACK

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: float, key: _Key, now: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, key))
        if len(self._heap) > self._sweep_at:
            self._heap = [entry for entry in self._heap if self._is_live(entry[2])]
            heapq.heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + SLACK
        if self._heap[0][1] == self._count:  # else the timer is set for an earlier one
            self._timers.set_earlier(self._timer, max(now, deadline))

    def pop_due(self, now: float) -> list[_Key]:
        """Remove and return the keys that are due at ``now``, the earliest first. Some of their items may be
        finished."""
        due: list[_Key] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        if self._heap:
            self._timers.set(self._timer, max(now, self._heap[0][0]))
        return due
