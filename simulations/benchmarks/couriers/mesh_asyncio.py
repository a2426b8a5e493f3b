"""meshp2p: agents on asyncio, each with its node in a thread; request and reply alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

import meshp2p.aio
from simulations.benchmarks.couriers.courier import Courier, Place

__all__ = ["open_mesh_asyncio"]

_PATIENCE: Final = 60.0
_LAST_ANSWER_SECONDS: Final = 1.0


class _Node(Courier):
    def __init__(self, node: Any, recipient: str) -> None:
        self.address = str(node.addresses[0])
        self._node = node
        self._recipient = recipient

    async def ask(self, payload: bytes) -> bytes:
        return msgspec.json.encode(await self._node.query(self._recipient, msgspec.Raw(payload), timeout=_PATIENCE))

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        left = count
        is_over = asyncio.Event()

        async def echo(question: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                is_over.set()
            return question

        self._node.handler("Query", concurrency=1)(echo)
        begun()
        await is_over.wait()
        await asyncio.sleep(_LAST_ANSWER_SECONDS)  # the last answer is still to be sent


@contextlib.asynccontextmanager
async def open_mesh_asyncio(place: Place) -> AsyncIterator[Courier]:
    """A node named as the client. It joins by way of ``place.address``, and begins when it knows the recipient."""
    config = meshp2p.NodeConfig.of(
        id=place.name,
        port=0,
        mesh="benchmark",
        mdns=False,
        join=(place.address,) if place.address else (),
        data_dir=place.directory / place.name,
    )
    async with meshp2p.aio.open_node(config) as node:
        await node.wait_for_leader()
        while node.member(place.recipient) is None:
            await node.wait_for_members(len(node.members()) + 1)
        yield _Node(node, place.recipient)
