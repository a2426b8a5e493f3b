"""The digest that two nodes compare to find where their views differ, without sending everything.

Live records are sorted into buckets by the low bits of their tag. A digest is the XOR of the fingerprints in each
bucket, 8 bytes per bucket. There is about one bucket for four records, so that a single difference costs a handful of
records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshp2p.core.digest import BUCKETS_MAX
from meshp2p.core.directory.members import Members
from meshp2p.core.record import Departed, Item, Record, fingerprint, tag_of

__all__ = ["bucket_digest", "differing_buckets", "items_in"]


def bucket_digest(members: Members, buckets: int | None = None) -> bytes:
    """Return the digest of all live records, in so many buckets (a power of two), or in a suitable number."""
    if buckets is None:
        buckets = 1
        while buckets < BUCKETS_MAX and buckets * 4 < len(members):
            buckets *= 2
    words = [0] * buckets
    mask = buckets - 1
    for record in members.records.values():
        words[tag_of(record.id) & mask] ^= fingerprint(record)
    return b"".join(word.to_bytes(8, "big") for word in words)


def differing_buckets(members: Members, digest: bytes) -> tuple[int, ...]:
    """Return the numbers of the buckets in which ``digest`` differs from this view."""
    buckets = len(digest) // 8
    own = bucket_digest(members, buckets)
    return tuple(
        number for number in range(buckets) if own[8 * number : 8 * number + 8] != digest[8 * number : 8 * number + 8]
    )


def items_in(members: Members, numbers: Iterable[int], buckets: int) -> Iterator[Item]:
    """Return all that is held in these of so many buckets: live records, then the departed as rumours."""
    wanted = set(numbers)
    mask = buckets - 1

    def is_wanted(held: Record | Departed) -> bool:
        return tag_of(held.id) & mask in wanted

    yield from filter(is_wanted, list(members.records.values()))
    yield from (departed.as_rumour() for departed in list(members.departed.values()) if is_wanted(departed))
