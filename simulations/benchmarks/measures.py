"""Measures of a healthy mesh and of nodes that leave or die. Each function adds its samples to a run.

Each leaves the mesh converged. If that takes too long, the notes of the run say so, and later measures use only the
nodes that list the node in question.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from simulations.benchmarks.costs import count_traffic, machine_busy_seconds, memory_of, processor_seconds_of
from simulations.benchmarks.mesh import Node
from simulations.benchmarks.trial import SEEN_TIMEOUT, START_TIMEOUT, Trial

__all__ = [
    "measure_idle",
    "measure_kills",
    "measure_leader",
    "measure_leaves",
    "measure_restarts",
    "measure_silence",
    "measure_spread",
    "measure_start",
    "profile_idle",
]

MEGABYTE: Final = 1e6


async def measure_start(trial: Trial) -> None:
    """Start all processes, tell them to begin at once, and wait until every node lists every other."""
    mesh, run = trial.mesh, trial.run
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


async def measure_restarts(trial: Trial) -> None:
    """Measure the same with running processes: all leave, and begin again at once. Together with the start, this many
    times."""
    mesh, run = trial.mesh, trial.run
    for _ in range(trial.repeats - 1):
        if mesh.system.begins_by_itself:
            mesh.kill_all()
            begun = time.monotonic()
            for node in mesh.nodes.values():
                mesh.spawn(node)
        else:
            farewells = [mesh.watch("left", "") for _ in mesh.nodes]
            for node, _watch in zip(mesh.nodes.values(), farewells, strict=True):
                _leave(trial, node)
            everybody = list(mesh.nodes)
            if not await mesh.wait_seen(farewells[0], everybody, SEEN_TIMEOUT):
                run.notes.append("a node did not end when all were told to leave")
                return
            begun = time.monotonic()
            for node in mesh.nodes.values():
                mesh.begin(node)
        is_full = await mesh.wait_full(START_TIMEOUT)
        run.add("start_full", mesh.full_since() - begun if is_full else None)


async def measure_idle(trial: Trial) -> None:
    """Measure the costs while nothing happens."""
    run = trial.run
    await trio.sleep(trial.pace.settle)
    nodes = trial.mesh.live()
    async with count_traffic(trial.lan.open_tap(), (node.host.address for node in nodes)) as traffic:
        busy = machine_busy_seconds()
        spent = {node.id: processor_seconds_of(node.pid) for node in nodes}
        began = time.monotonic()
        await trio.sleep(trial.pace.idle)
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


async def measure_spread(trial: Trial) -> None:
    """Let a node publish a new status, and wait until all others have it."""
    mesh = trial.mesh
    for number in range(trial.repeats):
        await trio.sleep(trial.pace.calm)
        node = trial.dice.choice(mesh.live())
        text = f"status-{number}"
        watch = mesh.watch("updated", node.id, text if mesh.system.tells_status else None)
        assert node.program is not None
        await mesh.system.set_status(node.program, node.host, text)
        await trial.add_seen(watch, trial.observers_of(node), "spread")


async def measure_leaves(trial: Trial) -> None:
    """Let a node leave, and wait until no other node lists it."""
    await _measure_departures(trial, "leave", lambda node: _leave(trial, node))


async def measure_kills(trial: Trial) -> None:
    """Kill a process (SIGKILL) whose host lives on and answers for the closed port."""
    await _measure_departures(trial, "kill", trial.mesh.kill)


async def measure_silence(trial: Trial) -> None:
    """Cut a host silently: all packets from and to it are dropped."""

    def cut(node: Node) -> None:
        node.is_live = False
        trial.lan.cut(node.host)

    await _measure_departures(trial, "silent", cut)


async def _measure_departures(trial: Trial, key: str, act: Callable[[Node], None]) -> None:
    """Remove nodes in one way, one after another, and restart each before the next. Never the seed, through which they
    return."""
    mesh = trial.mesh
    candidates = list(mesh.nodes.values())[1:]
    for _ in range(trial.repeats):
        await trio.sleep(trial.pace.calm)
        node = trial.dice.choice(candidates)
        watch = mesh.watch("gone", node.id)
        observers = trial.observers_of(node)
        act(node)
        await trial.add_seen(watch, observers, key)
        mesh.kill(node)
        if key == "silent":
            trial.lan.mend(node.host)
        await _bring_back(trial, node, key)


async def measure_leader(trial: Trial) -> None:
    """Kill the leader's process, and wait until all others name the next lowest id."""
    mesh = trial.mesh
    leader, heir, *_ = mesh.nodes.values()
    for _ in range(trial.repeats):
        if not await mesh.wait_until(mesh.is_led, SEEN_TIMEOUT):
            trial.run.notes.append(f"not all named {leader.id} as leader within {SEEN_TIMEOUT:.0f} s (leader)")
            return
        await trio.sleep(trial.pace.calm)
        watch = mesh.watch("leader", heir.id)
        observers = [node.id for node in mesh.live() if node is not leader]
        mesh.kill(leader)
        await trial.add_seen(watch, observers, "leader")
        await _bring_back(trial, leader, "leader")


async def _bring_back(trial: Trial, node: Node, key: str) -> None:
    if not await trial.mesh.replace(node, SEEN_TIMEOUT):
        trial.run.notes.append(f"{node.id} came back, and {SEEN_TIMEOUT:.0f} s later not all views were full ({key})")


def _leave(trial: Trial, node: Node) -> None:
    node.is_live = False
    assert node.program is not None
    trial.mesh.system.leave(node.program)


async def profile_idle(trial: Trial, path: Path) -> None:
    """Write a cProfile of one idle node. Its cost meanwhile is not counted."""
    mesh = trial.mesh
    node = list(mesh.nodes.values())[-1]
    assert node.program is not None
    watch = mesh.watch("profiled", "")
    node.program.tell("profile")
    await trio.sleep(trial.pace.idle)
    node.program.tell(f"profile {path}")
    await mesh.wait_seen(watch, [node.id], SEEN_TIMEOUT)
