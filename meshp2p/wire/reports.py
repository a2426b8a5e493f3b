"""What a node tells another about itself, for the status of the whole mesh: the answer to a
:class:`~meshp2p.wire.queries.ReportRequest`. It contains no payloads."""

import functools
from typing import Annotated, Final, Literal

import msgspec

from meshp2p.core.datagrams import Word
from meshp2p.core.message import Id
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.queries import decode_untrusted

__all__ = [
    "LISTED_MAX",
    "REPORT_BYTES_MAX",
    "HandlerLoad",
    "MailboxLoad",
    "NodeReport",
    "OpenQuery",
    "OpenTask",
    "PoorLink",
    "RivalSeen",
    "WatchedNode",
    "decode_report_untrusted",
    "encode_report",
]

LISTED_MAX: Final = 256
"""The most entries of each list in a report; those with the most trouble come first. Chosen, not measured."""

REPORT_BYTES_MAX: Final = 64 * 1024
"""The longest encoded report. Chosen, not measured."""

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
Host = Annotated[str, msgspec.Meta(pattern=r"^\S{1,64}$")]
_Most = msgspec.Meta(max_length=LISTED_MAX)


class MailboxLoad(msgspec.Struct, frozen=True, array_like=True):
    """A mailbox with unread messages. ``oldest`` is the age of the oldest one in seconds."""

    recipient: Id
    pending: Count
    oldest: Seconds


class HandlerLoad(msgspec.Struct, frozen=True, array_like=True):
    """The handler of one kind of message. ``running`` of at most ``limit`` calls are under way, the longest for
    ``longest`` seconds; ``waiting`` messages wait for their turn. ``done`` calls ended, of which ``failed`` raised, and
    took ``mean`` seconds each."""

    kind: Text
    running: Count
    waiting: Count
    limit: Count
    done: Count
    failed: Count
    mean: Seconds
    longest: Seconds


class OpenQuery(msgspec.Struct, frozen=True, array_like=True):
    """A query of the node's agent without an answer yet, asked ``seconds`` ago."""

    target: Text
    seconds: Seconds


class OpenTask(msgspec.Struct, frozen=True, array_like=True):
    """A task that the node's agent delegated ``seconds`` ago, to whoever has the capability and the profile. ``agent``
    does it now, empty if nobody does yet."""

    capability: Text
    profile: Text
    agent: Text
    seconds: Seconds


class PoorLink(msgspec.Struct, frozen=True, array_like=True):
    """The link to a node that is not reached as it should be. Its last datagram arrived ``silence`` seconds ago, 0 if
    that is no longer than normal.

    ``pings``: the last ping was answered only over others. ``relayed``: calls go through ``via``.
    ``unreachable``: calls do not arrive at all, and ``reason`` is how the last one failed.
    """

    node: Id
    how: Literal["pings", "relayed", "unreachable"]
    via: Text
    reason: Text
    silence: Seconds


class WatchedNode(msgspec.Struct, frozen=True, array_like=True):
    """A node that the reporting one watches by a connection. ``round_trip`` is in seconds, 0 if it is not known."""

    node: Id
    round_trip: Seconds


class RivalSeen(msgspec.Struct, frozen=True, array_like=True):
    """A process on ``host`` named an id that belongs to another process, ``seconds`` ago."""

    id: Id
    host: Host
    seconds: Seconds


class NodeReport(msgspec.Struct, frozen=True, array_like=True):
    """What one node knows of itself. ``at`` is its wall clock in Unix milliseconds, ``view`` the hash of the live
    records that it knows. ``storage_failure`` is empty if its disk works. ``other_mesh`` and ``revoked`` count what it
    refused in the last minute, because it came from another mesh or from a revoked machine."""

    id: Id
    at: Count
    view: Word
    members: Count
    nodes: Count
    leader: Text
    epoch: Count
    local_health: Count
    storage_failure: Text
    outbox: Count
    other_mesh: Count
    revoked: Count
    mailboxes: Annotated[tuple[MailboxLoad, ...], _Most] = ()
    handlers: Annotated[tuple[HandlerLoad, ...], _Most] = ()
    queries: Annotated[tuple[OpenQuery, ...], _Most] = ()
    tasks: Annotated[tuple[OpenTask, ...], _Most] = ()
    links: Annotated[tuple[PoorLink, ...], _Most] = ()
    watches: Annotated[tuple[WatchedNode, ...], _Most] = ()
    rivals: Annotated[tuple[RivalSeen, ...], _Most] = ()


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = functools.partial(msgspec.msgpack.decode, type=NodeReport)  # no decoder until one is needed


def encode_report(report: NodeReport) -> bytes:
    """Encode a report. If it is too long, only the first entries of its lists are sent."""
    while len(encoded := _encode(report)) > REPORT_BYTES_MAX:
        lists = {name: getattr(report, name) for name in report.__struct_fields__}
        halves = {name: value[: len(value) // 2] for name, value in lists.items() if isinstance(value, tuple)}
        report = msgspec.structs.replace(report, **halves)
    return encoded


def decode_report_untrusted(data: bytes) -> NodeReport:
    """Decode a report. Raises only :class:`~meshp2p.errors.RemoteProtocolError`."""
    if len(data) > REPORT_BYTES_MAX:
        raise RemoteProtocolError(Refusal.TOO_LARGE, f"a report of {len(data)} bytes: at most {REPORT_BYTES_MAX}")
    report: NodeReport = decode_untrusted(_decode, data)
    return report
