"""TCP connections that stand between simulated processes, where it matters: over one that a hidden node opened, others
call it as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshp2p.simulation.engine import Engine

if TYPE_CHECKING:
    from meshp2p.simulation.host import Host

__all__ = ["Connections"]

IDLE_SECONDS = 60.0
"""A connection without a call is closed after so long: as in :mod:`meshp2p.net.peers`."""


class Connections:
    """Which processes called each other lately."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._used_at: dict[tuple[str, int, str, int], float] = {}

    def note(self, one: Host, other: Host) -> None:
        """A call went between these processes."""
        self._used_at[_pair(one, other)] = self._engine.now

    def stands(self, one: Host, other: Host) -> bool:
        """Whether there is a connection between these processes."""
        used_at = self._used_at.get(_pair(one, other))
        return used_at is not None and self._engine.now - used_at < IDLE_SECONDS


def _pair(one: Host, other: Host) -> tuple[str, int, str, int]:
    first, second = sorted(((one.key, one.life), (other.key, other.life)))
    return (*first, *second)
