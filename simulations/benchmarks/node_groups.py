"""Many real nodes on one machine, several in each process, on the loopback of a separate host."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from simulations.benchmarks.costs import count_traffic, memory_of, processor_seconds_of
from simulations.benchmarks.hosts import Host
from simulations.benchmarks.mesh import MeshFailed
from simulations.benchmarks.report import Run
from simulations.programs import Program

__all__ = ["Process", "measure_crowds"]

READY_TIMEOUT: Final = 120.0
FULL_TIMEOUT: Final = 300.0
KNOWN_TIMEOUT: Final = 120.0
"""Seconds after which an event counts as missing. Chosen, not measured."""


class _Line(msgspec.Struct):
    event: Literal["ready", "begun", "reached"]
    id: str
    value: str
    t: float


class Process:
    """One process and its last output. ``reached`` is when all its nodes listed the required number, None before."""

    def __init__(self, host: Host, first: int, count: int, log: Path) -> None:
        command = [sys.executable, "-m", "simulations.benchmarks.scale_program"]
        self.program = Program(host.command(*command, "--first", str(first), "--count", str(count)), log, self._hear)
        self.is_ready = False
        self.address = ""
        self.reached: float | None = None
        self.leader = ""
        self._changed = trio.Event()

    def _hear(self, text: str, _arrived: float) -> None:
        line = msgspec.json.decode(text, type=_Line)
        match line.event:
            case "ready":
                self.is_ready = True
            case "begun":
                self.address = line.value
            case "reached":
                self.reached, self.leader = line.t, line.id
        self._changed.set()
        self._changed = trio.Event()

    def expect(self, nodes: int) -> None:
        """Reset ``reached``, and tell the process to report when each of its nodes lists this many."""
        self.reached = None
        self.program.tell(f"wait {nodes}")

    async def wait_ready(self) -> None:
        while not self.is_ready:
            await self._changed.wait()

    async def wait_address(self) -> str:
        while not self.address:
            await self._changed.wait()
        return self.address

    async def wait_reached(self) -> None:
        while self.reached is None:
            await self._changed.wait()


@contextlib.asynccontextmanager
async def open_crowds(host: Host, processes: int, each: int, logs: Path) -> AsyncIterator[list[Process]]:
    """Run processes that are ready to begin; all are killed at the end of the block. Raises :class:`MeshFailed`."""
    async with trio.open_nursery() as nursery:
        opened: list[Process] = []
        try:
            for number in range(processes):
                opened.append(Process(host, number * each, each, logs / f"crowd-{number}.log"))
                nursery.start_soon(opened[-1].program.run)
            with trio.move_on_after(READY_TIMEOUT) as patience:
                for process in opened:
                    await process.wait_ready()
            if patience.cancelled_caught:
                raise MeshFailed(f"a process did not start: see {logs}")
            yield opened
        finally:
            for process in opened:
                process.program.kill()
            nursery.cancel_scope.cancel()


async def measure_crowds(host: Host, processes: int, each: int, idle: float, run: Run, logs: Path) -> None:
    """Begin all nodes, measure them idle, and kill the last process; wait until all remaining nodes know. Raises
    :class:`MeshFailed`."""
    nodes = processes * each
    async with open_crowds(host, processes, each, logs) as opened:
        began = time.monotonic()
        first, *others = opened
        first.program.tell("begin")
        with trio.move_on_after(READY_TIMEOUT) as patience:
            seed = await first.wait_address()
        if patience.cancelled_caught:
            raise MeshFailed(f"the first node did not begin: see {logs}")
        for process in others:
            process.program.tell(f"begin {seed}")
        is_full = await _reach(opened, nodes, FULL_TIMEOUT)
        run.add("start_full", _last(opened) - began if is_full else None)
        if not is_full:
            run.notes.append(f"views were not full {FULL_TIMEOUT:.0f} s after the start")
            return
        await trio.sleep(min(idle, 5.0))
        await _measure_idle(host, opened, nodes, idle, run)
        gone = opened[-1]
        killed = time.monotonic()
        gone.program.kill()
        is_known = await _reach(opened[:-1], nodes - each, KNOWN_TIMEOUT)
        run.add("kill_all", _last(opened[:-1]) - killed if is_known else None)


async def _reach(processes: Sequence[Process], nodes: int, timeout: float) -> bool:
    """Return whether each node listed this many in time."""
    for process in processes:
        process.expect(nodes)
    with trio.move_on_after(timeout):
        for process in processes:
            await process.wait_reached()
        return True
    return False


def _last(processes: Sequence[Process]) -> float:
    return max(process.reached for process in processes if process.reached is not None)


async def _measure_idle(host: Host, processes: Sequence[Process], nodes: int, idle: float, run: Run) -> None:
    pids = [process.program.pid for process in processes]
    async with count_traffic(host.open_tap(), ["127.0.0.1"]) as traffic:
        spent = sum(map(processor_seconds_of, pids))
        began = time.monotonic()
        await trio.sleep(idle)
        elapsed = time.monotonic() - began
        spent = sum(map(processor_seconds_of, pids)) - spent
    run.add("datagrams", traffic.datagrams / nodes / elapsed)
    run.add("datagram_bytes", traffic.datagram_bytes / nodes / elapsed)
    run.add("tcp_bytes", traffic.tcp_bytes / nodes / elapsed)
    run.add("processor", spent * 60 / nodes / elapsed)
    run.add("resident", sum(memory_of(pid).proportional for pid in pids) / nodes / 1e6)
