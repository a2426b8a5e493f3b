"""Which nodes were well at the same time, so that each could tell the other what it knew."""

from __future__ import annotations

from typing import Final

__all__ = ["CONTACT_SECONDS", "Contacts"]

CONTACT_SECONDS: Final = 7.0
"""Two nodes that are well for so long at the same time have met and told each other what was acknowledged. A node that
was cut off is heard of again within 5 s, and what failed is then repeated at once; what a full disk refused is repeated
after 6.25 s at most."""


class Contacts:
    """Hears whether each probe of a node was answered. A node that is killed, stopped or cut off answers none. A node
    whose disk is full is not well either: it cannot keep what it is told."""

    def __init__(self) -> None:
        self._spans: dict[str, list[tuple[float, float]]] = {}
        """By node, from when to when it answered each probe."""
        self._is_well: dict[str, bool] = {}
        self._full: set[str] = set()

    def note_disk(self, node: str, *, is_full: bool) -> None:
        """The disk of ``node`` is full from now on, or has room again."""
        self._full -= {node}
        self._full |= {node} if is_full else set()

    def note_probe(self, node: str, began: float, now: float, *, is_answered: bool) -> None:
        """A probe of ``node`` that was sent at ``began`` was answered at ``now``, or was given up."""
        is_answered = is_answered and node not in self._full
        spans = self._spans.setdefault(node, [])
        if is_answered and self._is_well.get(node):
            spans[-1] = (spans[-1][0], began)
        elif is_answered:
            spans.append((now, now))
        self._is_well[node] = is_answered

    def has_met(self, one: str, other: str, since: float, until: float) -> bool:
        """Whether both were well for :data:`CONTACT_SECONDS` at the same time in this span. A node has met itself."""
        return one == other or any(
            min(ends, ended, until) - max(begins, began, since) >= CONTACT_SECONDS
            for begins, ends in self._spans.get(one, ())
            for began, ended in self._spans.get(other, ())
        )
