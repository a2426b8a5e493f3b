"""One port for TLS, peers and HTTP: who gets which connection, and what those cost that say nothing."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.net import port as port_module
from meshp2p.net.port import Port
from meshp2p.wire.peer_frames import PEER_MAGIC


class Bench:
    """A port on loopback. ``peers`` and ``http`` are what each was given: the first bytes of a connection."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self.peers: list[tuple[bytes, str]] = []
        self.http: list[bytes] = []
        self.address = Address("127.0.0.1", listener.socket.getsockname()[1])
        self.port = Port(listener, self._serve_peer)
        self.clients: list[trio.SocketStream] = []

    async def _serve_peer(self, stream: trio.abc.Stream, host: str) -> None:
        self.peers.append((bytes(await stream.receive_some()), host))
        await stream.aclose()

    async def serve_http(self) -> None:
        while True:
            stream = await self.port.http.accept()
            self.http.append(bytes(await stream.receive_some()))
            await stream.aclose()

    async def connect(self, data: bytes = b"") -> trio.SocketStream:
        stream = await trio.open_tcp_stream(self.address.host, self.address.port)
        self.clients.append(stream)
        if data:
            await stream.send_all(data)
        return stream


@asynccontextmanager
async def serving(*, accepts_http: bool = True) -> AsyncIterator[Bench]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    bench = Bench(listener)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.port.run)
        if accepts_http:
            nursery.start_soon(bench.serve_http)
        with trio.fail_after(30):
            yield bench
        for client in bench.clients:
            await client.aclose()
        nursery.cancel_scope.cancel()


async def ended(stream: trio.SocketStream) -> bool:
    """Wait for the end of a connection, on which nothing comes."""
    try:
        return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        return True


async def _nobody(stream: trio.abc.Stream, host: str) -> None:
    raise AssertionError


async def test_the_first_byte_says_who_serves_a_connection_and_stays_where_it_is() -> None:
    async with serving() as bench:
        await ended(await bench.connect(PEER_MAGIC + b"..."))
        await ended(await bench.connect(b"GET / HTTP/1.1\r\n"))
        await ended(await bench.connect(b"\0"))
        assert bench.peers == [(PEER_MAGIC + b"...", "127.0.0.1")]
        assert bench.http == [b"GET / HTTP/1.1\r\n", b"\0"]


async def test_tls_to_an_open_port_is_closed_and_counted() -> None:
    async with serving() as bench:
        await ended(await bench.connect(b"\x16\x03\x01\x02\x00"))
        assert (bench.port.stats.tls, bench.peers, bench.http) == (1, [], [])


class StreamFrom(trio.abc.Stream):
    """A connection of a host that tests cannot have, which begins with HTTP."""

    def __init__(self, stream: trio.abc.Stream, peer_host: str) -> None:
        self.peer_host = peer_host
        self._stream = stream

    async def peek_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"G"

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class OneStream(trio.abc.Listener[trio.abc.Stream]):
    def __init__(self, stream: StreamFrom) -> None:
        self._streams = [stream]

    async def accept(self) -> trio.abc.Stream:
        if not self._streams:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self._streams.pop()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.7", "fe80::7", ""])
async def test_plain_http_to_a_secured_port_is_answered_on_loopback_only(
    host: str, autojump_clock: trio.abc.Clock
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = StreamFrom(server, host)
    port = Port(OneStream(stream), _nobody, _nobody)
    await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with trio.open_nursery() as nursery:
        await nursery.start(port.run)
        if host in ("127.0.0.1", "::1"):
            assert await port.http.accept() is stream
            assert port.stats.plain == 0
        else:
            answer = bytes(await client.receive_some())
            assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
            assert await client.receive_some() == b""
            assert port.stats.plain == 1
        nursery.cancel_scope.cancel()


async def test_who_closes_without_a_word_costs_nothing() -> None:
    async with serving() as bench:
        stream = await bench.connect()
        await stream.send_eof()
        assert await ended(stream)
        assert bench.port.stats.silent == 0


async def test_who_says_nothing_is_cut_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "FIRST_BYTE_SECONDS", 0.05)
    async with serving() as bench:
        assert await ended(await bench.connect())
        assert bench.port.stats.silent == 1


async def test_of_too_many_that_say_nothing_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "UNIDENTIFIED_MAX", 3)
    async with serving() as bench:
        oldest, *others = [await bench.connect() for _ in range(4)]
        assert await ended(oldest)
        assert bench.port.stats.silent == 1
        await others[0].send_all(b"GET ")
        assert await ended(others[0])
        assert bench.http == [b"GET "]


async def test_accepting_goes_on_after_an_error(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(trio.abc.Listener[trio.abc.Stream]):
        def __init__(self) -> None:
            self.tries = 0

        async def accept(self) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            self.tries += 1
            if self.tries > 5:
                await trio.sleep_forever()
            raise OSError(errno.EMFILE, "too many open files")

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def nobody(_stream: trio.abc.Stream, _host: str) -> None:
        raise AssertionError

    listener = Failing()
    port = Port(listener, nobody)
    async with trio.open_nursery() as nursery:
        await nursery.start(port.run)
        await trio.sleep(5)
        assert (listener.tries, port.stats.accept_failures) == (6, 5)
        assert len(caplog.records) == 1
        nursery.cancel_scope.cancel()


async def test_if_there_is_no_descriptor_left_the_oldest_that_says_nothing_makes_room() -> None:
    class Exhausted(trio.abc.Listener[trio.abc.Stream]):
        """As long as nobody is closed, nobody is accepted."""

        def __init__(self) -> None:
            near, far = socket.socketpair()
            self.client = trio.SocketStream(trio.socket.from_stdlib_socket(near))
            self.accepted = [trio.SocketStream(trio.socket.from_stdlib_socket(far))]

        async def accept(self) -> trio.abc.Stream:
            if self.accepted:
                return self.accepted.pop()
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EMFILE, "Too many open files")

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    listener = Exhausted()
    port = Port(listener, _nobody)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.run)
        with trio.fail_after(30):
            while not port.stats.silent:
                await trio.lowlevel.checkpoint()
            assert await ended(listener.client)
        nursery.cancel_scope.cancel()
    await listener.client.aclose()


async def test_after_shut_down_nobody_is_accepted() -> None:
    async with serving() as bench:
        bench.port.shut_down()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="connect"):
            await bench.connect()


async def test_closing_the_http_side_closes_what_it_did_not_accept() -> None:
    async with serving(accepts_http=False) as bench:
        waiting = await bench.connect(b"GET ")
        while not bench.port.http._receive.statistics().current_buffer_used:  # type: ignore[attr-defined]
            await trio.testing.wait_all_tasks_blocked(0.01)
        await bench.port.http.aclose()
        assert await ended(waiting)
        assert await ended(await bench.connect(b"GET "))
