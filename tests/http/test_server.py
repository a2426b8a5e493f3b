"""What the HTTP server says to a handler and to a client that mean well."""

from __future__ import annotations

import functools
import logging

import pytest
import trio
import trio.testing

from meshp2p.errors import ConfigError
from meshp2p.http.framing import Headers
from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.request import Handler, Request, Response, Write
from meshp2p.http.server import HttpServer
from tests.http.clients import GET, Client, connected, echo, long_poll


def answering(body: bytes = b"", status: int = 200, headers: Headers = ()) -> Handler:
    """A handler that always answers the same."""

    async def handler(request: Request) -> Response:
        return Response(status, body, headers)

    return handler


async def test_a_request_over_tcp_gives_the_handler_a_whole_request() -> None:
    requests: list[Request] = []

    async def handler(request: Request) -> Response:
        requests.append(request)
        return Response(200, b"hello", [(b"content-type", b"text/plain")])

    server = HttpServer(handler, HttpLimits(), server_header="meshp2p")
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda *, task_status: server.serve(listeners[0], task_status=task_status))
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            answer = await Client(stream).ask(b"GET /a%2Fb/%C3%A4?x=%20&y HTTP/1.1\r\nHost: Me\r\nX-Two: 2\r\n\r\n")
        server.shut_down()
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers.keys() == {b"content-type", b"content-length", b"date", b"server"}
    (request,) = requests
    assert (request.method, request.path, request.query) == ("GET", "/a%2Fb/%C3%A4", "x=%20&y")
    assert (request.headers, request.client) == ([(b"host", b"Me"), (b"x-two", b"2")], "127.0.0.1")
    assert (request.header(b"x-two"), request.header(b"x-three")) == ("2", None)
    assert request.query_values() == {"x": [" "], "y": [""]}


async def test_an_ipv4_client_of_a_dual_stack_listener_has_an_ipv4_address() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, str(request.client).encode())

    sock = trio.socket.socket(trio.socket.AF_INET6, trio.socket.SOCK_STREAM)
    try:
        sock.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 0)
        await sock.bind(("::", 0))
    except OSError:
        sock.close()
        pytest.skip("needs IPv6")
    sock.listen()
    server = HttpServer(handler, HttpLimits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, trio.SocketListener(sock))
        async with await trio.open_tcp_stream("127.0.0.1", sock.getsockname()[1]) as stream:
            assert (await Client(stream).ask(GET)).body == b"127.0.0.1"
        nursery.cancel_scope.cancel()


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with connected(echo) as (client, server):
        for number in range(3):
            answer = await client.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            assert (answer.status, answer.body) == (200, b"GET /%d:" % number)
    assert (server.stats.requests_total, server.stats.connections_total) == (3, 1)
    assert server.stats.connections_open == 0


@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n" * 1000])
async def test_empty_lines_before_a_request_are_nothing(empty: bytes) -> None:
    async with connected(echo) as (client, _):
        assert (await client.ask(empty + GET)).status == 200
        await client.stream.send_all(empty)
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask(empty + GET)).status == 200
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
        await client.stream.send_all(post + empty + post + empty + GET)
        assert [(await client.answer()).body for _ in range(3)] == [b"POST /:ab", b"POST /:ab", b"GET /:"]


@pytest.mark.parametrize(
    "request_bytes", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
)
async def test_http_1_0_and_connection_close_end_the_connection(request_bytes: bytes) -> None:
    async with connected(echo) as (client, _):
        answer = await client.ask(request_bytes)
        assert (answer.status, answer.headers[b"connection"]) == (200, b"close")
        assert await client.rest() == b""


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with connected(echo) as (client, _):
        requests = [b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d" % (n, n) for n in range(20)]
        await client.stream.send_all(b"".join(requests))
        assert [(await client.answer()).body for _ in requests] == [b"POST /%d:%02d" % (n, n) for n in range(20)]


async def test_a_client_that_ends_its_side_still_gets_its_answers() -> None:
    async with connected(echo) as (client, _):
        await client.stream.send_all(GET + GET)
        assert isinstance(client.stream, trio.StapledStream)
        await client.stream.send_eof()
        assert [(await client.answer()).body for _ in range(2)] == [b"GET /:"] * 2
        assert await client.rest() == b""


async def test_a_head_has_the_headers_of_a_get_and_no_body() -> None:
    async with connected(answering(b"12345")) as (client, _):
        for _ in range(2):
            answer = await client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (answer.headers[b"content-length"], answer.body) == (b"5", b"")


async def test_a_204_has_neither_body_nor_content_length() -> None:
    async with connected(answering(status=204)) as (client, _):
        answer = await client.ask(GET)
        assert (answer.status, answer.body) == (204, b"")
        assert b"content-length" not in answer.headers
        assert (await client.ask(GET)).status == 204


async def test_a_chunked_body_arrives_whole() -> None:
    chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    async with connected(echo) as (client, _):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await client.ask(head + chunks)).body == b"POST /:abcde"
        await client.stream.send_all(head)
        for byte in chunks:
            await trio.testing.wait_all_tasks_blocked()
            await client.stream.send_all(bytes([byte]))
        assert (await client.answer()).body == b"POST /:abcde"


@pytest.mark.parametrize(("version", "framing"), [(b"1.1", b"transfer-encoding"), (b"1.0", b"connection")])
async def test_a_response_in_parts_is_chunked_or_ends_with_the_connection(version: bytes, framing: bytes) -> None:
    async def stream(write: Write) -> None:
        for part in (b"", b"one ", b"", b"two"):
            await write(part)

    async def handler(request: Request) -> Response:
        return Response(stream=stream)

    async with connected(handler) as (client, _):
        answer = await client.ask(b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version)
        assert framing in answer.headers
        assert answer.body == b"one two"


