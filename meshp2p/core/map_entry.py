"""An entry of a shared map, and the stamp that orders writes."""

from typing import Annotated, Final

import msgspec

__all__ = [
    "COUNT_MAX",
    "ENTRY_OVERHEAD",
    "MAP_KEY_BYTES_MAX",
    "MAP_VALUE_BYTES_MAX",
    "MapEntry",
    "Stamp",
    "entry_size",
]

MAP_KEY_BYTES_MAX: Final = 512
MAP_VALUE_BYTES_MAX: Final = 1024 * 1024
"""The largest value that any node takes, as JSON text."""

ENTRY_OVERHEAD: Final = 64
"""Bytes that an entry counts beside its key and value. Chosen, not measured."""

COUNT_MAX: Final = (1 << 32) - 1
"""The greatest count of a stamp: behind it comes the next millisecond."""

Word = Annotated[int, msgspec.Meta(ge=0)]


class Stamp(msgspec.Struct, frozen=True, array_like=True, order=True):
    """When something was written, ordered by its fields: Unix milliseconds, a count within the millisecond, and the tag
    of the node that wrote, which makes the order total."""

    wall_ms: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    count: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
    node: Word


class MapEntry(msgspec.Struct, frozen=True, array_like=True):
    """The content of one key. ``value`` is JSON text, empty if the key was deleted."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=MAP_KEY_BYTES_MAX)]
    stamp: Stamp
    value: Annotated[bytes, msgspec.Meta(max_length=MAP_VALUE_BYTES_MAX)]

    @property
    def is_deleted(self) -> bool:
        return not self.value

    @property
    def size(self) -> int:
        """Bytes that it counts: in memory, and on the wire."""
        return entry_size(self.key, self.value)


def entry_size(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value) + ENTRY_OVERHEAD
