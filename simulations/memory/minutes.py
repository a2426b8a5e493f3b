"""Counts of bytes and objects after each minute, and their growth."""

from __future__ import annotations

import collections
import gc
import statistics
import tracemalloc
from typing import Final

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.record import tag_of

__all__ = ["SLOPE_MAX", "SMALL", "Minute", "growth", "look", "slope"]

SLOPE_MAX: Final = 0.1
"""Growth in MB a minute above which the command fails."""

SMALL: Final = ProtocolConfig(
    departed_max=64,
    receipts_max=64,
    remembered_max=64,
    candidates_max=64,
    departed_retention=60.0,
    message_timeout=30.0,
    return_timeout=5.0,
    map_deleted_retention=30.0,
)
"""Tables with small bounds, so that they are full after the first minutes."""


class Minute(msgspec.Struct, frozen=True):
    """Bytes that Python has allocated, and objects by type, after a number of minutes."""

    minute: int
    bytes: int
    objects: dict[str, int]


def look(minute: int) -> Minute:
    """Count what is allocated now. ``tracemalloc`` must run."""
    tag_of.cache_clear()  # of 65,536 ids, 13 MB when it is full: it would grow for as long as that takes
    gc.collect()
    objects = collections.Counter(type(one).__qualname__ for one in gc.get_objects())
    return Minute(minute, tracemalloc.get_traced_memory()[0], dict(objects))


def slope(found: list[Minute]) -> float:
    """MB a minute over the second half, by least squares."""
    half = found[len(found) // 2 :]
    if len(half) < 2:
        return 0.0
    return statistics.linear_regression([one.minute for one in half], [one.bytes / 1e6 for one in half]).slope


def growth(found: list[Minute]) -> dict[str, float]:
    """Types whose objects grew over the second half, with objects a minute, the fastest first."""
    first, last = found[len(found) // 2], found[-1]
    minutes = max(1, last.minute - first.minute)
    grown = {name: (count - first.objects.get(name, 0)) / minutes for name, count in last.objects.items()}
    return dict(sorted(((name, rate) for name, rate in grown.items() if rate >= 1), key=lambda entry: -entry[1]))
