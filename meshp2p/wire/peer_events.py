"""What a connection between two nodes tells: see :mod:`meshp2p.wire.peer_protocol`."""

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
    """Who the other side is."""

    peer: PeerHello


class CallEvent(msgspec.Struct, frozen=True):
    """Something about the call with this number."""

    call: int


class CallArrived(CallEvent, frozen=True):
    """The other side, or ``source`` through it, opened a call, and its body is complete."""

    kind: CallKind
    body: bytes
    seconds: float
    source: str


class RelayAsked(CallEvent, frozen=True):
    """The other side asks to pass a call on; this is its first chunk."""

    opened: OpenFrame


class ChunkArrived(CallEvent, frozen=True):
    """A chunk of a call that is passed on."""

    flags: int
    data: bytes


class WindowGranted(CallEvent, frozen=True):
    """The receiver of a call that is passed on takes so many more bytes."""

    count: int


class PartArrived(CallEvent, frozen=True):
    """A part of the reply to a call that was opened here."""

    data: bytes


class CallEnded(CallEvent, frozen=True):
    """The reply to a call that was opened here has ended."""


class CallReset(CallEvent, frozen=True):
    """A call is over, in both directions: the other side, or a bound of this one, ended it early."""

    reason: ResetReason
    message: str


PeerEvent = HelloArrived | CallArrived | RelayAsked | ChunkArrived | WindowGranted | PartArrived | CallEnded | CallReset
