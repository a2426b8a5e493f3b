"""Replicas of shared maps for recordings. Values are not recorded: each decision that depends on them is recorded as an
answer.

Hashes of values would be shorter, but a reader of the file could guess values and compare their hashes.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.maps.replicated_map import Merge, PutResult, ReplicatedMap
from meshp2p.recording.inputs import Fillers
from meshp2p.recording.outside import RecordedOutside, ReplayedOutside

__all__ = ["RecordedMap", "ReplayedMap"]


class RecordedMap(ReplicatedMap):
    """A replica that notes its decisions."""

    def __init__(self, name: str, merge: Merge | None, outside: RecordedOutside) -> None:
        super().__init__(name, merge)
        self._outside = outside

    def put(self, entry: MapEntry) -> PutResult:
        change = super().put(entry)
        self._outside.note([change, len(self._held[entry.key].entry.value)])
        return change

    def differing(self, digest: bytes) -> tuple[int, ...]:
        return self._outside.note(super().differing(digest))

    def better_than(
        self, theirs: Iterable[MapEntry], numbers: Iterable[int], buckets: int, first: int
    ) -> list[MapEntry]:
        better = super().better_than(theirs, numbers, buckets, first)
        self._outside.note([entry.key for entry in better])
        return better

    def recorded(self) -> tuple[str, list[tuple[str, Stamp, int]], list[str]]:
        """Return what :meth:`ReplayedMap.load` needs."""
        return self.name, [(entry.key, entry.stamp, len(entry.value)) for entry in self.entries()], list(self._deleted)


class ReplayedMap(ReplicatedMap):
    """A replica that decides as it is recorded. Zero bytes stand for its values."""

    def __init__(self, name: str, merge: Merge | None, outside: ReplayedOutside, fillers: Fillers) -> None:
        super().__init__(name, merge)
        self._outside = outside
        self._fillers = fillers

    def load(self, entries: Iterable[tuple[str, Stamp, int]], deleted: Iterable[str]) -> None:
        """Put the entries of a recorded state, and order the deleted ones."""
        for key, stamp, size in entries:
            self.replace(MapEntry(key, stamp, self._fillers.of(size)))
        self._deleted = {key: self._deleted[key] for key in deleted}

    def put(self, entry: MapEntry) -> PutResult:
        change, size = self._outside.next(tuple[PutResult, int])
        if change is not PutResult.NONE:
            held = self.entry(entry.key)
            stamp = entry.stamp if held is None else max(held.stamp, entry.stamp)
            self.replace(MapEntry(entry.key, stamp, self._fillers.of(size)))
        return change

    def differing(self, _digest: bytes) -> tuple[int, ...]:
        return self._outside.next(tuple[int, ...])

    def better_than(
        self, _theirs: Iterable[MapEntry], _numbers: Iterable[int], _buckets: int, _first: int
    ) -> list[MapEntry]:
        return [self._held[key].entry for key in self._outside.next(list[str])]
