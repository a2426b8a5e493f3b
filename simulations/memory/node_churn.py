"""Whole nodes under churn, on a virtual LAN in virtual time.

Three nodes live throughout, each with a disk. Others come under ever new ids, and leave or are killed. Agents register
over HTTP, read their mail and expire. The nodes send, broadcast, ask in parts, delegate, write shared maps, hold the
leadership and follow events; clients are opened and closed; and now and then a node is cut off. Before each count
nothing happens for a while.
"""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import AsyncIterator
from typing import Final

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

import meshp2p
from meshp2p.testing import VirtualMesh, run
from meshp2p.virtual.trace import Trace
from simulations.memory.minutes import SMALL, Minute, look

__all__ = ["NodeChurn", "measure_nodes"]

CALM_SECONDS: Final = SMALL.departed_retention + 10.0
_LASTING = ("a", "b", "c")
_REFUSED = (meshp2p.MeshError, meshp2p.RequestRefused)


class NodeChurn:
    """The events that the nodes are given. ``done`` counts by name those that completed."""

    def __init__(self, mesh: VirtualMesh, seed: int) -> None:
        self._mesh = mesh
        self._draw = random.Random(seed)
        self._nodes: dict[str, meshp2p.MeshNode] = {}
        self._goes_on = trio.Event()
        self._goes_on.set()
        self.done: dict[str, int] = {}

    async def run(self) -> None:
        """Runs until it is cancelled."""
        nodes = await self._mesh.start(*_LASTING, capabilities=("work",), protocol=SMALL)
        self._nodes = dict(zip(_LASTING, nodes, strict=True))
        async with trio.open_nursery() as nursery:
            for node in nodes:
                self._serve(node)
                nursery.start_soon(self._read, node)
                nursery.start_soon(self._follow, node)
                nursery.start_soon(self._act, node)
                nursery.start_soon(self._lead, node)
            nursery.start_soon(self._come_and_go)
            nursery.start_soon(self._register)
            nursery.start_soon(self._cut)

    async def calm_down(self) -> None:
        """Let nothing new happen for a while, until what expires has expired: what is left then was not forgotten."""
        self._goes_on = trio.Event()
        await trio.sleep(CALM_SECONDS)

    def go_on(self) -> None:
        """Let events happen again."""
        self._goes_on.set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, for longer in a calm."""
        await trio.sleep(seconds)
        await self._goes_on.wait()

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def _serve(self, node: meshp2p.MeshNode) -> None:
        @node.handler("Query")
        async def answer(payload: int) -> AsyncIterator[int]:
            for number in range(payload):
                yield number

        @node.handler("TaskDelegation")
        async def work(payload: int) -> int:
            if payload % 5 == 0:
                raise meshp2p.Declined
            await trio.sleep(0.2)
            return payload

    async def _read(self, node: meshp2p.MeshNode) -> None:
        async for message in node.inbox():
            if self._draw.random() < 0.9:
                await message.acknowledge()
                self._count("read")

    async def _follow(self, node: meshp2p.MeshNode) -> None:
        """Follow events for a while, and begin anew."""
        while True:
            with trio.move_on_after(5 * self._draw.random()):
                async for _ in node.events():
                    self._count("event")
            with trio.move_on_after(3 * self._draw.random()):
                async for _ in node.shared("plan").changes():
                    self._count("change")

    async def _lead(self, node: meshp2p.MeshNode) -> None:
        while True:
            with trio.move_on_after(2.0):
                async with node.leadership():
                    self._count("term")
                    await trio.sleep(1.0)
            await trio.sleep(0.5)

    async def _act(self, node: meshp2p.MeshNode) -> None:
        for number in itertools.count():
            await self._sleep(0.4 * self._draw.random())
            target = self._draw.choice([name for name in _LASTING if name != node.id])
            try:
                match number % 8:
                    case 0 | 1:
                        await node.send(target, "x" * 100)
                    case 2:
                        await node.broadcast([number])
                    case 3:
                        await node.query(target, 1 + number % 3, timeout=2.0)
                    case 4:
                        async for part in node.ask(target, 9, timeout=2.0):
                            if part == number % 12:
                                break
                    case 5:
                        await node.delegate(number, capability="work", timeout=2.0)
                    case 6:
                        plan = node.shared("plan")
                        await plan.set(f"k{number % 50}", number)
                        await plan.delete(f"k{(number + 8) % 50}")
                    case _:
                        await node.set_status(f"{number % 7}", {"a": number})
                self._count(f"act {number % 8}")
            except _REFUSED:
                self._count("refused")

    async def _come_and_go(self) -> None:
        """Nodes under ever new ids: some leave, some are killed, and some are killed in silence."""
        for number in itertools.count():
            await self._goes_on.wait()
            host = f"x{number % 2}"
            (node,) = await self._mesh.start(host, id=f"n{number}", data_dir=None, protocol=SMALL)
            await trio.sleep(1.0)
            try:
                await node.send("a", [number])
            except _REFUSED:
                self._count("refused")
            await trio.sleep(2.0)
            if number % 3:
                self._mesh.kill(host, silently=number % 3 == 1)
            else:
                await self._mesh.stop(host)
            self._count("came and went")

    async def _register(self) -> None:
        """Agents under ever new ids, which read their mail; half of them go without a word."""
        for number in itertools.count():
            agent = f"agent{number}"
            await self._sleep(self._draw.random())
            try:
                async with self._mesh.client(*_LASTING, timeout=3.0) as client:
                    await client.register(agent, "h", 1)
                    await client.heartbeat(agent, "busy", {"a": number})
                    await client.send("b", {"n": number}, source=agent)
                    await client.send(agent, {"n": number}, source="b")
                    messages = await client.messages(agent, wait=1.0)
                    if number % 3:
                        await client.acknowledge(agent, [message.id for message in messages])
                    await client.members()
                    if number % 2:
                        await client.deregister(agent)
                self._count("registered")
            except _REFUSED:
                self._count("refused")

    async def _cut(self) -> None:
        while True:
            await self._sleep(20.0)
            with self._mesh.partition("c"):
                await trio.sleep(6.0)


def measure_nodes(minutes: int, seed: int = 0) -> list[Minute]:
    """Churn for this many virtual minutes, and count after each, once all is calm."""
    found: list[Minute] = []

    async def churn(mesh: VirtualMesh) -> None:
        happening = NodeChurn(mesh, seed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(happening.run)
            for minute in range(1, minutes + 1):
                await trio.sleep(60.0)
                await happening.calm_down()
                mesh._lan.log.trace = Trace()  # the virtual mesh's own, which grows
                GLOBAL_RUN_CONTEXT.runner.deadlines._prune()  # trio drops up to 1,000 that are over only now and then
                found.append(look(minute))
                happening.go_on()
            nursery.cancel_scope.cancel()

    tracemalloc.start()
    try:
        run(churn, seed=seed, seconds_max=(60.0 + CALM_SECONDS) * minutes + 60)
    finally:
        tracemalloc.stop()
    return found
