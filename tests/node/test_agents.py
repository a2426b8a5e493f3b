"""Agents that embed a node: they send, handle, ask, delegate and lead, on virtual time."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import msgspec
import pytest
import trio

import meshp2p
from meshp2p.errors import (
    ConfigError,
    ConnectionLost,
    DelegationFailed,
    DelegationState,
    HandlerConflict,
    NodeClosed,
    PayloadMismatch,
    QueryTimeout,
    RemoteError,
    UnknownInstance,
)
from meshp2p.node.handlers import Declined
from meshp2p.testing import VirtualMesh, run


class Question(msgspec.Struct):
    text: str


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Colour(TypedDict):
    name: str


def test_a_message_is_in_the_inbox_until_it_is_acknowledged() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        first = await a.send("b", {"n": 1})
        await a.send("b", [2], kind="mine", correlation_id="c")
        async with b.inbox() as inbox:
            one, two = await anext(inbox), await anext(inbox)
            assert (one.id, one.source, one.target, one.kind, one.payload) == (
                first,
                "a",
                "b",
                "Notification",
                {"n": 1},
            )
            assert (two.kind, two.payload, two.correlation_id, two.raw) == ("mine", [2], "c", b"[2]")
            await two.acknowledge()
        async with b.inbox() as inbox:
            again = await anext(inbox)
            assert again.id == first
            await again.acknowledge()
        assert await b._node.fetch("b", 10) == ()

    run(main)


def test_a_reply_to_what_was_no_question_is_in_the_inbox() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        sent = await a.send("b", "news")
        async with b.inbox() as inbox, a.inbox() as answers:
            await (await anext(inbox)).reply("thanks")
            answer = await anext(answers)
            assert (answer.kind, answer.payload, answer.correlation_id) == ("Response", "thanks", sent)

    run(main)


def test_a_handler_answers_a_query_whatever_shape_it_takes() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(question: Question) -> dict[str, str]:
            return {"text": question.text.upper()}

        @b.handler("point")
        async def point(point: Point, message: Any) -> None:
            seen.append((point, message.source))

        @b.handler("colour")
        async def colour(colour: Colour) -> None:
            seen.append(colour["name"])

        seen: list[Any] = []
        assert await a.query("b", Question("hello")) == {"text": "HELLO"}
        await a.send("b", Point(1, 2), kind="point")
        await a.send("b", {"name": "red"}, kind="colour")
        await mesh.wait_until(lambda: len(seen) == 2)
        assert seen == [(Point(1, 2), "a"), "red"]
        with pytest.raises(RemoteError, match="PayloadMismatch") as caught:
            await a.query("b", {"text": 7})
        assert caught.value.kind == PayloadMismatch.__name__
        await mesh.sleep(1)
        assert await b._node.fetch("b", 10) == ()

    run(main)


def test_an_exception_is_answered_as_an_error() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(_message: Any) -> None:
            raise ValueError("no such colour")

        with pytest.raises(RemoteError, match="ValueError: no such colour"):
            await a.query("b", 1)

    run(main)


def test_a_query_that_is_not_answered_ends_and_what_comes_later_is_thrown_away() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(_message: Any) -> int:
            await trio.sleep(3)
            return 1

        with pytest.raises(QueryTimeout, match="within 1 s"):
            await a.query("b", 1, timeout=1)
        await mesh.sleep(5)
        assert await a._node.fetch("a", 10) == ()
        with pytest.raises(UnknownInstance):
            await a.query("nobody", 1)

    run(main)


def test_a_query_ends_when_the_agent_dies() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(_message: Any) -> None:
            await trio.sleep_forever()

        async def die() -> None:
            await mesh.sleep(1)
            mesh.kill("b")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(die)
            with pytest.raises(ConnectionLost, match="'b'"):
                await a.query("b", 1, timeout=100)

    run(main)


def test_a_handler_is_limited_in_number_and_time() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        running = most = 0

        @b.handler("Query", concurrency=2, timeout=2)
        async def answer(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await trio.sleep(number)
            finally:
                running -= 1
            return number

        async def ask(number: int) -> None:
            results.append(await a.query("b", number))

        results: list[int] = []
        async with trio.open_nursery() as nursery:
            for number in (1, 1, 1, 1):
                nursery.start_soon(ask, number)
        assert (results, most) == ([1, 1, 1, 1], 2)
        with pytest.raises(RemoteError, match="not handled within 2 s"):
            await a.query("b", 5)

    run(main)


def test_a_message_whose_handler_was_cut_short_is_handled_after_the_restart() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        async with mesh.node("b", data_dir="state") as b:
            await mesh.wait_until(lambda: len(a.members()) == 2)

            @b.handler("work")
            async def never(_message: Any) -> None:
                began.append(1)
                await trio.sleep_forever()

            await a.send("b", 1, kind="work")
            await mesh.wait_until(lambda: bool(began))
        async with mesh.node("b", data_dir="state") as b:

            @b.handler("work")
            async def work(_message: Any) -> None:
                done.append(1)

            await mesh.wait_until(lambda: bool(done))
            await mesh.sleep(1)
        assert done == [1]

    began: list[int] = []
    done: list[int] = []
    run(main)


def test_a_node_that_leaves_while_a_handler_ends_leaves_well() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        async with mesh.node("b") as b:
            await mesh.wait_until(lambda: len(a.members()) == 2)

            @b.handler("stop")
            async def stop(_message: Any) -> None:
                await b.leave()
                left.append(1)

            await a.send("b", None, kind="stop")
            await mesh.wait_until(lambda: bool(left))
            await mesh.sleep(1)

    left: list[int] = []
    run(main)


def test_a_task_is_done_by_another_where_the_first_dies_or_declines() -> None:
    async def main(mesh: VirtualMesh) -> None:
        nodes = await mesh.start("a", "b", "c", "d", capabilities=["sum"])
        await mesh.wait_until_whole()
        a = nodes[0]
        order: list[str] = []
        for node in nodes[1:]:

            @node.handler("TaskDelegation")
            async def work(numbers: list[int], message: Any, node: meshp2p.MeshNode = node) -> int:
                order.append(node.id)
                if len(order) == 1:
                    raise Declined("not today")
                if len(order) == 2:
                    mesh.kill(node.id)
                    await trio.sleep_forever()
                return sum(numbers)

        assert await a.delegate([1, 2, 3], capability="sum", timeout=100) == 6
        assert sorted(order) == ["b", "c", "d"]

    run(main)


def test_a_task_has_one_end() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["sum"])
        await mesh.wait_until_whole()
        cancelled: list[str] = []

        @b.handler("TaskDelegation")
        async def work(number: int) -> int:
            if number < 0:
                raise ValueError("negative")
            try:
                await trio.sleep(number)
            except trio.Cancelled:
                cancelled.append(b.id)
                raise
            return number

        async with a.delegation(2, capability="sum") as task:
            assert task.state is DelegationState.RUNNING
            assert await task.result() == 2
            task.cancel()
            assert (task.state, task.agent) == (DelegationState.COMPLETED, "b")
        with pytest.raises(DelegationFailed, match="negative") as caught:
            await a.delegate(-1, capability="sum")
        assert caught.value.state is DelegationState.FAILED
        with pytest.raises(DelegationFailed, match="within 1 s") as caught:
            await a.delegate(50, capability="sum", timeout=1)
        assert caught.value.state is DelegationState.FAILED
        async with a.delegation(60, capability="sum") as task:
            await mesh.sleep(1)
        assert task.state is DelegationState.CANCELLED
        await mesh.wait_until(lambda: len(cancelled) == 2)
        with pytest.raises(DelegationFailed, match="capability 'fly'") as caught:
            await a.delegate(1, capability="fly")
        assert caught.value.state is DelegationState.ORPHANED
        await mesh.sleep(2)
        assert await a._node.fetch("a", 10) == ()
        assert await b._node.fetch("b", 10) == ()

    run(main)


def test_leadership_lasts_for_a_block_and_ends_with_it() -> None:
    async def main(mesh: VirtualMesh) -> None:
        _a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        async with trio.open_nursery() as nursery:

            async def kill() -> None:
                await mesh.sleep(2)
                mesh.kill("a")

            nursery.start_soon(kill)
            async with b.leadership() as lease:
                assert b.is_leader
                first = lease.token
                nursery.start_soon(mesh.restart, "a")
                await trio.sleep_forever()
            assert lease.was_lost
        async with mesh["a"].leadership() as second:
            assert second.token > first
        assert not second.was_lost

    run(main)


def test_leadership_of_a_node_that_leaves_ends_quietly() -> None:
    async def main(mesh: VirtualMesh) -> None:
        async with mesh.node("a") as a, trio.open_nursery() as nursery:

            async def lead() -> None:
                async with a.leadership() as lease:
                    nursery.cancel_scope.cancel()
                    leases.append(lease)

            nursery.start_soon(lead)
        with pytest.raises(NodeClosed):
            async with a.leadership():
                pass

    leases: list[Any] = []
    run(main)
    assert len(leases) == 1


def test_a_status_ends_when_its_time_is_over() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        await a.set_status("busy", {"n": 1}, until=10)
        await mesh.wait_until(lambda: getattr(b.member("a"), "status", "") == "busy")
        await mesh.sleep(12)
        assert getattr(b.member("a"), "status", None) == ""

    run(main)


def test_wrong_use_says_what_to_do() -> None:
    async def main(mesh: VirtualMesh) -> None:
        async with mesh.node("a") as a:

            @a.handler("Query")
            async def answer(_message: Any) -> None: ...

            with pytest.raises(HandlerConflict, match="answer"):
                a.handler("Query")(answer)
            with pytest.raises(ConfigError, match="expected an async function"):
                a.handler("x")(lambda message: message)
            with pytest.raises(ConfigError, match=r"expected \(message\)"):

                @a.handler("y")
                async def nothing() -> None: ...

            with pytest.raises(ConfigError, match="Custom"):
                a.handler("Custom")
            with pytest.raises(ConfigError, match="payload"):
                await a.send("a", object())
            with pytest.raises(ConfigError, match="payload"):
                await a.send("a", "\ud800")
            with pytest.raises(ConfigError, match="expected a capability"):
                await a.delegate(1)
            with pytest.raises(UnknownInstance, match="'x' not found"):
                await a.send("x", 1)
        with pytest.raises(NodeClosed, match="open a new one"):
            await a.send("a", 1)
        async for _ in a.inbox():
            pytest.fail("a node that has left has no messages")

    run(main)
