"""A replicated map that each node may write: one replica, and the choice between two entries.

Of two entries of a key the one with the later :class:`~meshp2p.core.map_entry.Stamp` prevails (last writer wins). A
deletion is an entry without a value. It is kept until it is so old that no replica can hold the deleted value. Putting
entries is commutative, associative and idempotent, so replicas with the same entries are equal.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Iterator

import msgspec

from meshp2p.core.digest import BUCKETS_MAX
from meshp2p.core.map_entry import MapEntry

__all__ = [
    "Merge",
    "PutResult",
    "ReplicatedMap",
    "bucket_of",
    "prevailing",
]

Merge = Callable[[bytes, bytes], bytes]
"""Joins two values of a key, both JSON text, the one with the earlier stamp first: commutative, associative and
idempotent."""


def prevailing(one: MapEntry, other: MapEntry, merge: Merge | None = None) -> MapEntry:
    """Return the entry that prevails of two entries of one key. With a ``merge`` two values are merged and get the
    later stamp; a deletion and a value are never merged."""
    earlier, later = (one, other) if (one.stamp, one.value) <= (other.stamp, other.value) else (other, one)
    if merge is None or earlier.is_deleted or later.is_deleted or earlier.value == later.value:
        return later
    return MapEntry(later.key, later.stamp, merge(earlier.value, later.value))


def bucket_of(key: str) -> int:
    """Return the bucket of a key for the maximum number of buckets. For fewer, a power of two, use its lower bits."""
    return int.from_bytes(_hash_of(key).digest(), "big") % BUCKETS_MAX


def _hash_of(key: str) -> hashlib.blake2b:
    text = key.encode()
    return hashlib.blake2b(b"%d %b" % (len(text), text), digest_size=8)


class PutResult(enum.IntEnum):
    """What a put changed."""

    NONE = 0
    STAMP = 1
    """The value is the same."""
    VALUE = 2


class _HeldEntry(msgspec.Struct, frozen=True):
    entry: MapEntry
    bucket: int
    fingerprint: int


class ReplicatedMap:
    """One replica. Only :meth:`put`, :meth:`differing` and :meth:`better_than` depend on the content of values.

    Its length, keys and values may be read from any thread: an entry is immutable and replaced in one step, and the
    dictionary of entries is copied in one step.
    """

    def __init__(self, name: str, merge: Merge | None = None) -> None:
        self.name = name
        self.merge = merge
        self.bytes: int = 0
        """The size of all entries, including deletions."""
        self.view: int = 0
        """A hash that is equal for equal replicas: the XOR of the fingerprints of their entries."""
        self._held: dict[str, _HeldEntry] = {}
        self._deleted: dict[str, int] = {}
        self._words = [0] * BUCKETS_MAX
        self._values = 0

    def __repr__(self) -> str:
        return f"<ReplicatedMap {self.name!r} entries={len(self)} deleted={len(self._deleted)} view={self.view:016x}>"

    def __len__(self) -> int:
        """Return how many keys have a value."""
        return self._values

    @property
    def entries_count(self) -> int:
        """How many entries there are, including deletions."""
        return len(self._held)

    def entry(self, key: str) -> MapEntry | None:
        """Return the entry of this key, which may be a deletion."""
        held = self._held.get(key)
        return None if held is None else held.entry

    def value(self, key: str) -> bytes | None:
        """Return the value of this key as JSON text; None if it has none."""
        held = self._held.get(key)
        return held.entry.value if held is not None and held.entry.value else None

    def values(self) -> dict[str, bytes]:
        """Return the keys that have a value and their values as JSON text, in no particular order."""
        return {key: held.entry.value for key, held in self._held.copy().items() if held.entry.value}

    def entries(self) -> Iterator[MapEntry]:
        """Return all entries, including deletions."""
        return (held.entry for held in self._held.values())

    # Changing it

    def put(self, entry: MapEntry) -> PutResult:
        """Put an entry. Return what changed."""
        held = self._held.get(entry.key)
        if held is not None:
            entry = prevailing(held.entry, entry, self.merge)
            if entry == held.entry:
                return PutResult.NONE
        self.replace(entry)
        before = b"" if held is None else held.entry.value
        return PutResult.STAMP if before == entry.value else PutResult.VALUE

    def replace(self, entry: MapEntry) -> None:
        """Store this entry, whatever the present one is."""
        stamp, hashed = entry.stamp, _hash_of(entry.key)
        bucket = int.from_bytes(hashed.digest(), "big") % BUCKETS_MAX
        hashed.update(b"%d %d %d " % (stamp.wall_ms, stamp.count, stamp.node))
        hashed.update(entry.value)
        held = _HeldEntry(entry, bucket, int.from_bytes(hashed.digest(), "big"))
        previous = self._held.get(entry.key)
        self._held[entry.key] = held
        self._deleted.pop(entry.key, None)
        if entry.is_deleted:
            self._deleted[entry.key] = stamp.wall_ms
        self._count(held, previous)

    def _count(self, held: _HeldEntry | None, previous: _HeldEntry | None) -> None:
        """Note that one entry replaced another, or none."""
        self._values += _has_value(held) - _has_value(previous)
        for one, sign in ((held, 1), (previous, -1)):
            if one is not None:
                self._weigh(one, sign)

    def _weigh(self, held: _HeldEntry, sign: int) -> None:
        self.bytes += sign * held.entry.size
        self.view ^= held.fingerprint
        self._words[held.bucket] ^= held.fingerprint

    def forget_deleted(self, before_ms: int) -> None:
        """Forget the deletions that were made before this time."""
        for key in [key for key, wall_ms in self._deleted.items() if wall_ms < before_ms]:
            del self._deleted[key]
            self._count(None, self._held.pop(key, None))

    # Comparing it

    @property
    def buckets(self) -> int:
        """Return the number of buckets for a comparison with another replica: about one for four entries, a power of
        two."""
        buckets = 1
        while buckets < BUCKETS_MAX and buckets * 4 < len(self._held):
            buckets *= 2
        return buckets

    def digest(self, buckets: int) -> bytes:
        """Return the XOR of the fingerprints in each of this many buckets, 8 bytes per bucket."""
        if buckets == 1:
            return self.view.to_bytes(8, "big")
        words = [0] * buckets
        mask = buckets - 1
        for bucket, word in enumerate(self._words):
            words[bucket & mask] ^= word
        return b"".join(word.to_bytes(8, "big") for word in words)

    def differing(self, digest: bytes) -> tuple[int, ...]:
        """Return the buckets in which another replica's digest differs from this one's."""
        own = self.digest(len(digest) // 8)
        if own == digest:
            return ()
        return tuple(at // 8 for at in range(0, len(digest), 8) if own[at : at + 8] != digest[at : at + 8])

    def entries_in(self, numbers: Iterable[int], buckets: int, first: int = 0) -> list[MapEntry]:
        """Return all entries in these of this many buckets, bucket by bucket, starting with the first from ``first``
        on."""
        wanted = set(numbers)
        mask = buckets - 1
        found = [held for held in self._held.values() if held.bucket & mask in wanted]
        found.sort(key=lambda held: (held.bucket - first) & mask)
        return [held.entry for held in found]

    def better_than(
        self, theirs: Iterable[MapEntry], numbers: Iterable[int], buckets: int, first: int
    ) -> list[MapEntry]:
        """Return the entries of :meth:`entries_in` that are not among those of another replica, after these were
        put."""
        known = {entry.key: entry for entry in theirs}
        return [entry for entry in self.entries_in(numbers, buckets, first) if known.get(entry.key) != entry]


def _has_value(held: _HeldEntry | None) -> bool:
    return held is not None and not held.entry.is_deleted
