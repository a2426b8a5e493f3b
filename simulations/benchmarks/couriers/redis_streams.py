"""Redis: a stream with a consumer group, and lists for request and reply, through redis-py.

The plain client is used, because it is faster than the one for asyncio. Several messages in flight are a pipeline.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from simulations.benchmarks.couriers.courier import Courier, Place, make_payload

__all__ = ["open_redis"]

_STREAM: Final = "messages"
_GROUP: Final = "recipients"
_CONSUMER: Final = "recipient"


class _Redis(Courier):
    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, payload: bytes) -> None:
        self._client.xadd(_STREAM, {"payload": payload})

    async def send_many(self, count: int, window: int) -> None:
        for first in range(0, count, window):
            pipeline = self._client.pipeline(transaction=False)
            for _ in range(first, min(first + window, count)):
                pipeline.xadd(_STREAM, {"payload": make_payload(time.monotonic())})
            pipeline.execute()

    async def receive(self, limit: int) -> Sequence[tuple[bytes, Any]]:
        [(_, found)] = self._client.xreadgroup(_GROUP, _CONSUMER, {_STREAM: ">"}, count=limit, block=0)
        return [(fields[b"payload"], token) for token, fields in found]

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        self._client.xack(_STREAM, _GROUP, *tokens)

    async def page(self, limit: int) -> Sequence[Any]:
        [(_, found)] = self._client.xreadgroup(_GROUP, _CONSUMER, {_STREAM: "0"}, count=limit)
        return [token for token, _ in found]

    async def await_pending(self, count: int) -> None:
        """Deliver all messages to this consumer, so that they can be read again until they are acknowledged."""
        taken = 0
        while taken < count:
            taken += len(await self.receive(count - taken))

    async def clear(self, count: int) -> None:
        self._client.delete(_STREAM)
        self.make_group()

    def make_group(self) -> None:
        self._client.xgroup_create(_STREAM, _GROUP, id="0", mkstream=True)

    async def ask(self, payload: bytes) -> bytes:
        self._client.lpush("requests", payload)
        _, reply = self._client.brpop("replies")
        return bytes(reply)

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        begun()
        for _ in range(count):
            _, request = self._client.brpop("requests")
            self._client.lpush("replies", request)


@contextlib.asynccontextmanager
async def open_redis(place: Place) -> AsyncIterator[Courier]:
    import redis

    host, _, port = place.address.rpartition(":")
    # With a timeout, which is the default, a call that was slow is made again, and its message is there twice.
    with redis.Redis(host=host, port=int(port), socket_timeout=None) as client:
        courier = _Redis(client)
        if place.role == "recipient":
            courier.make_group()
        yield courier
