"""The calls with which nodes compare their replicas of a shared map and send changes.

Fields are positional on the wire and may only be appended.
"""

from typing import Annotated, Final

import msgspec

from meshp2p.core.datagrams import Word
from meshp2p.core.digest import Buckets, Digest
from meshp2p.core.map_entry import MapEntry
from meshp2p.core.message import Id

__all__ = ["ENTRIES_MAX", "MapDifference", "MapPush", "MapSync", "MapTaken"]

ENTRIES_MAX: Final = 16_384
"""The most entries of a shared map that one call may carry."""

Entries = Annotated[tuple[MapEntry, ...], msgspec.Meta(max_length=ENTRIES_MAX)]


class MapSync(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """Sent by the node ``sender``, which has opened the shared map ``name``, to compare replicas. Answered with
    :class:`MapDifference`.

    ``digest`` is of the sender's replica, in as many buckets as it has words; ``clock_ms`` is the sender's wall clock.
    """

    name: Id
    sender: Id
    clock_ms: Word
    digest: Digest


class MapDifference(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """The replier's entries in the buckets that differ, up to a limit; ``is_complete`` says whether these are all.

    ``has_map`` is whether it has opened this map; if not, all else is empty. ``differing`` are the numbers of those
    buckets. If the digest was too coarse, there are no entries, and ``buckets`` is how many buckets to use instead.
    ``holders`` are other nodes that have the map.
    """

    has_map: bool
    clock_ms: Word = 0
    buckets: Word = 1
    differing: Buckets = ()
    entries: Entries = ()
    is_complete: bool = True
    holders: Annotated[tuple[Id, ...], msgspec.Meta(max_length=64)] = ()


class MapPush(msgspec.Struct, frozen=True, array_like=True, tag=49):
    """Entries of a shared map: what was just written, or the second half of a :class:`MapSync`. Answered with
    :class:`MapTaken`."""

    name: Id
    sender: Id
    clock_ms: Word
    entries: Entries


class MapTaken(msgspec.Struct, frozen=True, array_like=True, tag=49):
    """Whether the replier has opened this map, its wall clock, and how many of the entries were new."""

    has_map: bool
    clock_ms: Word = 0
    news: Word = 0
