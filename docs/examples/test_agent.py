"""A pytest test of an agent through a partition. The fixture comes with meshp2p; time and network are virtual."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import meshp2p
from meshp2p.testing import VirtualMesh


async def counter(log: list[tuple[meshp2p.FencingToken, int]]) -> None:
    """The agent under test: while it leads it counts, a number a second, and writes each under its fencing token."""
    async with meshp2p.open_node(capabilities=["count"]) as node:
        while True:
            async with node.leadership() as lease:
                for number in range(1_000_000):
                    log.append((lease.token, number))
                    await trio.sleep(1)


async def test_each_side_counts_and_tokens_tell_which_is_to_be_believed(virtual_mesh: VirtualMesh) -> None:
    mesh = virtual_mesh
    logs: dict[str, list[tuple[meshp2p.FencingToken, int]]] = {"x": [], "y": [], "z": []}
    for name, log in logs.items():
        mesh.launch(name, counter, log)
    await mesh.wait_until_whole("x", "y", "z")
    await mesh.sleep(10)
    [old] = [name for name, log in logs.items() if log]  # one of them leads
    token = logs[old][-1][0]

    with mesh.partition([old], [name for name in logs if name != old]):
        await mesh.sleep(60)
        [new] = [name for name, log in logs.items() if log and name != old]
        assert logs[new][-1][0] > token  # a store that has seen the new token refuses what the old leader began
        assert logs[old][-1][0] > token  # which lost its lease when it heard nobody, and leads its side in a new term
    await mesh.wait_until_whole()

    await mesh.sleep(10)
    count = {name: len(log) for name, log in logs.items()}
    await mesh.sleep(10)
    assert len([name for name, log in logs.items() if len(log) > count[name]]) == 1  # one leads again


async def test_a_question_outlives_a_partition(virtual_mesh: VirtualMesh) -> None:
    a, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()

    @b.handler("Query")
    async def answer(question: dict[str, Any]) -> int:
        return len(question)

    virtual_mesh.partition(["a"], ["b"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(virtual_mesh.sleep, 3)  # shorter than it takes to find a death
        with pytest.raises(meshp2p.QueryTimeout):
            await a.query("b", {"n": 1}, timeout=2)
    virtual_mesh.heal()
    assert await a.query("b", {"n": 1}) == 1
