"""What the tests of the simulator share: small schedules."""

from __future__ import annotations

from typing import Any

from meshp2p.simulation.schedule import NodePlan, Schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Fault


def a_schedule(*faults: Fault, nodes: int = 4, duration: float = 60.0, seed: int = 1, **options: Any) -> Schedule:
    """Nodes n0, n1, ...: the first is told of the second, all others of the first."""
    names = [f"n{number}" for number in range(nodes)]
    plans = tuple(NodePlan(id=name, seeds=tuple(names[1:2] if name == "n0" else names[:1])) for name in names)
    given: dict[str, Any] = {"scenario": "test", **options}
    return Schedule(seed=seed, duration=duration, nodes=plans, faults=faults, **given)


def a_mesh(*faults: Fault, until: float = 10.0, **options: Any) -> Simulation:
    """A simulation that has run for so long."""
    simulation = Simulation(a_schedule(*faults, **options), trace=True)
    simulation.run_until(until)
    return simulation
