"""Queries, their parts and their cancellation, on each face of a node: real nodes on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

import meshp2p
import meshp2p.aio
import meshp2p.blocking
from meshp2p.errors import ConfigError, NodeClosed, NoHandler, QueryTimeout, RemoteError
from tests.facades.meshes import LONG, open_pair, options


def test_threads_answer_in_parts_and_see_that_they_are_cancelled() -> None:
    with open_pair(capabilities=["count"]) as (a, b):
        cancelled = threading.Event()
        closed = threading.Event()

        @b.handler("Query")
        def answer(count: int, message: meshp2p.blocking.ReceivedMessage) -> Iterator[int]:
            try:
                yield from range(count)
                if count == 2:
                    raise ValueError("two is none")
                if not count:
                    assert not message.is_cancelled
                    while not message.is_cancelled:
                        cancelled.wait(0.001)
                    cancelled.set()
            finally:
                closed.set()

        @b.handler("TaskDelegation")
        def work(count: int) -> Iterator[int]:
            yield from range(count)

        assert list(a.ask("b", 3)) == [0, 1, 2]
        assert a.query("b", 3) == 2
        parts = a.ask("b", 2)
        assert [next(parts), parts.get(timeout=LONG)] == [0, 1]
        with pytest.raises(RemoteError, match="two is none"):
            next(parts)
        assert list(parts) == []
        with pytest.raises(QueryTimeout, match="within"):
            a.query("b", 0, timeout=0.05)
        assert cancelled.wait(LONG)
        closed.clear()
        with a.ask("b", 1_000_000) as parts:
            assert next(parts) == 0
        assert closed.wait(LONG)
        with a.delegation(3, capability="count") as task:
            assert list(task.progress()) == [0, 1, 2]
            assert task.result(timeout=LONG) == 2
        assert a.delegate(4, capability="count", timeout=LONG) == 3


def test_handlers_are_given_when_a_node_is_opened() -> None:
    def answer(number: int) -> int:
        return number + 1

    async def wrong(_message: Any) -> None: ...

    with (
        meshp2p.blocking.open_node(**options("a")) as a,
        meshp2p.blocking.open_node(**options("b", a), handlers={"Query": answer}),
    ):
        a.wait_for_members(2, timeout=LONG)
        assert a.query("b", 1) == 2
    with (
        pytest.raises(ConfigError, match="expected a plain function"),
        meshp2p.blocking.open_node(handlers={"Query": wrong}),
    ):
        pytest.fail("it was opened")


async def _use(a: Any, b: Any, cancelled_error: type[BaseException], make_event: Callable[[], Any]) -> None:
    """What agents do on asyncio and on trio alike."""
    closed: list[int] = []
    all_closed = make_event()

    async def answer(count: int) -> AsyncIterator[int]:
        is_cancelled = False
        try:
            for number in range(count):
                yield number
            if count == 2:
                raise ValueError("two is none")
            if not count:
                yield -1
                await make_event().wait()
        except cancelled_error:
            is_cancelled = True
            raise
        finally:
            assert not is_cancelled or not count
            closed.append(count)
            if len(closed) == 6:
                all_closed.set()

    async def work(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    b.handler("Query")(answer)
    b.handler("TaskDelegation")(work)
    with pytest.raises(NoHandler):
        await b.query("a", 1)
    assert [part async for part in a.ask("b", 3)] == [0, 1, 2]
    assert await a.query("b", 3) == 2
    assert await b.query("b", 3) == 2
    parts = a.ask("b", 2)
    assert [await anext(parts), await anext(parts)] == [0, 1]
    with pytest.raises(RemoteError, match="two is none"):
        await anext(parts)
    with pytest.raises(QueryTimeout):
        await a.query("b", 0, timeout=0.05)
    async with a.ask("b", 0) as parts:
        assert await anext(parts) == -1
    async with a.delegation(3, capability="count") as task:
        seen = [report async for report in task.progress()]
        assert await task.result() == 2
    assert seen == [0, 1, 2]
    assert await a.delegate(4, capability="count") == 3
    await all_closed.wait()
    assert sorted(closed) == [0, 0, 2, 3, 3, 3]


def test_agents_on_asyncio_ask_for_parts() -> None:
    async def main() -> None:
        async with (
            meshp2p.aio.open_node(**options("a")) as a,
            meshp2p.aio.open_node(**options("b", a, capabilities=["count"])) as b,
        ):
            await a.wait_for_members(2)
            await _use(a, b, asyncio.CancelledError, asyncio.Event)
            cut = a.ask("b", 0)
            assert await anext(cut) == -1
            await a.leave()
            with pytest.raises(NodeClosed):
                await anext(cut)

    asyncio.run(main())


def test_agents_on_trio_beside_their_nodes_threads_ask_for_parts() -> None:
    async def main() -> None:
        async with (
            meshp2p.open_node(**options("a")) as a,
            meshp2p.open_node(**options("b", a, capabilities=["count"])) as b,
        ):
            await a.wait_for_members(2)
            await _use(a, b, trio.Cancelled, trio.Event)

    trio.run(main)


def test_agents_on_trio_with_their_nodes_in_the_loop_ask_for_parts_over_the_network() -> None:
    async def main() -> None:
        async with (
            meshp2p.open_node(in_loop=True, **options("a")) as a,
            meshp2p.open_node(in_loop=True, **options("b", a, capabilities=["count"])) as b,
        ):
            await a.wait_for_members(2)
            await _use(a, b, trio.Cancelled, trio.Event)

    trio.run(main)


class Unwritable:
    """A value like a model's, of which no plain values can be made."""

    def model_dump(self, *, mode: str) -> object:
        raise KeyError(mode)


def test_an_answer_that_cannot_be_encoded_is_an_error_to_threads() -> None:
    with open_pair() as (a, b):

        @b.handler("Query")
        def answer(_message: meshp2p.blocking.ReceivedMessage) -> Unwritable:
            return Unwritable()

        with pytest.raises(RemoteError, match="KeyError"):
            a.query("b", 1, timeout=LONG)


@pytest.mark.parametrize("is_trio", [False, True])
def test_an_answer_that_cannot_be_encoded_is_an_error_to_loops(is_trio: bool) -> None:
    async def main() -> None:
        async with meshp2p.open_node(**options("a")) as node:

            @node.handler("Query")
            async def answer(_message: meshp2p.ReceivedMessage) -> Unwritable:
                return Unwritable()

            with pytest.raises(RemoteError, match="KeyError"):
                await node.query("a", 1, timeout=LONG)

    if is_trio:
        trio.run(main)
    else:
        asyncio.run(main())
