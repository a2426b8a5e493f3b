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

import h11
import trio

from meshp2p.http.channel import RECEIVE_BYTES, WRITE_BYTES, Channel, date_header, phrase
from meshp2p.http.incoming import RequestBody
from meshp2p.http.limits import HttpRefusal
from meshp2p.http.request import Handler, Headers, Request, Response
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
        self._own_headers = [] if server_header is None else [(b"server", server_header)]
        self._channel = Channel(stream, server)
        self._scope = trio.CancelScope()
        self._has_begun = False  # a byte of the response at hand may have been sent

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
                    is_head = head.method == b"HEAD"
                    request = self._request(head)
                    self._stats.requests_total += 1
                    self._channel.waits_since = None
                    try:
                        await self._answer(request)
                        if not await self._may_go_on(request.incoming):
                            return
                    finally:
                        request.incoming.release()
                    self._has_begun = False
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

    async def _receive_head(self, first_byte_timeout: float) -> h11.Request | None:
        """Return the next request, or None if the connection has ended properly. Raises :class:`RequestRejected`."""
        channel = self._channel
        if channel.is_closing:
            return None
        channel.skip_empty_lines()
        channel.check_lines()
        event = channel.next_event()
        if event is h11.NEED_DATA:
            head_seconds = self._limits.head_seconds
            has_begun = bool(channel.protocol.trailing_data[0])
            timeout = head_seconds if has_begun else first_byte_timeout
            with trio.CancelScope(deadline=trio.current_time() + timeout) as waiting:
                while event is h11.NEED_DATA:
                    channel.feed(await channel.stream.receive_some(RECEIVE_BYTES))
                    if not has_begun:
                        channel.skip_empty_lines()
                        if channel.protocol.trailing_data[0]:
                            has_begun = True
                            waiting.deadline = trio.current_time() + head_seconds
                    channel.check_lines()
                    event = channel.next_event()
            if waiting.cancelled_caught and has_begun:
                message = f"no whole request head within {head_seconds:g} seconds"
                raise RequestRejected(408, HttpRefusal.HEAD_TIMEOUT, message)
        return event if isinstance(event, h11.Request) else None

    def _request(self, head: h11.Request) -> Request:
        """Return the request. Raises :class:`RequestRejected` for errors that its head shows."""
        version, method, target = head.http_version, head.method, head.target
        if version not in (b"1.1", b"1.0"):
            raise RequestRejected(400, HttpRefusal.BAD_REQUEST, f"HTTP/{version.decode('ascii')}: expected HTTP/1.1")
        if method == b"CONNECT":
            raise RequestRejected(501, HttpRefusal.NOT_IMPLEMENTED, "CONNECT: this is no proxy")
        if len(target) > self._limits.target_bytes_max:
            message = f"the path and query are longer than {self._limits.target_bytes_max} bytes"
            raise RequestRejected(414, HttpRefusal.TARGET_TOO_LONG, message)
        headers: Headers = list(head.headers)
        content_length = self._check_headers(headers, len(target), version)
        if not target.startswith(b"/"):
            target, headers = _origin_form(method, target, headers)
        incoming = RequestBody(self._channel, content_length)
        return Request(method.decode("ascii"), target, headers, incoming, self.client)

    def _check_headers(self, headers: Headers, head_bytes: int, version: bytes) -> int | None:
        """Return the Content-Length."""
        content_length = transfer_encoding = None
        for name, value in headers:
            head_bytes += len(name) + len(value) + 4
            if name == b"content-length":
                content_length = int(value)
            elif name == b"transfer-encoding":
                transfer_encoding = value
        if head_bytes > self._limits.header_bytes_max:  # h11 counts only what it could not yet parse
            raise self._channel.head_too_large()
        if transfer_encoding is not None and (content_length is not None or version == b"1.0"):
            # RFC 9112 §6.1: a proxy could see another request than we do.
            message = "Transfer-Encoding beside Content-Length or in HTTP/1.0"
            raise RequestRejected(400, HttpRefusal.BAD_REQUEST, message)
        return content_length

    async def _answer(self, request: Request) -> None:
        """Run the handler and send its response. Raises :class:`RequestRejected` if the server must end the request
        itself."""
        seconds = self._limits.request_seconds
        try:
            with trio.CancelScope(deadline=float("inf") if seconds is None else trio.current_time() + seconds) as scope:
                response = await self._handler(request)
                with self._server.hold(response.parts, self):
                    await self._send(request, response)
        except (RequestRejected, ConnectionResetError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever a handler raises, the server goes on
            _log.error("%s %r failed: please report it", request.method, request.path, exc_info=error)
            raise RequestRejected(500, HttpRefusal.APP_ERROR, "internal error") from None
        if scope.cancelled_caught:
            raise RequestRejected(503, HttpRefusal.REQUEST_TIMEOUT, f"no answer within {seconds:g} seconds")

    async def _send(self, request: Request, response: Response) -> None:
        """Send a response. If the connection ends with it, the client is told so."""
        channel, protocol, status = self._channel, self._channel.protocol, response.status
        headers = [*response.headers, (b"date", date_header()), *self._own_headers]
        if response.stream is None and status not in _BODILESS:
            headers.append((b"content-length", b"%d" % response.size))
        if channel.is_closing or request.incoming.awaits_continue:
            headers.append((b"connection", b"close"))
        pieces = [protocol.send(h11.Response(status_code=status, headers=headers, reason=phrase(status))) or b""]
        if request.method != "HEAD":
            for part in filter(None, response.parts):
                pieces += protocol.send_with_data_passthrough(h11.Data(data=part)) or ()
        stream = None if request.method == "HEAD" else response.stream
        if stream is None:
            pieces.append(protocol.send(h11.EndOfMessage()) or b"")

        async def write_begin() -> None:
            self._has_begun = True
            key = ("" if request.route is None else request.route.name, status)
            self._stats.responses[key] = self._stats.responses.get(key, 0) + 1
            if response.size < WRITE_BYTES:
                await channel.write(b"".join(pieces))  # one packet
            else:
                for piece in pieces:
                    await channel.write(piece)

        if stream is None:
            await write_begin()
            return

        async def write(piece: bytes) -> None:
            await channel.write(protocol.send(h11.Data(data=piece)) or b"")

        async def write_all() -> None:
            await write_begin()
            await stream(write)

        await request.incoming.while_connected(write_all)  # which refuses before anything is written
        await channel.write(protocol.send(h11.EndOfMessage()) or b"")

    async def _may_go_on(self, incoming: RequestBody) -> bool:
        """Return whether another request may follow. Then h11 is ready for it."""
        channel, protocol = self._channel, self._channel.protocol
        if incoming.awaits_continue:
            await channel.linger()  # whether the client sends its body now, nobody knows
            return False
        try:
            await incoming.discard()
        except RequestRejected as refused:  # it has its answer
            self._stats.count(refused.reason)
            await channel.linger()
            return False
        if protocol.our_state is not h11.DONE or protocol.their_state is not h11.DONE:
            return False
        protocol.start_next_cycle()
        return True


def _origin_form(method: bytes, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return ``http://HOST/PATH`` or ``https://HOST/PATH`` as ``/PATH`` with that ``Host``, which takes precedence over
    the header (RFC 9112 §3.2.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, headers
    scheme, mark, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or not mark:
        raise RequestRejected(400, HttpRefusal.BAD_REQUEST, f"target {target[:80].decode('ascii')!r}: expected a path")
    authority, slash, path = rest.partition(b"/")
    if not slash:
        authority, mark, query = authority.partition(b"?")
        path = mark + query
    return b"/" + path, [(b"host", authority), *(header for header in headers if header[0] != b"host")]
