"""The local health of this node (Lifeguard §IV-A, local health multiplier)."""

from __future__ import annotations

__all__ = ["LocalHealth"]


class LocalHealth:
    """A score from 0 (healthy) to ``maximum``. A node that misses answers that others get is slow itself, and gives
    others more time."""

    __slots__ = ("_maximum", "score")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.score: int = 0

    def change(self, delta: int) -> None:
        self.score = min(self._maximum, max(0, self.score + delta))

    def scale(self, seconds: float) -> float:
        return seconds * (self.score + 1)
