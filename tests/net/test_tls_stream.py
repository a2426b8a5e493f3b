"""TLS as a stream: what passes, how it ends, and what breaks it."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing

from meshp2p.net.tls_stream import TlsStream
from tests.net.secured import Computer, invited, new_mesh

_, FIRST = new_mesh()
SECOND = invited(FIRST)
DATA = bytes(range(256)) * 1024


class Trickle(trio.abc.Stream):
    """A transport that gives a few bytes at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(7)

    async def aclose(self) -> None:
        await self._stream.aclose()


def pair(
    client: Computer = FIRST,
    server: Computer = SECOND,
    wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None = None,
) -> tuple[TlsStream, TlsStream]:
    near, far = trio.testing.memory_stream_pair()
    transports: list[trio.abc.Stream] = [near, far] if wrap is None else [wrap(near), wrap(far)]
    return (
        TlsStream(transports[0], client.start()._dialling, server_side=False),
        TlsStream(transports[1], server.start()._accepting, server_side=True),
    )


async def handshake(client: TlsStream, server: TlsStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)


async def received(stream: TlsStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await stream.receive_some(1000)
        assert 0 < len(part) <= 1000
        data += part
    return data


async def drain(stream: TlsStream) -> None:
    while await stream.receive_some():
        pass


@pytest.mark.parametrize("wrap", [None, Trickle])
async def test_bytes_pass_both_ways_at_once(wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None) -> None:
    client, server = pair(wrap=wrap)
    await handshake(client, server)
    assert client.alpn_protocol == server.alpn_protocol == "meshp2p/2"
    async with trio.open_nursery() as nursery:
        for sender, receiver in ((client, server), (server, client)):

            async def check(receiver: TlsStream = receiver) -> None:
                assert await received(receiver, len(DATA)) == DATA

            nursery.start_soon(sender.send_all, DATA)
            nursery.start_soon(check)


async def test_what_is_encrypted_may_be_written_by_others() -> None:
    client, server = pair()
    await handshake(client, server)
    sealed = client.encrypt(DATA)
    assert DATA[:1000] not in sealed
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.transport.send_all, sealed)
        assert await received(server, len(DATA)) == DATA
    assert client.encrypt(b"") == b""


async def test_it_ends_where_the_transport_ends() -> None:
    client, server = pair()
    await handshake(client, server)
    await client.send_all(b"last")
    await client.aclose()
    assert await server.receive_some() == b"last"
    assert await server.receive_some() == b""
    assert await server.receive_some() == b""


async def test_it_ends_with_a_close_notify() -> None:
    near, far = trio.testing.memory_stream_pair()
    client = trio.SSLStream(near, FIRST.start()._dialling)
    server = TlsStream(far, SECOND.start()._accepting, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.aclose)
        assert await server.receive_some() == b""
        await server.aclose()


@pytest.mark.parametrize("place", [0, 4, 5, 20, -1])
async def test_a_changed_byte_breaks_it(place: int) -> None:
    client, server = pair()
    await handshake(client, server)
    sealed = bytearray(client.encrypt(b"x" * 100))
    sealed[place] ^= 1
    await client.transport.send_all(sealed)
    await client.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await drain(server)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_a_record_that_is_repeated_or_left_out_breaks_it() -> None:
    for order in ((0, 0), (1,), (1, 0)):
        client, server = pair()
        await handshake(client, server)
        records = [client.encrypt(b"one"), client.encrypt(b"two")]
        for index in order:
            await client.transport.send_all(records[index])
        with pytest.raises(trio.BrokenResourceError):
            await drain(server)


async def test_who_is_refused_learns_why() -> None:
    client, server = pair(client=new_mesh()[1])

    async def refuse() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await server.do_handshake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.do_handshake()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)  # it does not accept the server either
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    near, far = trio.testing.memory_stream_pair()
    listener = SECOND.start()._accepting
    listener.verify_mode = ssl.CERT_REQUIRED
    client = TlsStream(near, stranger, server_side=False)
    server = TlsStream(far, listener, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        await client.do_handshake()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.receive_some()
    assert "certificate required" in str(caught.value.__cause__).lower()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(1000), b"\x16\x03\x01\xff\xff"])
async def test_what_is_no_hello_breaks_it(data: bytes) -> None:
    near, far = trio.testing.memory_stream_pair()
    await near.send_all(data)
    await near.send_eof()
    with pytest.raises(trio.BrokenResourceError):
        await TlsStream(far, FIRST.start()._accepting, server_side=True).do_handshake()


async def test_a_socket_is_written_and_read_without_waiting() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = TlsStream(
        await trio.open_tcp_stream(*listener.socket.getsockname()), FIRST.start()._dialling, server_side=False
    )
    server = TlsStream(await listener.accept(), SECOND.start()._accepting, server_side=True)
    await handshake(client, server)
    with pytest.raises(BlockingIOError):
        server.receive_nowait(1000)
    assert client.send_nowait(b"asked") is None
    await trio.lowlevel.wait_readable(server)
    assert (server.receive_nowait(3), server.receive_nowait(1000)) == (b"ask", b"ed")

    large = DATA * 64  # more than a socket takes
    assert server.send_nowait(large) == b""
    found: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, b"the end")
        while sum(map(len, found)) < len(large) + len(b"the end"):
            try:
                found.append(client.receive_nowait(100_000))
            except BlockingIOError:
                await trio.lowlevel.wait_readable(client)
    assert b"".join(found) == large + b"the end"

    await server.aclose()
    await trio.lowlevel.wait_readable(client)
    assert client.receive_nowait(1000) == b""
    await client.aclose()
    await listener.aclose()


async def test_bytes_that_are_no_tls_break_a_socket_that_is_read_without_waiting() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream(*listener.socket.getsockname())
    server = TlsStream(await listener.accept(), SECOND.start()._accepting, server_side=True)
    outgoing = TlsStream(client, FIRST.start()._dialling, server_side=False)
    await handshake(outgoing, server)
    await client.send_all(b"GET / HTTP/1.1\r\n\r\n")
    await trio.lowlevel.wait_readable(server)
    with pytest.raises(trio.BrokenResourceError):
        server.receive_nowait(1000)
    await client.aclose()
    await server.aclose()
    await listener.aclose()
