"""Just enough of PNG (RFC 2083) to look at a screenshot: eight bits, three or four channels, not interlaced."""

from __future__ import annotations

import struct
import zlib
from collections import Counter


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    found = []
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    by_left, by_above, by_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    if by_left <= by_above and by_left <= by_corner:
        return left
    return above if by_above <= by_corner else corner


def _unfilter(kind: int, row: bytearray, before: bytearray, step: int) -> None:
    for place in range(len(row)):
        left = row[place - step] if place >= step else 0
        above = before[place]
        corner = before[place - step] if place >= step else 0
        guess = (0, left, above, (left + above) // 2, _paeth(left, above, corner) if kind == 4 else 0)[kind]
        row[place] = (row[place] + guess) & 0xFF


def count_colours(data: bytes) -> Counter[tuple[int, int, int]]:
    """How many pixels there are of each colour."""
    chunks = _chunks(data)
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    step = {2: 3, 6: 4}[kind]
    if depth != 8 or interlaced:
        raise ValueError(f"depth {depth}, interlaced {interlaced}: not read here")
    raw = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    before = bytearray(width * step)
    colours: Counter[tuple[int, int, int]] = Counter()
    for line in range(height):
        start = line * (width * step + 1)
        row = bytearray(raw[start + 1 : start + 1 + width * step])
        if raw[start]:
            _unfilter(raw[start], row, before, step)
        colours.update(zip(row[0::step], row[1::step], row[2::step], strict=True))
        before = row
    return colours
