"""Delegated tasks while agents die, leave, pause and are cut off: each has one end, and a result that is right."""

from __future__ import annotations

import random

import pytest
import trio

import meshp2p
from meshp2p.errors import DelegationFailed, DelegationState
from meshp2p.testing import VirtualMesh, run

WORKERS = ("b", "c", "d", "e")
TASKS = 40


async def work_on(node: meshp2p.MeshNode, draw: random.Random, under_way: list[int]) -> None:
    @node.handler("TaskDelegation")
    async def square(number: int) -> int:
        under_way.append(number)
        try:
            await trio.sleep(draw.random() * 3)
        finally:
            under_way.remove(number)
        if draw.random() < 0.1:
            raise meshp2p.Declined("busy")
        return number * number


async def trouble(mesh: VirtualMesh, draw: random.Random, under_way: list[int]) -> None:
    """One thing after another goes wrong, and is well again."""
    for _ in range(8):
        await mesh.sleep(draw.random() * 4)
        victim = draw.choice(WORKERS)
        match draw.randrange(4):
            case 0:
                mesh.kill(victim)
                await mesh.sleep(draw.random() * 5)
                await mesh.restart(victim)
                await work_on(mesh[victim], draw, under_way)
            case 1:
                with mesh.isolate(victim):
                    await mesh.sleep(draw.random() * 12)
            case 2:
                mesh.pause(victim, draw.random() * 4)
                await mesh.sleep(5)
            case _:
                with mesh.loss(0.2, tcp=True):
                    await mesh.sleep(5)


class Observed:
    """A task, each state that it was seen in, and how its result came out."""

    def __init__(self) -> None:
        self.task: meshp2p.Delegation | None = None
        self.states: list[DelegationState] = []
        self.outcome: object = None

    def look(self) -> None:
        if self.task is not None and self.task.state not in self.states[-1:]:
            self.states.append(self.task.state)


@pytest.mark.parametrize("seed", range(3))
def test_each_task_has_one_end_whatever_goes_wrong(seed: int) -> None:
    observed = [Observed() for _ in range(TASKS)]
    under_way: list[int] = []

    async def main(mesh: VirtualMesh) -> None:
        draw = random.Random(seed)
        await mesh.start("a")
        for node in await mesh.start(*WORKERS, capabilities=["square"]):
            await work_on(node, draw, under_way)
        await mesh.wait_until_whole()

        async def watch() -> None:
            """Look at all tasks, long after they have ended too."""
            for _ in range(1800):
                for seen in observed:
                    seen.look()
                await mesh.sleep(0.1)

        async def ask(number: int) -> None:
            await mesh.sleep(draw.random() * 30)
            seen = observed[number]
            async with mesh["a"].delegation(number, capability="square") as task:
                seen.task = task
                if draw.random() < 0.1:
                    await mesh.sleep(draw.random())
                    task.cancel()
                with trio.fail_after(120):
                    try:
                        seen.outcome = await task.result()
                    except DelegationFailed as failure:
                        seen.outcome = failure.state
            seen.look()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trouble, mesh, draw, under_way)
            nursery.start_soon(watch)
            for number in range(TASKS):
                nursery.start_soon(ask, number)
        assert await mesh["a"]._node.fetch("a", 100) == (), "late results were refused and are no longer there"

    run(main, seed=seed)
    for number, seen in enumerate(observed):
        assert seen.states[-1].is_final, number
        assert [state for state in seen.states if state.is_final] == seen.states[-1:], number
        is_done = seen.states[-1] is DelegationState.COMPLETED
        assert seen.outcome == (number * number if is_done else seen.states[-1]), number
    assert sum(seen.states[-1] is DelegationState.COMPLETED for seen in observed) > TASKS / 2
    assert under_way == [], "no agent goes on with a task that has an end"
