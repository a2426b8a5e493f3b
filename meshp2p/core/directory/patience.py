"""How long others are waited for: longer who says that it is slow, or was accused and turned out to live."""

from __future__ import annotations

__all__ = ["Patience"]

RETURN_SECONDS = 60.0
"""How long it counts that an accusation was wrong. Chosen, not measured."""


class Patience:
    """By node, how slow it says it is (Lifeguard's local health, which others do not hear of there), and how often it
    was accused of late and lived.

    What a node says of itself reaches those alone with whom it exchanges packets. That it refuted all hear, and all
    are then as patient, so that a node which stands still for most of the time is not held dead each time.
    """

    def __init__(self, maximum: float) -> None:
        self._maximum = maximum
        self._said: dict[str, int] = {}
        self._returns: dict[str, tuple[int, float]] = {}
        """By id, how often and when last, the longest ago first."""

    def note_health(self, node_id: str, score: int) -> None:
        """A node told how slow it finds itself."""
        if score:
            self._said[node_id] = score
        else:
            self._said.pop(node_id, None)

    def note_return(self, node_id: str, now: float) -> None:
        """A node was suspected or held dead, and its process lived."""
        for oldest in list(self._returns):
            if self._count_returns(oldest, now):
                break
            del self._returns[oldest]
        count = self._count_returns(node_id, now)
        self._returns.pop(node_id, None)
        self._returns[node_id] = (count + 1, now)

    def forget_health(self, node_id: str) -> None:
        """It is gone. What it was accused of stays: it may return."""
        self._said.pop(node_id, None)

    def factor(self, node_id: str, now: float) -> float:
        """How many times as long as others this one is waited for."""
        points = max(self._said.get(node_id, 0), self._count_returns(node_id, now))
        return min(1.0 + points / 2, self._maximum)

    def _count_returns(self, node_id: str, now: float) -> int:
        count, since = self._returns.get(node_id, (0, 0.0))
        return count if now - since < RETURN_SECONDS else 0
