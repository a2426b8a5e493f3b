"""Queries between nodes: the bodies of the calls that carry them, and the parts of the replies.

The transport carries both as opaque bytes (:mod:`meshp2p.net.open_calls`). A payload is JSON text, which its sender has
checked; here it is bytes of a bounded length, and the agent that uses it decodes it.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Final

import msgspec

from meshp2p.core.mail.uuid7 import is_uuid7
from meshp2p.core.message import PAYLOAD_BYTES_MAX, Id
from meshp2p.errors import Refusal, RemoteProtocolError

__all__ = [
    "ERROR_TEXT_MAX",
    "PROGRESS_BYTES_MAX",
    "ProgressReport",
    "QueryFailed",
    "QueryPart",
    "QueryRefusal",
    "QueryRefused",
    "QueryRequest",
    "decode_query_part_untrusted",
    "decode_query_untrusted",
    "encode_query",
]

PROGRESS_BYTES_MAX: Final = 64 * 1024
"""The largest progress report, as JSON text. Chosen, not measured."""

ERROR_TEXT_MAX: Final = 64 * 1024
"""The longest text of an error, in characters. Chosen, not measured."""

Payload = Annotated[bytes, msgspec.Meta(min_length=1, max_length=PAYLOAD_BYTES_MAX)]
Name = Annotated[str, msgspec.Meta(max_length=1024)]
Text = Annotated[str, msgspec.Meta(max_length=ERROR_TEXT_MAX)]


class QueryRequest(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Sent by an agent's node to the node ``target``, which is another agent's: answer this. ``id`` is a UUIDv7 of the
    asker's.

    The reply is a :class:`QueryPart`, a :class:`QueryFailed` or a :class:`QueryRefused`. With ``wants_parts`` it is any
    number of parts, of which the last is the answer, and then perhaps one of the other two.
    """

    id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
    target: Id
    payload: Payload
    wants_parts: bool


class ProgressReport(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Sent by an agent that does a task, to its delegator's node. The reply is empty."""

    correlation_id: Name
    payload: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PROGRESS_BYTES_MAX)]


class QueryPart(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One part of an answer, or all of it."""

    payload: Payload


class QueryFailed(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The agent answers with an error: its type's name, and what it says."""

    kind: Name
    message: Text


class QueryRefusal(enum.IntEnum):
    """Why a node does not let its agent answer."""

    NO_HANDLER = 1
    BUSY = 2
    """Too many queries wait there."""
    MALFORMED = 3
    MISDIRECTED = 4
    """The node that was reached is another: it has taken over the target's address."""
    ABANDONED = 5
    """The asker was held dead, and the handler was cancelled: the agent may have acted."""


class QueryRefused(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """No agent has seen the question, unless it was abandoned."""

    why: QueryRefusal
    message: Text


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_query: Final = msgspec.msgpack.Decoder(QueryRequest | ProgressReport).decode
_decode_part: Final = msgspec.msgpack.Decoder(QueryPart | QueryFailed | QueryRefused).decode


def encode_query(message: QueryRequest | ProgressReport | QueryPart | QueryFailed | QueryRefused) -> bytes:
    """The body of a call, or a part of its reply."""
    return _encode(message)


def decode_query_untrusted(body: bytes) -> QueryRequest | ProgressReport:
    """Read the body of a call. Raises :class:`~meshp2p.errors.RemoteProtocolError`, and nothing else."""
    message: QueryRequest | ProgressReport = _decoded(_decode_query, body)
    if isinstance(message, QueryRequest) and not is_uuid7(message.id):
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"question {message.id!r}: expected a UUIDv7 in lower case")
    return message


def decode_query_part_untrusted(data: bytes) -> QueryPart | QueryFailed | QueryRefused:
    """Read a part of a reply. Raises :class:`~meshp2p.errors.RemoteProtocolError`, and nothing else."""
    part: QueryPart | QueryFailed | QueryRefused = _decoded(_decode_part, data)
    return part


def _decoded(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(Refusal.BAD_SHAPE, str(error)) from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise RemoteProtocolError(Refusal.BAD_ENCODING, f"not MessagePack: {error}") from None
