"""Delegated tasks while agents die, leave, pause and are cut off: each has one end, and a result that is right."""

from __future__ import annotations

import contextlib
import random

import pytest
import trio

import meshp2p
from meshp2p.errors import DelegationFailed, DelegationState
from meshp2p.testing import VirtualMesh, run

WORKERS = ("b", "c", "d", "e")
TASKS = 40


async def work_on(node: meshp2p.MeshNode, draw: random.Random) -> None:
    @node.handler("TaskDelegation")
    async def square(number: int) -> int:
        await trio.sleep(draw.random() * 3)
        if draw.random() < 0.1:
            raise meshp2p.Declined("busy")
        return number * number


async def trouble(mesh: VirtualMesh, draw: random.Random) -> None:
    """One thing after another goes wrong, and is well again."""
    for _ in range(8):
        await mesh.sleep(draw.random() * 4)
        victim = draw.choice(WORKERS)
        match draw.randrange(4):
            case 0:
                mesh.kill(victim)
                await mesh.sleep(draw.random() * 5)
                await mesh.restart(victim)
                await work_on(mesh[victim], draw)
            case 1:
                with mesh.isolate(victim):
                    await mesh.sleep(draw.random() * 12)
            case 2:
                mesh.pause(victim, draw.random() * 4)
                await mesh.sleep(5)
            case _:
                with mesh.loss(0.2, tcp=True):
                    await mesh.sleep(5)


@pytest.mark.parametrize("seed", range(6))
def test_each_task_has_one_end_whatever_goes_wrong(seed: int) -> None:
    ends: dict[int, list[DelegationState]] = {number: [] for number in range(TASKS)}

    async def main(mesh: VirtualMesh) -> None:
        draw = random.Random(seed)
        await mesh.start("a")
        for node in await mesh.start(*WORKERS, capabilities=["square"]):
            await work_on(node, draw)
        await mesh.wait_until_whole()

        async def ask(number: int) -> None:
            await mesh.sleep(draw.random() * 30)
            async with mesh["a"].delegation(number, capability="square") as task:
                if draw.random() < 0.1:
                    await mesh.sleep(draw.random())
                    task.cancel()
                with trio.move_on_after(60):
                    with contextlib.suppress(DelegationFailed):
                        assert await task.result() == number * number
            ends[number].append(task.state)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble, mesh, draw)
            for number in range(TASKS):
                nursery.start_soon(ask, number)
        await mesh.sleep(90)
        assert await mesh["a"].fetch("a", 100) == (), "late results were refused and are no longer there"

    run(main, seed=seed)
    assert all(len(states) == 1 and states[0] is not DelegationState.RUNNING for states in ends.values())
    assert sum(states == [DelegationState.COMPLETED] for states in ends.values()) > TASKS / 2
