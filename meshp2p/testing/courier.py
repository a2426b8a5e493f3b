"""Scheduled actions on the virtual network: one heap, one task, one order."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

import trio

__all__ = ["Courier"]


class Courier:
    """Runs actions at their virtual times. Actions for the same time run in the order of scheduling."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._sleep = trio.CancelScope()

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Run ``action(*arguments)`` at this time of trio's clock; a past time counts as now."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action, arguments))
        if when < self._sleep.deadline:  # noqa: PLR1730  # setting it costs more than looking
            self._sleep.deadline = when

    async def run(self) -> None:
        """Run the actions, until cancelled. An exception of an action ends it."""
        heap = self._heap
        while True:
            with trio.CancelScope(deadline=heap[0][0] if heap else math.inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while heap and heap[0][0] <= now:
                _, _, action, arguments = heapq.heappop(heap)
                action(*arguments)
