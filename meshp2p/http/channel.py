"""The bytes of one HTTP connection: what a client has sent and nobody has used, and a deadline for every write."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol

import trio

from meshp2p.http.body import encode_json
from meshp2p.http.framing import Head, parse_head, response_head
from meshp2p.http.limits import HttpLimits, HttpRefusal, HttpStats
from meshp2p.http.state import RequestRejected, ServerState
from meshp2p.trust.grants import Grant

__all__ = ["WRITE_BYTES", "Channel", "error_response"]

_RECEIVE_BYTES: Final = 16 * 1024  # per read: small, as parsing all of it blocks the loop. Chosen, not measured
_KNOWN_BYTES_MAX: Final = 1024  # chosen, not measured
WRITE_BYTES: Final = 64 * 1024  # per write deadline: chosen, not measured


class _Direct(Protocol):
    """A socket that is read and written without waiting. ``send_nowait`` returns None if the socket took everything,
    else what the stream is to send after it, which may be empty: a TLS stream keeps encrypted bytes itself."""

    def fileno(self) -> int: ...
    def receive_nowait(self, bytes_max: int, /) -> bytes: ...
    def send_nowait(self, data: bytes, /) -> bytes | None: ...


class _PlainSocket:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.fileno: Callable[[], int] = stream.socket.fileno  # -1 once it is closed: the number may be another's

    def receive_nowait(self, bytes_max: int) -> bytes:
        return os.read(self.fileno(), bytes_max)

    def send_nowait(self, data: bytes) -> bytes | None:
        try:
            return data[os.write(self.fileno(), data) :] or None
        except BlockingIOError:
            return data


class Channel:
    """A stream to a client. ``data`` are the bytes that it has sent and that are not used yet."""

    def __init__(self, stream: trio.abc.Stream, server: ServerState) -> None:
        self.stream: trio.abc.Stream = stream
        self.server: ServerState = server
        self.limits: HttpLimits = server.limits
        self.stats: HttpStats = server.stats
        self.certified: Callable[[], Grant | None] | None = getattr(stream, "certified", None)
        self.data: bytes = b""
        self.is_closing = False
        """The current response is the last."""
        self.waits_since: float | None = trio.current_time()
        """Since when the connection waits for the client to send a request or to read. None while the server works."""
        self.is_broken: bool = False
        """Nothing more can be written."""
        self.is_at_eof: bool = False
        """The client will send nothing more, but it may still read."""
        self._known: tuple[bytes, Head] | None = None
        """The last head, because most clients send the same again and again."""
        self._direct: _Direct | None = getattr(stream, "direct", None)
        if isinstance(stream, trio.SocketStream):
            self._direct = _PlainSocket(stream)

    @property
    def is_gone(self) -> bool:
        return self.is_broken or self.is_at_eof

    def take_head(self) -> Head | None:
        """Take the next head; None if it is not complete. Raises :class:`RequestRejected`."""
        known, data = self._known, self.data
        if known is not None and data.startswith(known[0]):
            self.data = data[len(known[0]) :]
            return known[1]
        head, self.data = parse_head(data, self.limits)
        size = len(data) - len(self.data)
        if head is not None and size <= _KNOWN_BYTES_MAX:
            self._known = data[:size], head
        return head

    async def receive(self) -> None:
        """Wait for more bytes, or for the end of what the client sends. Raises what the stream raises."""
        if self._direct is None:
            self._take(await self.stream.receive_some(_RECEIVE_BYTES))
        elif self.read_waiting():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(self._direct)
            while not self.read_waiting():
                await trio.lowlevel.wait_readable(self._direct)

    def read_waiting(self) -> bool:
        """Read what has arrived at a socket. Return whether there was anything. Raises ``ConnectionResetError``.

        This is several times as fast as reading through trio's stream. If the stream is no socket, nothing is read.
        """
        if self._direct is None:
            return False
        try:
            self._take(self._direct.receive_nowait(_RECEIVE_BYTES))
        except BlockingIOError:
            return False
        except (OSError, trio.BrokenResourceError):
            self.is_broken = True
            raise ConnectionResetError("the client is gone") from None
        return True

    def _take(self, data: bytes | bytearray) -> None:
        self.data += data
        self.is_at_eof = not data

    def write_at_once(self, data: bytes) -> bytes | None:
        """Send as much as a socket takes now. Return None if that was all, else what is to be passed to :meth:`write`,
        which may be empty. Raises ``ConnectionResetError``."""
        if self._direct is None:
            return data
        try:
            return self._direct.send_nowait(data)
        except (OSError, trio.BrokenResourceError):
            self.is_broken = True
            raise ConnectionResetError("the client is gone") from None

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``. Raises ``ConnectionResetError`` if the client is gone or does not read in time.

        After a cancellation a part may have been sent, and the channel is broken.
        """
        view = memoryview(data)
        was_waiting = self.waits_since
        for start in range(0, max(1, len(data)), WRITE_BYTES):  # once if there is no data: the stream may hold some
            self.waits_since = trio.current_time()
            try:
                with trio.move_on_at(self.waits_since + self.limits.write_seconds) as writing:
                    await self.stream.send_all(view[start : start + WRITE_BYTES])
            except trio.Cancelled:
                self.is_broken = True
                raise
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.is_broken = True
                raise ConnectionResetError("the client is gone") from None
            if writing.cancelled_caught:
                self.is_broken = True
                self.stats.count(HttpRefusal.WRITE_TIMEOUT)
                raise ConnectionResetError(f"the client read too little for {self.limits.write_seconds:g} seconds")
        self.waits_since = was_waiting

    async def refuse(self, refused: RequestRejected, *, head_only: bool = False) -> None:
        """Count the refusal, answer it if that is possible, and let the client read the answer."""
        self.stats.count(refused.reason)
        if self.is_broken:
            return
        try:
            await self.write(error_response(refused.status, str(refused), head_only=head_only))
        except ConnectionResetError:
            return
        await self.linger()

    async def linger(self) -> None:
        """Read and discard further input, for at most ``linger_seconds``.

        If a connection is closed with unread bytes, it is reset, and the client may lose the answer.
        """
        try:
            with trio.move_on_after(self.limits.linger_seconds):
                if isinstance(self.stream, trio.abc.HalfCloseableStream):
                    await self.stream.send_eof()
                while not self.is_at_eof:
                    self.is_at_eof = not await self.stream.receive_some(_RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.is_broken = True


def error_response(status: int, message: str, *, head_only: bool = False) -> bytes:
    """Return a complete response ``{"error": message}`` that closes the connection."""
    body = encode_json({"error": message})
    more = b"connection: close\r\ncontent-length: %d\r\n" % len(body)
    head = response_head(status, ((b"content-type", b"application/json"),), more)
    return head if head_only else head + body