async def test_a_small_response_is_one_write() -> None:
    writes: list[bytes] = []
    near, far = trio.testing.memory_stream_pair()
    send_all = far.send_all

    async def record(data: bytes) -> None:
        writes.append(data)
        await send_all(data)

    far.send_all = record  # type: ignore[method-assign,assignment]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(echo, HttpLimits()).serve_connection, far)
        await Client(near).ask(GET)
        await near.aclose()
    assert len(writes) == 1


EXPECT = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"


async def test_100_continue_is_sent_when_the_handler_asks_for_the_body() -> None:
    async with connected(echo) as (client, _):
        assert (await client.ask(EXPECT % 3)).status == 100
        assert (await client.ask(b"abc")).body == b"POST /:abc"
        assert (await client.ask(GET)).status == 200


async def test_100_continue_is_not_sent_where_the_body_has_come() -> None:
    async with connected(echo) as (client, _):
        assert (await client.ask(EXPECT % 3 + b"abc")).body == b"POST /:abc"


async def test_100_continue_is_not_sent_where_the_handler_answers_without_the_body() -> None:
    async with connected(answering(b"no", 401), HttpLimits(linger_seconds=0)) as (client, _):
        answer = await client.ask(EXPECT % 3)
        assert (answer.status, answer.headers[b"connection"]) == (401, b"close")
        assert await client.rest() == b""


async def test_an_upgrade_is_answered_as_if_it_were_not_there() -> None:
    async with connected(echo) as (client, _):
        head = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await client.ask(head)).body == b"GET /up:"
        assert (await client.ask(GET)).body == b"GET /:"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://B:1/x?y", "/x", "y"),
        (b"HTTP://B:1?y", "/", "y"),
        (b"http://B:1", "/", ""),
        (b"https://B:1/x", "/x", ""),
    ],
)
async def test_the_authority_of_an_absolute_target_outranks_the_host(target: bytes, path: str, query: str) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, repr((request.path, request.query, request.headers)).encode())

    async with connected(handler) as (client, _):
        answer = await client.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        assert answer.body.decode() == repr((path, query, [(b"host", b"B:1")]))


async def test_a_body_that_the_handler_does_not_read_is_read_past() -> None:
    async def handler(request: Request) -> Response:
        return Response(404, request.path.encode())

    async with connected(handler) as (client, _):
        for path in (b"/one", b"/two"):
            await client.stream.send_all(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" % path)
            assert (await client.answer()).body == path
            await client.stream.send_all(b"x" * 100_000)


async def test_a_handler_that_waits_is_cancelled_when_its_client_goes() -> None:
    ended = trio.Event()

    async def handler(request: Request) -> Response:
        try:
            return await long_poll(request)
        finally:
            ended.set()

    async with connected(handler) as (client, server):
        await client.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await ended.wait()
    assert not any(server.stats.refused.values())


async def test_a_stream_is_cancelled_when_its_client_goes() -> None:
    ended = trio.Event()

    async def stream(write: Write) -> None:
        try:
            await write(b"one")
            await trio.sleep_forever()
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        return Response(stream=stream)

    async with connected(handler) as (client, server):
        await client.stream.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await ended.wait()
    assert not any(server.stats.refused.values())


async def test_what_a_client_sends_during_a_long_poll_is_not_lost(autojump_clock: trio.testing.MockClock) -> None:
    async def handler(request: Request) -> Response:
        if request.path != "/wait":
            return await echo(request)
        await request.incoming.while_connected(functools.partial(trio.sleep, 5))
        return Response(200, b"nothing new")

    async with connected(handler) as (client, _):
        await client.stream.send_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.send_all(b"GET /ahe")
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.send_all(b"ad HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer()).body == b"nothing new"
        assert (await client.answer()).body == b"GET /ahead:"


async def test_what_was_sent_ahead_is_read_after_work_that_ended() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, await request.incoming.while_connected(lambda: work(request)))

    async def work(request: Request) -> bytes:
        await trio.testing.wait_all_tasks_blocked()
        return request.path.encode()

    async with connected(handler) as (client, _):
        await client.stream.send_all(GET + GET.replace(b"/", b"/two", 1))
        assert (await client.answer()).body == b"/"
        assert (await client.answer()).body == b"/two"


async def test_a_handler_that_fails_is_a_500_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        raise ExceptionGroup("several", [ValueError("secret")])

    async with connected(handler) as (client, server):
        answer = await client.ask(GET)
        assert (answer.status, answer.error) == (500, "internal error")
        assert await client.rest() == b""
        assert server.stats.refused[HttpRefusal.APP_ERROR] == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("meshp2p.http", logging.ERROR)
    assert "secret" in caplog.text


async def test_a_stream_that_fails_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def stream(write: Write) -> None:
        await write(b"begun")
        raise ValueError("late")

    async def handler(request: Request) -> Response:
        return Response(stream=stream)

    async with connected(handler) as (client, server):
        await client.stream.send_all(GET)
        answer = await client.rest()
        assert server.stats.refused[HttpRefusal.APP_ERROR] == 1
    assert answer.endswith(b"\r\n\r\n5\r\nbegun\r\n")
    assert "late" in caplog.text


@pytest.mark.parametrize(
    "header", [(b"x-name", b"a\r\nx-injected: 1"), (b"x-name\r\nx-injected", b"1"), (b"x", b"a\x00b"), (b"", b"a")]
)
async def test_a_header_of_a_handler_cannot_inject_another(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(answering(headers=[header])) as (client, _):
        await client.stream.send_all(GET)
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"injected" not in answer
    assert caplog.records


@pytest.mark.parametrize("field", ["connections_max", "idle_seconds", "request_seconds"])
def test_a_limit_of_zero_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} = 0"):
        HttpLimits(**{field: 0})
