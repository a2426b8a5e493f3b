"""Extended timeouts for nodes that report that they are slow, or that were accused recently and refuted."""

from __future__ import annotations

__all__ = ["Patience"]

RETURN_SECONDS = 60.0
"""How long a wrong accusation counts. Chosen, not measured."""


class Patience:
    """For each node, its reported local health (Lifeguard does not share it), and its recent wrong accusations.

    Only nodes that exchange packets with a node learn its local health. A refutation reaches all nodes, and makes all
    of them equally patient, so that a node that is suspended most of the time is not declared dead each time.
    """

    def __init__(self, maximum: float) -> None:
        self._maximum = maximum
        self._said: dict[str, int] = {}
        self._returns: dict[str, tuple[int, float]] = {}
        """By id, how often and when last; the longest ago first."""

    def note_health(self, node_id: str, score: int) -> None:
        """Note the local health that a node reported."""
        if score:
            self._said[node_id] = score
        else:
            self._said.pop(node_id, None)

    def note_return(self, node_id: str, now: float) -> None:
        """Note that a node was suspected or declared dead while its process lived."""
        for oldest in list(self._returns):
            if self._count_returns(oldest, now):
                break
            del self._returns[oldest]
        count = self._count_returns(node_id, now)
        self._returns.pop(node_id, None)
        self._returns[node_id] = (count + 1, now)

    def forget_health(self, node_id: str) -> None:
        """Forget the local health of a node that is gone. Its accusations are kept, since it may return."""
        self._said.pop(node_id, None)

    def factor(self, node_id: str, now: float) -> float:
        """Return by how much the timeouts for this node are multiplied."""
        if node_id not in self._said and node_id not in self._returns:
            return 1.0
        points = max(self._said.get(node_id, 0), self._count_returns(node_id, now))
        return min(1.0 + points / 2, self._maximum)

    def _count_returns(self, node_id: str, now: float) -> int:
        count, since = self._returns.get(node_id, (0, 0.0))
        return count if now - since < RETURN_SECONDS else 0
