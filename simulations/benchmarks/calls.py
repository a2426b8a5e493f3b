"""The cost of a call from node to node: processor time of both ends, which are two nodes in this process.

The best of a few rounds counts, because other load on the machine does not belong to the call.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from meshp2p import MeshNode, open_node
from meshp2p.core.calls import Probe
from meshp2p.core.effects import Call, CallFailed

__all__ = ["CallCost", "add_command", "measure_calls"]

ROUNDS: Final = 5
TIMEOUT: Final = 10.0


class CallCost(msgspec.Struct, frozen=True):
    """Microseconds a call: processor time of both ends, and time by the clock."""

    name: str
    processor_us: float
    clock_us: float


@asynccontextmanager
async def _two_nodes() -> AsyncIterator[tuple[MeshNode, MeshNode]]:
    async with (
        open_node(in_loop=True, id="one", mdns=False, host="127.0.0.1", port=0) as one,
        open_node(
            in_loop=True, id="other", mdns=False, host="127.0.0.1", port=0, join=[str(one.addresses[0])]
        ) as other,
    ):
        async for _ in other.events():
            if other.member("one") is not None:
                break
        yield one, other


async def measure_calls(calls: int = 500, *, at_once: tuple[int, ...] = (1, 16)) -> list[CallCost]:
    """Probe one node from another, with this many probes at a time and ``calls`` probes per round."""
    costs = []
    async with _two_nodes() as (one, other):
        record = one._node._driver.machine.own
        call = Call(1, record.addresses, Probe(0), TIMEOUT, record.id, record.boot)

        async def ask(count: int) -> None:
            for _ in range(count):
                reply = await other._node._driver._caller.call(call)
                assert not isinstance(reply, CallFailed), reply

        await ask(50)
        for parallel in at_once:
            rounds = []
            for _ in range(ROUNDS):
                began, processor_began = time.perf_counter(), time.process_time()
                async with trio.open_nursery() as nursery:
                    for _ in range(parallel):
                        nursery.start_soon(ask, calls // parallel)
                made = calls // parallel * parallel
                processor = (time.process_time() - processor_began) / made
                rounds.append((processor * 1e6, (time.perf_counter() - began) / made * 1e6))
            costs.append(CallCost(f"{parallel} at a time", *min(rounds)))
    return costs


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``python -m simulations.benchmarks calls``."""
    parser = commands.add_parser("calls", help="what a call between two nodes costs")
    parser.add_argument("--calls", type=int, default=500, help="calls in a round (default: 500)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    costs = trio.run(lambda: measure_calls(given.calls))
    if given.json:
        print(json.dumps([msgspec.to_builtins(cost) for cost in costs]))
        return 0
    for cost in costs:
        print(f"{cost.name:16} {cost.processor_us:8.1f} µs of processor time {cost.clock_us:8.1f} µs by the clock")
    return 0
