"""JSON bodies: untrusted bytes are decoded to a typed value, or refused by a :class:`BadRequest` with a status.

The checks have a fixed order, so that the answer does not depend on which mistake comes first in the bytes:

1. Is the body declared as JSON? If not: 415.
2. Can every client of the mesh read the JSON again (:mod:`meshp2p.core.plain_json`)? If not: 400.
3. Does it have the expected shape? If not: 422, with the place and the value.

Nothing is built for unexpected parts, so that a large or deep body costs little and starts no garbage collection.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Final, TypeVar

import msgspec

from meshp2p.core.plain_json import PAYLOAD_DEPTH_MAX, STEP_BYTES, NotPlainJson, check_in_steps

__all__ = ["BODY_DEPTH_MAX", "BadRequest", "decode_in_steps", "encode_json"]

T = TypeVar("T")

BODY_DEPTH_MAX: Final = PAYLOAD_DEPTH_MAX + 1
"""The maximum depth of a request body: one object around a payload."""

_SHOWN_BYTES_MAX: Final = 80  # of a refused value in an error message: chosen, not measured
_DESCRIBED_BYTES_MAX: Final = 16 * 1024  # of a body that is read once more for it: chosen, not measured
_CONTENT_TYPE: Final = re.compile(r"application/(?:[-!#$%&'*+.^_`|~0-9a-z]+\+)?json\s*(?:;|$)")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*([^;]*)")
_PATH_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")

_encoder: Final = msgspec.json.Encoder()


class BadRequest(Exception):
    """A request is refused with ``status``, the message, and these headers. Nothing of it was kept."""

    def __init__(self, status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def encode_json(value: object) -> bytes:
    """Encode ``value`` as JSON in UTF-8, without spaces. A value from :func:`decode_in_steps` keeps its meaning.

    Raises ``TypeError`` for values without a JSON form, and ``UnicodeEncodeError`` for a lone surrogate. NaN and the
    infinities, which no decoded body holds, become ``null``.
    """
    return _encoder.encode(value)


def decode_in_steps(body: bytes, shape: type[T], content_type: str | None) -> Generator[None, None, T]:
    """Decode ``body`` as a ``shape``, a type that msgspec can decode, in steps of a few milliseconds. A body of 64 KiB
    or less takes one step. The shape may hold ``msgspec.Raw``, for the bytes of a value as they were sent, without
    surrounding blanks.

    ``content_type`` is the request's header, or None. Integers are exact up to the size of a double; other numbers are
    rounded to the nearest double, and ``-0`` is 0. Of equal keys the last one holds. Unknown keys are checked and
    ignored.

    Raises only :class:`BadRequest`: 415, 400 or 422 as in the module's docstring.
    """
    if content_type != "application/json" and not is_json(content_type):
        shown = "no Content-Type" if content_type is None else f"Content-Type {content_type[:_SHOWN_BYTES_MAX]!r}"
        raise BadRequest(415, f"{shown}: expected application/json in UTF-8")
    try:
        yield from check_in_steps(body, BODY_DEPTH_MAX)
    except NotPlainJson as error:
        raise BadRequest(400, f"the body {error}") from None
    if len(body) > STEP_BYTES:
        yield
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise BadRequest(422, _describe(str(error), body)) from None


def is_json(content_type: str | None) -> bool:
    """Return whether a header says ``application/json`` or ``application/*+json``, in any case and with any parameters
    except a charset other than UTF-8."""
    if content_type is None:
        return False
    content_type = content_type.strip().lower()
    charsets = (charset.strip(' \t"') for charset in _CHARSET.findall(content_type))
    return _CONTENT_TYPE.match(content_type) is not None and all(charset in ("utf-8", "utf8") for charset in charsets)


def _describe(message: str, body: bytes) -> str:
    """Return msgspec's message, with the place even if that is the whole body, and with the value if both are small."""
    message, _, place = message.partition(" - at ")
    path = place.strip("`") or "$"
    described = f"{message} - at `{path}`"
    if len(body) > _DESCRIBED_BYTES_MAX:
        return described
    value = msgspec.json.decode(body)
    if path.startswith("$"):
        for key, index in (match.groups() for match in _PATH_STEP.finditer(path)):
            try:
                value = value[key if key is not None else int(index)]
            except (KeyError, IndexError, TypeError):
                return described  # msgspec does not say which key of a dict: `[...]`
    shown = encode_json(value)
    return f"{described}: {shown.decode()}" if len(shown) <= _SHOWN_BYTES_MAX else described
