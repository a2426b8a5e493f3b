"""Relayed calls: this node passes a call on between two others, a chunk at a time.

The two halves are calls of their own connections. Chunks, windows and resets are forwarded as they arrive, so the
windows of the two ends limit what waits here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from meshp2p.wire.peer_events import (
    CallReset,
    ChunkArrived,
    PeerEvent,
    RelayAsked,
    WindowGranted,
)
from meshp2p.wire.peer_frames import LAST, OpenFrame, PeerHello, ResetReason
from meshp2p.wire.peer_protocol import PeerProtocol

__all__ = ["RelayConnection", "Relays"]

RELAYS_MAX: Final = 256
"""The maximum number of relayed calls. One more is reset as busy. Chosen, not measured."""


class RelayConnection(Protocol):
    """The interface of a connection: :class:`~meshp2p.net.peer_connection.PeerConnection` has it."""

    protocol: PeerProtocol
    why_barred: str

    @property
    def peer(self) -> PeerHello | None: ...
    @property
    def is_usable(self) -> bool: ...
    def open_passed(self, opened: OpenFrame, source: str) -> int: ...
    def reset(self, call_id: int, reason: ResetReason, message: str = "") -> None: ...
    def flush(self) -> None: ...


class _Half:
    """One of the two calls. ``is_near``: it is the asker's. ``waiting`` holds what cannot be sent yet, because the call
    is not open."""

    __slots__ = ("call", "connection", "has_sent_last", "is_near", "other", "waiting")

    def __init__(self, connection: RelayConnection | None, call: int, *, is_near: bool) -> None:
        self.connection = connection
        self.call = call
        self.is_near = is_near
        self.other: _Half = self
        self.waiting: list[ChunkArrived | WindowGranted] = []
        self.has_sent_last = False

    def send(self, event: ChunkArrived | WindowGranted) -> None:
        connection = self.connection
        if connection is None:
            self.waiting.append(event)
        elif isinstance(event, ChunkArrived):
            connection.protocol.pass_chunk(self.call, event.flags, event.data)
            self.has_sent_last |= bool(event.flags & LAST)
            connection.flush()
        else:
            connection.protocol.grant(self.call, event.count)
            connection.flush()

    def reset(self, reason: ResetReason, message: str = "") -> None:
        connection = self.connection
        if connection is not None:
            connection.reset(self.call, reason, message)
        for event in self.waiting:
            if isinstance(event, ChunkArrived) and self.other.connection is not None:
                self.other.connection.protocol.drop_passed(len(event.data))
        self.waiting.clear()


class Relays:
    """Relays calls. ``find(node_id)`` returns a connection to a target, or None if there is none in time. ``start``
    runs a function in a task."""

    def __init__(self, find: Callable[[str], Awaitable[RelayConnection | None]], start: Callable[..., object]) -> None:
        self._find = find
        self._start = start
        self._halves: dict[tuple[RelayConnection, int], _Half] = {}

    def __len__(self) -> int:
        return len(self._halves)

    def handle_event(self, connection: RelayConnection, event: PeerEvent) -> None:
        """Process an event of a call that is relayed, or is to be."""
        if isinstance(event, RelayAsked):
            self._begin(connection, event)
            return
        if not isinstance(event, ChunkArrived | WindowGranted | CallReset):
            return
        half = self._halves.get((connection, event.call))
        if half is None:
            if isinstance(event, ChunkArrived):
                connection.protocol.drop_passed(len(event.data))
        elif isinstance(event, CallReset):
            self._forget(half)
            half.other.reset(event.reason, event.message)
        else:
            half.other.send(event)
            if half.has_sent_last and half.other.has_sent_last:
                self._forget(half)

    def _begin(self, connection: RelayConnection, asked: RelayAsked) -> None:
        near, far = _Half(connection, asked.call, is_near=True), _Half(None, 0, is_near=False)
        near.other, far.other = far, near
        reason, why = ResetReason.REFUSED, connection.why_barred
        if not why and len(self._halves) >= 2 * RELAYS_MAX:
            reason, why = ResetReason.BUSY, f"{RELAYS_MAX} calls are passed on here"
        if why:
            connection.protocol.drop_passed(len(asked.opened.data))
            near.reset(reason, why)
            return
        self._halves[connection, asked.call] = near
        self._start(self._open, near, asked)

    async def _open(self, near: _Half, asked: RelayAsked) -> None:
        target, opened, connection = asked.opened.target, asked.opened, near.connection
        found = await self._find(target)
        if connection is None or self._halves.get((connection, asked.call)) is not near:
            if connection is not None:
                connection.protocol.drop_passed(len(opened.data))
            return  # the asker has gone
        peer = connection.peer
        if found is None or not found.is_usable or peer is None:
            connection.protocol.drop_passed(len(opened.data))
            self._forget(near)
            near.other.reset(ResetReason.NO_PATH)
            near.reset(ResetReason.NO_PATH, f"no connection to node {target!r}")
            return
        far = near.other
        far.call = found.open_passed(opened, peer.id)
        far.connection = found
        far.has_sent_last = bool(opened.flags & LAST)
        self._halves[found, far.call] = far
        waiting, far.waiting = far.waiting, []
        for event in waiting:
            far.send(event)

    def release(self, connection: RelayConnection) -> None:
        """End the relayed calls of a connection that has ended, or whose other side was revoked."""
        for half in [half for (at, _), half in self._halves.items() if at is connection]:
            self._forget(half)
            half.other.reset(ResetReason.CANCELLED if half.is_near else ResetReason.LOST, "the other half broke")
            half.connection = None

    def _forget(self, half: _Half) -> None:
        for one in (half, half.other):
            for key in [key for key, found in self._halves.items() if found is one]:
                del self._halves[key]
