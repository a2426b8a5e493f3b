"""Corruption of datagrams in transit."""

from __future__ import annotations

import random

__all__ = ["Mangled", "mangle"]

CUT_SHARE = 0.3
"""The share of corrupted datagrams that are also truncated. Chosen, not measured."""


class Mangled(bytes):
    """A corrupted datagram. The receiver's checksum refuses it, even if its codec would not."""


def mangle(data: bytes, draw: random.Random) -> Mangled:
    """Return the datagram with one to three bytes changed, and in some cases truncated to any length."""
    mangled = bytearray(data)
    if draw.random() < CUT_SHARE:
        del mangled[draw.randrange(0, len(mangled)) :]
    for _ in range(draw.randrange(1, 4)):
        if mangled:
            mangled[draw.randrange(0, len(mangled))] ^= draw.randrange(1, 256)
    return Mangled(mangled)
