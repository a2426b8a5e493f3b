"""Identifiers that order by the time at which they were made (RFC 9562 §5.7)."""

from __future__ import annotations

__all__ = ["uuid7"]


def uuid7(unix_ms: int, random_bits: int) -> str:
    """The UUIDv7 of a time in Unix milliseconds (48 bits) and 74 random bits, as lower-case text."""
    value = (unix_ms & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | (random_bits & ((1 << 62) - 1))
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
