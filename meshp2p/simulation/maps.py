"""Agents that share maps: they open maps on their nodes, and write and delete at random."""

from __future__ import annotations

import random

from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import MapWrite, Oracle
from meshp2p.simulation.schedule import MapPlan

__all__ = ["SimulatedMaps"]


class SimulatedMaps:
    """All shared maps of a run."""

    def __init__(self, plans: tuple[MapPlan, ...], oracle: Oracle, seed: int) -> None:
        self._oracle = oracle
        self._plans = plans
        self._draw = random.Random(f"{seed}/maps")
        self._count = 0
        for plan in plans:
            oracle.engine.at(plan.at, self._write, plan)

    def open(self, host: Host) -> None:
        """Open the maps of an agent whose process has started."""
        for plan in self._plans:
            if host.key in plan.nodes:
                host.open_map(plan.name)

    def _write(self, plan: MapPlan) -> None:
        engine = self._oracle.engine
        if engine.now >= plan.until:
            return
        engine.at(engine.now + plan.every, self._write, plan)
        host = self._oracle.hosts[self._draw.choice(plan.nodes)]
        key = f"k{self._draw.randrange(0, plan.keys)}"
        is_deletion = self._draw.random() < plan.deletions
        replica = host.replica(plan.name)
        if replica is None or (is_deletion and replica.value(key) is None):
            return
        self._count += 1
        value = b"" if is_deletion else b"%d" % self._count
        if host.write_map(plan.name, key, value):
            entry = replica.entry(key)
            if entry is not None:
                self._oracle.map_writes.append(MapWrite(plan.name, entry, host.key, host.life, engine.now, value))
