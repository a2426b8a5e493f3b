"""One client of a system in its own process. It reads commands as JSON objects, one per line, and answers in the same
way: first ``{"event": "ready", "address": ...}``, then for each command ``begun`` if others must wait for that, and
``done`` with the result. It ends at the end of its input.

Times are those of ``CLOCK_MONOTONIC``, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from simulations.benchmarks.couriers.courier import Courier, Place, make_payload
from simulations.benchmarks.couriers.jetstream import open_jetstream
from simulations.benchmarks.couriers.mesh import open_mesh_asyncio, open_mesh_http, open_mesh_node
from simulations.benchmarks.couriers.redis_streams import open_redis
from simulations.benchmarks.couriers.zenoh_queries import open_zenoh

_OPENERS: Final[dict[str, Callable[[Place], AbstractAsyncContextManager[Courier]]]] = {
    "jetstream": open_jetstream,
    "mesh": open_mesh_node,
    "mesh-asyncio": open_mesh_asyncio,
    "mesh-http": open_mesh_http,
    "redis": open_redis,
    "zenoh": open_zenoh,
}
_ON_TRIO: Final = {"mesh"}


def say(event: str, **found: Any) -> None:
    os.write(1, msgspec.json.encode({"event": event, **found}) + b"\n")


class Client:
    """Runs the commands on a courier. Each method is a command; its arguments are those of the line."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    async def send(self, count: int, window: int) -> dict[str, Any]:
        """Send this many, one after another if ``window`` is 1."""
        began = time.monotonic()
        if window == 1:
            for _ in range(count):
                await self._courier.send(make_payload(time.monotonic()))
        else:
            await self._courier.send_many(count, window)
        return {"began": began, "ended": time.monotonic()}

    async def pace(self, count: int, interval: float) -> dict[str, Any]:
        """Send this many, one each ``interval`` seconds. If one takes longer than that, the next one carries the time
        at which it was due."""
        due = time.monotonic()
        for _ in range(count):
            is_late = time.monotonic() > due
            if not is_late:
                await anyio.sleep(due - time.monotonic())
            await self._courier.send(make_payload(due if is_late else time.monotonic()))
            due += interval
        return {}

    async def consume(self, count: int, limit: int) -> dict[str, Any]:
        """Receive and acknowledge this many."""
        say("begun")
        delays = await self._courier.consume(count, limit)
        return {"ended": time.monotonic(), "delays": delays}

    async def read_pages(self, limit: int, pending: int) -> dict[str, Any]:
        """Read the oldest messages again and again. If a page can be read only once, read at most half of them."""
        took: list[float] = []
        for _ in range(20 if self._courier.rereads else max(1, min(5, pending // (2 * limit)))):
            began = time.monotonic()
            found = await self._courier.page(limit)
            took.append(time.monotonic() - began)
            if len(found) != min(limit, pending):
                raise RuntimeError(f"a page of {len(found)}, with {pending} pending and {limit} asked for")
        return {"took": took}

    async def acknowledge_each(self, count: int) -> dict[str, Any]:
        """Acknowledge this many, one after another."""
        took: list[float] = []
        for token in await self._courier.page(count):
            began = time.monotonic()
            await self._courier.acknowledge_one(token)
            took.append(time.monotonic() - began)
        return {"took": took}

    async def await_pending(self, count: int) -> dict[str, Any]:
        await self._courier.await_pending(count)
        return {}

    async def clear(self, count: int) -> dict[str, Any]:
        await self._courier.clear(count)
        return {}

    async def answer(self, count: int) -> dict[str, Any]:
        await self._courier.answer(count, lambda: say("begun"))
        return {}

    async def ask(self, count: int) -> dict[str, Any]:
        """Ask this many times, one after another."""
        took: list[float] = []
        for _ in range(count):
            payload = make_payload(time.monotonic())
            began = time.monotonic()
            reply = await self._courier.ask(payload)
            took.append(time.monotonic() - began)
            if reply != payload:
                raise RuntimeError(f"the reply is not what was asked: {reply!r}")
        return {"took": took}


async def obey(system: str, place: Place) -> None:
    async with _OPENERS[system](place) as courier:
        client = Client(courier)
        say("ready", address=courier.address)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            arguments = msgspec.json.decode(line, type=dict[str, Any])
            command: Callable[..., Awaitable[dict[str, Any]]] = getattr(client, arguments.pop("command"))
            say("done", **await command(**arguments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--system", required=True, choices=sorted(_OPENERS))
    parser.add_argument("--name", required=True)
    parser.add_argument("--role", required=True, choices=("sender", "recipient"))
    parser.add_argument("--address", default="")
    parser.add_argument("--directory", required=True, type=Path)
    parser.add_argument("--recipient", required=True)
    options = parser.parse_args()
    place = Place(options.name, options.role, options.address, options.directory, options.recipient)
    anyio.run(obey, options.system, place, backend="trio" if options.system in _ON_TRIO else "asyncio")


if __name__ == "__main__":
    main()
