"""Answers that a socket does not take at once, in the open and in TLS."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from meshp2p.http.limits import HttpLimits
from meshp2p.http.request import Request, Response
from meshp2p.http.server import HttpServer
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
