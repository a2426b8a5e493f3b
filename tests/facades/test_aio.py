"""Agents on asyncio."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import trio

import meshp2p
import meshp2p.aio
from meshp2p.errors import DelegationFailed, DelegationState, IdConflict, NodeClosed, QueryTimeout, RemoteError
from tests.facades.meshes import LONG, options


class Question(msgspec.Struct):
    text: str


Agent = Callable[[meshp2p.aio.MeshNode, meshp2p.aio.MeshNode], Awaitable[None]]


def run(agent: Agent, **more: Any) -> None:
    """Run it with two nodes, ``a`` and ``b``, that see each other."""

    async def main() -> None:
        async with (
            asyncio.timeout(LONG),
            meshp2p.aio.open_node(**options("a")) as a,
            meshp2p.aio.open_node(**options("b", a, **more)) as b,
        ):
            await a.wait_for_members(2)
            await b.wait_for_members(2)
            await agent(a, b)

    asyncio.run(main())


def test_an_agent_sends_handles_and_asks() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        threads: list[threading.Thread] = []

        @b.handler("Query")
        async def answer(question: Question, message: meshp2p.aio.ReceivedMessage) -> dict[str, str]:
            threads.append(threading.current_thread())
            await asyncio.sleep(0)
            if not question.text:
                raise ValueError("nothing was asked")
            return {"text": question.text.upper(), "to": message.source}

        assert await a.query("b", Question("hello")) == {"text": "HELLO", "to": "a"}
        assert threads == [threading.main_thread()]
        with pytest.raises(RemoteError, match="nothing was asked"):
            await a.query("b", Question(""))
        with pytest.raises(RemoteError, match="PayloadMismatch"):
            await a.query("b", 7)
        with pytest.raises(meshp2p.HandlerConflict, match="answer"):
            b.handler("Query")(answer)
        with pytest.raises(meshp2p.ConfigError, match="expected an async function"):
            b.handler("x")(lambda message: message)
        with pytest.raises(meshp2p.ConfigError, match="payload"):
            await a.send("b", object())
        first = await a.send("b", {"n": 1}, kind="mine")
        await a.broadcast([2])
        async with b.inbox() as inbox:
            one, two = await anext(inbox), await anext(inbox)
            assert (one.id, one.source, one.kind, one.payload, two.payload) == (first, "a", "mine", {"n": 1}, [2])
            assert await one.reply("thanks")
            await one.acknowledge()
            await two.acknowledge()
        (receipt,) = await a.message_status(first)
        assert receipt.recipient == "b"
        for unknown in ("none", first[:-4] + "0000"):
            with pytest.raises(meshp2p.UnknownMessage, match=unknown):
                await a.message_status(unknown)

    run(agent)


def test_an_agent_lists_leads_and_delegates() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        assert [member.id for member in a.members()] == ["a", "b"]
        assert [member.id for member in a.find(capability="sum")] == ["b"]
        assert (await b.wait_for_leader()).id == "a"
        assert a.uptime >= 0
        await b.set_status("idle", {"n": 1})
        async for event in a.events():
            if isinstance(event, meshp2p.MemberUpdated | meshp2p.MemberJoined) and event.instance.status == "idle":
                break
        async with a.leadership() as lease:
            assert lease.token.leader_id == "a"
        assert not lease.was_lost

        @b.handler("TaskDelegation")
        async def work(numbers: list[int]) -> int:
            return sum(numbers)

        assert await a.delegate([1, 2], capability="sum") == 3
        async with a.delegation([3, 4], capability="sum") as task:
            assert await task.result() == 7
            assert (task.state, task.agent, task.tried) == (DelegationState.COMPLETED, "b", ["b"])
        with pytest.raises(DelegationFailed, match="'fly'"):
            await a.delegate(1, capability="fly")

    run(agent, capabilities=["sum"])


def test_a_block_of_leadership_is_cancelled_when_the_leadership_ends() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        async with a.leadership() as lease:
            leaving = asyncio.create_task(a.leave())
            await asyncio.sleep(3600)
        assert lease.was_lost
        await leaving
        async with b.leadership() as second:
            assert second.token > lease.token
        with pytest.raises(KeyError):
            async with b.leadership():
                raise KeyError("mine")

    run(agent)


def test_a_cancelled_query_is_cancelled_in_the_node_and_a_cancelled_task_at_the_agent() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        asked, began, cancelled, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

        @b.handler("Query")
        async def answer(_message: Any) -> None:
            asked.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                stopped.set()
                raise

        @b.handler("TaskDelegation")
        async def work(_message: Any) -> None:
            began.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        query = asyncio.create_task(a.query("b", 1, timeout=3600))
        await asked.wait()
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        await stopped.wait()
        with pytest.raises(QueryTimeout):
            await a.query("b", 1, timeout=0.01)
        task = asyncio.create_task(a.delegate(1, capability="sum"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cancelled.wait()

    run(agent, capabilities=["sum"])


def test_a_wait_that_is_cancelled_loses_no_event_and_a_forgotten_inbox_keeps_no_message() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        async def take_one() -> Any:
            async for message in b.inbox():  # and never closed
                return message.payload
            return None

        for number in range(3):
            await a.send("b", number)
            assert await take_one() == 0  # never acknowledged: the next inbox begins with it
            gc.collect()
        async with b.inbox() as inbox:
            seen: list[int] = []
            while len(seen) < 3:
                try:
                    message = await asyncio.wait_for(anext(inbox), 0.001)
                except TimeoutError:
                    continue
                seen.append(message.payload)
                await message.acknowledge()
            assert seen == [0, 1, 2]

    run(agent)


def test_a_handler_that_cancels_itself_answers_with_an_error() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        @b.handler("Query")
        async def answer(_message: Any) -> None:
            raise asyncio.CancelledError

        with pytest.raises(RemoteError, match="cancelled itself"):
            await a.query("b", 1)

    run(agent)


def test_a_handler_that_runs_at_the_end_of_the_block_is_cancelled_before_the_end() -> None:
    ended: list[str] = []

    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        began = asyncio.Event()

        @b.handler("work")
        async def work(_message: Any) -> None:
            began.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("work")

        await a.send("b", 1, kind="work")
        await began.wait()

    run(agent)
    assert ended == ["work"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_the_block_raises_comes_out_as_it_is_and_the_node_has_left(error: type[BaseException]) -> None:
    async def main() -> None:
        async with meshp2p.aio.open_node(**options("a")) as a:
            try:
                async with meshp2p.aio.open_node(**options("b", a)) as b:
                    await a.wait_for_members(2)
                    raise error
            finally:
                nodes.append(b)
                assert a.member("b") is None

    nodes: list[meshp2p.aio.MeshNode] = []
    with pytest.raises(error):
        asyncio.run(main())
    for node in nodes:
        with pytest.raises(NodeClosed, match="open a new one"):
            node.members()
        with pytest.raises(NodeClosed):
            node.events()
        with pytest.raises(NodeClosed):
            asyncio.run(node.send("a", 1))


def test_a_block_that_is_cancelled_from_outside_leaves_and_an_iterator_ends_with_its_node() -> None:
    async def main() -> None:
        async with meshp2p.aio.open_node(**options("a")) as a:

            async def open_and_wait() -> None:
                async with meshp2p.aio.open_node(**options("b", a)) as b:
                    await a.wait_for_members(2)
                    iterators.append(b.inbox())
                    await asyncio.sleep(3600)

            iterators: list[Any] = []
            task = asyncio.create_task(open_and_wait())
            await a.wait_for_members(2)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert a.member("b") is None
            for iterator in iterators:
                assert [message async for message in iterator] == []

    asyncio.run(main())


def test_an_id_that_is_lost_cancels_the_block_and_comes_out_of_it() -> None:
    async def main() -> None:
        async with asyncio.timeout(LONG), meshp2p.aio.open_node(**options("x")) as first:
            seconds: list[meshp2p.aio.MeshNode] = []

            async def lose() -> None:
                async with meshp2p.aio.open_node(**options("x")) as second:
                    seconds.append(second)
                    async with meshp2p.aio.open_node(**options("c", first, second)):
                        await asyncio.sleep(3600)

            with pytest.raises(IdConflict):
                await lose()
            with pytest.raises(IdConflict):
                seconds[0].members()
            assert first.member("x") is not None
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    asyncio.run(main())


def test_what_cannot_be_started_says_so_and_a_start_may_be_cancelled() -> None:
    async def main() -> None:
        with pytest.raises(meshp2p.ConfigError, match="unknown option"):
            async with meshp2p.aio.open_node(colour="red"):  # type: ignore[call-arg]
                pytest.fail("it was opened")
        async with meshp2p.aio.open_node(**options("a")) as a:
            with pytest.raises(meshp2p.StartError, match="in use"):
                async with meshp2p.aio.open_node(**{**options("b"), "port": a.addresses[0].port}):
                    pytest.fail("it was opened")
        never = meshp2p.ProtocolConfig(settle_timeout=3600)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), meshp2p.aio.open_node(**options("a", protocol=never)):
                pytest.fail("it was opened")

    asyncio.run(main())


def test_a_blocked_loop_does_not_silence_the_node() -> None:
    async def agent(a: meshp2p.aio.MeshNode, b: meshp2p.aio.MeshNode) -> None:
        answered = threading.Event()

        async def ask() -> None:
            async with trio_node(b) as third:
                await third.wait_for_members(3)
                await third.send("b", 1)  # which b's node keeps while its agent is stuck
                answered.set()

        thread = threading.Thread(target=trio.run, args=(ask,))
        thread.start()
        assert answered.wait(LONG)  # nothing runs in this loop meanwhile
        await asyncio.to_thread(thread.join)
        assert (await anext(b.inbox())).payload == 1

    def trio_node(seed: Any) -> Any:
        return meshp2p.open_node(**options("c", seed))

    run(agent)
