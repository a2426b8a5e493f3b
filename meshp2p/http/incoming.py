"""Input of a client after the head of its request: the body, and possibly the end of the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Final, TypeVar

import trio

from meshp2p.errors import NodeClosed
from meshp2p.http.channel import Channel
from meshp2p.http.framing import Chunks, Head, malformed
from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.state import RequestRejected
from meshp2p.trust.grants import Grant

__all__ = ["RequestBody"]

_AHEAD_BYTES_MAX: Final = 64 * 1024  # of pipelined requests kept while a route works: chosen, not measured
_SMALL_BODY_BYTES: Final = 64 * 1024  # of a body that is never refused for what others send: chosen, not measured
_CHUNKS_FREE: Final = 1024  # of any size: a chunk costs 15 µs, however small it is. Chosen, not measured
_CHUNK_BYTES_MIN: Final = 64  # on average of more chunks: chosen, not measured

_T = TypeVar("_T")


class RequestBody:
    """The body of one request. One task reads it."""

    __slots__ = (
        "_channel",
        "_chunks",
        "_content_length",
        "_deadline",
        "_size",
        "awaits_continue",
        "has_ended",
        "has_waited",
        "limits",
    )

    def __init__(self, channel: Channel, head: Head) -> None:
        self.limits: HttpLimits = channel.limits
        self.has_ended: bool = not (head.content_length or head.is_chunked)
        """The whole body has arrived."""
        self.has_waited: bool = False
        """Other tasks may have run since the request arrived, so the caller may have lost its rights."""
        self.awaits_continue: bool = head.awaits_continue and not (self.has_ended or channel.data)
        """The client may be waiting before it sends the body (``Expect: 100-continue``)."""
        self._channel = channel
        self._content_length = head.content_length
        self._size = 0
        self._chunks = Chunks(channel.limits) if head.is_chunked else None
        self._deadline: float | None = None
        if head.is_chunked:
            channel.data = b"\r\n" + channel.data  # as before each later chunk

    @property
    def certified(self) -> Callable[[], Grant | None] | None:
        """Returns what the client's certificate grants, None if it showed none. None if the connection is not
        encrypted."""
        return self._channel.certified

    async def read(self, bytes_max: int | None = None) -> bytes:
        """Return the whole body, of at most ``bytes_max`` bytes or ``body_bytes_max``.

        Raises :class:`RequestRejected` if it is larger or takes too long, and ``ConnectionResetError`` or
        ``trio.BrokenResourceError`` if the client goes.
        """
        body = bytearray()  # a list of parts would take many times as much if each has two bytes
        await self._receive(body, self._channel.limits.body_bytes_max if bytes_max is None else bytes_max)
        return bytes(body)

    async def discard(self) -> None:
        """Skip the rest of the body. Raises the errors of :meth:`read`."""
        await self._receive(None, self._channel.limits.body_bytes_max)

    async def _receive(self, body: bytearray | None, bytes_max: int) -> None:
        channel, stats, chunks = self._channel, self._channel.stats, self._chunks
        if not self.has_ended and self._content_length > bytes_max:
            raise _too_large(bytes_max)
        while not self.has_ended:
            part: bytes | None
            if chunks is None:
                part = channel.data[: self._content_length - self._size]
                channel.data = channel.data[len(part) :]
            else:
                part, channel.data = chunks.take(channel.data)
            if part:
                self.awaits_continue = False
                self._size += len(part)
                stats.bodies_bytes += len(part)
                if self._size > bytes_max:
                    raise _too_large(bytes_max)
                if chunks is not None and chunks.count > _CHUNKS_FREE and self._size < chunks.count * _CHUNK_BYTES_MIN:
                    message = f"{chunks.count} chunks of less than {_CHUNK_BYTES_MIN} bytes on average"
                    raise RequestRejected(400, HttpRefusal.BAD_REQUEST, message)
                if self._size > _SMALL_BODY_BYTES and stats.bodies_bytes > channel.limits.bodies_bytes_max:
                    message = "too many large bodies at a time: try again later"
                    raise RequestRejected(503, HttpRefusal.BODIES_TOO_LARGE, message)
                if body is not None:
                    body += part
            if part is None or (chunks is None and self._size == self._content_length):
                self.has_ended = True
            elif not part:
                await self._receive_more()

    async def run_steps(self, steps: Generator[None, None, _T]) -> _T:
        """Run the steps. Between two steps everything else in the node runs for as long as the step took, but no steps
        of other requests: those run one after another. Raises :class:`~meshp2p.errors.NodeClosed` between two steps if
        the server shuts down."""
        try:
            next(steps)
            self.has_waited = True
            async with self._channel.server.turn:
                while True:
                    if self._channel.is_closing:
                        raise NodeClosed("this node leaves the mesh: ask another")
                    begin = trio.current_time()
                    next(steps)
                    # a small request takes several turns of the loop: it must not meet a step in each
                    await trio.sleep(trio.current_time() - begin)
        except StopIteration as ended:
            value: _T = ended.value
            return value

    async def _receive_more(self) -> None:
        channel = self._channel
        self.has_waited = True
        if self.awaits_continue:
            self.awaits_continue = False
            await channel.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        seconds = channel.limits.body_seconds
        if self._deadline is None:
            self._deadline = trio.current_time() + seconds
        channel.waits_since = self._deadline - seconds
        with trio.move_on_at(self._deadline) as waiting:
            await channel.receive()
        channel.waits_since = None
        if waiting.cancelled_caught:
            raise RequestRejected(408, HttpRefusal.BODY_TIMEOUT, f"no whole body within {seconds:g} seconds")
        if channel.is_at_eof:
            raise malformed("it ends before its body does")

    def release(self) -> None:
        """Discard the rest of the body, because the request has ended."""
        self._channel.stats.bodies_bytes -= self._size
        self._size = 0

    async def while_connected(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of ``work``, or raise its error. If the client goes, ``work`` is cancelled and this raises
        ``ConnectionResetError``. Further input of the client is kept up to a limit; beyond it this raises
        :class:`RequestRejected`."""
        await self.discard()
        stats = self._channel.stats
        if stats.requests_waiting >= self.limits.waiting_max:
            message = f"{stats.requests_waiting} requests wait already: try again later"
            raise RequestRejected(503, HttpRefusal.TOO_MANY_WAITING, message)
        stats.requests_waiting += 1
        try:
            return await self._work_or_watch(work)
        finally:
            stats.requests_waiting -= 1

    async def _work_or_watch(self, work: Callable[[], Awaitable[_T]]) -> _T:
        results: list[_T] = []
        failure: Exception | None = None

        async def watch() -> None:
            nonlocal failure
            try:
                await self._await_end()
            except Exception as error:  # noqa: BLE001  # raised below, outside the nursery, which would wrap it
                failure = error
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                results.append(await work())
            except Exception as error:  # noqa: BLE001  # likewise
                failure = error
            nursery.cancel_scope.cancel()
        if results:
            return results[0]
        raise failure or ConnectionResetError("the client is gone")

    async def _await_end(self) -> None:
        channel = self._channel
        while not channel.is_gone:
            await channel.receive()
            if len(channel.data) > _AHEAD_BYTES_MAX:
                # Not to read on would be not to see the client go.
                message = f"more than {_AHEAD_BYTES_MAX} bytes were sent ahead of the answer"
                raise RequestRejected(400, HttpRefusal.BAD_REQUEST, message)


def _too_large(bytes_max: int) -> RequestRejected:
    return RequestRejected(413, HttpRefusal.BODY_TOO_LARGE, f"the body is larger than {bytes_max} bytes")
