"""The time of day that the nodes of a mesh agree on well enough, though one of them has a clock that is years off."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MeshClock"]

JUMP_MS = 1000
"""A step of the own wall clock, against the monotonic one, past which what others said is no longer to be compared with
it. Chosen, not measured."""


class MeshClock:
    """The own wall clock, as long as it is within ``error_max`` seconds of the median of the others' and the own; that
    median otherwise.

    Of an even number the later one is the median, so that all who heard the same clocks name the same time. A clock
    that is wrong counts as one of many: where nobody else is heard it is believed.
    """

    def __init__(self, wall_ms: Callable[[], int], error_max: float) -> None:
        self._wall_ms = wall_ms
        self._error_ms = int(error_max * 1000)
        self._others: dict[str, int] = {}
        self._own: int | None = None

    @property
    def ahead_max_ms(self) -> int:
        """By how much a stamp may be ahead of this clock: two clocks that are both in order differ by no more."""
        return 2 * self._error_ms + JUMP_MS

    def note(self, node_id: str, clock_ms: int, now: float) -> None:
        """Another node told what its wall clock shows."""
        self._look(now)
        self._others[node_id] = clock_ms - int(now * 1000)

    def forget(self, node_id: str) -> None:
        self._others.pop(node_id, None)

    def read(self, now: float) -> int:
        """Unix milliseconds."""
        own = self._look(now)
        at = int(now * 1000)
        if not self._others:
            return own + at
        clocks = sorted((own, *self._others.values()))
        median = clocks[len(clocks) // 2]
        return max(0, at + (own if abs(own - median) <= self._error_ms else median))

    def _look(self, now: float) -> int:
        """What the own wall clock is ahead of the monotonic one; where that changed, one of the two was set or stood
        still."""
        own = self._wall_ms() - int(now * 1000)
        if self._own is not None and abs(own - self._own) > JUMP_MS:
            self._others.clear()
        self._own = own
        return own
