"""Nodes on a network in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.core.calls import Push
from meshp2p.core.effects import Call
from meshp2p.net.dials import Connect
from tests.net.service import Node

REQUEST = Push(1, ())
SECONDS = 30.0


class Wires:
    """A network in memory, for virtual time: every connection is a pair of streams. ``cut`` breaks all of them, and
    those that are refused have no listener."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nodes: dict[Address, Node] = {}
        self.streams: list[trio.abc.Stream] = []
        self.dialled = 0
        self._nursery = nursery

    def connect_from(self, host: str) -> Connect:
        async def connect(address: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            node = self.nodes.get(address)
            if node is None:
                raise ConnectionRefusedError(111, "refused")
            self.dialled += 1
            ours, theirs = trio.testing.memory_stream_pair()
            self.streams += [ours, theirs]
            await node.peers.serve_stream(theirs, host)
            return ours

        return connect

    def add(self, name: str, boot: int = 1) -> Node:
        address = Address(f"10.0.0.{len(self.nodes) + 1}", 7700)
        node = Node(name, boot, connect=self.connect_from(address.host))
        node.address = address
        self.nodes[address] = node
        node.known = {other.name: other for other in self.nodes.values()}
        for other in self.nodes.values():
            other.known[name] = node
        return node

    async def start(self, *names: str) -> list[Node]:
        nodes = [self.add(name) for name in names]
        for node in nodes:
            await self._nursery.start(node.peers.run, node, node.serve_query)
        return nodes

    def cut(self) -> None:
        for stream in self.streams:
            self._nursery.start_soon(trio.aclose_forcefully, stream)


@asynccontextmanager
async def wired(*names: str) -> AsyncIterator[tuple[Wires, list[Node]]]:
    async with trio.open_nursery() as nursery:
        wires = Wires(nursery)
        yield wires, await wires.start(*names)
        nursery.cancel_scope.cancel()


def call_to(node: Node, timeout: float = SECONDS, *, by_id: bool = True) -> Call:
    if by_id:
        return Call(1, (node.address,), REQUEST, timeout, node.name, node.boot)
    return Call(1, (node.address,), REQUEST, timeout)


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()
