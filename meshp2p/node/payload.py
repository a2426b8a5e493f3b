"""Payloads: values outside, JSON text within the node and on its way.

What an agent hands in becomes text once, at the door, and is checked there. From then on it is opaque: nobody decodes
it before the agent that uses it does.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.core.plain_json import NotPlainJson, check_plain_json
from meshp2p.core.record import SHORT_MAX
from meshp2p.errors import ConfigError, LimitExceeded, PayloadMismatch, RemoteError
from meshp2p.node.values import Formless, from_json, to_json
from meshp2p.wire.queries import ERROR_TEXT_MAX

__all__ = ["EncodedPayload", "decode_error", "decode_payload", "describe_error", "encode_error", "encode_payload"]

_T = TypeVar("_T")


class EncodedPayload:
    """JSON text that was checked: it passes from thread to thread as it is. Raises what :func:`encode_payload`
    raises."""

    __slots__ = ("text",)

    def __init__(self, payload: object) -> None:
        self.text: bytes = encode_payload(payload)


class _ErrorBody(msgspec.Struct):
    type: str
    message: str


class _Error(msgspec.Struct):
    error: _ErrorBody


_decode: Any = msgspec.json.Decoder().decode
_decode_error: Any = msgspec.json.Decoder(_Error).decode


def encode_payload(payload: object) -> bytes:
    """Return the payload as JSON text; that of an :class:`EncodedPayload` as it is.

    Raises :class:`~meshp2p.errors.ConfigError` for what JSON has no form for, or what not every client can read, and
    :class:`~meshp2p.errors.LimitExceeded` for what is too large.
    """
    if isinstance(payload, EncodedPayload):
        return payload.text
    try:
        text = to_json(payload)
    except Formless as error:
        raise ConfigError(f"payload: {error}") from None
    if len(text) > PAYLOAD_BYTES_MAX:
        raise LimitExceeded(f"payload of {len(text)} bytes: at most {PAYLOAD_BYTES_MAX} are allowed")
    try:
        check_plain_json(text)
    except NotPlainJson as error:
        raise ConfigError(f"payload {error}") from None
    return text


def decode_payload(text: bytes, shape: type[_T] | None = None, what: str = "payload") -> Any:
    """Decode JSON text to plain values, or to a ``shape``. ``what`` names the text in the error.

    Raises :class:`~meshp2p.errors.PayloadMismatch` if it does not fit, or is no JSON because its sender did not check
    it.
    """
    try:
        return _decode(text) if shape is None else from_json(text, shape)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise PayloadMismatch(f"{what}: {error}") from None


def describe_error(error: Exception) -> tuple[str, str]:
    """Return the error's type and its text, as far as they have a form on the wire. Raises nothing, whatever the error
    is."""
    try:
        said = str(error)
    except Exception as failure:  # noqa: BLE001 - it is the agent's own class
        said = f"its text cannot be had: {type(failure).__name__}"
    writable = said[:ERROR_TEXT_MAX].encode(errors="replace").decode()  # a lone surrogate has no form in UTF-8
    return type(error).__name__[:SHORT_MAX], writable


def encode_error(error: Exception) -> bytes:
    """Return the payload of an answer that is an error: ``{"error": {"type": ..., "message": ...}}``."""
    return msgspec.json.encode(_Error(_ErrorBody(*describe_error(error))))


def decode_error(text: bytes) -> RemoteError:
    """Return the error for an answer that is marked as an error, whatever its payload is."""
    try:
        body = _decode_error(text).error
    except (ValueError, RecursionError):
        return RemoteError("Error", text.decode(errors="replace")[:ERROR_TEXT_MAX])
    return RemoteError(body.type, body.message)
