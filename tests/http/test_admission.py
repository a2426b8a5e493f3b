"""Which connections a server keeps when more come than it has room for."""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.request import Request, Response, Write
from tests.http.clients import GET, Client, Serving, echo, long_poll, serving

WAIT = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"


async def is_closed(client: Client) -> bool:
    """Whether the server has closed it, without a word."""
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(0.001):
        return await client.rest() == b""
    return False


async def stays_silent(client: Client) -> None:
    """Says nothing, after a request that was answered."""
    assert (await client.ask(GET)).status == 200


async def sends_half_a_head(client: Client) -> None:
    await client.stream.send_all(b"GET / HT")


async def sends_half_a_body(client: Client) -> None:
    await client.stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")


async def stream_for_ever(request: Request) -> Response:
    async def stream(write: Write) -> None:
        while True:
            await write(b"x" * 100_000)

    return await long_poll(request) if request.path == "/wait" else Response(stream=stream)


async def never_reads(client: Client) -> None:
    await client.stream.send_all(GET)


@pytest.mark.parametrize("behaves", [stays_silent, sends_half_a_head, sends_half_a_body])
async def test_one_more_closes_the_one_that_has_waited_for_its_client_longest(
    autojump_clock: MockClock, behaves: Callable[[Client], Awaitable[None]]
) -> None:
    async with serving(long_poll, HttpLimits(connections_max=3)) as running:
        polling, longest, other = running.connect(), running.connect(), running.connect()
        await polling.stream.send_all(WAIT)  # at work, for longer than anybody waits
        for client in (longest, other):
            await trio.sleep(1)
            await behaves(client)
        await trio.sleep(1)
        assert (await running.connect().ask(GET)).status == 200
        assert [await is_closed(client) for client in (polling, longest, other)] == [False, True, False]
        assert running.server.stats.refused[HttpRefusal.CROWDED_OUT] == 1
        assert running.server.stats.connections_open == 3


async def test_who_does_not_read_an_answer_is_closed_for_one_more(autojump_clock: MockClock) -> None:
    async with serving(stream_for_ever, HttpLimits(connections_max=2)) as running:
        polling, reader = running.connect(), running.connect(lockstep=True)
        await polling.stream.send_all(WAIT)
        await never_reads(reader)
        await trio.sleep(1)
        await running.connect().stream.send_all(WAIT)
        await trio.testing.wait_all_tasks_blocked()
        assert running.server.stats.refused[HttpRefusal.CROWDED_OUT] == 1
        assert running.server.stats.connections_open == 2


async def test_if_all_are_at_work_one_more_is_a_503_and_an_end_makes_room(autojump_clock: MockClock) -> None:
    async with serving(long_poll, HttpLimits(connections_max=2)) as running:
        first, second = running.connect(), running.connect()
        for client in (first, second):
            await client.stream.send_all(WAIT)
        await trio.sleep(100)
        assert (await running.connect().answer()).error == "all 2 connections are in use"
        assert running.server.stats.refused[HttpRefusal.TOO_MANY_CONNECTIONS] == 1
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await running.connect().ask(GET)).status == 200
        assert not await is_closed(second)


async def test_requests_that_wait_leave_room_for_those_that_only_ask(autojump_clock: MockClock) -> None:
    async with serving(long_poll, HttpLimits(waiting_max=2)) as running:
        waiting = [running.connect() for _ in range(2)]
        for client in waiting:
            await client.stream.send_all(WAIT)
        await trio.sleep(1)
        assert (await running.connect().ask(WAIT)).error == "2 requests wait already: try again later"
        assert running.server.stats.refused[HttpRefusal.TOO_MANY_WAITING] == 1
        assert (await running.connect().ask(GET)).status == 200
        await waiting[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await running.connect().stream.send_all(WAIT)
        await trio.testing.wait_all_tasks_blocked()
        assert running.server.stats.requests_waiting == 2


async def test_who_has_just_come_is_not_closed_for_one_more(autojump_clock: MockClock) -> None:
    async with serving(echo, HttpLimits(connections_max=2)) as running:
        first, second = running.connect(), running.connect()
        assert (await running.connect().answer()).status == 503
        for client in (first, second):
            assert (await client.ask(GET)).status == 200


async def test_a_remote_address_has_a_share_and_loses_only_its_own(autojump_clock: MockClock) -> None:
    limits = HttpLimits(connections_max=10, connections_per_host_max=2)
    async with serving(long_poll, limits) as running:
        other = running.connect(host="10.0.0.2")
        await trio.sleep(1)
        crowd = [running.connect(host="10.0.0.1") for _ in range(2)]
        await trio.sleep(1)
        assert (await running.connect(host="10.0.0.1").ask(GET)).status == 200
        assert [await is_closed(client) for client in (other, *crowd)] == [False, True, False]
        for _ in range(2):
            await trio.sleep(1)
            await running.connect(host="10.0.0.1").stream.send_all(WAIT)
        await trio.sleep(1)
        refused = await running.connect(host="10.0.0.1").answer()
        assert (refused.status, refused.error) == (503, "all 2 connections of 10.0.0.1 are in use")
        assert (await running.connect(host="10.0.0.2").ask(GET)).status == 200


@pytest.mark.parametrize("host", [None, "127.0.0.1", "127.9.9.9", "::1"])
async def test_loopback_has_no_share(autojump_clock: MockClock, host: str | None) -> None:
    async with serving(echo, HttpLimits(connections_per_host_max=1)) as running:
        clients = [running.connect(host=host) for _ in range(5)]
        await trio.sleep(1)
        assert [(await client.ask(GET)).status for client in clients] == [200] * 5


async def test_http_takes_half_of_the_descriptors_at_most(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (6, 6))
    async with serving(long_poll) as running:
        await fill(running, 3)
        assert (await running.connect().answer()).error == "all 3 connections are in use"


async def fill(running: Serving, count: int) -> None:
    for _ in range(count):
        await running.connect().stream.send_all(WAIT)
    await trio.sleep(1)
