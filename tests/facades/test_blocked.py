"""Agents that block, and the node that answers all the same."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p.errors import IdConflict, NodeClosed
from simulations.benchmarks.blocked import measure
from tests.facades.meshes import LONG, options


async def test_an_agent_on_trio_that_blocks_is_alive_with_a_thread_of_its_own() -> None:
    with trio.fail_after(LONG):
        async with meshp2p.open_node(**options("a")) as a:
            answered = threading.Event()

            def block() -> None:
                async def agent() -> None:
                    async with meshp2p.open_node(**options("b", a)) as b:
                        handled = trio.Event()

                        @b.handler("work")
                        async def work(_message: Any) -> None:
                            handled.set()

                        await b.wait_for_members(2)
                        opened.set()
                        assert answered.wait(LONG)  # nothing runs in this loop meanwhile
                        await handled.wait()

                trio.run(agent)

            opened = threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, block)
                await trio.to_thread.run_sync(opened.wait)
                await a.wait_for_members(2)
                await a.send("b", 1, kind="work")  # kept by b's node, and b's agent is stuck
                answered.set()


async def test_the_isolated_node_of_a_trio_agent_is_like_any_other() -> None:
    with trio.fail_after(LONG):
        async with (
            meshp2p.open_node(**options("a", capabilities=["sum"])) as a,
            meshp2p.open_node(**options("b", a, capabilities=["sum"])) as b,
        ):
            await a.wait_for_members(2)
            await b.wait_for_members(2)
            began = trio.Event()

            @b.handler("TaskDelegation")
            async def work(number: int) -> int:
                if number < 0:
                    began.set()
                    await trio.sleep_forever()
                return number + 1

            assert await a.delegate(1, capability="sum") == 2
            async with trio.open_nursery() as nursery:

                async def delegate() -> None:
                    await a.delegate(-1, capability="sum")

                nursery.start_soon(delegate)
                await began.wait()
                nursery.cancel_scope.cancel()
            await b.send("a", 7)
            async with a.inbox() as inbox:
                message = await anext(inbox)
                with trio.move_on_after(0.01):
                    await anext(inbox)
                await message.acknowledge()
            async with trio.open_nursery() as nursery, a.leadership() as lease:
                nursery.start_soon(a.leave)
                await trio.sleep_forever()
            assert lease.was_lost
        with pytest.raises(NodeClosed):
            a.members()


async def test_an_isolated_node_that_loses_its_id_ends_the_block() -> None:
    async with meshp2p.open_node(**options("x")) as first:

        async def lose() -> None:
            async with (
                meshp2p.open_node(**options("x")) as second,
                meshp2p.open_node(**options("c", first, second)),
            ):
                await trio.sleep_forever()

        with trio.fail_after(LONG), pytest.raises(IdConflict):
            await lose()


@pytest.mark.slow
async def test_the_benchmark_finds_who_is_silent() -> None:
    (in_loop,) = await measure("trio", ["sleep"], 2.0)
    sleeping, computing = await measure("aio", ["sleep", "compute"], 2.0)
    assert in_loop.worst > 1.9
    assert max(sleeping.worst, computing.worst) < in_loop.worst
