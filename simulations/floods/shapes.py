"""The floods: each runs until it is ended. ``python -m simulations.floods.shapes NAME HOST PORT``."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.wire.codec import Codec

__all__ = ["SHAPES", "Target"]

_PLACES: Final = 320  # connections of a flood that wants all of them: more than a node has
_HEAD: Final = "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Target:
    """The node that is flooded."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    async def connect(self, source: str | None = None) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.host, self.port, local_address=source)

    async def ask(self, stream: trio.SocketStream, request: bytes) -> None:
        """Send a request and read some of its answer."""
        await stream.send_all(request)
        if not await stream.receive_some(65_536):
            raise trio.BrokenResourceError


Flood: TypeAlias = Callable[[Target], Awaitable[None]]
Attack: TypeAlias = Callable[[Target, trio.SocketStream], Awaitable[None]]


def request(method: str, path: str, body: bytes | None = None) -> bytes:
    head = _HEAD.format(method, path)
    return (head + ("\r\n" if body is None else f"Content-Length: {len(body)}\r\n\r\n")).encode() + (body or b"")


LIST: Final = request("GET", "/registry/agents")


def _connections(count: int, attack: Attack, sources: int = 1) -> Flood:
    """Keep so many connections open, from so many addresses; one that ends is reopened."""

    async def keep_up(target: Target, number: int) -> None:
        while True:
            try:
                async with await target.connect(f"127.0.0.{2 + number % sources}" if sources > 1 else None) as stream:
                    await attack(target, stream)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.sleep(0.01)

    async def flood(target: Target) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(keep_up, target, number)

    return flood


def _repeated(make: Callable[[], bytes]) -> Attack:
    """Send the same request again and again, each after part of the previous answer."""

    async def attack(target: Target, stream: trio.SocketStream) -> None:
        data = make()
        while True:
            await target.ask(stream, data)

    return attack


def _dripped(begin: bytes) -> Attack:
    """Send a beginning, then a byte per second."""

    async def attack(_: Target, stream: trio.SocketStream) -> None:
        await stream.send_all(begin)
        while True:
            await trio.sleep(1)
            await stream.send_all(b"x")

    return attack


async def _nothing(_: Target) -> None:
    await trio.sleep_forever()


