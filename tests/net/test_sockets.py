"""UDP and TCP on one number, and packets in both directions."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX
from meshp2p.errors import StartError
from meshp2p.net import sockets as sockets_module
from meshp2p.net.sockets import Sockets, connect_tcp, open_sockets, receive_some


@contextmanager
def opened(host: str, port: int = 0, *, is_port_wished: bool = True) -> Iterator[Sockets]:
    sockets = open_sockets(host, port, is_port_wished=is_port_wished)
    try:
        yield sockets
    finally:
        sockets.datagrams.close()
        sockets.listener.socket.close()


async def receive(sockets: Sockets) -> tuple[bytes, Address]:
    with trio.fail_after(30):
        while True:
            await sockets.datagrams.wait_readable()
            received = sockets.datagrams.receive_nowait()
            if received is not None:
                return received


async def test_udp_and_tcp_have_one_number() -> None:
    with opened("127.0.0.1") as sockets:
        assert sockets.port > 0
        assert sockets.listener.socket.getsockname() == ("127.0.0.1", sockets.port)
        with opened("127.0.0.1") as other:
            assert other.port != sockets.port


@pytest.mark.parametrize(
    ("here", "there"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::1")]
)
async def test_packets_go_in_both_directions_and_show_plain_addresses(here: str, there: str) -> None:
    with opened(here) as one, opened(there) as other:
        target = Address(there, one.port)
        other.datagrams.send_nowait(b"to you", target)
        assert await receive(one) == (b"to you", Address(there, other.port))
        one.datagrams.send_nowait(b"and back", Address(there, other.port))
        assert await receive(other) == (b"and back", target)
        assert one.datagrams.receive_nowait() is None
        assert one.datagrams.send_errors == other.datagrams.send_errors == 0


async def test_an_empty_packet_and_the_largest_one_are_packets_too() -> None:
    with opened("127.0.0.1") as one, opened("127.0.0.1") as other:
        for data in (b"", b"x" * DATAGRAM_BYTES_MAX):
            other.datagrams.send_nowait(data, Address("127.0.0.1", one.port))
            assert (await receive(one))[0] == data


async def test_of_a_packet_that_is_too_large_as_much_is_read_as_shows_it() -> None:
    with opened("127.0.0.1") as one, opened("127.0.0.1") as other:
        other.datagrams.send_nowait(b"x" * 65_507, Address("127.0.0.1", one.port))
        assert len((await receive(one))[0]) == DATAGRAM_BYTES_MAX + 1


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("127.0.0.1", Address("::1", 1)),
        ("::1", Address("127.0.0.1", 1)),
        ("127.0.0.1", Address("127.0.0.1", 0)),
        ("127.0.0.1", Address("fe80::1%nothing", 1)),
        ("::1", Address("fe80::1%nothing", 1)),
    ],
)
async def test_what_cannot_be_sent_is_counted_and_no_error(host: str, target: Address) -> None:
    with opened(host) as sockets:
        sockets.datagrams.send_nowait(b"x", target)
        sockets.datagrams.send_nowait(b"x" * 70_000, Address(host, 9))
        assert sockets.datagrams.send_errors == 2


async def test_that_nobody_listens_there_is_no_error_of_the_next_read() -> None:
    """Linux reports the ICMP answer to an earlier packet at a later call on the socket."""
    with opened("127.0.0.1") as sockets, opened("127.0.0.1") as other:
        gone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
        gone.close()
        for _ in range(10):
            sockets.datagrams.send_nowait(b"x", Address("127.0.0.1", port))
        other.datagrams.send_nowait(b"y", Address("127.0.0.1", sockets.port))
        assert (await receive(sockets))[0] == b"y"


async def test_a_wished_port_that_is_taken_is_refused_and_another_is_taken_where_none_was_wished() -> None:
    with opened("127.0.0.1") as first:
        with pytest.raises(StartError, match="is in use: choose another"):
            open_sockets("127.0.0.1", first.port, is_port_wished=True)
        with opened("127.0.0.1", first.port, is_port_wished=False) as second:
            assert second.port != first.port


async def test_where_a_free_tcp_port_is_taken_for_udp_another_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[int] = []

    class Unlucky(socket.socket):
        def bind(self, address: object) -> None:
            if self.type == socket.SOCK_DGRAM and len(refused) < 5:
                refused.append(1)
                raise OSError(errno.EADDRINUSE, "in use")
            super().bind(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Unlucky)
    with opened("127.0.0.1") as sockets:
        assert sockets.port
    assert len(refused) == 5


async def test_ipv6_alone_leaves_the_port_to_ipv4() -> None:
    with opened("::1") as six, opened("127.0.0.1", six.port) as four:
        assert four.port == six.port


async def test_without_ipv6_the_wildcard_is_that_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = sockets_module._bind

    def bind_ipv4(family: socket.AddressFamily, host: str, port: int) -> Sockets:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return bind(family, host, port)

    monkeypatch.setattr(sockets_module, "_bind", bind_ipv4)
    with pytest.raises(StartError):
        open_sockets("::1", 0, is_port_wished=True)
    with opened("::") as sockets:
        assert sockets.host == "0.0.0.0"


async def test_the_system_notices_that_the_other_machine_of_an_idle_connection_is_gone() -> None:
    with opened("127.0.0.1") as sockets:
        called = await connect_tcp(Address("127.0.0.1", sockets.port))
        accepted = await sockets.listener.accept()
        for stream in (called, accepted):
            assert isinstance(stream, trio.SocketStream)
            assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            await stream.aclose()


async def test_receiving_from_a_socket_is_as_that_of_its_stream() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    server = await listeners[0].accept()
    await client.send_all(b"abc")
    assert (await receive_some(server, 2), await receive_some(server, 2)) == (b"ab", b"c")
    await client.send_eof()
    assert await receive_some(server, 2) == b""
    await server.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await receive_some(server, 2)
    await client.aclose()

    client = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    server = await listeners[0].accept()
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await server.aclose()  # it is reset
    with pytest.raises(trio.BrokenResourceError, match="Connection reset"):
        await receive_some(client, 2)
    await client.aclose()

    client = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    server = await listeners[0].accept()
    async with trio.open_nursery() as waiting:
        waiting.start_soon(_expect_closed, server)
        await trio.testing.wait_all_tasks_blocked()
        await server.aclose()
    await client.aclose()
    await listeners[0].aclose()


async def _expect_closed(stream: trio.abc.Stream) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await receive_some(stream, 1)
