"""What the HTTP server does where its client means harm, knows no better, or is not there any more."""

from __future__ import annotations

import tracemalloc

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from meshp2p.http.channel import Channel
from meshp2p.http.framing import parse_head
from meshp2p.http.incoming import RequestBody
from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.request import Request, Response, Write
from meshp2p.http.server import HttpServer
from meshp2p.http.state import ServerState
from tests.http.clients import GET, Client, connected, echo, long_poll, serving

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def stream_for_ever(request: Request) -> Response:
    async def stream(write: Write) -> None:
        while True:
            await write(b"x" * 100_000)

    return Response(stream=stream)


# Too slow


async def test_a_head_that_comes_byte_by_byte_is_cut_in_time(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(head_seconds=10)) as (client, server):
        start = trio.current_time()

        async def drip() -> None:
            for _ in range(9):
                await client.stream.send_all(b"G")
                await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            assert (await client.answer()).status == 408
            assert trio.current_time() - start == pytest.approx(10)
    assert server.stats.refused[HttpRefusal.HEAD_TIMEOUT] == 1


async def test_a_connection_that_says_nothing_is_closed_without_a_word(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(head_seconds=10, idle_seconds=60)) as (client, server):
        start = trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - start == pytest.approx(10)
    assert not any(server.stats.refused.values())


async def test_an_idle_connection_is_closed_without_a_word(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(head_seconds=10, idle_seconds=60)) as (client, _):
        await client.ask(GET)
        start = trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - start == pytest.approx(60)


async def test_a_body_that_does_not_come_is_a_408(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(body_seconds=30)) as (client, server):
        start = trio.current_time()
        answer = await client.ask(POST % 10 + b"x")
        assert (answer.status, answer.error) == (408, "no whole body within 30 seconds")
        assert trio.current_time() - start == pytest.approx(30)
    assert server.stats.refused[HttpRefusal.BODY_TIMEOUT] == 1


async def test_a_client_that_does_not_read_is_cut(autojump_clock: MockClock) -> None:
    async with connected(stream_for_ever, HttpLimits(write_seconds=10), lockstep=True) as (client, server):
        await client.stream.send_all(GET)
        await trio.sleep(15)
        assert server.stats.connections_open == 0
    assert server.stats.refused[HttpRefusal.WRITE_TIMEOUT] == 1


async def test_a_client_that_does_not_read_its_refusal_is_cut(autojump_clock: MockClock) -> None:
    async with connected(echo, lockstep=True) as (client, server):
        await client.stream.send_all(b"\x00")
        await trio.sleep(15)
        assert server.stats.connections_open == 0


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_handler_that_takes_too_long_is_cancelled(autojump_clock: MockClock, has_begun: bool) -> None:
    async def handler(request: Request) -> Response:
        if not has_begun:
            await trio.sleep_forever()
        return Response(stream=stream)

    async def stream(_write: Write) -> None:
        await trio.sleep_forever()

    async with connected(handler, HttpLimits(request_seconds=90)) as (client, server):
        await client.stream.send_all(GET)
        assert (await client.rest()).startswith(b"HTTP/1.1 200" if has_begun else b"HTTP/1.1 503")
    assert server.stats.refused[HttpRefusal.REQUEST_TIMEOUT] == 1


# Too much


async def test_a_body_that_says_it_is_too_large_is_refused_unread(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(body_bytes_max=100)) as (client, server):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n"
        answer = await client.ask(head)
        assert (answer.status, answer.error) == (413, "the body is larger than 100 bytes")
        await client.stream.send_all(b"x" * 101)  # who sends it all the same is not met with a reset
        assert await client.rest() == b""
    assert server.stats.refused[HttpRefusal.BODY_TOO_LARGE] == 1
    assert server.stats.bodies_bytes == 0


async def test_a_chunked_body_that_grows_too_large_is_refused_while_it_comes(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(body_bytes_max=100)) as (client, server):
        await client.stream.send_all(CHUNKED + b"a\r\n0123456789\r\n" * 10)
        await trio.testing.wait_all_tasks_blocked()
        assert not any(server.stats.refused.values())
        assert (await client.ask(b"1\r\n0\r\n")).status == 413


