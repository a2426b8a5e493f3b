"""The services of membership that mail uses."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Acquaintance", "Adoption"]


class Adoption(Protocol):
    """Takes over hosted instances whose home is gone."""

    def adopt(self, instance_id: str, now: float) -> bool:
        """Become the home of an instance whose home is gone. Return whether this node is its home now.

        It is not if it leaves, if its machine may not use the id, or if others' claims cannot be outbid.
        """


class Acquaintance(Protocol):
    """Knows whether this node may have missed members."""

    @property
    def has_met_all(self) -> bool:
        """Return whether there can be no members that this node has never heard of."""
