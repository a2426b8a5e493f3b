"""Clients, handlers and listeners that the tests of the HTTP server share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import h11
import msgspec
import trio
import trio.testing

from meshp2p.http.limits import HttpLimits
from meshp2p.http.request import Handler, Request, Response
from meshp2p.http.server import HttpServer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def error(self) -> str:
        """The text of ``{"error": text}``, and nothing else is accepted."""
        ((key, text),) = msgspec.json.decode(self.body, type=dict[str, str]).items()
        assert (key, self.headers[b"content-type"]) == ("error", b"application/json")
        return text


async def echo(request: Request) -> Response:
    """Answers with ``METHOD PATH:`` and the body of the request."""
    body = await request.incoming.read()
    return Response(200, f"{request.method} {request.path}:".encode() + body)


async def long_poll(request: Request) -> Response:
    """Waits until the client is gone, if the path is /wait; else as :func:`echo`."""
    if request.path != "/wait":
        return await echo(request)
    return await request.incoming.while_connected(trio.sleep_forever)


class Client:
    """Reads answers from a stream, one after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._unread = b""

    async def ask(self, request: bytes) -> Answer:
        await self.stream.send_all(request)
        return await self.answer(b"HEAD" if request.startswith(b"HEAD ") else b"GET")

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next answer; informational ones are given as their status and nothing else."""
        protocol = h11.Connection(h11.CLIENT)
        protocol.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        protocol.send(h11.EndOfMessage())
        if self._unread:
            protocol.receive_data(self._unread)
        head: h11.Response | None = None
        body = b""
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.InformationalResponse):
                self._unread = protocol.trailing_data[0]
                return Answer(event.status_code, {}, b"")
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                self._unread = protocol.trailing_data[0]
                return Answer(head.status_code, dict(head.headers), body)
            else:
                raise ConnectionResetError(f"no whole answer: {event}")

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        data = self._unread
        while part := await self.stream.receive_some():
            data += part
        return data


@asynccontextmanager
async def connected(
    handler: Handler, limits: HttpLimits | None = None, *, lockstep: bool = False
) -> AsyncIterator[tuple[Client, HttpServer]]:
    """A client on one connection in memory. With ``lockstep`` a send waits until the other side reads."""
    pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
    near, far = pair()
    server = HttpServer(handler, limits or HttpLimits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, far)
        yield Client(near), server
        await near.aclose()


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Stands for a ``trio.SocketListener`` whose connections are in memory, so that ``serve`` runs on virtual time."""

    def __init__(self) -> None:
        self._put, self._take = trio.open_memory_channel[trio.abc.Stream](100)
        self.is_closed = False

    def connect(self, *, lockstep: bool = False, host: str | None = None) -> Client:
        near, far = (trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair)()
        cast("Any", far).peer_host = host
        self._put.send_nowait(far)
        return Client(near)

    async def accept(self) -> trio.abc.Stream:
        return await self._take.receive()

    async def aclose(self) -> None:
        self.is_closed = True


class Serving(NamedTuple):
    server: HttpServer
    listener: MemoryListener
    ended: trio.Event

    def connect(self, *, lockstep: bool = False, host: str | None = None) -> Client:
        return self.listener.connect(lockstep=lockstep, host=host)


@asynccontextmanager
async def serving(handler: Handler, limits: HttpLimits | None = None) -> AsyncIterator[Serving]:
    """A server that serves a :class:`MemoryListener`; at the end it is cancelled."""
    running = Serving(HttpServer(handler, limits or HttpLimits()), MemoryListener(), trio.Event())

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        await running.server.serve(running.listener, task_status=task_status)
        running.ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield running
        nursery.cancel_scope.cancel()
