"""Hybrid logical clocks (Kulkarni et al. 2014, "Logical Physical Clocks"): stamps that are later than all stamps seen,
and close to the time of day."""

from __future__ import annotations

from meshp2p.core.map_entry import COUNT_MAX, Stamp
from meshp2p.core.validity import TIME_MAX

__all__ = ["HybridClock"]


class HybridClock:
    """The clock of one node. Each stamp that it returns is later than all that it returned or noted before."""

    def __init__(self, node: int) -> None:
        self._node = node
        self._wall_ms = 0
        self._count = 0

    def tick(self, wall_ms: int) -> Stamp:
        """Return the stamp of a write at this time (the paper's send or local event)."""
        if wall_ms > self._wall_ms:
            self._wall_ms, self._count = min(wall_ms, TIME_MAX), 0
        elif self._count < COUNT_MAX:
            self._count += 1
        elif self._wall_ms < TIME_MAX:
            self._wall_ms, self._count = self._wall_ms + 1, 0
        return Stamp(self._wall_ms, self._count, self._node)

    def note(self, stamp: Stamp) -> None:
        """Note a foreign stamp (the paper's receive event). Later stamps of this node are above it."""
        self._wall_ms, self._count = max((self._wall_ms, self._count), (stamp.wall_ms, stamp.count))

    def is_past(self, wall_ms: int) -> bool:
        """Return whether it returned or noted a stamp that is later than this time."""
        return self._wall_ms > wall_ms

    def set_back(self, wall_ms: int) -> None:
        """Forget stamps noted past this time: they came from a wrong clock."""
        if self._wall_ms > wall_ms:
            self._wall_ms, self._count = wall_ms, 0
