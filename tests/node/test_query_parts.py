"""Answers in parts, and the progress of tasks, on virtual time."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p import errors
from meshp2p.testing import VirtualMesh, run
from tests.node.test_queries import run_pair


def test_a_generator_answers_in_parts_as_they_come() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(count: int, message: meshp2p.ReceivedMessage) -> AsyncIterator[Any]:
            for number in range(count):
                yield {"token": number, "for": message.source}
                await trio.sleep(1)

        began = trio.current_time()
        times: list[int] = []
        parts: list[Any] = []
        async for part in a.ask("b", 3):
            parts.append(part)
            times.append(round(trio.current_time() - began))
        assert parts == [{"token": number, "for": "a"} for number in range(3)]
        assert times == [0, 1, 2]
        assert await a.query("b", 3) == {"token": 2, "for": "a"}
        assert [part async for part in a.ask("b", 0)] == []
        assert await a.query("b", 0) is None
        assert [part async for part in b.ask("b", 2)] == [{"token": number, "for": "b"} for number in range(2)]

    run_pair(test)


def test_another_handler_answers_in_one_part() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(number: int) -> list[int]:
            return [number]

        assert [part async for part in a.ask("b", 3)] == [[3]]

    run_pair(test)


def test_parts_before_an_error_are_given() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(_message: Any) -> AsyncIterator[int]:
            yield 1
            raise ValueError("no more")

        parts = a.ask("b", None)
        assert await anext(parts) == 1
        with pytest.raises(errors.RemoteError, match="no more"):
            await anext(parts)
        with pytest.raises(StopAsyncIteration):
            await anext(parts)
        with pytest.raises(errors.RemoteError, match="no more"):
            await a.query("b", None)
        with pytest.raises(errors.UnknownInstance):
            await anext(a.ask("nobody", None))
        with pytest.raises(errors.ConfigError, match="timeout"):
            a.ask("b", None, timeout=0)

    run_pair(test)


def test_a_slow_reader_slows_the_handler() -> None:
    size = 200_000

    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        given = ahead = read = 0

        @b.handler("Query")
        async def answer(_message: Any) -> AsyncIterator[str]:
            nonlocal given, ahead
            for _ in range(30):
                given += 1
                ahead = max(ahead, given - read)
                yield "x" * size

        async for _ in a.ask("b", None, timeout=1):
            await trio.sleep(2)  # longer than the timeout, which is for the agent alone
            read += 1
        assert read == 30
        assert ahead <= 8  # what the window of a call, and the link, hold

    run_pair(test)


def test_a_part_that_does_not_come_in_time_ends_the_answer() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(_message: Any) -> AsyncIterator[int]:
            try:
                yield 1
                await trio.sleep(1.5)
                yield 2
                await trio.sleep_forever()
            finally:
                closed.set()

        closed = trio.Event()
        parts = a.ask("b", None, timeout=2)
        assert [await anext(parts), await anext(parts)] == [1, 2]
        with pytest.raises(errors.QueryTimeout):
            await anext(parts)
        await closed.wait()

    run_pair(test)


@pytest.mark.parametrize("how", ["closed", "left", "forgotten", "cancelled"])
def test_an_iterator_that_is_no_longer_read_cancels_the_handler(how: str) -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(_message: Any) -> AsyncIterator[int]:
            try:
                yield 1
                await trio.sleep_forever()
            finally:
                closed.set()

        async def read() -> None:
            if how == "left":
                async with a.ask("b", None) as parts:
                    await anext(parts)
                return
            parts = a.ask("b", None)
            await anext(parts)
            if how == "closed":
                parts.close()
                with pytest.raises(StopAsyncIteration):
                    await anext(parts)
            if how == "cancelled":
                with trio.move_on_after(1):
                    await anext(parts)

        closed = trio.Event()
        await read()
        gc.collect()
        with trio.fail_after(1):
            await closed.wait()

    run_pair(test)


def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        @b.handler("Query")
        async def answer(_message: Any) -> AsyncIterator[int]:
            for number in range(10):
                yield number
                await trio.sleep(1)

        parts = a.ask("b", None)
        assert await anext(parts) == 0
        mesh.kill("b")
        with pytest.raises(errors.ConnectionLost):
            async for _ in parts:
                pass
        own = a.ask("a", None)

        @a.handler("Query")
        async def answer_too(_message: Any) -> AsyncIterator[int]:
            yield 1
            await trio.sleep_forever()

        assert await anext(own) == 1
        await a.leave()
        with pytest.raises(errors.NodeClosed):
            await anext(own)

    run_pair(test)


def test_what_the_handler_of_a_task_yields_is_its_progress_and_the_last_of_it_the_result() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["count"])
        await mesh.wait_until_whole()

        @b.handler("TaskDelegation")
        async def work(count: int) -> AsyncIterator[int]:
            for number in range(count):
                yield number
                await trio.sleep(1)

        async with a.delegation(4, capability="count") as task:
            seen = [report async for report in task.progress()]
            assert await task.result() == 3
        assert seen == [0, 1, 2, 3]
        assert await a.delegate(3, capability="count") == 2

    run(main)


def test_progress_is_best_effort_and_a_result_is_not() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["count"])
        await mesh.wait_until_whole()

        @b.handler("TaskDelegation")
        async def work(count: int) -> AsyncIterator[Any]:
            for number in range(count):
                yield number
            yield "x" * 100_000  # too large for a report, and not for a result
            await trio.sleep(3)
            yield "done"

        async def cut() -> None:
            await mesh.sleep(2)
            with mesh.partition("a", "b"):
                await mesh.sleep(2.5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            async with a.delegation(200, capability="count") as task:
                assert await task.result() == "done"
                seen = [report async for report in task.progress()]
        assert len(seen) <= 64
        assert seen == sorted(seen)
        assert 199 in seen

    run(main)
