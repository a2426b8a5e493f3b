"""JSON that every client can read again: what is checked of a text before it is kept or passed on.

A mailbox is read at once, so one number, string or nesting that a client cannot read would hide all of its messages.

What msgspec gives by itself: RFC 8259 syntax, no NaN, no lone surrogate, no float past a double, long integers kept
exactly. What it does not: it skips what nobody asked for without looking at its UTF-8 or numbers (so a text is decoded
untyped), it reads any depth up to the interpreter's recursion limit, and integers past a double.
"""

from __future__ import annotations

import math
import re
from itertools import accumulate
from typing import Any, Final

import msgspec

__all__ = ["PAYLOAD_DEPTH_MAX", "NotPlainJson", "decode_plain_json"]

PAYLOAD_DEPTH_MAX: Final = 120
"""Levels of nesting in a message's payload: existing clients read 124, and a mailbox puts three around a payload."""

_DOUBLE_DIGITS: Final = 309  # the largest double has this many before its point: a shorter integer cannot be past it

# An unterminated string runs to the end of the text and the loops never backtrack, so that a search takes linear time.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_STEPS: Final = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")  # as signed bytes: +1 and -1
_ALL_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_ZEROS: Final = b"0" * _DOUBLE_DIGITS
# The digits before a number's point, not those of its fraction or exponent.
_LONG_NUMBER: Final = re.compile(
    rb"(?<![0-9.eE+])(?<![eE]-)[0-9]{%d}[0-9]*+(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]*+)?" % _DOUBLE_DIGITS
)

_decode_untyped: Final = msgspec.json.Decoder().decode


class NotPlainJson(ValueError):
    """Some client could not read this text. The message says why, as what is said of the text: ``is empty``."""


def decode_plain_json(text: bytes, depth_max: int = PAYLOAD_DEPTH_MAX) -> Any:
    """The value that ``text`` stands for. Integers are exact; other numbers are the nearest double, and ``-0`` is 0; of
    equal keys the last one holds.

    Raises :class:`NotPlainJson` and nothing else: for what is no JSON in UTF-8 without a byte-order mark, for more than
    ``depth_max`` levels, a number past a double, a lone surrogate. For a KB it takes some microseconds.
    """
    if not text:
        raise NotPlainJson("is empty: expected JSON")
    if text.startswith(b"\xef\xbb\xbf"):
        raise NotPlainJson("begins with a byte-order mark: expected JSON in plain UTF-8")
    # The count costs less than a microsecond and settles it for all ordinary texts.
    if text.count(b"[") + text.count(b"{") > depth_max and _depth(text) > depth_max:
        raise NotPlainJson(f"is nested deeper than {depth_max} levels")
    if len(text) >= _DOUBLE_DIGITS and _LONG_ZEROS in text.translate(_ALL_ZEROS):
        _refuse_number_past_a_double(text)
    try:
        return _decode_untyped(text)
    except UnicodeDecodeError as error:
        raise NotPlainJson(f"is not UTF-8: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        message = str(error)
        if "truncated" in message and b"\\ud" in text.lower():
            message += ", or it holds a lone surrogate"
        raise NotPlainJson(f"is not JSON: {message}") from None


def _depth(text: bytes) -> int:
    """How deep the arrays and objects of ``text`` are nested, in linear time and without recursion.

    Up to the first mistake in the syntax it is exact, and further a decoder does not come.
    """
    steps = _STRING.sub(b"", text).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _refuse_number_past_a_double(text: bytes) -> None:
    """msgspec refuses a float past a double, but keeps an integer of any length, which other clients cannot read."""
    for number in _LONG_NUMBER.finditer(_STRING.sub(b"", text)):
        try:
            value = float(number[0])
        except ValueError:
            return  # not JSON: the decoder says where
        if math.isinf(value):
            raise NotPlainJson(f"holds a number of {len(number[0])} characters, past a double")
