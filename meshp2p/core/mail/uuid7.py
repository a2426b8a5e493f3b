"""Identifiers that sort by their creation time (RFC 9562 §5.7)."""

from __future__ import annotations

import re
from typing import Final

from meshp2p.core.randomness import Randomness

__all__ = ["UUID7_PATTERN", "MessageIds", "is_uuid7", "node_bits_of", "uuid7"]

UUID7_PATTERN: Final = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UUID7: Final = re.compile(UUID7_PATTERN)


def uuid7(unix_ms: int, random_bits: int) -> str:
    """Return the UUIDv7 of a time in Unix milliseconds (48 bits) and 74 random bits, as lower-case text."""
    value = (unix_ms & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | (random_bits & ((1 << 62) - 1))
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid7(text: str) -> bool:
    """Return whether this is a UUIDv7 as :func:`uuid7` writes it."""
    return _UUID7.fullmatch(text) is not None


class MessageIds:
    """Strictly increasing UUIDv7s, each with 32 bits of the tag of the node that made it.

    The time is followed by 12 bits that count within a millisecond (RFC 9562 §6.2, method 1), the upper half of the
    tag, and 30 bits drawn anew each millisecond. If the clock stands still or goes back, ids continue from the last
    one.
    """

    def __init__(self, tag: int, random: Randomness) -> None:
        self._node_bits = tag >> 32
        self._random = random
        self._time = 0
        self._count = 0xFFF
        self._before_count = self._after_count = ""

    def next(self, unix_ms: int) -> str:
        if unix_ms <= self._time and self._count < 0xFFF:
            self._count += 1
        else:
            self._time, self._count = max(unix_ms, self._time + 1), 0
            first = uuid7(self._time, self._node_bits << 30 | self._random.randrange(0, 1 << 30))
            self._before_count, self._after_count = first[:15], first[18:]
        return f"{self._before_count}{self._count:03x}{self._after_count}"

    def skip(self, message_id: str) -> None:
        """Continue after this id of an earlier process."""
        self._time = max(self._time, int(message_id[:8] + message_id[9:13], 16))
        self._count = 0xFFF  # whatever it counted to


def node_bits_of(message_id: str) -> int | None:
    """Return the 32 bits of the tag of the node that made an id of :class:`MessageIds`; None if it is no UUID."""
    try:
        value = int(message_id.replace("-", ""), 16)
    except ValueError:
        return None
    return value >> 30 & 0xFFFFFFFF
