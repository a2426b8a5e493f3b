"""One mesh under measurement: on what it runs, how often and how long, and where what is found goes."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from simulations.benchmarks.hosts import Lan
from simulations.benchmarks.mesh import Mesh, Node, Watch
from simulations.benchmarks.report import Run

__all__ = ["SEEN_TIMEOUT", "START_TIMEOUT", "Pace", "Trial"]

START_TIMEOUT: Final = 120.0
SEEN_TIMEOUT: Final = 60.0
"""Seconds after which a thing counts as never seen. Chosen, not measured."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a benchmark is, in seconds: of calm before each measurement; of what a start leaves to say, before
    the idle window; of that window; of a cut between two halves; of each trouble in which nobody should die."""

    calm: float = 1.5
    settle: float = 5.0
    idle: float = 30.0
    cut: float = 20.0
    trouble: float = 60.0


class Trial:
    """``mesh`` runs on the hosts of ``lan``; samples go to ``run``; ``dice`` draws who goes."""

    def __init__(self, mesh: Mesh, lan: Lan, run: Run, pace: Pace, repeats: int, dice: random.Random) -> None:
        self.mesh = mesh
        self.lan = lan
        self.run = run
        self.pace = pace
        self.repeats = repeats
        self.dice = dice

    def observers_of(self, node: Node) -> list[str]:
        """The others who list it."""
        return [other.id for other in self.mesh.live() if other is not node and node.id in other.view]

    async def add_seen(self, watch: Watch, observers: list[str], key: str) -> None:
        """Wait until all of them saw it, and note when the first did, each, and the last."""
        is_seen = await self.mesh.wait_seen(watch, observers, SEEN_TIMEOUT)
        times = [watch.seen[name] - watch.began for name in observers if name in watch.seen]
        self.run.add(f"{key}_first", min(times, default=None))
        self.run.add(f"{key}_each", *times, *[None] * (len(observers) - len(times)))
        self.run.add(f"{key}_all", max(times, default=None) if is_seen else None)

    async def restore(self, what: str) -> None:
        """Wait for full views; where they do not come, start the mesh anew, so that the next measure finds one."""
        if not await self.mesh.wait_full(SEEN_TIMEOUT):
            self.run.notes.append(f"not all views were full {SEEN_TIMEOUT:.0f} s after {what}: started anew")
            await self.mesh.renew(START_TIMEOUT)
