"""Queries of whole nodes on virtual time: one call with one reply, of which nothing is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p import errors
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.node import payload as payload_module
from meshp2p.testing import VirtualMesh, run

Pair = Callable[[VirtualMesh, meshp2p.MeshNode, meshp2p.MeshNode], Awaitable[None]]


def run_pair(test: Pair, *, seed: int = 0) -> None:
    """Run it with two nodes, ``a`` and ``b``, that have known each other for some time."""

    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        await mesh.sleep(2)
        await test(mesh, a, b)

    run(main, seed=seed)


class Stuck:
    """A handler that never returns, and what became of its runs."""

    def __init__(self, node: meshp2p.MeshNode) -> None:
        self.messages: list[meshp2p.ReceivedMessage] = []
        self.cancelled_at: list[float] = []
        node.handler("Query")(self._handle)

    async def _handle(self, message: meshp2p.ReceivedMessage) -> None:
        self.messages.append(message)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled_at.append(trio.current_time())
            raise


def test_nothing_is_kept_of_a_query() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        seen: list[Any] = []

        @b.handler("Query")
        async def answer(message: meshp2p.ReceivedMessage) -> int:
            seen.append((message.source, message.target, message.kind, message.payload, len(message.id)))
            seen.append(len(await b._node.fetch("b", 10)) + len(await a._node.fetch("a", 10)))
            await message.acknowledge()  # which is right for mail and changes nothing here
            with pytest.raises(errors.LocalProtocolError, match="the return value of its handler is the answer"):
                await message.reply(2)
            return 1

        stores = a._node._driver.stats.stores + b._node._driver.stats.stores
        assert await a.query("b", {"n": [1]}) == 1
        assert seen == [("a", "b", "Query", {"n": [1]}, 36), 0]
        await mesh.sleep(2)
        assert a._node._driver.stats.stores + b._node._driver.stats.stores == stores

    run_pair(test)


def test_a_node_asks_itself() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, _b: meshp2p.MeshNode) -> None:
        stuck = Stuck(a)
        with pytest.raises(errors.QueryTimeout), mesh.isolate("a"):
            await a.query("a", 1, timeout=0.5)
        assert [message.source for message in stuck.messages] == ["a"]
        assert len(stuck.cancelled_at) == 1

    run_pair(test)


def test_the_handler_is_cancelled_when_the_asker_gives_up() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)
        with trio.move_on_after(1):
            await a.query("b", 1)
        began = trio.current_time()
        await mesh.wait_until(lambda: stuck.cancelled_at)
        with pytest.raises(errors.QueryTimeout, match="'b' did not answer within 2 s") as caught:
            await a.query("b", 1, timeout=2)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, errors.Unreachable)
        await mesh.wait_until(lambda: len(stuck.cancelled_at) == 2)
        assert all(message.is_cancelled for message in stuck.messages)
        assert stuck.cancelled_at[0] - began < 0.1
        assert stuck.cancelled_at[1] - began < 2.2

    run_pair(test)


def test_the_handler_is_cancelled_when_the_asker_has_been_unreachable_for_five_seconds() -> None:
    async def test(mesh: VirtualMesh, _a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)
        mesh.launch("c", ask_from, "c")
        await mesh.wait_until(lambda: stuck.messages)
        mesh.kill("c", silently=True)
        began = trio.current_time()
        await mesh.wait_until(lambda: stuck.cancelled_at)
        assert 4 <= stuck.cancelled_at[0] - began <= 12

    async def ask_from(name: str) -> None:
        async with meshp2p.open_node(id=name) as node:
            await node.wait_for_members(3)
            await node.query("b", 1, timeout=1000)

    run_pair(test)


def test_a_short_cut_changes_nothing() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(_message: Any) -> int:
            began.set()
            await trio.sleep(3)
            return 7

        async def cut() -> None:
            await began.wait()
            with mesh.partition("a", "b"):
                await mesh.sleep(2)

        began = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            assert await a.query("b", 1, timeout=20) == 7

    run_pair(test)


def test_a_lost_connection_leaves_the_outcome_unknown_and_nothing_is_asked_twice() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)

        async def kill() -> None:
            await mesh.wait_until(lambda: stuck.messages)
            mesh.kill("b")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(errors.ConnectionLost):
                await a.query("b", 1, timeout=100)
        b = await mesh.restart("b")  # type: ignore[assignment]
        again = Stuck(b)
        await mesh.sleep(20)
        assert (len(stuck.messages), again.messages) == (1, [])

    run_pair(test)


def test_a_query_to_who_died_silently_ends_when_that_is_noticed() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)

        async def kill() -> None:
            await mesh.wait_until(lambda: stuck.messages)
            mesh.kill("b", silently=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(errors.ConnectionLost):
                await a.query("b", 1, timeout=1000)
        assert mesh.now < 60

    run_pair(test)


def test_a_query_to_who_leaves_ends() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)

        async def leave() -> None:
            await mesh.wait_until(lambda: stuck.messages)
            await mesh.stop("b")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with pytest.raises(errors.ConnectionLost):
                await a.query("b", 1, timeout=1000)
        with pytest.raises(errors.UnknownInstance, match="'b' not found"):
            await a.query("b", 1)

    run_pair(test)


def test_a_query_of_a_node_that_leaves_ends() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)

        async def leave() -> None:
            await mesh.wait_until(lambda: stuck.messages)
            await a.leave()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with pytest.raises(errors.NodeClosed):
                await a.query("b", 1, timeout=1000)
        with pytest.raises(errors.NodeClosed):
            await a.query("b", 1)
        with pytest.raises(errors.NodeClosed):
            await anext(a.ask("b", 1))

    run_pair(test)


def test_who_cannot_be_reached_was_not_asked() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        stuck = Stuck(b)
        mesh.kill("b", silently=True)
        with pytest.raises(errors.Unreachable):
            await a.query("b", 1, timeout=0.5)
        assert not stuck.messages

    run_pair(test)


def test_without_a_handler_a_query_is_refused_at_once_after_the_targets_first_second() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        began = trio.current_time()
        with pytest.raises(errors.NoHandler, match="'b' has no handler for queries"):
            await a.query("b", 1)
        assert trio.current_time() - began < 0.1
        Stuck(b)
        with pytest.raises(errors.QueryTimeout):
            await a.query("b", 1, timeout=1)

    run_pair(test)


def test_in_the_targets_first_second_a_query_waits_for_a_handler_until_the_second_is_over() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        for pause in (0.0, 0.6, 1.5):
            async with mesh.node("c") as c:
                opened = trio.current_time()

                async def add_later(c: meshp2p.MeshNode = c, pause: float = pause) -> None:
                    await mesh.sleep(pause)

                    @c.handler("Query")
                    async def answer(_message: Any) -> int:
                        return 3

                await mesh.wait_until(lambda: a.member("c") is not None)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(add_later)
                    if pause < 1:
                        assert await a.query("c", 1) == 3
                    else:
                        with pytest.raises(errors.NoHandler):
                            await a.query("c", 1)
                        assert trio.current_time() - opened == pytest.approx(1, abs=0.1)
            await mesh.wait_until(lambda: a.member("c") is None)

    run_pair(test)


def test_handlers_that_are_given_when_the_node_is_opened_miss_no_query() -> None:
    async def answer(number: int) -> int:
        return number + 1

    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, _b: meshp2p.MeshNode) -> None:
        async with mesh.node("c", handlers={"Query": answer}) as c:
            await mesh.wait_until(lambda: a.member("c") is not None)
            assert await a.query("c", 1) == 2
            with pytest.raises(errors.HandlerConflict):
                c.handler("Query")(answer)
        with pytest.raises(errors.ConfigError, match="expected an async function"):
            async with mesh.node("d", handlers={"Query": lambda message: message}):
                pytest.fail("it was opened")

    run_pair(test)


def test_many_queries_share_the_handlers_in_their_order() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        running = most = 0

        @b.handler("Query", concurrency=4, timeout=100)
        async def answer(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(0.1)
            running -= 1
            return -number

        answers: dict[int, int] = {}

        async def ask(number: int) -> None:
            answers[number] = await a.query("b", number)

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(ask, number)
        assert answers == {number: -number for number in range(200)}
        assert most == 4

    run_pair(test)


def test_a_query_that_waits_for_its_turn_and_is_given_up_never_begins() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        begun: list[int] = []

        @b.handler("Query", concurrency=1)
        async def answer(number: int) -> int:
            begun.append(number)
            await trio.sleep(2)
            return number

        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.query, "b", 1)
            await mesh.wait_until(lambda: begun)
            with pytest.raises(errors.QueryTimeout):
                await a.query("b", 2, timeout=1)
            assert await a.query("b", 3) == 3
        assert begun == [1, 3]

    run_pair(test)


def test_what_is_too_large_is_refused_with_its_size() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        largest = "x" * (PAYLOAD_BYTES_MAX - 2)

        @b.handler("Query")
        async def answer(text: str) -> str:
            return text if text else largest + "x"

        assert await a.query("b", largest) == largest
        with pytest.raises(errors.LimitExceeded, match="payload of 2097153 bytes: at most 2097152"):
            await a.query("b", largest + "x")
        with pytest.raises(errors.RemoteError, match="payload of 2097153 bytes") as caught:
            await a.query("b", "")
        assert caught.value.kind == "LimitExceeded"
        with pytest.raises(errors.ConfigError, match="payload"):
            await a.query("b", "\ud800")

    run_pair(test)


def test_errors_are_marked_and_never_guessed_from_what_is_answered() -> None:
    looks = {"error": {"type": "ValueError", "message": "is a value"}}

    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(question: str) -> Any:
            if question == "raise":
                raise ValueError("no such \ud800 colour")
            return looks

        assert await a.query("b", "value") == looks
        with pytest.raises(errors.RemoteError, match=r"ValueError: no such \? colour") as caught:
            await a.query("b", "raise")
        assert caught.value.kind == "ValueError"

    run_pair(test)


def test_a_payload_is_checked_at_the_door_where_it_enters_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []
    monkeypatch.setattr(payload_module, "check_plain_json", checked.append)

    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(number: int) -> int:
            return number + 1

        assert await a.query("b", 1) == 2

    run_pair(test)
    assert checked == [b"1", b"2"]


@pytest.mark.parametrize("seed", range(5))
def test_queries_through_loss_and_delay_are_answered_or_fail_and_are_handled_at_most_once(seed: int) -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        handled: list[int] = []

        @b.handler("Query")
        async def answer(number: int) -> int:
            handled.append(number)
            await trio.sleep(number % 7 / 10)
            return number

        answered: list[int] = []

        async def ask(number: int) -> None:
            await mesh.sleep(number / 5)
            try:
                assert await a.query("b", number, timeout=3) == number
                answered.append(number)
            except (errors.Unreachable, errors.UnknownInstance, errors.NoHandler):
                pass

        async def trouble() -> None:
            with mesh.loss(0.3, "a", "b", tcp=True), mesh.delay(0.1, "b", jitter=0.2):
                await mesh.sleep(5)
            with mesh.block_tcp("b"):
                await mesh.sleep(4)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble)
            for number in range(100):
                nursery.start_soon(ask, number)
        assert len(handled) == len(set(handled))
        assert set(answered) <= set(handled)
        assert len(answered) > 30

    run_pair(test, seed=seed)
