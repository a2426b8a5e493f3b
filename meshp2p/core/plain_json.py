"""JSON that every client can read again: what is checked of a text before it is kept or passed on.

A mailbox is read at once, so one number, string or nesting that a client cannot read would hide all of its messages.

msgspec skips what is decoded as ``msgspec.Raw``: it checks the syntax and the escapes of strings, and builds no object,
so that two megabytes of nested lists cost milliseconds and no memory. What it does not check is checked here: UTF-8,
depth (it reads any up to the interpreter's recursion limit), and numbers past a double.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

import msgspec

__all__ = ["PAYLOAD_DEPTH_MAX", "STEP_BYTES", "NotPlainJson", "check_in_steps", "check_plain_json"]

PAYLOAD_DEPTH_MAX: Final = 120
"""Levels of nesting in a message's payload: existing clients read 124, and a mailbox puts three around a payload."""

_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_NO_BRACKETS_OR_QUOTES: Final = bytes(set(_NO_BRACKETS) - set(b'"'))
_STEPS: Final = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")  # as signed bytes: +1 and -1

# A number past a double has an exponent of two digits, or so many digits that an exponent of one would do.
_TWO_DIGITS: Final = re.compile(rb"[eE]\+?[0-9]{2}")
_ALL_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_ZEROS: Final = b"0" * 299
_LONG_NUMBER: Final = re.compile(
    rb"(?<![0-9.eE+])(?<![eE]-)"  # not in the middle of a number
    rb"(?:[0-9]++(?:\.[0-9]++)?[eE]\+?[0-9]{2}[0-9]*+|[0-9]{299}[0-9]*+(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
)
_NEARLY_TOO_LARGE: Final = 1.79769313486231e308  # further down both ways of rounding agree
_POWERS: Final = tuple(float(f"1e{exponent}") for exponent in range(309))
_U64_MAX: Final = 2**64 - 1
_U64_DIGITS: Final = 19  # that always fit

STEP_BYTES: Final = 64 * 1024
"""A text of so many bytes is checked in one step. Chosen, not measured."""

_STEP_NUMBERS: Final = 2048

_skip: Final = msgspec.json.Decoder(msgspec.Raw).decode
_decode_floats: Final = msgspec.json.Decoder(list[float]).decode


class NotPlainJson(ValueError):
    """Some client could not read this text. The message says why, as what is said of the text: ``is empty``."""


def check_plain_json(text: bytes, depth_max: int = PAYLOAD_DEPTH_MAX) -> None:
    """Raise :class:`NotPlainJson`, and nothing else, for what is no JSON in UTF-8 without a byte-order mark, for more
    than ``depth_max`` levels, a lone surrogate, and a number that serde_json's default parser finds past a double.

    The time is linear: microseconds for a KB, and for the worst 2 MB about 0.2 s.
    """
    for _ in check_in_steps(text, depth_max):
        pass


def check_in_steps(text: bytes, depth_max: int = PAYLOAD_DEPTH_MAX) -> Iterator[None]:
    """:func:`check_plain_json` in steps of some milliseconds, so that a loop can do something else between them. A text
    of 64 KiB or less is one step."""
    if not text:
        raise NotPlainJson("is empty: expected JSON")
    if text.startswith(b"\xef\xbb\xbf"):
        raise NotPlainJson("begins with a byte-order mark: expected JSON in plain UTF-8")
    if len(text) > STEP_BYTES:
        yield
    # Most of an ordinary text is in strings: what is left is soon searched, and settles both questions.
    outside = _without_strings(text) if len(text) <= STEP_BYTES else text
    if outside.count(b"[") + outside.count(b"{") > depth_max:
        yield from _refuse_deep(text, depth_max)
    if _TWO_DIGITS.search(outside) or _LONG_ZEROS in outside.translate(_ALL_ZEROS):
        yield from _refuse_number_past_a_double(text)
    if len(text) > STEP_BYTES:
        yield
    try:
        if not text.isascii():
            text.decode()
        _skip(text)
    except UnicodeDecodeError as error:
        raise NotPlainJson(f"is not UTF-8: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        message = str(error)
        if "truncated" in message and b"\\ud" in text.lower():
            message += ", or it holds a lone surrogate"
        raise NotPlainJson(f"is not JSON: {message}") from None


def _without_escapes(text: bytes) -> bytes:
    """Return ``text`` without escaped quotes, so that each quote begins or ends a string."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def _without_strings(text: bytes) -> bytes:
    """Return ``text`` with a quote in place of each string."""
    return b'"'.join(_without_escapes(text).split(b'"')[::2])


def _refuse_deep(text: bytes, depth_max: int) -> Iterator[None]:
    """Count how deep the arrays and objects of ``text`` are nested, in linear time and without recursion.

    Up to the first mistake in the syntax it is exact, and further a decoder does not come.
    """
    brackets = _without_escapes(text).translate(None, _NO_BRACKETS_OR_QUOTES)
    if b'"' in brackets:
        # Two quotes side by side hold nothing between them that counts, and what stands between others stays there.
        brackets = b"".join(brackets.replace(b'""', b"").split(b'"')[::2])
    steps = memoryview(brackets.translate(_STEPS)).cast("b")
    depth = 0
    for start in range(0, len(steps), STEP_BYTES):
        if start:
            yield
        depths = list(accumulate(steps[start : start + STEP_BYTES], initial=depth))
        if max(depths) > depth_max:
            raise NotPlainJson(f"is nested deeper than {depth_max} levels")
        depth = depths[-1]


def _refuse_number_past_a_double(text: bytes) -> Iterator[None]:
    """Look at the numbers. Syntax is not checked here."""
    outside = _without_strings(text)
    if len(text) > STEP_BYTES:
        yield
    matches = _LONG_NUMBER.finditer(outside)
    found: dict[bytes, None] = {}
    while chunk := [match.group() for match in islice(matches, _STEP_NUMBERS)]:
        found.update(dict.fromkeys(chunk))
        if len(text) > STEP_BYTES:
            yield
    numbers = list(found)
    try:
        values = _decode_floats(b"[%s]" % b",".join(numbers))
    except msgspec.DecodeError:  # one is past a double for msgspec too, or its syntax is wrong
        values = [math.inf] * len(numbers)
    for index, (number, value) in enumerate(zip(numbers, values, strict=True), 1):
        if value > _NEARLY_TOO_LARGE and _read_like_serde_json(number) == math.inf:
            raise NotPlainJson(f"holds a number that no double holds: {number[:40].decode()!r}")
        if not index % _STEP_NUMBERS:
            yield


def _read_like_serde_json(number: bytes) -> float:
    """Return a number without a sign as serde_json reads it without its feature ``float_roundtrip``: the first digits
    as an integer of 64 bits, then one multiplication, which rounds again."""
    mantissa, _, exponent_text = number.lower().partition(b"e")
    whole, _, fraction = mantissa.partition(b".")
    size = int(exponent_text.lstrip(b"+-0")[:6] or b"0")
    digits = whole + fraction
    taken = len(digits) - len(digits.lstrip(b"0")) + _U64_DIGITS
    significand = int(digits[:taken])
    if digits[taken : taken + 1] and (longer := significand * 10 + digits[taken] - 48) <= _U64_MAX:
        significand, taken = longer, taken + 1
    exponent = (-size if exponent_text.startswith(b"-") else size) + len(whole) - min(taken, len(digits))
    value = float(significand)
    while exponent < -308:
        if value == 0:
            return 0.0
        value /= 1e308
        exponent += 308
    if exponent > 308:
        return 0.0 if value == 0 else math.inf
    return value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]
