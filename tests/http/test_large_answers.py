"""Answers that many clients ask for, or that nobody reads: encoded once, shared, and bounded all together."""

from __future__ import annotations

import itertools
import json
import weakref
from collections.abc import Generator
from typing import Any, cast

import h11
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from meshp2p.core.instance import ListedInstance
from meshp2p.core.record import State
from meshp2p.errors import NodeClosed
from meshp2p.http.backend import Backend
from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.listing import Listing
from meshp2p.http.request import Request, Response
from tests.http.clients import GET, Answer, Client, Serving, serving


class Node:
    """Stands for a node that lists instances, and counts how often it was asked to."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.leader: str | None = None
        self.asked = 0

    @property
    def listed_version(self) -> tuple[int, str | None]:
        return self.count, self.leader

    def members(self) -> list[ListedInstance]:
        self.asked += 1
        names = [f"{number:03}" for number in range(self.count)]
        return [
            ListedInstance(n, "h", 1, (), (), State.ALIVE, "n", (), 1, n == self.leader, "", "", 0, 0) for n in names
        ]


def listing(node: Node) -> Listing:
    return Listing(cast("Backend", node))


def ids(encoded: bytes) -> list[str]:
    return [instance["instance_id"] for instance in json.loads(encoded)]


async def test_a_list_is_encoded_once_while_it_is_the_same(autojump_clock: MockClock) -> None:
    node = Node(500)
    lists = listing(node)
    first = lists.encoded()
    assert all(lists.encoded() is first and len(lists.instances()) == 500 for _ in range(100))
    assert node.asked == 1
    assert len(ids(first)) == 500


async def test_each_change_is_seen_at_once(autojump_clock: MockClock) -> None:
    node = Node(2)
    lists = listing(node)
    assert ids(lists.encoded()) == ["000", "001"]
    node.count = 3
    assert ids(lists.encoded()) == ["000", "001", "002"]
    node.leader = "001"
    assert [instance["is_leader"] for instance in json.loads(lists.encoded())] == [False, True, False]


async def test_the_times_of_heartbeats_are_as_old_as_the_list_is_long(autojump_clock: MockClock) -> None:
    for count in (5, 500):
        node = Node(count)
        lists = listing(node)
        seconds = len(lists.encoded()) * 1e-7
        await trio.sleep(seconds / 2)
        lists.encoded()
        assert node.asked == 1
        await trio.sleep(seconds / 2)
        lists.encoded()
        assert node.asked == 2


LARGE = 100_000


async def never_read(running: Serving, count: int) -> list[Any]:
    """So many clients that ask and never read."""
    clients = [running.connect(lockstep=True) for _ in range(count)]
    for client in clients:
        await client.stream.send_all(GET)
    await trio.testing.wait_all_tasks_blocked()
    return clients


async def test_bytes_that_many_wait_for_count_once(autojump_clock: MockClock) -> None:
    shared = b"x" * LARGE

    async def handler(request: Request) -> Response:
        return Response(200, (b"[", shared, b"]"))

    async with serving(handler, HttpLimits(answers_bytes_max=LARGE * 2)) as running:
        stats = running.server.stats
        clients = await never_read(running, 50)
        assert LARGE <= stats.answers_bytes < LARGE + 200
        assert (await running.connect().ask(GET)).body == b"[" + shared + b"]"
        assert not any(stats.refused.values())
        for client in clients:
            await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert stats.answers_bytes == 0


async def test_large_answers_have_a_bound_all_together_and_small_ones_pass(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, bytes(LARGE if request.path == "/" else 1000))

    async with serving(handler, HttpLimits(answers_bytes_max=LARGE * 3)) as running:
        stats = running.server.stats
        clients = await never_read(running, 3)
        refused = await running.connect().ask(GET)
        assert (refused.status, refused.error) == (503, "too many large answers at a time: try again later")
        assert stats.refused[HttpRefusal.ANSWERS_TOO_LARGE] == 1
        assert (await running.connect().ask(GET.replace(b"/", b"/small", 1))).status == 200
        await clients[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await running.connect().ask(GET)).status == 200


async def test_what_has_not_been_read_for_longest_gives_way(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, bytes(LARGE))

    async with serving(handler, HttpLimits(answers_bytes_max=LARGE * 2)) as running:
        stats = running.server.stats
        longest = await never_read(running, 1)
        await trio.sleep(1)
        other = await never_read(running, 1)
        await trio.sleep(1)
        assert len((await running.connect().ask(GET)).body) == LARGE
        assert stats.refused[HttpRefusal.CROWDED_OUT] == 1
        with pytest.raises(h11.RemoteProtocolError, match="without sending complete"):
            await longest[0].answer()
        assert len((await other[0].answer()).body) == LARGE
        await trio.testing.wait_all_tasks_blocked()
        assert stats.answers_bytes == 0


async def test_an_answer_that_is_refused_is_not_kept_while_its_refusal_is_read(autojump_clock: MockClock) -> None:
    class Answer(Response):
        """A response to which a weak reference can be had."""

    made: list[weakref.ref[Answer]] = []

    async def handler(request: Request) -> Response:
        response = Answer(200, bytes(LARGE))
        made.append(weakref.ref(response))
        return response

    async with serving(handler, HttpLimits(answers_bytes_max=LARGE)) as running:
        await never_read(running, 10)
        assert running.server.stats.refused[HttpRefusal.ANSWERS_TOO_LARGE] == 9
        assert sum(one() is not None for one in made) == 1


async def test_large_bodies_are_checked_one_after_the_other_and_all_else_goes_on() -> None:
    order: list[str] = []

    async def handler(request: Request) -> Response:
        return Response(200, await request.incoming.run_steps(steps(request.path)))

    def steps(name: str) -> Generator[None, None, bytes]:
        for _ in range(1 if name == "/small" else 50):
            order.append(name)
            if name != "/small":
                yield
        return name.encode()

    async with serving(handler) as running, trio.open_nursery() as nursery:
        for path in (b"/a", b"/b", b"/c"):
            nursery.start_soon(running.connect().ask, GET.replace(b"/", path, 1))
        nursery.start_soon(running.connect().ask, GET.replace(b"/", b"/small", 1))
    assert order.count("/a") == order.count("/b") == order.count("/c") == 50
    assert order[-1] != "/small"
    for name in ("/a", "/b", "/c", "/small"):
        order.remove(name)  # a first step, before anybody's turn
    assert len([name for name, _ in itertools.groupby(order)]) == 3


async def test_a_small_request_does_not_meet_a_step_of_a_large_body_in_each_turn_of_the_loop(
    autojump_clock: MockClock,
) -> None:
    step_seconds, turns = 0.01, 10

    async def handler(request: Request) -> Response:
        if request.path == "/small":
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            return Response(200)
        return Response(200, await request.incoming.run_steps(steps()))

    def steps() -> Generator[None, None, bytes]:
        yield
        for _ in range(100):
            autojump_clock.jump(step_seconds)
            yield
        return b"checked"

    async with serving(handler) as running, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(running.connect().ask, GET)
        await trio.sleep(20 * step_seconds)
        begin = trio.current_time()
        await running.connect().ask(GET.replace(b"/", b"/small", 1))
        waited = trio.current_time() - begin
        nursery.cancel_scope.cancel()
    assert waited < turns / 2 * step_seconds


async def test_a_large_body_is_checked_no_further_once_the_server_shuts_down() -> None:
    taken = 0

    async def handler(request: Request) -> Response:
        try:
            return Response(200, await request.incoming.run_steps(steps()))
        except NodeClosed as error:
            return Response(503, str(error).encode())

    def steps() -> Generator[None, None, bytes]:
        nonlocal taken
        while taken < 10_000:
            taken += 1
            yield
        return b"checked"

    async with serving(handler) as running, trio.open_nursery() as nursery:
        clients = [running.connect() for _ in range(3)]
        answers: list[Answer] = []

        async def ask(client: Client) -> None:
            answers.append(await client.ask(GET))

        for client in clients:
            nursery.start_soon(ask, client)
        while taken < 10:
            await trio.lowlevel.checkpoint()
        running.server.shut_down()
        before = taken
        await running.ended.wait()
    assert [(answer.status, answer.body) for answer in answers] == [
        (503, b"this node leaves the mesh: ask another")
    ] * 3
    assert taken <= before + 3