class TwoBytes(trio.abc.Stream):
    """Gives what it has in parts of two bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        self._at += 2
        return self._data[self._at - 2 : self._at]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("nothing is sent")

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("nothing is sent")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_body_in_tiny_parts_takes_no_more_memory_than_in_one(autojump_clock: MockClock) -> None:
    async def peak_of(count: int) -> int:
        data = b"ab" * count
        head, _ = parse_head(POST % len(data), HttpLimits())
        assert head is not None
        body = RequestBody(Channel(TwoBytes(data), ServerState(HttpLimits())), head)
        tracemalloc.start()
        try:
            assert await body.read() == data
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = 3_000, 9_000
    assert await peak_of(large) - await peak_of(small) < 20 * (large - small)


async def test_a_body_of_just_the_limit_is_accepted(autojump_clock: MockClock) -> None:
    async with connected(echo, HttpLimits(body_bytes_max=100)) as (client, _):
        assert len((await client.ask(POST % 100 + b"x" * 100)).body) == 107
        assert len((await client.ask(CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n")).body) == 107


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_handler_may_have_a_bound_of_its_own(autojump_clock: MockClock, chunked: bool) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, await request.incoming.read(100 if request.path == "/large" else None))

    framed = CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n" if chunked else POST % 100 + b"x" * 100
    async with connected(handler, HttpLimits(body_bytes_max=10)) as (client, server):
        assert (await client.ask(framed.replace(b"POST /", b"POST /large", 1))).status == 200
        assert (await client.ask(framed)).status == 413
    assert server.stats.refused[HttpRefusal.BODY_TOO_LARGE] == 1


async def test_an_unread_chunked_body_without_an_end_is_not_read_for_ever(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, b"early")

    async with connected(handler, HttpLimits(body_bytes_max=1000)) as (client, server):
        assert (await client.ask(CHUNKED + b"a\r\n0123456789\r\n" * 101)).body == b"early"
        assert await client.rest() == b""
    assert server.stats.refused[HttpRefusal.BODY_TOO_LARGE] == 1


@pytest.mark.parametrize("in_one_piece", [True, False])
async def test_a_head_that_is_too_large_is_a_431(autojump_clock: MockClock, in_one_piece: bool) -> None:
    async with connected(echo, HttpLimits(header_bytes_max=1000)) as (client, server):
        end = b"\r\n\r\n" if in_one_piece else b""
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + end)).status == 431
    assert server.stats.refused[HttpRefusal.HEAD_TOO_LARGE] == 1


async def test_a_head_of_too_many_lines_is_a_431(autojump_clock: MockClock) -> None:
    async with connected(echo) as (client, server):
        lines = b"A: b\r\n" * 126
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")).status == 200
        # What follows a head does not count.
        await client.stream.send_all(GET * 2 + POST % 1000 + b"\n" * 1000)
        assert [(await client.answer()).status for _ in range(3)] == [200] * 3
        assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"A: b\r\n" * 2)).status == 431
    assert server.stats.refused[HttpRefusal.HEAD_TOO_LARGE] == 1


async def test_a_body_of_many_small_chunks_is_refused_while_it_comes(autojump_clock: MockClock) -> None:
    async with connected(echo) as (client, server):
        small, large = b"1\r\nx\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"
        end = b"0\r\n\r\n"
        assert (await client.ask(CHUNKED + small * 1024 + end)).status == 200
        assert (await client.ask(CHUNKED + (large + small * 8) * 200 + end)).status == 200
        answer = await client.ask(CHUNKED + small * 1025)
        assert (answer.status, answer.error) == (400, "1025 chunks of less than 64 bytes on average")
    assert server.stats.refused[HttpRefusal.BAD_REQUEST] == 1


@pytest.mark.parametrize("in_one_piece", [True, False])
async def test_a_target_that_is_too_long_is_a_414(autojump_clock: MockClock, in_one_piece: bool) -> None:
    async with connected(echo, HttpLimits(header_bytes_max=1000, target_bytes_max=500)) as (client, server):
        request = b"GET /" + b"x" * 500 + b" HTTP/1.1\r\nHost: a\r\n\r\n" if in_one_piece else b"GET /" + b"x" * 1000
        assert (await client.ask(request)).status == 414
    assert server.stats.refused[HttpRefusal.TARGET_TOO_LONG] == 1


async def test_too_much_sent_ahead_during_a_long_poll_ends_it(autojump_clock: MockClock) -> None:
    async with connected(long_poll) as (client, server):
        await client.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.ask(b"x" * 100_000)
        assert (answer.status, answer.error) == (400, "more than 65536 bytes were sent ahead of the answer")
    assert server.stats.refused[HttpRefusal.BAD_REQUEST] == 1


async def test_large_bodies_have_a_bound_all_together_and_small_ones_pass(autojump_clock: MockClock) -> None:
    small, large = 60_000, 200_000
    async with serving(echo, HttpLimits(bodies_bytes_max=300_000)) as running:
        stats = running.server.stats
        first = running.connect()
        await first.stream.send_all(POST % large + b"x" * (large - 1))
        await trio.testing.wait_all_tasks_blocked()
        assert stats.bodies_bytes == large - 1
        refused = await running.connect().ask(POST % large + b"y" * large)
        assert (refused.status, refused.error) == (503, "too many large bodies at a time: try again later")
        assert stats.refused[HttpRefusal.BODIES_TOO_LARGE] == 1
        for _ in range(3):
            assert (await running.connect().ask(POST % small + b"z" * small)).status == 200
        assert (await first.ask(b"x")).status == 200
        assert (await running.connect().ask(POST % large + b"y" * large)).status == 200
        assert stats.bodies_bytes == 0


# Not HTTP


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"1\r\nab\r\n",
    ],
)
async def test_what_is_not_http_is_a_400_and_the_end(autojump_clock: MockClock, request_bytes: bytes) -> None:
    async with connected(echo) as (client, server):
        answer = await client.ask(request_bytes)
        assert (answer.status, answer.headers[b"connection"]) == (400, b"close")
        assert answer.error
        assert await client.rest() == b""
    assert server.stats.refused[HttpRefusal.BAD_REQUEST] == 1


async def test_a_refusal_after_a_head_request_has_its_text(autojump_clock: MockClock) -> None:
    async with connected(echo) as (client, _):
        assert (await client.ask(GET.replace(b"GET", b"HEAD"))).status == 200
        answer = await client.ask(b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (answer.status, answer.error[:17]) == (400, "malformed request")


@pytest.mark.parametrize(
    "request_bytes",
    [b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"],
)
async def test_what_http_may_ask_and_we_have_not_is_a_501(autojump_clock: MockClock, request_bytes: bytes) -> None:
    async with connected(echo) as (client, _):
        await client.stream.send_all(request_bytes)
        assert (await client.rest()).startswith(b"HTTP/1.1 501 ")


FRAGMENTS = [
    *(GET, CHUNKED, POST % 3, POST % 10**19, b"GET ", b"/wait", b"HTTP/1.1", b" ", b":", b"\r\n", b"\n"),
    *(b"abc", b"3\r\nabc\r\n", b"0\r\n\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"Content-Length: 5\r\n"),
]


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(FRAGMENTS)), max_size=12), st.booleans())
async def test_no_bytes_do_more_than_end_their_own_connection(pieces: list[bytes], ends: bool) -> None:
    async with connected(long_poll) as (client, server):
        for piece in pieces:
            try:
                await client.stream.send_all(piece)
            except trio.BrokenResourceError:
                break
            await trio.testing.wait_all_tasks_blocked()
        if ends:
            assert isinstance(client.stream, trio.StapledStream)
            await client.stream.send_eof()
            await client.rest()
    assert server.stats.connections_open == 0
    assert server.stats.refused[HttpRefusal.APP_ERROR] == 0


# The end


async def test_shutting_down_closes_idle_connections_at_once(autojump_clock: MockClock) -> None:
    async with serving(echo) as running:
        fresh, used = running.connect(), running.connect()
        await used.ask(GET)
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        running.server.shut_down()
        running.server.shut_down()
        await running.ended.wait()
        assert trio.current_time() == start
        assert (await fresh.rest(), await used.rest()) == (b"", b"")
        assert running.listener.is_closed


async def test_shutting_down_lets_a_running_request_end(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        await trio.sleep(1)
        return Response(200, b"whole")

    async with serving(handler, HttpLimits(grace_seconds=2)) as running:
        client = running.connect()
        await client.stream.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        running.server.shut_down()
        answer = await client.answer()
        assert (answer.body, answer.headers[b"connection"]) == (b"whole", b"close")
        await running.ended.wait()


async def test_serve_ends_within_its_grace_whatever_clients_do(autojump_clock: MockClock) -> None:
    limits = HttpLimits(grace_seconds=2, write_seconds=1000, head_seconds=1000, body_seconds=1000, linger_seconds=1000)

    async def handler(request: Request) -> Response:
        return await (stream_for_ever if request.path == "/stream" else long_poll)(request)

    async with serving(handler, limits) as running:
        never_reads, half_sent, half_body, waits, lingers = (running.connect(lockstep=True) for _ in range(5))
        await never_reads.stream.send_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        await half_sent.stream.send_all(b"GET / HT")
        await half_body.stream.send_all(POST % 10 + b"x")
        await waits.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await lingers.stream.send_all(b"\x00")
        await lingers.answer()
        await trio.testing.wait_all_tasks_blocked()
        assert running.server.stats.connections_open == 5
        start = trio.current_time()
        running.server.shut_down()
        await trio.testing.wait_all_tasks_blocked()
        assert running.server.stats.connections_open == 2  # if the request has not arrived it is closed at once
        await running.ended.wait()
        assert trio.current_time() - start == pytest.approx(2)
        assert running.server.stats.connections_open == 0


async def test_cancelling_serve_ends_it_at_once(autojump_clock: MockClock) -> None:
    limits = HttpLimits(write_seconds=1000)
    async with serving(stream_for_ever, limits) as running:
        client = running.connect(lockstep=True)
        await client.stream.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
    assert trio.current_time() == start
    assert running.listener.is_closed


# On real sockets, with the kernel's buffers and resets


async def test_a_tcp_client_that_never_reads_does_not_keep_serve_from_ending() -> None:
    server = HttpServer(stream_for_ever, HttpLimits(grace_seconds=0.01, write_seconds=1000))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listeners[0])
        async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as stream:
            await stream.send_all(GET)
            await stream.receive_some(1)
            await trio.testing.wait_all_tasks_blocked(0.05)  # the kernel's buffers are full
            server.shut_down()
            while nursery.child_tasks:
                await trio.lowlevel.checkpoint()
    assert server.stats.connections_open == 0


async def test_a_tcp_client_in_the_middle_of_an_upload_reads_its_413() -> None:
    server = HttpServer(echo, HttpLimits(body_bytes_max=1000))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listeners[0])
        async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as stream:
            await stream.send_all(POST % 1_000_000 + b"x" * 1_000_000)
            assert (await Client(stream).answer()).status == 413
        nursery.cancel_scope.cancel()
