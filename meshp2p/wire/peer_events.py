"""What a connection between two nodes tells: see :mod:`meshp2p.wire.peer_protocol`."""

from __future__ import annotations

import msgspec

from meshp2p.wire.peer_frames import CallKind, OpenFrame, PeerHello, ResetReason

__all__ = [
    "Budget",
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


class CallArrived(msgspec.Struct, frozen=True):
    """The other side, or ``source`` through it, opened a call, and its body is complete."""

    call: int
    kind: CallKind
    body: bytes
    seconds: float
    source: str


class RelayAsked(msgspec.Struct, frozen=True):
    """The other side asks to pass a call on; this is its first chunk."""

    call: int
    opened: OpenFrame


class ChunkArrived(msgspec.Struct, frozen=True):
    """A chunk of a call that is passed on."""

    call: int
    flags: int
    data: bytes


class WindowGranted(msgspec.Struct, frozen=True):
    """The receiver of a call that is passed on takes so many more bytes."""

    call: int
    count: int


class PartArrived(msgspec.Struct, frozen=True):
    """A part of the reply to a call that was opened here."""

    call: int
    data: bytes


class CallEnded(msgspec.Struct, frozen=True):
    """The reply to a call that was opened here has ended."""

    call: int


class CallReset(msgspec.Struct, frozen=True):
    """A call is over, in both directions: the other side, or a bound of this one, ended it early."""

    call: int
    reason: ResetReason
    message: str


PeerEvent = HelloArrived | CallArrived | RelayAsked | ChunkArrived | WindowGranted | PartArrived | CallEnded | CallReset


class Budget:
    """How many bytes may be buffered in all connections of a node together."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max: int = bytes_max
        self.bytes_taken: int = 0

    def take(self, count: int) -> bool:
        """Whether there was room."""
        if self.bytes_taken + count > self.bytes_max:
            return False
        self.bytes_taken += count
        return True

    def give_back(self, count: int) -> None:
        self.bytes_taken -= count
