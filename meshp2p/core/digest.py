"""The format of a digest: one 8-byte word for each of a power of two of buckets.

What two nodes compare to find where their views, or their replicas of a map, differ without telling each other
everything.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from meshp2p.core.datagrams import Word

__all__ = ["BUCKETS_MAX", "Buckets", "Digest", "is_digest"]

BUCKETS_MAX: Final = 4096

Digest = Annotated[bytes, msgspec.Meta(max_length=8 * BUCKETS_MAX)]
Buckets = Annotated[tuple[Word, ...], msgspec.Meta(max_length=BUCKETS_MAX)]


def is_digest(digest: bytes) -> bool:
    """Whether these bytes can be a digest at all."""
    buckets, rest = divmod(len(digest), 8)
    return rest == 0 and 1 <= buckets <= BUCKETS_MAX and buckets & (buckets - 1) == 0
