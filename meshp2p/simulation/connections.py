"""Open TCP connections between simulated processes. Others reach a hidden node over a connection that it opened."""

from __future__ import annotations

import math

from meshp2p.simulation.endpoint import Endpoint, WatchLine
from meshp2p.simulation.engine import Engine

__all__ = ["SimulatedConnections"]

IDLE_SECONDS = 60.0
"""How long a connection without a call stays open, as in :mod:`meshp2p.net.peers`."""


class SimulatedConnections:
    """The processes that called each other recently, and those that watch each other.

    ``watches`` are the watch connections, by the key of the watcher's host, its life and the number of the watch.
    """

    def __init__(self, engine: Engine) -> None:
        self.watches: dict[tuple[str, int, int], WatchLine] = {}
        self._engine = engine
        self._used_at: dict[tuple[str, int, str, int], float] = {}
        self.severed: dict[tuple[str, int], float] = {}
        """When all connections of a process were severed, by its host's key and its life."""
        self._called: dict[tuple[str, int, str, int], float] = {}

    def note(self, one: Endpoint, other: Endpoint) -> None:
        """Note a call between these processes."""
        self._used_at[_pair(one, other)] = self._engine.now

    def stands(self, one: Endpoint, other: Endpoint) -> bool:
        """Return whether there is a connection between these processes."""
        used_at = self._used_at.get(_pair(one, other))
        is_used = used_at is not None and self._engine.now - used_at < IDLE_SECONDS
        return is_used or self._is_watched(one, other)

    def count(self, host: Endpoint) -> int:
        """Return how many connections the process on this host has open."""
        recent, process = self._engine.now - IDLE_SECONDS, (host.key, host.life)
        used = (pair for pair, used_at in self._used_at.items() if used_at > recent)
        watches = (line for line in self.watches.values() if line.watched is host and line.watched_life == host.life)
        return sum(process in (pair[:2], pair[2:]) for pair in used) + sum(line.is_open for line in watches)

    def sever(self, host: Endpoint) -> None:
        """Break all connections of this process; neither end notices."""
        self.severed[host.key, host.life] = self._engine.now
        self._used_at = {pair: at for pair, at in self._used_at.items() if host.key not in (pair[0], pair[2])}

    def severed_at(self, one: Endpoint, other: Endpoint) -> float:
        """Return when a connection between these processes was last severed; negative infinity if never."""
        return max(self.severed.get((end.key, end.life), -math.inf) for end in (one, other))

    def loses_call(self, caller: Endpoint, target: Endpoint) -> bool:
        """Return whether a call now is made on a connection that was severed: the first one soon after that."""
        severed_at, now = self.severed_at(caller, target), self._engine.now
        pair = (caller.key, caller.life, target.key, target.life)
        called_at = self._called.get(pair, -math.inf)
        self._called[pair] = now
        return called_at < severed_at and now - severed_at < IDLE_SECONDS

    def _is_watched(self, one: Endpoint, other: Endpoint) -> bool:
        """Return whether one of these processes watches the other."""
        for line in self.watches.values():
            if (
                line.is_open
                and not line.is_severed
                and line.watched is not None
                and line.watched_life == line.watched.life
            ):
                ends = (line.watcher, line.watched)
                if ends in ((one, other), (other, one)) and line.life == line.watcher.life:
                    return True
        return False


def _pair(one: Endpoint, other: Endpoint) -> tuple[str, int, str, int]:
    first, second = sorted(((one.key, one.life), (other.key, other.life)))
    return (*first, *second)
