"""One HTTP request and its response, as the ASGI app sees them: ``scope``, ``receive`` and ``send``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import h11
import trio

from meshp2p.http.channel import RECEIVE_BYTES, Channel, Refused, date_header, phrase
from meshp2p.http.limits import HttpRefusal

__all__ = ["ASGIApp", "Exchange", "Message", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_AHEAD_BYTES_MAX: Final = 64 * 1024  # of pipelined requests kept while the app works: chosen, not measured
_SMALL_BODY_BYTES: Final = 64 * 1024  # of a body that is never refused for what others send: chosen, not measured
_BODILESS: Final = frozenset((204, 304))


class Exchange:
    """The app may call ``receive`` in one task and ``send`` in another; neither in two at a time."""

    __slots__ = (
        "_body_bytes",
        "_body_deadline",
        "_channel",
        "_has_told_all",
        "_is_head",
        "_server_header",
        "_start",
        "_watching",
        "awaits_continue",
        "body_ended",
        "has_begun",
        "has_ended",
        "refused",
        "scope",
    )

    def __init__(self, channel: Channel, scope: Scope, *, is_head: bool, server_header: bytes | None) -> None:
        self.scope: Scope = scope
        self.refused: Refused | None = None
        """Why the server ends this itself. From then on the app is told that the client went away."""
        self.body_ended: bool = False
        """The whole request body has arrived."""
        self.has_begun: bool = False
        """A byte of the response may have been sent."""
        self.has_ended: bool = False
        """All of the response was sent."""
        self.awaits_continue: bool = channel.protocol.they_are_waiting_for_100_continue
        """The client may be holding its body back."""
        self._channel = channel
        self._is_head = is_head
        self._server_header = server_header
        self._body_bytes = 0
        self._body_deadline: float | None = None
        self._has_told_all = False
        self._start: Message | None = None
        self._watching: trio.CancelScope | None = None

    async def receive(self) -> Message:
        """ASGI's ``receive``: the body, then ``http.disconnect`` once the client is gone or the response has ended.

        Cancel-safe: no byte is lost.
        """
        try:
            if self._has_told_all:
                await self._watch()
                return {"type": "http.disconnect"}
            body = await self.receive_body()
        except Refused as refused:
            self.refused = refused
        except (ConnectionResetError, trio.BrokenResourceError):
            self._channel.is_broken = True
        else:
            if self.body_ended or not self._channel.is_at_eof:
                self._has_told_all = self.body_ended
                return {"type": "http.request", "body": body, "more_body": not self.body_ended}
        self._has_told_all = True
        return {"type": "http.disconnect"}

    async def receive_body(self) -> bytes:
        """The bytes of the body that are there, waiting for the first; ``body_ended`` says whether they were the last.

        Raises :class:`Refused`, and ``ConnectionResetError`` or ``trio.BrokenResourceError`` where the client is gone.
        At the client's end of file it returns, and ``is_at_eof`` is set.
        """
        channel = self._channel
        parts = []
        while True:
            event = channel.next_event()
            if isinstance(event, h11.Data):
                self.awaits_continue = False
                self._body_bytes += len(event.data)
                channel.stats.bodies_bytes += len(event.data)
                if self._body_bytes > channel.body_bytes_max:
                    raise channel.body_too_large()
                if (
                    self._body_bytes > _SMALL_BODY_BYTES
                    and channel.stats.bodies_bytes > channel.limits.bodies_bytes_max
                ):
                    message = "too many large bodies at a time: try again later"
                    raise Refused(503, HttpRefusal.BODIES_TOO_LARGE, message)
                parts.append(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.awaits_continue = False
                self.body_ended = True
                return b"".join(parts)
            elif parts or channel.is_at_eof or not await self._receive_more():
                return b"".join(parts)

    def release(self) -> None:
        """The request has ended: its body is nobody's any more."""
        self._channel.stats.bodies_bytes -= self._body_bytes
        self._body_bytes = 0

    async def _receive_more(self) -> bool:
        channel = self._channel
        if channel.protocol.they_are_waiting_for_100_continue:
            self.awaits_continue = False
            head = h11.InformationalResponse(status_code=100, headers=[], reason=phrase(100))
            await channel.write(channel.protocol.send(head))
        seconds = channel.limits.body_seconds
        if self._body_deadline is None:
            self._body_deadline = trio.current_time() + seconds
        with trio.move_on_at(self._body_deadline) as waiting:
            data = await channel.stream.receive_some(RECEIVE_BYTES)
        if waiting.cancelled_caught:
            raise Refused(408, HttpRefusal.BODY_TIMEOUT, f"no whole body within {seconds:g} seconds")
        channel.feed(data)
        return not channel.is_at_eof

    async def _watch(self) -> None:
        """Wait until the client is gone or the response has ended. What the client sends meanwhile is kept.

        Raises :class:`Refused` where that is too much: not to read on would be not to see the client go.
        """
        channel = self._channel
        if self.has_ended or self.refused is not None or channel.is_gone:
            await trio.lowlevel.checkpoint()
            return
        ahead_bytes = len(channel.protocol.trailing_data[0])
        try:
            with trio.CancelScope() as self._watching:
                while data := await channel.stream.receive_some(RECEIVE_BYTES):
                    channel.feed(data)
                    ahead_bytes += len(data)
                    if ahead_bytes > _AHEAD_BYTES_MAX:
                        message = f"more than {_AHEAD_BYTES_MAX} bytes were sent ahead of the answer"
                        raise Refused(400, HttpRefusal.BAD_REQUEST, message)
                channel.feed(b"")
        finally:
            self._watching = None

    async def send(self, message: Message) -> None:
        """ASGI's ``send``. The head goes out together with the first body message: an empty one flushes it.

        Raises ``ConnectionResetError`` where the client is gone, ``RuntimeError`` for messages out of order, and
        ``h11.LocalProtocolError`` for what may not be written, such as a header with a line break. The response cannot
        be continued after any of them.
        """
        channel = self._channel
        if self.refused is not None or channel.is_broken:
            raise ConnectionResetError("the client is gone")
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            self._start = message
            return
        if kind != "http.response.body" or self._start is None or self.has_ended:
            raise RuntimeError(f"ASGI message {kind!r} is out of order")
        more_body = message.get("more_body", False)
        data = self._serialize(self._start, message.get("body", b""), more_body)
        if data:
            self.has_begun = True
            await channel.write(data)
        else:
            await trio.lowlevel.checkpoint()
        if not more_body:
            self.has_ended = True
            if self._watching is not None:
                self._watching.cancel()

    def _serialize(self, start: Message, body: bytes, more_body: bool) -> bytes:
        """The bytes of this part of the response, in one piece so that a small response is one packet."""
        protocol = self._channel.protocol
        status: int = start["status"]
        data = b""
        if not self.has_begun:
            headers = list(start.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            if b"date" not in names:
                headers.append((b"date", date_header()))
            if self._server_header is not None and b"server" not in names:
                headers.append((b"server", self._server_header))
            if self._channel.is_closing or self.awaits_continue:
                headers.append((b"connection", b"close"))
            is_whole = not more_body and status not in _BODILESS and (body or not self._is_head)
            if is_whole and b"content-length" not in names and b"transfer-encoding" not in names:
                headers.append((b"content-length", b"%d" % len(body)))
            data = protocol.send(h11.Response(status_code=status, headers=headers, reason=phrase(status)))
        if body and not self._is_head and status not in _BODILESS:
            data += protocol.send(h11.Data(data=body))
        if not more_body:
            data += protocol.send(h11.EndOfMessage())
        return data
