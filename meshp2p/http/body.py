"""JSON bodies: bytes that a stranger sent become a typed value, or a :class:`BadRequest` with its status.

Three questions, asked in this order, so that the answer never depends on which mistake comes first in the bytes:

1. Is it said to be JSON? Otherwise 415.
2. Is it JSON that every client of ours can read again? Otherwise 400. A mailbox is read at once, so one number, string
   or nesting that a client cannot read would hide all of its messages.
3. Has it the shape that was asked for? Otherwise 422, naming the place and the value.

What msgspec gives by itself: RFC 8259 syntax, no NaN, no lone surrogate, no float past a double, long integers kept
exactly. What it does not: it skips unknown keys without looking at their UTF-8 or numbers (so the body is decoded
untyped first, then converted), it reads any depth up to the interpreter's recursion limit, and integers past a double.
"""

from __future__ import annotations

import math
import re
from itertools import accumulate
from typing import Any, Final, TypeVar

import msgspec

__all__ = ["BODY_DEPTH_MAX", "PAYLOAD_DEPTH_MAX", "BadRequest", "decode_json", "encode_json"]

T = TypeVar("T")

PAYLOAD_DEPTH_MAX: Final = 120
"""Levels of nesting in a message's payload: existing clients read 124, and a mailbox puts three around a payload."""

BODY_DEPTH_MAX: Final = PAYLOAD_DEPTH_MAX + 1
"""Levels in a request body: one object around a payload."""

_SHOWN_BYTES_MAX: Final = 80  # of a refused value in an error message: chosen, not measured
_DOUBLE_DIGITS: Final = 309  # the largest double has this many before its point: a shorter integer cannot be past it

# An unterminated string runs to the end of the body and the loops never backtrack, so that a search takes linear time.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_STEPS: Final = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")  # as signed bytes: +1 and -1
# The digits before a number's point, not those of its fraction or exponent.
_LONG_DIGITS: Final = re.compile(rb"(?<![0-9.eE+])(?<![eE]-)[0-9]{%d}" % _DOUBLE_DIGITS)
_LONG_NUMBER: Final = re.compile(_LONG_DIGITS.pattern + rb"[0-9]*+(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]*+)?")
_CONTENT_TYPE: Final = re.compile(r"application/(?:[-!#$%&'*+.^_`|~0-9a-z]+\+)?json\s*(?:;|$)")
_PATH_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")

_encoder: Final = msgspec.json.Encoder()
_decode_untyped: Final = msgspec.json.Decoder().decode


class BadRequest(Exception):
    """A request is refused with ``status`` (400, 415 or 422) and the message; nothing of it was kept."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def encode_json(value: object) -> bytes:
    """``value`` as JSON in UTF-8, without spaces. What :func:`decode_json` returned comes out with the same meaning.

    Raises ``TypeError`` for what JSON has no form for, and ``UnicodeEncodeError`` for a lone surrogate. NaN and the
    infinities, which no decoded body holds, become ``null``.
    """
    return _encoder.encode(value)


def decode_json(body: bytes, shape: type[T], content_type: str | None, *, depth_max: int = BODY_DEPTH_MAX) -> T:
    """Read ``body`` as a ``shape`` (a type that msgspec can convert to).

    ``content_type`` is the request's header, or None where it has none. Integers are exact at any size up to a
    double's; other numbers are the nearest double, and ``-0`` is 0. Of equal keys the last one holds. Unknown keys are
    checked and ignored.

    Raises :class:`BadRequest` and nothing else: 415, 400 or 422 as in the module's docstring.
    """
    if content_type != "application/json" and not is_json(content_type):
        shown = "no Content-Type" if content_type is None else f"Content-Type {content_type[:_SHOWN_BYTES_MAX]!r}"
        raise BadRequest(415, f"{shown}: expected application/json")
    untyped = _decode_strictly(body, depth_max)
    try:
        return msgspec.convert(untyped, shape)
    except msgspec.ValidationError as error:
        raise BadRequest(422, _describe(str(error), untyped)) from None


def is_json(content_type: str | None) -> bool:
    """Whether a header says ``application/json`` or ``application/*+json``, in any case, with any parameters."""
    return content_type is not None and _CONTENT_TYPE.match(content_type.strip().lower()) is not None


def _decode_strictly(body: bytes, depth_max: int) -> Any:
    if not body:
        raise BadRequest(400, "the body is empty: expected JSON")
    if body.startswith(b"\xef\xbb\xbf"):
        raise BadRequest(400, "the body begins with a byte-order mark: expected JSON in plain UTF-8")
    # The count costs less than a microsecond and settles it for all ordinary bodies.
    if body.count(b"[") + body.count(b"{") > depth_max and _depth(body) > depth_max:
        raise BadRequest(400, f"the body is nested deeper than {depth_max} levels")
    if len(body) >= _DOUBLE_DIGITS:
        _refuse_number_past_a_double(body)
    try:
        return _decode_untyped(body)
    except UnicodeDecodeError as error:
        raise BadRequest(400, f"the body is not UTF-8: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        message = str(error)
        if "truncated" in message and b"\\ud" in body.lower():
            message += ", or it holds a lone surrogate"
        raise BadRequest(400, f"the body is not JSON: {message}") from None


def _depth(body: bytes) -> int:
    """How deep the arrays and objects of ``body`` are nested, in linear time and without recursion.

    Up to the first mistake in the syntax it is exact, and further a decoder does not come.
    """
    steps = _STRING.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _refuse_number_past_a_double(body: bytes) -> None:
    """msgspec refuses a float past a double, but keeps an integer of any length, which other clients cannot read."""
    if _LONG_DIGITS.search(body) is None:
        return
    for number in _LONG_NUMBER.finditer(_STRING.sub(b"", body)):
        try:
            value = float(number[0])
        except ValueError:
            return  # not JSON: the decoder says where
        if math.isinf(value):
            raise BadRequest(400, f"a number of {len(number[0])} characters is past a double")


def _describe(message: str, untyped: Any) -> str:
    """msgspec's message, with the place also where that is the whole body, and with the value where it is small."""
    message, _, place = message.partition(" - at ")
    path = place.strip("`") or "$"
    value = untyped
    if path.startswith("$"):
        for key, index in (match.groups() for match in _PATH_STEP.finditer(path)):
            try:
                value = value[key if key is not None else int(index)]
            except (KeyError, IndexError, TypeError):
                return f"{message} - at `{path}`"  # msgspec does not say which key of a dict: `[...]`
    shown = encode_json(value)
    suffix = f": {shown.decode()}" if len(shown) <= _SHOWN_BYTES_MAX else ""
    return f"{message} - at `{path}`{suffix}"
