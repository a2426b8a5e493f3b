"""Faults in which no node dies: a partition, packet loss, starved nodes.

Healthy nodes that are declared dead meanwhile are counted separately. Each function leaves a mesh that has converged.
"""

from __future__ import annotations

import signal
import time
from typing import Final

import trio

from simulations.benchmarks.mesh import Mesh, Node
from simulations.benchmarks.trial import SEEN_TIMEOUT, Trial

__all__ = ["LOSSES", "measure_loss", "measure_partition", "measure_starved"]

LOSSES: Final = (5, 10, 25)
"""The percentages of UDP datagrams that are lost."""

STARVED_LOSS: Final = 0.05
STARVED_EVERY: Final = 5.0
STARVED_STOPPED: Final = 4.0
"""A starved node is stopped for this many of this many seconds, as in the simulator's measurement."""


async def measure_partition(trial: Trial) -> None:
    """Cut even nodes from odd ones, then repair the cut, and wait until every node lists every other and all name one
    leader."""
    mesh, run, pace = trial.mesh, trial.run, trial.pace
    for _ in range(trial.repeats):
        await trio.sleep(pace.calm)
        with mesh.counting_apart():
            with trial.lan.parted():
                await trio.sleep(pace.cut)
                is_parted = _is_parted(mesh)
            mended = time.monotonic()
            is_full = await mesh.wait_full(SEEN_TIMEOUT)
            run.add("heal_all", max(0.0, mesh.full_since() - mended) if is_full else None)
            if "leader" in mesh.system.features:
                is_led = await mesh.wait_until(lambda: mesh.is_full() and mesh.is_led(), SEEN_TIMEOUT)
                run.add("heal_leader", max(0.0, mesh.led_since() - mended) if is_led else None)
            if not is_parted:
                run.notes.append(f"{pace.cut:.0f} s of partition were too short for each half to hold the other dead")
            await trial.restore("the partition was mended")


def _is_parted(mesh: Mesh) -> bool:
    """Return whether each node lists only its own half."""
    return all(int(other[1:]) % 2 == node.host.number % 2 for node in mesh.live() for other in node.view)


async def measure_loss(trial: Trial) -> None:
    """Count the healthy nodes that are declared dead while datagrams are lost, for each share of them."""
    for per_cent in LOSSES:
        with trial.mesh.counting_apart() as dead:
            with trial.lan.lossy(per_cent / 100):
                await trio.sleep(trial.pace.trouble)
            trial.run.add(f"dead_at_{per_cent}", len(dead))
            await trial.restore(f"{per_cent} % of UDP had been lost")


async def measure_starved(trial: Trial) -> None:
    """Stop a tenth of the nodes for most of the time, and drop a few datagrams. Count the healthy and the starved nodes
    that are declared dead."""
    mesh = trial.mesh
    nodes = mesh.live()
    starved = trial.dice.sample(nodes, max(1, len(nodes) // 10))
    ids = {node.id for node in starved}
    with mesh.counting_apart() as dead:
        with trial.lan.lossy(STARVED_LOSS), trio.move_on_after(trial.pace.trouble):
            async with trio.open_nursery() as nursery:
                for place, node in enumerate(starved):
                    nursery.start_soon(_starve, node, STARVED_EVERY * place / len(starved))
        trial.run.add("dead_healthy", sum(name not in ids for name in dead))
        trial.run.add("dead_starved", sum(name in ids for name in dead))
        await trial.restore("nodes had been starved")


async def _starve(node: Node, delay: float) -> None:
    """Stop and continue its process in turn, beginning after ``delay`` seconds. The process runs when this ends."""
    program = node.program
    assert program is not None
    await trio.sleep(delay)
    try:
        while True:
            program.send_signal(signal.SIGSTOP)
            await trio.sleep(STARVED_STOPPED)
            program.send_signal(signal.SIGCONT)
            await trio.sleep(STARVED_EVERY - STARVED_STOPPED)
    finally:
        program.send_signal(signal.SIGCONT)
