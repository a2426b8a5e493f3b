"""meshp2p: agents that embed a node, each with a ``data_dir``, on trio and asyncio; and agents that use a node over
HTTP."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import msgspec
import trio

import meshp2p.aio
from simulations.benchmarks.couriers.courier import Courier, Place, make_payload, sent_at

__all__ = ["open_mesh_asyncio", "open_mesh_http", "open_mesh_node"]

_KIND: Final = "Notification"
_PATIENCE: Final = 60.0
_LAST_ANSWER_SECONDS: Final = 1.0
_PAGE: Final = 1000
_MAILBOX_MAX: Final = 20_000
"""More than any number of waiting messages: with the default of 10,000 a mailbox of 10,000 would be full."""


class _Caller(Courier):
    """Only request and reply, on trio or asyncio."""

    def __init__(self, node: Any, recipient: str) -> None:
        self.address = str(node.addresses[0])
        self._node = node
        self._recipient = recipient

    async def ask(self, payload: bytes) -> bytes:
        return msgspec.json.encode(await self._node.query(self._recipient, msgspec.Raw(payload), timeout=_PATIENCE))

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        left = count
        is_over = anyio.Event()

        async def echo(question: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                is_over.set()
            return question

        self._node.handler("Query", concurrency=1)(echo)
        begun()
        await is_over.wait()
        await anyio.sleep(_LAST_ANSWER_SECONDS)  # the last answer is still to be sent


class _Node(_Caller):
    async def send(self, payload: bytes) -> None:
        await self._send(self._recipient, _KIND, payload)

    async def send_many(self, count: int, window: int) -> None:
        left = count

        async def send_some() -> None:
            nonlocal left
            while left:
                left -= 1
                await self.send(make_payload(time.monotonic()))

        async with trio.open_nursery() as nursery:
            for _ in range(window):
                nursery.start_soon(send_some)

    async def receive(self, limit: int) -> Sequence[tuple[bytes, Any]]:
        found = await self._node._node.fetch(self._node.id, limit, "", _PATIENCE)
        return [(message.payload, message.id) for message in found]

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        await self._node._node.acknowledge(self._node.id, tuple(tokens))

    async def consume(self, count: int, limit: int) -> list[float]:
        """Messages are acknowledged while the next ones are read: behind the last, which may not be out of the mailbox
        yet."""
        taken: list[float] = []
        last = ""
        done, to_do = trio.open_memory_channel[str](count)
        async with trio.open_nursery() as nursery, done:
            nursery.start_soon(self._acknowledge_all, to_do)
            while len(taken) < count:
                found = await self._node._node.fetch(self._node.id, min(limit, count - len(taken)), last, _PATIENCE)
                now = time.monotonic()
                for message in found:
                    taken.append(now - sent_at(message.payload))
                    done.send_nowait(message.id)
                    last = message.id
        return taken

    async def _acknowledge_all(self, ids: trio.MemoryReceiveChannel[str]) -> None:
        """Acknowledge all waiting messages together, until there are no more."""
        async for first in ids:
            batch = [first]
            with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:
                    batch.append(ids.receive_nowait())
            await self.acknowledge(batch)

    async def page(self, limit: int) -> Sequence[Any]:
        return [message.id for message in await self._node._node.fetch(self._node.id, limit)]

    async def await_pending(self, count: int) -> None:
        seen, last = 0, ""
        while seen < count:
            found = await self._node._node.fetch(self._node.id, _PAGE, last, _PATIENCE)
            seen += len(found)
            last = found[-1].id if found else last

    async def clear(self, count: int) -> None:
        while count:
            found = await self._node._node.fetch(self._node.id, _PAGE, "", _PATIENCE)
            await self._node._node.acknowledge(self._node.id, tuple(message.id for message in found))
            count -= len(found)

    async def _send(self, target: str, kind: str, payload: bytes, correlation_id: str | None = None) -> None:
        await self._node._node.send_message(self._node.id, target, kind, "", payload, correlation_id)


def _config(place: Place, **options: Any) -> meshp2p.NodeConfig:
    """Of a node named as the client, that joins by way of ``place.address``."""
    return meshp2p.NodeConfig.of(
        id=place.name,
        host="127.0.0.1",
        port=0,
        mesh="benchmark",
        mdns=False,
        join=(place.address,) if place.address else (),
        data_dir=place.directory / place.name,
        **options,
    )


async def _wait_for_recipient(node: Any, place: Place) -> None:
    await node.wait_for_leader()
    while node.member(place.recipient) is None:
        await node.wait_for_members(len(node.members()) + 1)


@contextlib.asynccontextmanager
async def open_mesh_node(place: Place) -> AsyncIterator[Courier]:
    """A node in the loop of its agent. It is ready when it lists the recipient."""
    config = _config(place, protocol=meshp2p.ProtocolConfig(mailbox_messages_max=_MAILBOX_MAX))
    async with meshp2p.open_node(config, in_loop=True) as node:
        await _wait_for_recipient(node, place)
        yield _Node(node, place.recipient)


@contextlib.asynccontextmanager
async def open_mesh_asyncio(place: Place) -> AsyncIterator[Courier]:
    """An agent on asyncio, with its node in a thread. It is ready when it lists the recipient."""
    async with meshp2p.aio.open_node(_config(place)) as node:
        await _wait_for_recipient(node, place)
        yield _Caller(node, place.recipient)


class _Body(msgspec.Struct):
    """The body of a request: SendMessageRequest."""

    target_instance: str
    message_type: str
    payload: msgspec.Raw


class _Got(msgspec.Struct):
    message_id: str
    payload: msgspec.Raw


class _Mailbox(msgspec.Struct):
    messages: list[_Got]


class _Acknowledgement(msgspec.Struct):
    message_ids: Sequence[str]


class _Http(Courier):
    """An agent that asks the node of the client that bears its name, with the plain client of Python's library."""

    def __init__(self, place: Place) -> None:
        parts = urlsplit(f"http://{place.address}")
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2 * _PATIENCE)
        self._name = place.name
        self._recipient = place.recipient

    async def send(self, payload: bytes) -> None:
        body = _Body(self._recipient, _KIND, msgspec.Raw(payload))
        self._request("POST", f"/messages/send/{self._name}", body)

    async def receive(self, limit: int) -> Sequence[tuple[bytes, Any]]:
        path = f"/messages/{self._name}?wait={_PATIENCE:g}&limit={limit}"
        found = msgspec.json.decode(self._request("GET", path), type=_Mailbox)
        return [(bytes(message.payload), message.message_id) for message in found.messages]

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        self._request("POST", f"/messages/ack/{self._name}", _Acknowledgement(tokens))

    def _request(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        text = response.read()
        if response.status not in (200, 204):
            raise RuntimeError(f"{method} {path}: {response.status} {text.decode()}")
        return text


@contextlib.asynccontextmanager
async def open_mesh_http(place: Place) -> AsyncIterator[Courier]:
    """``place.address`` is the one of the node that it asks."""
    yield _Http(place)
