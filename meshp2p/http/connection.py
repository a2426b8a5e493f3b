"""One HTTP/1.1 connection: requests in sequence, each answered by a handler.

::

    _receive_head ──> handler ──> _send ──> _may_go_on ──> _receive_head …
         │               │                      │
         └── refused: answer, linger, close     no: close

One task runs a connection and its handlers.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from meshp2p.http.channel import WRITE_BYTES, Channel
from meshp2p.http.framing import LAST_CHUNK, Head, Headers, as_chunk, malformed, response_head
from meshp2p.http.incoming import RequestBody
from meshp2p.http.limits import HttpRefusal
from meshp2p.http.request import Handler, Request, Response
from meshp2p.http.state import RequestRejected, ServerState

__all__ = ["Connection"]

_BODILESS: Final = frozenset((204, 304))

_log = logging.getLogger("meshp2p.http")


class Connection:
    """A client's connection. :meth:`run` serves it until its end; the caller closes the stream."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        handler: Handler,
        server: ServerState,
        server_header: bytes | None,
        client: str | None,
    ) -> None:
        self.client: str | None = client
        self._handler = handler
        self._server = server
        self._limits = server.limits
        self._stats = server.stats
        self._own_line = b"" if server_header is None else b"server: %s\r\n" % server_header
        self._channel = Channel(stream, server)
        self._scope = trio.CancelScope()
        self._has_begun = False  # a byte of the response at hand may have been sent
        self._is_last = False  # no request may follow the one at hand

    @property
    def waits_since(self) -> float | None:
        """Since when this connection waits for its client; None during a request."""
        return self._channel.waits_since

    async def run(self) -> None:
        """Serve requests until either side closes. A cancellation cuts off the current request."""
        is_head = False
        first_byte_timeout = self._limits.head_seconds
        with self._scope:
            try:
                while (head := await self._receive_head(first_byte_timeout)) is not None:
                    first_byte_timeout = self._limits.idle_seconds
                    is_head = head.method == "HEAD"
                    request = self._request(head)
                    self._stats.requests_total += 1
                    self._channel.waits_since = None
                    try:
                        await self._answer(request, head)
                        if not await self._may_go_on(request.incoming):
                            return
                    finally:
                        request.incoming.release()
                    self._has_begun = is_head = False
                    self._channel.waits_since = trio.current_time()
                return
            except RequestRejected as error:
                refused = error.with_traceback(None)  # or it keeps the answer that was to be sent
            except (ConnectionResetError, trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the client is gone, which is no error
            if self._has_begun:
                self._stats.count(refused.reason)
            else:
                await self._channel.refuse(refused, head_only=is_head)

    def cut(self) -> None:
        """End it at once."""
        self._scope.cancel()

    def close_soon(self) -> None:
        """Close after the current request, or at once if there is none."""
        self._channel.is_closing = True
        if self.waits_since is not None and not self._has_begun:
            self.cut()

    async def _receive_head(self, first_byte_timeout: float) -> Head | None:
        """Return the next request, or None if the connection has ended properly. Raises :class:`RequestRejected`."""
        channel = self._channel
        if channel.is_closing:
            return None
        head = channel.take_head()
        await trio.lowlevel.checkpoint()  # other connections have a turn between two requests of this one
        if head is None and channel.read_waiting():
            head = channel.take_head()
        if head is None and not channel.is_at_eof:
            head = await self._await_head(first_byte_timeout)
        if head is None and channel.data and channel.is_at_eof:
            raise malformed("it ends before its head does")
        return head

    async def _await_head(self, first_byte_timeout: float) -> Head | None:
        channel, head_seconds = self._channel, self._limits.head_seconds
        has_begun = bool(channel.data)
        timeout = head_seconds if has_begun else first_byte_timeout
        with trio.CancelScope(deadline=trio.current_time() + timeout) as waiting:
            head: Head | None = None
            while head is None and not channel.is_at_eof:
                await channel.receive()
                head = channel.take_head()
                if channel.data and not has_begun:
                    has_begun = True
                    waiting.deadline = trio.current_time() + head_seconds
            return head
        if has_begun:
            message = f"no whole request head within {head_seconds:g} seconds"
            raise RequestRejected(408, HttpRefusal.HEAD_TIMEOUT, message)
        return None

    def _request(self, head: Head) -> Request:
        """Return the request. Raises :class:`RequestRejected` for errors that its head shows."""
        if head.method == "CONNECT":
            raise RequestRejected(501, HttpRefusal.NOT_IMPLEMENTED, "CONNECT: this is no proxy")
        target, headers = head.target, head.headers
        if not target.startswith(b"/"):
            target, headers = _origin_form(head.method, target, headers)
        return Request(head.method, target, headers, RequestBody(self._channel, head), self.client)

    async def _answer(self, request: Request, head: Head) -> None:
        """Run the handler and send its response. Raises :class:`RequestRejected` if the server must end the request
        itself."""
        seconds = self._limits.request_seconds
        try:
            if seconds is None:
                await self._send(request, head, await self._handler(request))
                return
            with trio.move_on_after(seconds):
                await self._send(request, head, await self._handler(request))
                return
        except (RequestRejected, ConnectionResetError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever a handler raises, the server goes on
            _log.error("%s %r failed: please report it", request.method, request.path, exc_info=error)
            raise RequestRejected(500, HttpRefusal.APP_ERROR, "internal error") from None
        raise RequestRejected(503, HttpRefusal.REQUEST_TIMEOUT, f"no answer within {seconds:g} seconds")

    async def _send(self, request: Request, head: Head, response: Response) -> None:
        """Send a response. If the connection ends with it, the client is told so."""
        channel, status, size = self._channel, response.status, response.size
        lines = self._own_line
        if response.stream is not None:
            lines += b"" if head.is_http_1_0 else b"transfer-encoding: chunked\r\n"
        elif status not in _BODILESS:
            lines += b"content-length: %d\r\n" % size
        self._is_last = head.ends_connection or channel.is_closing or request.incoming.awaits_continue
        if self._is_last:
            lines += b"connection: close\r\n"
        first = response_head(status, response.headers, lines)
        parts = () if head.method == "HEAD" else response.parts
        stream = None if head.method == "HEAD" else response.stream
        if stream is None and size < WRITE_BYTES:  # one packet, which most sockets take at once
            self._begin(request, status)
            rest = channel.write_at_once(b"".join((first, *parts)))
            if rest is not None:
                with self._server.hold(response.parts, self):
                    await channel.write(rest)
            return

        async def write(piece: bytes) -> None:
            if piece:
                await channel.write(piece if stream is None or head.is_http_1_0 else as_chunk(piece))

        async def write_all() -> None:
            self._begin(request, status)
            await channel.write(first)
            for part in parts:
                await write(part)
            if stream is not None:
                await stream(write)

        with self._server.hold(response.parts, self):
            if stream is None:
                await write_all()
                return
            await request.incoming.while_connected(write_all)  # which refuses before anything is written
            if not head.is_http_1_0:
                await channel.write(LAST_CHUNK)

    def _begin(self, request: Request, status: int) -> None:
        """Note that a response begins."""
        self._has_begun = True
        key = ("" if request.route is None else request.route.name, status)
        self._stats.responses[key] = self._stats.responses.get(key, 0) + 1

    async def _may_go_on(self, incoming: RequestBody) -> bool:
        """Return whether another request may follow."""
        if incoming.awaits_continue:
            await self._channel.linger()  # the client may still send its body
            return False
        try:
            if not incoming.has_ended:
                await incoming.discard()
        except RequestRejected as refused:  # it has its answer
            self._stats.count(refused.reason)
            await self._channel.linger()
            return False
        return not self._is_last


def _origin_form(method: str, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return ``http://HOST/PATH`` or ``https://HOST/PATH`` as ``/PATH`` with that ``Host``, which takes precedence over
    the header (RFC 9112 §3.2.2)."""
    if target == b"*" and method == "OPTIONS":
        return target, headers
    scheme, mark, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or not mark:
        raise RequestRejected(400, HttpRefusal.BAD_REQUEST, f"target {target[:80].decode('ascii')!r}: expected a path")
    authority, slash, path = rest.partition(b"/")
    if not slash:
        authority, mark, query = authority.partition(b"?")
        path = mark + query
    return b"/" + path, [(b"host", authority), *(header for header in headers if header[0] != b"host")]
