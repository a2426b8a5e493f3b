"""The time of day of a mesh, also if the clock of one node is years off."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CLOCK_ERROR_MAX", "MeshClock"]

CLOCK_ERROR_MAX = 60.0
"""The maximum difference, in seconds, between a node's clock and the median of the clocks. Above it the median is used
instead. Too low distrusts clocks that are right; too high lets a wrong clock win for that long. Chosen, not
measured."""

ERROR_MS = int(CLOCK_ERROR_MAX * 1000)

JUMP_MS = 1000
"""If this node's wall clock steps by more than this against its monotonic clock, the clocks heard from other nodes are
forgotten. Chosen, not measured."""


class MeshClock:
    """This node's wall clock, or the median of all clocks if the two differ by more than :data:`CLOCK_ERROR_MAX`.

    Of an even number of clocks the later of the middle two is the median, so that all nodes that heard the same clocks
    read the same time. A node that has heard no other clock uses its own, right or wrong.
    """

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._others: dict[str, int] = {}
        self._own: int | None = None

    @property
    def ahead_max_ms(self) -> int:
        """How far, in milliseconds, a stamp may be ahead of this clock. Two correct clocks differ by no more."""
        return 2 * ERROR_MS + JUMP_MS

    def note(self, node_id: str, clock_ms: int, now: float) -> None:
        """Note what the wall clock of another node shows."""
        self._look(now)
        self._others[node_id] = clock_ms - int(now * 1000)

    def forget(self, node_id: str) -> None:
        self._others.pop(node_id, None)

    def read(self, now: float) -> int:
        """Return Unix milliseconds."""
        own = self._look(now)
        at = int(now * 1000)
        if not self._others:
            return own + at
        clocks = sorted((own, *self._others.values()))
        median = clocks[len(clocks) // 2]
        return max(0, at + (own if abs(own - median) <= ERROR_MS else median))

    def _look(self, now: float) -> int:
        """Return how far the wall clock is ahead of the monotonic clock, in milliseconds. If that changed, one of the
        two was set or stopped."""
        own = self._wall_ms() - int(now * 1000)
        if self._own is not None and abs(own - self._own) > JUMP_MS:
            self._others.clear()
        self._own = own
        return own
