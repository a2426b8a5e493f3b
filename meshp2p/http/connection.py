"""One HTTP/1.1 connection: requests in sequence, each handed to an ASGI app.

::

    _receive_head ──> Exchange ──> the app returns ──> _may_go_on ──> _receive_head …
         │                                                  │
      refused: answer, linger, close                     no: close

One task runs a connection and the app in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

import h11
import trio

from meshp2p.http.channel import RECEIVE_BYTES, Channel, Refused
from meshp2p.http.exchange import ASGIApp, Exchange
from meshp2p.http.limits import HttpLimits, HttpRefusal, HttpStats

__all__ = ["Connection"]

Endpoint: TypeAlias = tuple[str, int]
Headers: TypeAlias = list[tuple[bytes, bytes]]

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}  # from 2.4 on starlette does not watch for a disconnect

_log = logging.getLogger("meshp2p.http")


class Connection:
    """A client's connection. :meth:`run` serves it to its end; whoever made the stream closes it."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        app: ASGIApp,
        limits: HttpLimits,
        stats: HttpStats,
        server_header: bytes | None,
        body_bytes_max_at: Mapping[bytes, int],
    ) -> None:
        self._app = app
        self._limits = limits
        self._stats = stats
        self._server_header = server_header
        self._body_bytes_max_at = body_bytes_max_at
        self._channel = Channel(stream, limits, stats)
        self._idle: trio.CancelScope | None = None
        self._client, self._server = _endpoints(stream)

    async def run(self) -> None:
        """Serve requests until either side closes. Cancelled, it cuts the request at hand."""
        is_head = False
        first_byte_timeout = self._limits.head_seconds
        try:
            while (request := await self._receive_head(first_byte_timeout)) is not None:
                first_byte_timeout = self._limits.idle_seconds
                is_head = request.method == b"HEAD"
                scope = self._scope(request)
                exchange = Exchange(self._channel, scope, is_head=is_head, server_header=self._server_header)
                self._stats.requests_total += 1
                try:
                    await self._call_app(exchange)
                    if not await self._may_go_on(exchange):
                        return
                finally:
                    exchange.release()
        except Refused as refused:
            await self._channel.refuse(refused, head_only=is_head)
        except (ConnectionResetError, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client is gone: that is its right

    def close_soon(self) -> None:
        """Close once the request at hand is answered, at once where there is none."""
        self._channel.is_closing = True
        if self._idle is not None:
            self._idle.cancel()

    async def _receive_head(self, first_byte_timeout: float) -> h11.Request | None:
        """The next request, or None where the connection has come to its end in good order. Raises :class:`Refused`."""
        channel = self._channel
        if channel.is_closing:
            return None
        event = channel.next_event()
        if event is h11.NEED_DATA:
            head_seconds = self._limits.head_seconds
            has_begun = bool(channel.protocol.trailing_data[0])
            timeout = head_seconds if has_begun else first_byte_timeout
            with trio.CancelScope(deadline=trio.current_time() + timeout) as waiting:
                self._idle = None if has_begun else waiting
                while event is h11.NEED_DATA:
                    channel.feed(await channel.stream.receive_some(RECEIVE_BYTES))
                    self._idle = None
                    event = channel.next_event()
                    if event is h11.NEED_DATA and not has_begun:
                        has_begun = True
                        waiting.deadline = trio.current_time() + head_seconds
            self._idle = None
            if waiting.cancelled_caught and has_begun:
                message = f"no whole request head within {head_seconds:g} seconds"
                raise Refused(408, HttpRefusal.HEAD_TIMEOUT, message)
        return event if isinstance(event, h11.Request) else None

    def _scope(self, request: h11.Request) -> dict[str, Any]:
        """The ASGI scope. Raises :class:`Refused` for what is known to be wrong from the head alone."""
        version, method, target = request.http_version, request.method, request.target
        if version not in (b"1.1", b"1.0"):
            raise Refused(400, HttpRefusal.BAD_REQUEST, f"HTTP/{version.decode('ascii')}: expected HTTP/1.1")
        if method == b"CONNECT":
            raise Refused(501, HttpRefusal.NOT_IMPLEMENTED, "CONNECT: this is no proxy")
        if len(target) > self._limits.target_bytes_max:
            message = f"the path and query are longer than {self._limits.target_bytes_max} bytes"
            raise Refused(414, HttpRefusal.TARGET_TOO_LONG, message)
        headers = list(request.headers)
        self._channel.body_bytes_max = self._body_bytes_max_at.get(target, self._limits.body_bytes_max)
        self._check_headers(headers, len(target), version)
        if not target.startswith(b"/"):
            target, headers = _origin_form(method, target, headers)
        raw_path, _, query = target.partition(b"?")
        path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version.decode("ascii"),
            "method": method.decode("ascii"),
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": self._server,
            "extensions": {},
        }

    def _check_headers(self, headers: Headers, head_bytes: int, version: bytes) -> None:
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
            # RFC 9112 §6.1: whoever sits between could see another request than we do.
            message = "Transfer-Encoding beside Content-Length or in HTTP/1.0"
            raise Refused(400, HttpRefusal.BAD_REQUEST, message)
        if content_length is not None and content_length > self._channel.body_bytes_max:
            raise self._channel.body_too_large()

    async def _call_app(self, exchange: Exchange) -> None:
        """Run the app to its end. What it did wrong is logged, and told by ``exchange.refused``."""
        channel, scope = self._channel, exchange.scope
        seconds = self._limits.request_seconds
        try:
            if seconds is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                with trio.move_on_after(seconds) as working:
                    await self._app(scope, exchange.receive, exchange.send)
                if working.cancelled_caught and exchange.refused is None:
                    message = f"no answer within {seconds:g} seconds"
                    exchange.refused = Refused(503, HttpRefusal.REQUEST_TIMEOUT, message)
        except Exception as error:  # noqa: BLE001  # whatever an app raises, the server goes on
            if exchange.refused is not None or channel.is_gone:
                _log.debug("%s %r: the app found its client gone", scope["method"], scope["path"], exc_info=error)
            else:
                _log.error("%s %r: the app failed", scope["method"], scope["path"], exc_info=error)
                exchange.refused = Refused(500, HttpRefusal.APP_ERROR, "internal error")
        if exchange.refused is None and not exchange.has_ended and not channel.is_gone:
            _log.error("%s %r: the app returned without a whole response", scope["method"], scope["path"])
            exchange.refused = Refused(500, HttpRefusal.APP_ERROR, "internal error")

    async def _may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow; h11 is then ready for it. Raises :class:`Refused`."""
        channel, protocol = self._channel, self._channel.protocol
        if exchange.refused is not None:
            if not exchange.has_begun:
                raise exchange.refused
            self._stats.count(exchange.refused.reason)
            return False
        if not exchange.has_ended or channel.is_broken:
            return False
        if exchange.awaits_continue:
            await channel.linger()  # whether the client sends its body now, nobody knows
            return False
        while not exchange.body_ended:
            try:
                await exchange.receive_body()
            except Refused as refused:  # it has its answer
                self._stats.count(refused.reason)
                await channel.linger()
                return False
            if channel.is_at_eof and not exchange.body_ended:
                return False
        if protocol.our_state is not h11.DONE or protocol.their_state is not h11.DONE:
            return False
        protocol.start_next_cycle()
        return True


def _origin_form(method: bytes, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """``http://HOST/PATH`` as ``/PATH`` with that ``Host``, which outranks the header (RFC 9112 §3.2.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, headers
    if target[:7].lower() != b"http://":
        raise Refused(400, HttpRefusal.BAD_REQUEST, f"target {target[:80].decode('ascii')!r}: expected a path")
    authority, slash, path = target[7:].partition(b"/")
    if not slash:
        authority, mark, query = authority.partition(b"?")
        path = mark + query
    return b"/" + path, [(b"host", authority), *(header for header in headers if header[0] != b"host")]


def _endpoints(stream: trio.abc.Stream) -> tuple[Endpoint | None, Endpoint | None]:
    """The client's address and our own, None where there is none: in memory, or the client is already gone."""
    if not isinstance(stream, trio.SocketStream):
        return None, None
    try:
        return _endpoint(stream.socket.getpeername()), _endpoint(stream.socket.getsockname())
    except OSError:
        return None, None


def _endpoint(name: Any) -> Endpoint | None:
    if not isinstance(name, tuple):
        return None  # a Unix socket
    # So a dual-stack listener writes an IPv4 client; whoever compares with 127.0.0.1 must not have to know.
    return name[0].removeprefix("::ffff:"), name[1]
