"""Sockets that are written and read without waiting: slow readers, and sockets that are closed."""

from __future__ import annotations

import os
import socket

import pytest
import trio
import trio.testing

from meshp2p.http.channel import Channel
from meshp2p.http.limits import HttpLimits
from meshp2p.http.request import Request, Response
from meshp2p.http.server import HttpServer
from meshp2p.http.state import ServerState
from meshp2p.net.secure_stream import CallerStream
from meshp2p.net.tls_stream import TlsStream
from tests.http.clients import GET, Client
from tests.net.secured import invited, new_mesh

_, FIRST = new_mesh()
SECOND = invited(FIRST)
BODY = b"x" * 60_000


async def answer(_request: Request) -> Response:
    return Response(200, BODY)


@pytest.mark.parametrize("is_secured", [False, True])
async def test_answers_that_a_socket_does_not_take_arrive_whole_and_count_until_then(is_secured: bool) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near: trio.abc.Stream = await trio.open_tcp_stream(*listener.socket.getsockname())
    accepted = await listener.accept()
    accepted.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far: trio.abc.Stream = accepted
    if is_secured:
        near = TlsStream(near, FIRST.start()._dialling, server_side=False)
        tls = TlsStream(accepted, SECOND.start()._accepting, server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.do_handshake)
            nursery.start_soon(tls.do_handshake)
        far = CallerStream(tls, "127.0.0.1", lambda: None)
    server = HttpServer(answer, HttpLimits())
    count = 200
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, far)
        await near.send_all(GET * count)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.stats.answers_bytes == len(BODY)  # the one that is being read
        client = Client(near)
        assert [len((await client.answer()).body) for _ in range(count)] == [len(BODY)] * count
        assert server.stats.answers_bytes == 0
        await near.aclose()
    await listener.aclose()


async def test_a_channel_of_a_closed_socket_does_not_touch_the_one_that_has_its_number_now() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    near = await trio.open_tcp_stream(*listener.socket.getsockname())
    far = await listener.accept()
    channel, number = Channel(far, ServerState(HttpLimits())), far.socket.fileno()
    own, other = socket.socketpair()
    await far.aclose()
    with own, other:
        other.setblocking(False)
        os.dup2(own.fileno(), number)
        try:
            other.send(b"of another client")
            with pytest.raises(ConnectionResetError):
                channel.write_at_once(b"an answer")
            with pytest.raises(ConnectionResetError):
                channel.read_waiting()
            assert own.recv(100) == b"of another client"
            with pytest.raises(BlockingIOError):
                other.recv(100)
        finally:
            os.close(number)
    await near.aclose()
    await listener.aclose()
