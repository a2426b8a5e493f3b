"""Handlers begin in the order of their messages, on each framework."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p.node.handlers import Turns
from meshp2p.testing import VirtualMesh, run
from tests.facades.meshes import options

COUNT = 40


async def begun(node: meshp2p.MeshNode, all_begun: trio.Event | asyncio.Event) -> list[Any]:
    """What a handler of ``node`` was called with, when messages waited for it."""
    for number in range(COUNT):
        await node.send(node.id, number, kind="count")
    numbers: list[Any] = []

    @node.handler("count", concurrency=COUNT)
    async def count(number: int) -> None:
        numbers.append(number)
        if len(numbers) == COUNT:
            all_begun.set()

    await all_begun.wait()
    return numbers


def test_handlers_begin_in_order_in_the_nodes_own_loop() -> None:
    async def main(mesh: VirtualMesh) -> list[Any]:
        (node,) = await mesh.start("a")
        return await begun(node, trio.Event())

    for seed in range(5):
        assert run(main, seed=seed) == list(range(COUNT))


@pytest.mark.parametrize("framework", ["trio", "asyncio"])
def test_handlers_begin_in_order_beside_the_nodes_thread(framework: str) -> None:
    async def main() -> list[Any]:
        async with meshp2p.open_node(**options("a")) as node:
            return await begun(node, asyncio.Event() if framework == "asyncio" else trio.Event())

    found = asyncio.run(main()) if framework == "asyncio" else trio.run(main)
    assert found == list(range(COUNT))


async def test_turns_are_given_one_after_the_other_and_pass_on_whoever_leaves() -> None:
    turns = Turns(2)
    one, two, three, four = (turns.join() for _ in range(4))
    assert [turn.is_set() for turn in (one, two, three, four)] == [True, False, False, False]
    assert turns.waiting == 2  # two begins as soon as one has, three and four once others leave
    turns.leave(one)  # cancelled before it began
    assert two.is_set()
    assert not three.is_set()
    await turns.begin(two)
    assert three.is_set()
    assert not four.is_set()
    await turns.begin(three)
    assert not four.is_set()
    turns.leave(two)
    assert four.is_set()
    turns.leave(three)
    turns.leave(four)
    assert turns.waiting == 0
    assert turns.join().is_set()