async def _until_closed(_: Target, stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def _idle(target: Target, stream: trio.SocketStream) -> None:
    await target.ask(stream, request("GET", "/livez"))
    await _until_closed(target, stream)


async def _first_byte(target: Target, stream: trio.SocketStream) -> None:
    await stream.send_all(random.choice([b"G", b"\xd7", b"\x16", b"\x00", b"\r", b"{"]))
    await _until_closed(target, stream)


async def _connect_and_close(_: Target, __: trio.SocketStream) -> None:
    pass


async def _connect_and_reset(_: Target, stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _tiny_chunks(_: Target, stream: trio.SocketStream) -> None:
    await stream.send_all((_HEAD.format("POST", "/messages/send/x") + "Transfer-Encoding: chunked\r\n\r\n").encode())
    while True:
        await stream.send_all(b"1\r\n \r\n" * 10_000)


async def _pipelined(_: Target, stream: trio.SocketStream) -> None:
    """Send requests without end, and read no answer."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while True:
        await stream.send_all(request("GET", "/registry/agents") * 100)


def _registration(number: int, names: int) -> bytes:
    texts = [f"{number}-{name}".ljust(1000, "x") for name in range(names)]
    body = {"instance_id": f"flood-{number}", "hostname": "h", "port": 1, "capabilities": texts, "agent_profiles": []}
    return request("POST", "/registry/register", json.dumps(body).encode())


def _register_many() -> Attack:
    """Send a large record on each connection, and close it before reading the answer."""
    numbers = itertools.count()

    async def attack(target: Target, stream: trio.SocketStream) -> None:
        number = next(numbers)
        if number >= 400:
            await trio.sleep_forever()
        await target.ask(stream, _registration(number, 30))

    return attack


async def _large_records(target: Target) -> None:
    """Fill a mesh with large records, and list them by clients who never read."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_connections(1, _register_many()), target)
        nursery.start_soon(_connections(250, _unread(LIST)), target)


def _unread(data: bytes) -> Attack:
    async def attack(_: Target, stream: trio.SocketStream) -> None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(data)
        await trio.sleep(5)

    return attack


async def _large_mailbox(target: Target) -> None:
    """Fetch a mailbox of a megabyte by clients who never read."""
    body = {"target_instance": "flood-0", "message_type": "Query", "payload": "x" * 900_000}
    async with await target.connect() as stream:
        await target.ask(stream, _registration(0, 1))
        await target.ask(stream, request("POST", "/messages/send/x", json.dumps(body).encode()))
    await _connections(250, _unread(request("GET", "/messages/flood-0")))(target)


async def _churn(target: Target, stream: trio.SocketStream) -> None:
    for number in itertools.count(os.getpid() * 1000):
        await target.ask(stream, _registration(number % 500, 1))
        await target.ask(stream, request("DELETE", f"/registry/deregister/flood-{number % 500}"))


def _datagrams(make: Callable[[random.Random], bytes], interval: float) -> Flood:
    async def flood(target: Target) -> None:
        dice = random.Random(1)
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while True:
                await sock.sendto(make(dice), (target.host, target.port))
                await trio.sleep(interval)

    return flood


def _rumours(dice: random.Random, count: int) -> bytes:
    items = tuple(Rumour(f"{dice.getrandbits(32):x}", 1, State.DEAD, "x") for _ in range(count))
    return Codec("default").encode(Datagram(Gossip(tag_of("stranger")), items))


async def _packets_of_rumours(target: Target) -> None:
    """Send as many rumours as a packet may carry, about changing ids, as fast as a member can."""
    dice = random.Random(1)
    ids = [[f"{dice.getrandbits(16):x}" for _ in range(128)] for _ in range(400)]
    codec = Codec("default")
    packets = itertools.cycle(
        [
            codec.encode(Datagram(Gossip(tag_of("stranger")), tuple(Rumour(one, 1, State.DEAD) for one in chosen)))
            for chosen in ids
        ]
    )
    await _datagrams(lambda _: next(packets), 0.0005)(target)


def _message(payload: bytes) -> bytes:
    """Send a message to an unknown recipient, so that all of it is checked and nothing stored."""
    body = b'{"target_instance":"nobody","message_type":"Query","payload":' + payload + b"}"
    return request("POST", "/messages/send/x", body)


_DEEP: Final = b"[" * 100 + b"]" * 100
_POLL: Final = request("GET", "/messages/agent?wait=60&after=ffffffff-ffff-7fff-bfff-ffffffffffff")

_HEARTBEAT: Final = request("POST", "/registry/heartbeat/agent", b'{"status":"ok"}')
_LONG_HEAD: Final = request("GET", "/livez")[:-2] + b"X: " + b"x" * 16_000 + b"\r\n\r\n"
_MANY_LINES: Final = request("GET", "/livez")[:-2] + b"a:b\r\n" * 3_000 + b"\r\n"


def _array(item: bytes, count: int) -> bytes:
    return b"[" + (item + b",") * count + b"1]"


SHAPES: Final[dict[str, Flood]] = {
    "nothing": _nothing,
    "silent connections": _connections(_PLACES, _until_closed),
    "silent connections of 200 addresses": _connections(_PLACES, _until_closed, 200),
    "idle connections after a request": _connections(_PLACES, _idle),
    "first bytes of anything": _connections(_PLACES, _first_byte),
    "slow heads": _connections(_PLACES, _dripped(b"GET /registry/agents?x=")),
    "slow bodies": _connections(_PLACES, _dripped(request("POST", "/registry/register", b"x" * 60_000)[:-59_000])),
    "long polls": _connections(_PLACES, _repeated(lambda: _POLL)),
    "connect and close": _connections(32, _connect_and_close),
    "connect and reset": _connections(32, _connect_and_reset),
    "heads of 16 KiB": _connections(16, _repeated(lambda: _LONG_HEAD)),
    "heads of 3,000 lines": _connections(16, _repeated(lambda: _MANY_LINES)),
    "long targets": _connections(16, _repeated(lambda: request("GET", "/messages/" + "%41" * 2_700))),
    "pipelined lists, unread": _connections(16, _pipelined),
    "chunks of one byte": _connections(16, _tiny_chunks),
    "nested JSON to register": _connections(
        8, _repeated(lambda: request("POST", "/registry/register", _array(_DEEP, 10_000)))
    ),
    "nested JSON as a payload": _connections(8, _repeated(lambda: _message(_array(_DEEP, 10_000)))),
    "690,000 lists as a payload": _connections(8, _repeated(lambda: _message(_array(b"[]", 690_000)))),
    "numbers near the limit of a double": _connections(
        8, _repeated(lambda: _message(_array(b"1.7976931348623157e308", 90_000)))
    ),
    "large records, lists unread": _large_records,
    "a large mailbox, unread": _large_mailbox,
    "heartbeats": _connections(16, _repeated(lambda: _HEARTBEAT)),
    "registrations and removals": _connections(8, _churn),
    "random datagrams": _datagrams(lambda dice: dice.randbytes(dice.randrange(1400)), 0.0),
    "datagrams of 45 KB": _datagrams(lambda dice: dice.randbytes(45_000), 0.001),
    "2,000 packets of 128 rumours a second": _packets_of_rumours,
    "rumours about unknown ids": _datagrams(lambda dice: _rumours(dice, 40), 0.001),
    "rumours of 45 KB": _datagrams(lambda dice: _rumours(dice, 2_500), 0.05),
}


if __name__ == "__main__":
    trio.run(SHAPES[sys.argv[1]], Target(sys.argv[2], int(sys.argv[3])))
