"""Modification of messages by their structure: values of MessagePack, not bytes."""

from __future__ import annotations

import random
import struct
from typing import Any, Final

import msgpack

from meshp2p.core.record import tag_of

__all__ = ["IDS", "Mutator"]

IDS: Final = ("me", "a", "b", "agent", "x", "\U0010ffff", "z" * 128)
"""Frequent ids, so that messages concern the same instances."""

_NUMBERS: Final = (
    *(0, 1, 2, 3, 4, 5, 7, 16, 127, 128, 255, 256, 4096, 65535, 65536),
    *(1 << 31, 1 << 32, 1_700_000_000_000, 1_700_000_000_001, 253_402_300_800_000, 1 << 43),
    *((1 << 62) - 1, 1 << 62, (1 << 62) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -(1 << 63)),
)
_TEXTS: Final = (
    *("", "{}", '{"a":1}', "[]", '{"a":' + "[" * 40 + "]" * 40 + "}", '{"a":1e999}', "x" * 1024, "x" * 1025, "é" * 64),
    *("z" * 129, "\x00", "10.0.0.9", "::1", "0.0.0.0", "224.0.0.1", "fe80::1%1", "Query", "Custom", "queued"),
    *("018bcfe5-6800-7000-8000-000000000000", "018bcfe5-6800-7000-8000-000000000001"),
)
_OTHERS: Final = (None, True, False, 0.0, -0.0, 1.5, 1e300, float("inf"), float("nan"), b"", b"1", b"null", bytes(8))
_SPARE_MAX: Final = 512
"""How many parts of messages are kept for insertion into others."""

_PART_MAX: Final = 100
_ELEMENTS_MAX: Final = 20_000
"""The maximum number of elements of a kept part, and of a message that is modified further: copies of copies would fill
the memory."""


class Mutator:
    """Draws modifications. Parts of messages that it has seen are inserted into others."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._spare: list[Any] = []
        self._elements = 0
        """At most so many are in the message that is changed."""

    def keep(self, value: Any) -> None:
        """Remember a part of a message, if it is small."""
        if _size(value) > _PART_MAX:
            return
        value = _copy(value)
        if len(self._spare) < _SPARE_MAX:
            self._spare.append(value)
        else:
            self._spare[self._draw.randrange(_SPARE_MAX)] = value

    def mutate(self, body: bytes) -> bytes:
        """Another body made of this one: some changes of its structure, and now and then of its bytes."""
        draw = self._draw
        value = msgpack.unpackb(body, use_list=True, raw=False, strict_map_key=False)
        self._elements = len(body) if len(body) <= _ELEMENTS_MAX else _size(value)  # each has a byte or more
        for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 6))):
            if self._elements <= _ELEMENTS_MAX:
                value = self._change(value)
        try:
            data = msgpack.packb(value, use_bin_type=True)
        except (ValueError, OverflowError):  # too deep, or no number of MessagePack's
            return body
        return self._change_bytes(data) if draw.random() < 0.05 else data

    def _change(self, value: Any) -> Any:
        """The value with one thing changed, at a place drawn anywhere in it."""
        draw = self._draw
        if isinstance(value, list) and value and draw.random() < 0.85:
            place = draw.randrange(len(value))
            if draw.random() < 0.85:
                value[place] = self._change(value[place])
            else:
                self._rearrange(value, place)
            return value
        if isinstance(value, list):
            self.keep(value)
        if self._spare and draw.random() < 0.05:
            self._elements += _PART_MAX
            return _copy(draw.choice(self._spare))
        return self._scalar(value)

    def _rearrange(self, items: list[Any], place: int) -> None:
        draw = self._draw
        match draw.randrange(6):
            case 0:
                del items[place]
            case 1:
                self._insert(items, place, items[place])
            case 2:
                size = _size(items[place])
                count = min(draw.choice((1, 2, 16, 130, 5000)), max(0, _ELEMENTS_MAX - self._elements) // size)
                self._elements += count * size
                items.extend([items[place]] * count)
            case 3:
                draw.shuffle(items)
            case 4:
                items.append(self._scalar(None))
            case _:
                self._insert(items, place, items[draw.randrange(len(items))])

    def _insert(self, items: list[Any], place: int, value: Any) -> None:
        self._elements += _size(value)
        items.insert(place, _copy(value))

    def _scalar(self, value: Any) -> Any:
        """Another value: mostly of the same type, for what has another is refused by its shape."""
        draw = self._draw
        if draw.random() < 0.9:
            match value:
                case bool():
                    return not value
                case int():
                    near = value + draw.choice((-1, 1, 2, 1000, 1 << 20))
                    number = draw.choice(
                        (near, near, draw.randrange(4), draw.choice(_NUMBERS), tag_of(draw.choice(IDS)))
                    )
                    return min(max(number, -(1 << 63)), (1 << 64) - 1)
                case str():
                    return draw.choice((draw.choice(IDS), draw.choice(IDS), draw.choice(IDS), draw.choice(_TEXTS)))
                case float():
                    return draw.choice((0.0, 0.5, 60.0, 1e300, -0.0, float("inf"), float("nan")))
                case bytes():
                    return draw.choice((b"", b"1", b"null", bytes(8), bytes(16), b"[", b"\xff", value + value))
                case _:
                    pass
        return draw.choice(
            (draw.choice(_NUMBERS), draw.choice(IDS), draw.choice(_TEXTS), draw.choice(_OTHERS), [], [[]], {"a": 1})
        )

    def _change_bytes(self, data: bytes) -> bytes:
        draw = self._draw
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 8))):
            if not changed:
                break
            place = draw.randrange(len(changed))
            match draw.randrange(4):
                case 0:
                    changed[place] ^= 1 << draw.randrange(8)
                case 1:
                    changed[place] = draw.choice((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xDC, 0xDD, 0xFF))
                case 2:
                    del changed[place:]
                case _:
                    changed[place:place] = b"\xdd" + struct.pack("!I", draw.choice((0, 1, 65536, 1 << 31)))
        return bytes(changed)


def _copy(value: Any) -> Any:
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _size(value: Any) -> int:
    """Return how many elements the value has, including itself."""
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1
