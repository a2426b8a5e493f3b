"""Datagrams that are corrupted on their way."""

from __future__ import annotations

import random

__all__ = ["Mangled", "mangle"]

CUT_SHARE = 0.3
"""How many corrupted datagrams lose their end as well. Chosen, not measured."""


class Mangled(bytes):
    """A datagram that was corrupted: its receiver's checksum refuses it even if its codec would not."""


def mangle(data: bytes, draw: random.Random) -> Mangled:
    """The datagram with one to three bytes changed, and in some cases cut off at any length."""
    mangled = bytearray(data)
    if draw.random() < CUT_SHARE:
        del mangled[draw.randrange(0, len(mangled)) :]
    for _ in range(draw.randrange(1, 4)):
        if mangled:
            mangled[draw.randrange(0, len(mangled))] ^= draw.randrange(1, 256)
    return Mangled(mangled)
