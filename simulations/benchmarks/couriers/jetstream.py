"""NATS: JetStream with file storage and a durable pull consumer, and plain request and reply, through nats-py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from simulations.benchmarks.couriers.courier import Courier, Place, make_payload

__all__ = ["open_jetstream"]

_STREAM: Final = "messages"
_SUBJECT: Final = "messages.recipient"
_CONSUMER: Final = "recipient"
_REQUESTS: Final = "requests"
_PATIENCE: Final = 60.0
_UNACKNOWLEDGED_MAX: Final = 100_000
"""More than any number of waiting messages: with the default of 1,000 the server would hold messages back."""


class _JetStream(Courier):
    rereads = False

    def __init__(self, client: Any, in_flight_max: int) -> None:
        self._client = client
        self._stream = client.jetstream(publish_async_max_pending=in_flight_max)
        self._mailbox: Any = None

    async def send(self, payload: bytes) -> None:
        await self._stream.publish(_SUBJECT, payload)

    async def send_many(self, count: int, window: int) -> None:
        """Send with at most ``window`` messages in flight; nats-py limits them to the number for which it was
        opened."""
        flying: list[Any] = []
        room = asyncio.Semaphore(window)
        for _ in range(count):
            await room.acquire()
            future = await self._stream.publish_async(_SUBJECT, make_payload(time.monotonic()))
            future.add_done_callback(lambda _: room.release())
            flying.append(future)
        await asyncio.gather(*flying)

    async def receive(self, limit: int) -> Sequence[tuple[bytes, Any]]:
        return [(message.data, message) for message in await self._mailbox.fetch(limit, timeout=_PATIENCE)]

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        for message in tokens:
            await message.ack()

    async def acknowledge_one(self, token: Any) -> None:
        await token.ack_sync()

    async def settle(self) -> None:
        await self._client.flush()
        while (await self._mailbox.consumer_info()).num_ack_pending:
            pass

    async def page(self, limit: int) -> Sequence[Any]:
        found: list[Any] = await self._mailbox.fetch(limit, timeout=_PATIENCE)
        return found

    async def clear(self, count: int) -> None:
        await self._mailbox.unsubscribe()
        await self._stream.delete_stream(_STREAM)
        await self.make_stream()

    async def make_stream(self) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig, StorageType

        await self._stream.add_stream(name=_STREAM, subjects=[_SUBJECT], storage=StorageType.FILE)
        self._mailbox = await self._stream.pull_subscribe(
            _SUBJECT,
            durable=_CONSUMER,
            stream=_STREAM,
            config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=_UNACKNOWLEDGED_MAX),
        )

    async def ask(self, payload: bytes) -> bytes:
        return bytes((await self._client.request(_REQUESTS, payload, timeout=_PATIENCE)).data)

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        requests = await self._client.subscribe(_REQUESTS)
        await self._client.flush()
        begun()
        for _ in range(count):
            request = await requests.next_msg(timeout=_PATIENCE)
            await request.respond(request.data)
        await self._client.flush()
        await requests.unsubscribe()


@contextlib.asynccontextmanager
async def open_jetstream(place: Place) -> AsyncIterator[Courier]:
    import nats

    client = await nats.connect(f"nats://{place.address}")
    try:
        courier = _JetStream(client, in_flight_max=4000)
        if place.role == "recipient":
            await courier.make_stream()
        yield courier
    finally:
        await client.close()
