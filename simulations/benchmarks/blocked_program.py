"""An agent in its own process that blocks on command. Each line of input is ``KIND SECONDS``.

It prints ``ready PORT`` when its node is open, and ``began`` and ``ended`` around each block. It ends at the end of its
input.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import trio

import meshp2p
import meshp2p.aio
import meshp2p.blocking


def nothing(_: float) -> None:
    """The ways to run a node that are compared."""


def sleep(seconds: float) -> None:
    """Block as a C call that releases the GIL."""
    time.sleep(seconds)  # noqa: TID251 - blocking is what is measured


def compute(seconds: float) -> None:
    """Block in pure Python."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        for _ in range(1000):
            number = (number * 31 + 7) % 1_000_003


def hold_gil(seconds: float) -> None:
    """Block as a C call that keeps the GIL: ``PyDLL`` does not release it."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


KINDS: Final[dict[str, Callable[[float], None]]] = {
    "nothing": nothing,
    "sleep": sleep,
    "compute": compute,
    "gil": hold_gil,
}


def obey(line: str) -> None:
    kind, _, seconds = line.partition(" ")
    print("began", flush=True)
    KINDS[kind](float(seconds))
    print("ended", flush=True)


def tell_ready(node: Any) -> None:
    print("ready", node.addresses[0].port, flush=True)


async def run_trio(options: dict[str, Any]) -> None:
    async with meshp2p.open_node(**options) as node:
        tell_ready(node)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            obey(line)


async def run_aio(options: dict[str, Any]) -> None:
    async with meshp2p.aio.open_node(**options) as node:
        tell_ready(node)
        while line := await asyncio.to_thread(sys.stdin.readline):
            obey(line)


def run_blocking(options: dict[str, Any]) -> None:
    with meshp2p.blocking.open_node(**options) as node:
        tell_ready(node)
        for line in sys.stdin:
            obey(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rung", choices=["trio", "thread", "aio", "blocking"], required=True)
    parser.add_argument("--join", required=True)
    given = parser.parse_args()
    options: dict[str, Any] = {"id": given.rung, "mesh": "blocked", "port": 0, "mdns": False, "join": [given.join]}
    match given.rung:
        case "trio":
            trio.run(run_trio, {**options, "in_loop": True})
        case "thread":
            trio.run(run_trio, options)
        case "aio":
            asyncio.run(run_aio(options))
        case _:
            run_blocking(options)


if __name__ == "__main__":
    main()
