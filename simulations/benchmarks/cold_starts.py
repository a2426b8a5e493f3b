"""Start without seeds: how long until the nodes of one LAN have found one another, for each discovery source alone."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import trio

from simulations.benchmarks.costs import memory_of
from simulations.benchmarks.mesh import open_mesh
from simulations.benchmarks.report import Run
from simulations.benchmarks.switch import Switch
from simulations.benchmarks.systems import Source, System
from simulations.benchmarks.trial import SEEN_TIMEOUT, Pace

__all__ = ["measure_discovery"]

_CASES: dict[str, tuple[Source, bool]] = {
    "mdns": ("mdns", False),
    "beacon": ("beacon", False),
    "blocked": ("lan", True),
}
"""The discovery source of each row, and whether multicast is blocked."""


async def measure_discovery(system: System, switch: Switch, run: Run, pace: Pace, repeats: int, logs: Path) -> None:
    """Start all processes on hosts of one LAN without a seed, each as soon as it can, and wait until every node lists
    every other.

    A system without that source is skipped.
    """
    for key, (source, is_blocked) in _CASES.items():
        if source in system.features:
            for _ in range(repeats):
                with switch.without_multicast() if is_blocked else contextlib.nullcontext():
                    await _find(system, switch, run, pace, logs, key, source)


async def _find(system: System, switch: Switch, run: Run, pace: Pace, logs: Path, key: str, source: Source) -> None:
    async with open_mesh(system, switch.hosts, logs, source) as mesh:
        began = time.monotonic()
        await mesh.spawn_and_begin_all()
        is_full = await mesh.wait_full(SEEN_TIMEOUT)
        run.add(f"cold_{key}_spawned", mesh.full_since() - began if is_full else None)
        if not mesh.system.begins_by_itself:
            ready = max(node.ready_at for node in mesh.nodes.values())
            run.add(f"cold_{key}_ready", mesh.full_since() - ready if is_full else None)
        if is_full and key == "mdns":
            await trio.sleep(pace.settle)
            run.add("resident_mdns", *(memory_of(node.pid).resident / 1e6 for node in mesh.live()))
