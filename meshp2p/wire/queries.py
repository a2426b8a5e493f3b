"""Queries between nodes: the bodies of the calls, and the parts of the replies.

The transport handles both as opaque bytes (:mod:`meshp2p.net.open_calls`). A payload is JSON text that its sender has
checked. Here it is bytes of a limited length, which the receiving agent decodes.
"""

import enum
from typing import Annotated, Any, Final

import msgspec

from meshp2p.core.mail.uuid7 import is_uuid7
from meshp2p.core.message import PAYLOAD_BYTES_MAX, Id, Short
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
    "ReportRequest",
    "decode_query_part_untrusted",
    "decode_query_untrusted",
    "decode_untrusted",
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
    """A query to the agent of the node ``target``. ``id`` is a UUIDv7 made by the asker.

    The reply is a :class:`QueryPart`, a :class:`QueryFailed` or a :class:`QueryRefused`. With ``wants_parts`` it is any
    number of parts, the last of which is the answer, and then possibly one of the other two. ``trace`` is the trace
    context of the asker: see :mod:`meshp2p.node.tracing`.
    """

    id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
    target: Id
    payload: Payload
    wants_parts: bool
    trace: Short | None = None


class ProgressReport(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A progress report from the agent that does a task to the node of the delegator. The reply is empty."""

    correlation_id: Name
    payload: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PROGRESS_BYTES_MAX)]


class ReportRequest(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A request for what a node knows of itself. The reply is one :class:`QueryPart` whose payload is a
    :class:`~meshp2p.wire.reports.NodeReport`."""


class QueryPart(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One part of an answer, or all of it."""

    payload: Payload


class QueryFailed(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """An answer that is an error: the name of its type, and its text."""

    kind: Name
    message: Text


class QueryRefusal(enum.IntEnum):
    """The reason why a node does not pass a query to its agent."""

    NO_HANDLER = 1
    BUSY = 2
    """Too many queries wait at that node."""
    MALFORMED = 3
    MISDIRECTED = 4
    """Another node answered: it now has the target's address."""
    ABANDONED = 5
    """The asker was considered dead, and the handler was cancelled: the agent may have acted."""


class QueryRefused(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A node did not pass the query to its agent, or abandoned it. Only in the latter case the agent has seen it."""

    why: QueryRefusal
    message: Text


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_query: Final = msgspec.msgpack.Decoder(QueryRequest | ProgressReport | ReportRequest).decode
_decode_part: Final = msgspec.msgpack.Decoder(QueryPart | QueryFailed | QueryRefused).decode


def encode_query(
    message: QueryRequest | ProgressReport | ReportRequest | QueryPart | QueryFailed | QueryRefused,
) -> bytes:
    """Encode the body of a call, or a part of its reply."""
    return _encode(message)


def decode_query_untrusted(body: bytes) -> QueryRequest | ProgressReport | ReportRequest:
    """Decode the body of a call. Raises only :class:`~meshp2p.errors.RemoteProtocolError`."""
    message: QueryRequest | ProgressReport | ReportRequest = decode_untrusted(_decode_query, body)
    if isinstance(message, QueryRequest) and not is_uuid7(message.id):
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"question {message.id!r}: expected a UUIDv7 in lower case")
    return message


def decode_query_part_untrusted(data: bytes) -> QueryPart | QueryFailed | QueryRefused:
    """Decode a part of a reply. Raises only :class:`~meshp2p.errors.RemoteProtocolError`."""
    part: QueryPart | QueryFailed | QueryRefused = decode_untrusted(_decode_part, data)
    return part


def decode_untrusted(decode: Any, data: bytes) -> Any:
    """Decode MessagePack. Raises only :class:`~meshp2p.errors.RemoteProtocolError`."""
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        raise RemoteProtocolError(Refusal.BAD_SHAPE, str(error)) from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise RemoteProtocolError(Refusal.BAD_ENCODING, f"not MessagePack: {error}") from None
