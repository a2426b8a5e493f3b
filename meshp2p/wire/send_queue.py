"""The send queue of one side of a connection between two nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from meshp2p.wire.exchange import Exchange
from meshp2p.wire.peer_frames import CHUNK_BYTES_MAX, PeerFrame, encode_frame

__all__ = ["SendQueue"]

_CONTROL_MAX: Final = 4096
"""How many frames without data may wait. Chosen, not measured."""


class SendQueue:
    """Sends frames without data first. Then calls take turns, with one chunk each. ``first`` are the first bytes of the
    connection."""

    def __init__(self, *first: bytes) -> None:
        self._control = list(first)
        self._ready: deque[Exchange] = deque()

    def __bool__(self) -> bool:
        return bool(self._control or self._ready)

    @property
    def is_clogged(self) -> bool:
        """Whether too many frames without data wait."""
        return len(self._control) > _CONTROL_MAX

    def put(self, frame: PeerFrame) -> None:
        """Send a frame without data."""
        self._control.append(encode_frame(frame))

    def put_once(self, encoded: bytes) -> None:
        """Send an encoded frame, unless an equal one is waiting."""
        if encoded not in self._control:
            self._control.append(encoded)

    def make_ready(self, exchange: Exchange) -> None:
        """Give a call its next turn, if it has bytes to send."""
        if not exchange.is_ready and exchange.outgoing:
            exchange.is_ready = True
            self._ready.append(exchange)

    def pop(self, next_frame: Callable[[Exchange], bytes | None]) -> bytes:
        """Return the next bytes: at least one frame, about one chunk at most; empty if there are none now.

        ``next_frame(exchange)`` returns the next frame of a call, or None.
        """
        parts, self._control = self._control, []
        size = sum(map(len, parts))
        while self._ready and size < CHUNK_BYTES_MAX:
            exchange = self._ready.popleft()
            exchange.is_ready = False
            frame = next_frame(exchange)
            if frame is not None:
                parts.append(frame)
                size += len(frame)
        return parts[0] if len(parts) == 1 else b"".join(parts)
