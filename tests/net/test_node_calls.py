"""Calls without a task: on an open connection, and what becomes of them."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from meshp2p.core.calls import CallReply, Done
from meshp2p.core.effects import Call, CallFailed, Failure
from meshp2p.net.peer_connection import AskedCall, PeerConnection
from meshp2p.wire.codec import Codec
from tests.net.service import CODEC, Node, running
from tests.net.wires import REQUEST, call_to, settle, wired


async def make_at_once(node: Node, call: Call) -> CallReply | CallFailed | Call:
    """Make a call on an open connection, without a task of its own."""
    outcomes: list[CallReply | CallFailed | Call] = []
    has_ended = trio.Event()

    def conclude(outcome: CallReply | CallFailed | Call) -> None:
        outcomes.append(outcome)
        has_ended.set()

    assert node.peers.begin(call, conclude)
    await has_ended.wait()
    assert len(outcomes) == 1
    return outcomes[0]


async def test_a_call_is_made_at_once_only_on_an_open_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        outcomes: list[CallReply | CallFailed | Call] = []
        assert not one.peers.begin(call_to(other), outcomes.append)
        await settle()
        assert (outcomes, wires.dialled) == ([], 0)
        assert await one.peers.call(call_to(other)) == Done()
        tasks = trio.lowlevel.current_statistics().tasks_living
        assert await make_at_once(one, call_to(other)) == Done()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert other.requests == [CODEC.encode(REQUEST)] * 2


async def test_calls_that_were_made_at_once_leave_nothing_for_the_garbage_collector(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                assert await make_at_once(one, call_to(other)) == Done()
            left = [one for one in gc.get_objects() if isinstance(one, AskedCall)]
        finally:
            gc.enable()
        assert len(left) <= 1


async def test_calls_that_were_made_at_once_end_when_their_own_time_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        other.may_answer = trio.Event()
        began = trio.current_time()
        ended: dict[float, float] = {}

        async def make(seconds: float) -> None:
            outcome = await make_at_once(one, call_to(other, seconds))
            assert isinstance(outcome, CallFailed)
            assert outcome.failure is Failure.TIMEOUT
            ended[seconds] = trio.current_time() - began

        async with trio.open_nursery() as nursery:
            for seconds in (4.0, 1.0, 3.0, 2.0):
                nursery.start_soon(make, seconds)
        assert {seconds: pytest.approx(seconds) for seconds in ended} == ended
        assert len(ended) == 4
        await settle()
        assert other.peers.connections[0].protocol.calls == 0
        assert not one.peers.connections[0].is_usable


async def test_many_calls_that_were_made_at_once_end_together(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (_, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        other.may_answer = trio.Event()
        ended: list[float] = []
        for number in range(1000):
            assert one.peers.begin(call_to(other, 2.0 + number / 10_000), lambda _: ended.append(trio.current_time()))
        began = trio.current_time()
        await trio.sleep(2.2)
        assert len(ended) == 1000
        assert len(set(ended)) <= 11
        assert all(-1e-6 < at - began - 2.0 - number / 10_000 < 0.011 for number, at in enumerate(ended))


async def test_a_call_that_was_made_at_once_is_made_again_in_the_time_left_if_its_connection_breaks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)), trio.open_nursery() as nursery:
        assert await one.peers.call(call_to(other)) == Done()
        other.may_answer = trio.Event()

        async def cut() -> None:
            await trio.sleep(2.0)
            wires.cut()

        nursery.start_soon(cut)
        again = await make_at_once(one, call_to(other, 5.0))
        assert isinstance(again, Call)
        assert again.timeout == pytest.approx(3.0)
        other.may_answer.set()
        assert await one.peers.call(again) == Done()


@pytest.mark.parametrize("has_woken", [True, False])
async def test_whom_a_call_wakes_runs_before_the_reply_is_sent(has_woken: bool, nursery: trio.Nursery) -> None:
    one, other = Node("a", 1), Node("b", 1)
    async with running(one, other):
        for _ in range(20):  # tasks that are ready run in any order
            told: list[str] = []
            news = trio.Event()

            async def agent(news: trio.Event = news, told: list[str] = told) -> None:
                await news.wait()
                told.append("agent")

            def answer(_body: bytes, _sender: bytes = b"", news: trio.Event = news) -> tuple[bytes, bool]:
                news.set()
                return CODEC.encode(Done()), has_woken

            nursery.start_soon(agent)
            other.answer_call = answer  # type: ignore[method-assign, assignment]
            if not other.peers.connections:
                assert await one.peers.call(call_to(other)) == Done()
                continue
            (connection,) = other.peers.connections
            flush = connection.flush

            def note(told: list[str] = told, connection: PeerConnection = connection) -> None:
                if connection.protocol.has_output:
                    told.append("reply")

            connection.flush = lambda flush=flush, note=note: (note(), flush())[1]  # type: ignore[method-assign, misc]
            assert await one.peers.call(call_to(other)) == Done()
            connection.flush = flush  # type: ignore[method-assign]
            assert told == (["agent", "reply"] if has_woken else ["reply", "agent"])


async def test_an_answer_that_is_none_fails_a_call_that_was_made_at_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        for answer in (b"", b"?", Codec("another").encode(Done())):
            monkeypatch.setattr(other, "answer_call", lambda body, sender=b"", answer=answer: (answer, False))
            outcome = await make_at_once(one, call_to(other))
            assert isinstance(outcome, CallFailed)
            assert outcome.failure is Failure.UNREACHABLE
