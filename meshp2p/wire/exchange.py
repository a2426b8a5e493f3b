"""One side of one call on a connection between two nodes."""

from __future__ import annotations

from collections import deque
from typing import Final

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.peer_frames import CHUNK_BYTES_MAX, LAST, PART_END, CallKind, DataFrame, OpenFrame

__all__ = ["PART_BYTES_MAX", "WINDOW_BYTES", "Exchange"]

WINDOW_BYTES: Final = 256 * 1024
"""How many bytes of one direction of a call may be in transit. Chosen, not measured."""

_GRANT_BYTES: Final = WINDOW_BYTES // 4
"""The receiver grants more bytes each time this many were consumed."""

PART_BYTES_MAX: Final = 4 << 20
"""The largest body, and the largest part of a reply: twice the largest payload of a message. Chosen, not measured."""


class Exchange:
    """One side of a call. ``opening`` is its first frame, until that is sent. ``buffered`` are the bytes that it has
    reserved."""

    __slots__ = (
        "buffered",
        "has_received_last",
        "has_sent_last",
        "id",
        "is_passed_on",
        "is_ready",
        "kind",
        "opening",
        "outgoing",
        "owed",
        "parts_unread",
        "pending",
        "receive_window",
        "seconds",
        "send_window",
        "sent",
        "source",
    )

    def __init__(self, call_id: int, kind: CallKind, *, is_passed_on: bool = False) -> None:
        self.id: int = call_id
        self.kind: CallKind = kind
        self.is_passed_on: bool = is_passed_on
        self.opening: OpenFrame | None = None
        self.outgoing: deque[tuple[bytes, int]] = deque()
        self.sent: int = 0  # of the first in outgoing
        self.send_window: int = WINDOW_BYTES
        self.receive_window: int = WINDOW_BYTES
        self.owed: int = 0
        self.pending: bytearray = bytearray()
        self.parts_unread: int = 0
        self.buffered: int = 0
        self.is_ready: bool = False
        self.has_sent_last: bool = False
        self.has_received_last: bool = False
        self.seconds: float = 0.0
        self.source: str = ""

    def next_chunk(self) -> OpenFrame | DataFrame | None:
        """Return the frame with the next bytes to send, or None if there are none or the window is closed."""
        if not self.outgoing:
            return None
        data, flags = self.outgoing[0]
        sent = self.sent
        count = min(len(data) - sent, self.send_window, CHUNK_BYTES_MAX)
        if count == 0 and sent < len(data):
            return None
        chunk = data if count == len(data) else data[sent : sent + count]
        self.send_window -= count
        if sent + count == len(data):
            self.outgoing.popleft()
            self.sent = 0
        else:
            self.sent = sent + count
            flags = 0
        opening, self.opening = self.opening, None
        if opening is None:
            return DataFrame(self.id, flags, chunk)
        return OpenFrame(self.id, self.kind, flags, chunk, opening.seconds, opening.target, opening.source)

    def note_chunk(self, flags: int, count: int) -> None:
        """Note that a chunk of this many bytes arrived. Raises :class:`RemoteProtocolError` if the other side may not
        send it."""
        if self.has_received_last:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"call {self.id} goes on behind its end")
        self.receive_window -= count
        if self.receive_window < 0:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"call {self.id} has sent more than its window")
        self.has_received_last = bool(flags & LAST)

    def pop_grant(self) -> int:
        """Return how many more bytes the other side may send, which it is to be told; 0 if it needs none yet."""
        if self.owed < _GRANT_BYTES or self.has_received_last:
            return 0
        granted, self.owed = self.owed, 0
        self.receive_window += granted
        return granted

    def gather(self, flags: int, data: bytes) -> bytes | None:
        """Return the part that ends with this chunk, or None. Raises :class:`RemoteProtocolError`."""
        pending = self.pending
        if len(pending) + len(data) > PART_BYTES_MAX:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"a part of over {PART_BYTES_MAX} bytes")
        if flags & PART_END and not pending:
            return data
        pending += data
        if flags & PART_END:
            self.pending = bytearray()
            return bytes(pending)
        if flags & LAST and pending:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"call {self.id} ends within a part")
        return None
