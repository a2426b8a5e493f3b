"""What is measured of a mesh, each by one function, which adds its samples to a run.

Each leaves the mesh as it found it: whole, with all views full. Where that takes too long the run's notes say so, and
what follows is measured among those who saw the one that it is about.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from simulations.benchmarks.costs import count_traffic, machine_busy_seconds, memory_of, processor_seconds_of
from simulations.benchmarks.hosts import Lan
from simulations.benchmarks.mesh import Mesh, Node, Watch, open_mesh
from simulations.benchmarks.report import Run
from simulations.benchmarks.systems import Meshp2p

__all__ = [
    "Pace",
    "measure_idle",
    "measure_kills",
    "measure_leaves",
    "measure_mdns_memory",
    "measure_restarts",
    "measure_silence",
    "measure_spread",
    "measure_start",
    "profile_idle",
]

START_TIMEOUT: Final = 120.0
SEEN_TIMEOUT: Final = 60.0
"""Seconds after which a thing counts as never seen. Chosen, not measured."""

MEGABYTE: Final = 1e6


class Pace:
    """How patient a benchmark is: seconds of calm before each measurement, and of the idle window."""

    def __init__(self, *, calm: float, settle: float, idle: float) -> None:
        self.calm = calm
        self.settle = settle
        """After the start, before the idle window: what a start leaves to say is said by then."""
        self.idle = idle


async def measure_start(mesh: Mesh, run: Run) -> None:
    """Start all processes, tell them to begin at once, and wait for full views."""
    spawned = time.monotonic()
    await mesh.spawn_all()
    begun = spawned if mesh.system.begins_by_itself else time.monotonic()
    for node in mesh.nodes.values():
        mesh.begin(node)
    is_full = await mesh.wait_full(START_TIMEOUT)
    run.add("start_full", mesh.full_since() - begun if is_full else None)
    run.add("spawn_full", mesh.full_since() - spawned if is_full else None)
    if not is_full:
        run.notes.append(f"views were not full {START_TIMEOUT:.0f} s after the start")


async def measure_restarts(mesh: Mesh, run: Run, repeats: int) -> None:
    """The same from processes that are warm: all leave, and begin again at once."""
    for _ in range(repeats):
        if mesh.system.begins_by_itself:
            mesh.kill_all()
            begun = time.monotonic()
            for node in mesh.nodes.values():
                mesh.spawn(node)
        else:
            farewells = [mesh.watch("left", "") for _ in mesh.nodes]
            for node, _watch in zip(mesh.nodes.values(), farewells, strict=True):
                _leave(mesh, node)
            everybody = list(mesh.nodes)
            if not await mesh.wait_seen(farewells[0], everybody, SEEN_TIMEOUT):
                run.notes.append("a node did not end when all were told to leave")
                return
            begun = time.monotonic()
            for node in mesh.nodes.values():
                mesh.begin(node)
        is_full = await mesh.wait_full(START_TIMEOUT)
        run.add("start_full", mesh.full_since() - begun if is_full else None)


async def measure_idle(mesh: Mesh, run: Run, pace: Pace) -> None:
    """What the mesh costs while nothing happens."""
    await trio.sleep(pace.settle)
    nodes = mesh.live()
    async with count_traffic(mesh.lan, (node.host.address for node in nodes)) as traffic:
        busy = machine_busy_seconds()
        spent = {node.id: processor_seconds_of(node.pid) for node in nodes}
        began = time.monotonic()
        await trio.sleep(pace.idle)
        elapsed = time.monotonic() - began
        spent = {node.id: processor_seconds_of(node.pid) - spent[node.id] for node in nodes}
        busy = machine_busy_seconds() - busy
    scale = 1 / (len(nodes) * elapsed)
    run.add("datagrams", traffic.datagrams * scale)
    run.add("datagram_bytes", traffic.datagram_bytes * scale)
    run.add("tcp_bytes", traffic.tcp_bytes * scale)
    run.add("processor", *(seconds * 60 / elapsed for seconds in spent.values()))
    memory = [memory_of(node.pid) for node in nodes]
    run.add("resident", *(sample.resident / MEGABYTE for sample in memory))
    run.add("proportional", *(sample.proportional / MEGABYTE for sample in memory))
    own = sum(spent.values())
    run.notes.append(
        f"idle window {elapsed:.0f} s: the nodes used {own / elapsed:.2f} processors,"
        f" all else on this machine, the network's work among it, {max(0.0, busy - own) / elapsed:.2f}"
    )


async def measure_spread(mesh: Mesh, run: Run, repeats: int, pace: Pace, dice: random.Random) -> None:
    """A node publishes a new status, until all others have seen it."""
    for number in range(repeats):
        await trio.sleep(pace.calm)
        node = dice.choice(mesh.live())
        text = f"status-{number}"
        watch = mesh.watch("updated", node.id, text if mesh.system.tells_status else None)
        assert node.program is not None
        await mesh.system.set_status(node.program, node.host, text)
        await _add_seen(mesh, run, watch, _observers(mesh, node), "spread")


async def measure_leaves(mesh: Mesh, run: Run, repeats: int, pace: Pace, dice: random.Random) -> None:
    """A node leaves properly, until all others list it no more."""
    await _measure_departures(mesh, run, repeats, pace, dice, "leave", lambda node: _leave(mesh, node))


async def measure_kills(mesh: Mesh, run: Run, repeats: int, pace: Pace, dice: random.Random) -> None:
    """A process is killed (SIGKILL) on a host that lives on, and answers for the closed port."""
    await _measure_departures(mesh, run, repeats, pace, dice, "kill", mesh.kill)


async def measure_silence(mesh: Mesh, run: Run, repeats: int, pace: Pace, dice: random.Random) -> None:
    """A host vanishes: its packets and those to it are dropped, and nobody is told."""
    await _measure_departures(mesh, run, repeats, pace, dice, "silent", mesh.cut)


async def _measure_departures(
    mesh: Mesh, run: Run, repeats: int, pace: Pace, dice: random.Random, key: str, act: Callable[[Node], None]
) -> None:
    """Have nodes go in one way, one after another, each back before the next goes. Never the seed, by way of which they
    come back."""
    candidates = list(mesh.nodes.values())[1:]
    for _ in range(repeats):
        await trio.sleep(pace.calm)
        node = dice.choice(candidates)
        watch = mesh.watch("gone", node.id)
        observers = _observers(mesh, node)
        act(node)
        await _add_seen(mesh, run, watch, observers, key)
        mesh.kill(node)
        if key == "silent":
            mesh.lan.mend(node.host)
        if not await mesh.replace(node, SEEN_TIMEOUT):
            run.notes.append(f"{node.id} came back, and {SEEN_TIMEOUT:.0f} s later not all views were full ({key})")


def _leave(mesh: Mesh, node: Node) -> None:
    node.is_live = False
    assert node.program is not None
    mesh.system.leave(node.program)


def _observers(mesh: Mesh, node: Node) -> list[str]:
    return [other.id for other in mesh.live() if other is not node and node.id in other.view]


async def _add_seen(mesh: Mesh, run: Run, watch: Watch, observers: list[str], key: str) -> None:
    is_seen = await mesh.wait_seen(watch, observers, SEEN_TIMEOUT)
    run.add(f"{key}_first", min(watch.seen.values()) - watch.began if watch.seen else None)
    run.add(f"{key}_all", max(watch.seen[name] for name in observers) - watch.began if is_seen else None)


async def measure_mdns_memory(lan: Lan, run: Run, pace: Pace, logs: Path, python: str) -> None:
    """One node of ours that looks for others by mDNS as well, which the nodes of a benchmark do not."""
    async with open_mesh(Meshp2p(python, mdns=True), lan, 1, logs) as mesh:
        await mesh.spawn_all()
        node = next(iter(mesh.nodes.values()))
        mesh.begin(node)
        await mesh.wait_until(lambda: node.id in node.view, START_TIMEOUT)
        await trio.sleep(pace.settle)
        run.add("resident_mdns", memory_of(node.pid).resident / MEGABYTE)


async def profile_idle(mesh: Mesh, pace: Pace, path: Path) -> None:
    """Write a cProfile of one idle node. What it costs meanwhile counts nowhere."""
    node = list(mesh.nodes.values())[-1]
    assert node.program is not None
    watch = mesh.watch("profiled", "")
    node.program.tell("profile")
    await trio.sleep(pace.idle)
    node.program.tell(f"profile {path}")
    await mesh.wait_seen(watch, [node.id], SEEN_TIMEOUT)
