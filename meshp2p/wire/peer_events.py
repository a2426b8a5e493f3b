"""The events of a connection between two nodes: see :mod:`meshp2p.wire.peer_protocol`."""

from __future__ import annotations

import msgspec

from meshp2p.wire.peer_frames import CallKind, OpenFrame, PeerHello, ResetReason

__all__ = [
    "CallArrived",
    "CallEnded",
    "CallReset",
    "ChunkArrived",
    "HelloArrived",
    "PartArrived",
    "PeerEvent",
    "RelayAsked",
    "WindowGranted",
]


class HelloArrived(msgspec.Struct, frozen=True):
    """The other side introduced itself."""

    peer: PeerHello


class CallEvent(msgspec.Struct, frozen=True):
    """The base of events about the call with this number."""

    call: int


class CallArrived(CallEvent, frozen=True):
    """The other side, or ``source`` through it, opened a call whose body is complete."""

    kind: CallKind
    body: bytes
    seconds: float
    source: str


class RelayAsked(CallEvent, frozen=True):
    """The other side asks to relay a call. This is its first chunk."""

    opened: OpenFrame


class ChunkArrived(CallEvent, frozen=True):
    """A chunk of a relayed call."""

    flags: int
    data: bytes


class WindowGranted(CallEvent, frozen=True):
    """The receiver of a relayed call accepts this many more bytes."""

    count: int


class PartArrived(CallEvent, frozen=True):
    """A part of the reply to a call that was opened here."""

    data: bytes


class CallEnded(CallEvent, frozen=True):
    """The reply to a call that was opened here has ended."""


class CallReset(CallEvent, frozen=True):
    """A call ended early, in both directions: the other side ended it, or it exceeded a limit of this side."""

    reason: ResetReason
    message: str


PeerEvent = HelloArrived | CallArrived | RelayAsked | ChunkArrived | WindowGranted | PartArrived | CallEnded | CallReset
