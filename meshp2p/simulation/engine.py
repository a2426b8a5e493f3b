"""Virtual time: a heap of scheduled actions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

__all__ = ["Engine"]

Action = Callable[[Any], None]


class Engine:
    """The clock of a simulation. Actions for the same time run in the order in which they were scheduled, so that a run
    depends only on its seed.

    ``now`` is in virtual seconds since the start; ``events`` counts the actions that ran.
    """

    __slots__ = ("_count", "_heap", "_is_stopped", "events", "now")

    def __init__(self) -> None:
        self.now: float = 0.0
        self.events: int = 0
        self._heap: list[tuple[float, int, Action, Any]] = []
        self._count = 0
        self._is_stopped = False

    def __repr__(self) -> str:
        return f"<Engine now={self.now:.3f} events={self.events} waiting={len(self._heap)}>"

    def at(self, when: float, action: Action, argument: Any = None) -> None:
        """Run ``action(argument)`` at this time. A time in the past means now."""
        self._count = count = self._count + 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, count, action, argument))

    def stop(self) -> None:
        """End :meth:`run_until` after the current action."""
        self._is_stopped = True

    def run_until(self, end: float, events_max: float = math.inf) -> bool:
        """Run all actions that are due by ``end``, unless :meth:`stop` is called; then it is that time. Return False if
        there were more than ``events_max``."""
        heap = self._heap
        pop = heapq.heappop
        events = 0
        self._is_stopped = False
        while heap and heap[0][0] <= end:
            self.now, _, action, argument = pop(heap)
            events += 1
            action(argument)
            if self._is_stopped or events > events_max:
                self.events += events
                return events <= events_max
        self.events += events
        self.now = max(self.now, end)
        return True
