"""The bytes of one HTTP connection: a stream, h11's state machine, and a deadline for every write.

The server writes its own refusals by hand, because after a mistake h11 can write nothing more.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11
import trio

from meshp2p.http.body import encode_json
from meshp2p.http.limits import HttpLimits, HttpRefusal, HttpStats
from meshp2p.http.state import RequestRejected, ServerState

__all__ = ["RECEIVE_BYTES", "WRITE_BYTES", "Channel", "date_header", "error_response", "phrase"]

RECEIVE_BYTES: Final = 16 * 1024  # per read: small, as parsing all of it blocks the loop. Chosen, not measured
WRITE_BYTES: Final = 64 * 1024  # per write deadline: chosen, not measured
_HEAD_LINES_MAX: Final = 128  # chosen, not measured
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_EMPTY_LINES: Final = re.compile(rb"(?:\r?\n)+")
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Channel:
    """A stream to a client, with its h11 state."""

    def __init__(self, stream: trio.abc.Stream, server: ServerState) -> None:
        self.stream: trio.abc.Stream = stream
        self.server: ServerState = server
        self.limits: HttpLimits = server.limits
        self.stats: HttpStats = server.stats
        self.protocol: h11.Connection = self._new_protocol()
        self.is_closing = False
        """The current response is the last."""
        self.waits_since: float | None = trio.current_time()
        """Since when the connection waits for the client to send a request or to read. None while the server works."""
        self.is_broken: bool = False
        """Nothing more can be written."""
        self.is_at_eof: bool = False
        """The client will send nothing more, but it may still read."""

    @property
    def is_gone(self) -> bool:
        return self.is_broken or self.is_at_eof

    def feed(self, data: bytes | bytearray) -> None:
        """Pass received bytes to h11. Empty bytes mean that the client has ended."""
        if not data:
            self.is_at_eof = True
        self.protocol.receive_data(bytes(data))

    def skip_empty_lines(self) -> None:
        """Skip empty lines before a request (RFC 9112 §2.2)."""
        data = self.protocol.trailing_data[0]
        empty = _EMPTY_LINES.match(data)
        if empty is not None:
            self.protocol = self._new_protocol()
            if empty.end() < len(data):
                self.protocol.receive_data(data[empty.end() :])
            if self.is_at_eof:
                self.protocol.receive_data(b"")

    def check_lines(self) -> None:
        """Raise :class:`RequestRejected` if the current head has too many lines, because each costs h11 some
        microseconds."""
        data = self.protocol.trailing_data[0]
        if data.count(b"\n") > _HEAD_LINES_MAX and _HEAD_END.split(data, 1)[0].count(b"\n") > _HEAD_LINES_MAX:
            raise RequestRejected(
                431, HttpRefusal.HEAD_TOO_LARGE, f"the request head has more than {_HEAD_LINES_MAX} lines"
            )

    def _new_protocol(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.header_bytes_max)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """Return h11's next event. Raises :class:`RequestRejected`."""
        try:
            return self.protocol.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431 and b"\n" in self.protocol.trailing_data[0]:
                raise self.head_too_large() from None
            if error.error_status_hint == 431:
                message = f"the request line is longer than {self.limits.header_bytes_max} bytes"
                raise RequestRejected(414, HttpRefusal.TARGET_TOO_LONG, message) from None
            if error.error_status_hint == 501:
                raise RequestRejected(501, HttpRefusal.NOT_IMPLEMENTED, str(error)) from None
            raise RequestRejected(400, HttpRefusal.BAD_REQUEST, f"malformed request: {error}") from None

    def head_too_large(self) -> RequestRejected:
        message = f"the request head is larger than {self.limits.header_bytes_max} bytes"
        return RequestRejected(431, HttpRefusal.HEAD_TOO_LARGE, message)

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of ``data``. Raises ``ConnectionResetError`` if the client is gone or does not read in time.

        After a cancellation a part may have been sent, and the channel is broken.
        """
        view = memoryview(data)
        was_waiting = self.waits_since
        for start in range(0, len(data), WRITE_BYTES):
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
                    self.is_at_eof = not await self.stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.is_broken = True


def error_response(status: int, message: str, *, head_only: bool = False) -> bytes:
    """Return a complete response ``{"error": message}`` that closes the connection."""
    body = encode_json({"error": message})
    head = b"HTTP/1.1 %d %s\r\ndate: %s\r\nconnection: close\r\n" % (status, phrase(status), date_header())
    head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head if head_only else head + body


def phrase(status: int) -> bytes:
    """Return the reason phrase of a status; empty if it has none."""
    return _PHRASES.get(status, b"")


class _Date:
    """Returns the value of the ``Date`` header, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._value = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._value = formatdate(second, usegmt=True).encode("ascii")
        return self._value


date_header: Final = _Date()
