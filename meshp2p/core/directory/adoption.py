"""What mail asks of the machine that keeps track of members."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Acquaintance", "Adoption"]


class Adoption(Protocol):
    """Takes over hosted instances whose home is gone."""

    def adopt(self, instance_id: str, now: float) -> bool:
        """Become the home of an instance whose home is gone. Whether this node is its home now: it is not if it leaves,
        or if others' claims cannot be outbid."""


class Acquaintance(Protocol):
    """Knows which members this node may have missed."""

    @property
    def has_met_all(self) -> bool:
        """Whether there can be no members that this node has never heard of."""
