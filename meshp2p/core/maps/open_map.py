"""An open shared map of a node: its replica, its clocks, and the nodes to exchange it with."""

from __future__ import annotations

from collections.abc import Iterable

from meshp2p.core.directory.state import NodeState
from meshp2p.core.events import MapChanged
from meshp2p.core.map_entry import MapEntry, entry_size
from meshp2p.core.maps.hybrid_clock import HybridClock
from meshp2p.core.maps.mesh_clock import MeshClock
from meshp2p.core.maps.replicated_map import PutResult, ReplicatedMap
from meshp2p.errors import LimitExceeded

__all__ = ["OpenMap"]

FOREIGN_FACTOR = 4
"""Entries of other nodes are accepted up to this multiple of the limits for entries written here."""


class OpenMap:
    """One open map. It has its own clocks, so that all nodes with the map compare the same ones: those of its
    holders."""

    def __init__(self, state: NodeState, replica: ReplicatedMap, stamps: HybridClock) -> None:
        self.replica = replica
        self.stamps = stamps
        self.clock: MeshClock = MeshClock(state.wall_ms)
        self.holders: dict[str, None] = {}
        """Listed nodes that are known to have it."""
        self.unasked: dict[str, None] = dict.fromkeys(state.choose_nodes(len(state.members.nodes)))
        """Listed nodes that were not asked yet whether they have it."""
        self.silent: dict[str, None] = {}
        """Listed nodes that did not answer; they are asked again with the next comparison."""
        self.syncing: dict[str, None] = {}
        """Nodes with which a comparison is under way."""
        self.news: dict[str, int] = {}
        """Keys whose entries must still be sent, and how often."""
        self.pushes: dict[str, int] = {}
        """How many pushes to each node are under way."""
        self.behind: dict[str, None] = {}
        """Nodes that were not told of changes because they had not answered earlier pushes; they are compared with once
        they answer."""
        self._state = state

    def write(self, key: str, value: bytes, now: float) -> bool:
        """Set a key to a value, or delete it if that is empty. Return whether anything changed."""
        return self._put(MapEntry(key, self.stamps.tick(self.clock.read(now)), value))

    def check_room(self, key: str, value: bytes) -> None:
        """Raise :class:`~meshp2p.errors.LimitExceeded` if the map has no room for this value."""
        config, replica = self._state.config, self.replica
        held = replica.entry(key)
        room = config.map_bytes_max - replica.bytes + (0 if held is None else held.size)
        if len(value) > config.map_value_bytes_max:
            raise LimitExceeded(
                f"map {replica.name!r}: a value of {len(value)} bytes,"
                f" and map_value_bytes_max = {config.map_value_bytes_max}"
            )
        if held is None and replica.entries_count >= config.map_entries_max:
            raise LimitExceeded(f"map {replica.name!r} is full: map_entries_max = {config.map_entries_max}")
        if entry_size(key, value) > room:
            raise LimitExceeded(f"map {replica.name!r} is full: map_bytes_max = {config.map_bytes_max}")

    def _put(self, entry: MapEntry) -> bool:
        """Merge an entry. Return whether anything changed. The agent is told of a new value."""
        replica = self.replica
        change = replica.put(entry)
        if change is PutResult.VALUE:
            self._state.emit(MapChanged(replica.name, entry.key, replica.value(entry.key) or b""))
        return change is not PutResult.NONE

    def merge(self, entries: Iterable[MapEntry], now: float) -> list[str]:
        """Merge entries of another node. Return the keys that changed."""
        config, counters, replica = self._state.config, self._state.counters, self.replica
        clock_ms = self.clock.read(now)
        latest_ms = clock_ms + self.clock.ahead_max_ms
        earliest_deleted_ms = clock_ms - int(config.map_deleted_retention * 1000)
        changed: list[str] = []
        for entry in entries:
            has_room = (
                replica.entries_count < FOREIGN_FACTOR * config.map_entries_max
                and replica.bytes + entry.size <= FOREIGN_FACTOR * config.map_bytes_max
            )
            if entry.stamp.wall_ms > latest_ms or not (has_room or replica.entry(entry.key) is not None):
                counters.map_entries_refused += 1
            elif not entry.is_deleted or entry.stamp.wall_ms >= earliest_deleted_ms:
                self.stamps.note(entry.stamp)
                if self._put(entry):
                    changed.append(entry.key)
        counters.map_entries_taken += len(changed)
        return changed

    def restamp(self, now: float) -> list[str]:
        """Give entries whose time is too far ahead a new stamp of now, in the order of their stamps. Return their keys.

        Their writer had a wrong clock, and until that time they would prevail over everything that is written.
        """
        clock_ms = self.clock.read(now)
        latest_ms = clock_ms + self.clock.ahead_max_ms
        if not self.stamps.is_past(latest_ms):
            return []  # all stamps that are held were given or noted by it
        self.stamps.set_back(clock_ms)
        ahead: list[MapEntry] = []
        for entry in self.replica.entries():
            if entry.stamp.wall_ms > latest_ms:
                ahead.append(entry)
            else:
                self.stamps.note(entry.stamp)
        for entry in sorted(ahead, key=lambda entry: entry.stamp):
            self.replica.replace(MapEntry(entry.key, self.stamps.tick(clock_ms), entry.value))
        return [entry.key for entry in ahead]
