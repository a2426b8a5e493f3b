"""Hybrid logical clocks (Kulkarni et al. 2014, "Logical Physical Clocks"): stamps that never run behind what was seen,
and stay close to the time of day."""

from __future__ import annotations

from meshp2p.core.map_entry import COUNT_MAX, Stamp
from meshp2p.core.validity import TIME_MAX

__all__ = ["HybridClock"]


class HybridClock:
    """The clock of one node: each stamp it gives is above all that it gave or noted before."""

    def __init__(self, node: int) -> None:
        self._node = node
        self._wall_ms = 0
        self._count = 0

    def tick(self, wall_ms: int) -> Stamp:
        """The stamp of a write at this time (the paper's send or local event)."""
        if wall_ms > self._wall_ms:
            self._wall_ms, self._count = min(wall_ms, TIME_MAX), 0
        elif self._count < COUNT_MAX:
            self._count += 1
        elif self._wall_ms < TIME_MAX:
            self._wall_ms, self._count = self._wall_ms + 1, 0
        return Stamp(self._wall_ms, self._count, self._node)

    def note(self, stamp: Stamp) -> None:
        """A foreign stamp was taken (the paper's receive event): later ones of this node are above it."""
        self._wall_ms, self._count = max((self._wall_ms, self._count), (stamp.wall_ms, stamp.count))

    def is_past(self, wall_ms: int) -> bool:
        """Whether it gave or noted a stamp that is later than this time."""
        return self._wall_ms > wall_ms

    def set_back(self, wall_ms: int) -> None:
        """Give up what was noted past this time: it came from a clock that is wrong."""
        if self._wall_ms > wall_ms:
            self._wall_ms, self._count = wall_ms, 0
