"""A simulated mesh of five nodes through days of churn, with the timers of real nodes.

Nodes crash, leave, pause, move and are cut off, one at a time; agents come and go; messages are sent and read; a shared
map is written. The memory of the machines is counted, without that of the simulator, which keeps all that happened.
"""

from __future__ import annotations

import collections
import gc
import random
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Final

from msgspec.structs import replace

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.checkers import Violation
from meshp2p.simulation.schedule import AgentPlan, MailPlan, MapPlan, NodePlan, Schedule, SecurityPlan
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Crash, Fault, Leave, Moved, Partition, Pause
from simulations.memory.minutes import SMALL, Minute

__all__ = ["MESH_SLOPE_MAX", "churned_schedule", "count_machines", "measure_mesh"]

MESH_SLOPE_MAX: Final = 0.0005
"""Growth in MB a minute, of all five machines together, above which the command fails: 30 KB an hour. Holding each of
60 messages an hour for ever would be 50."""

SAMPLES: Final = 16

KEY_SECONDS: Final = 3600.0
"""How long a process uses a key for datagrams. Real nodes change it once a day, but none of these lives so long."""

_NAMES: Final = ("n0", "n1", "n2", "n3", "n4")
_TIMERS: Final = ("departed_retention", "message_timeout", "return_timeout", "map_deleted_retention")
_NO_DATA: Final = (type, ModuleType, FunctionType, BuiltinFunctionType)


def churned_schedule(minutes: float, seed: int = 0) -> Schedule:
    """Return the schedule of so many minutes. Each second seed is a secured mesh. Tables have small bounds, so that
    only what has none can grow for days, but timers are those of real nodes."""
    draw = random.Random(f"{seed}/days")
    duration = minutes * 60.0
    real = ProtocolConfig()
    hours = max(1, int(minutes / 60))
    return Schedule(
        scenario="days",
        seed=seed,
        duration=duration,
        nodes=tuple(NodePlan(id=name, seeds=_NAMES[:2]) for name in _NAMES),
        agents=tuple(
            AgentPlan(
                id=f"agent{hour}",
                nodes=tuple(draw.sample(_NAMES, 2)),
                at=round(duration * (hour + 0.1) / hours, 3),
                until=round(duration * (hour + 0.9) / hours, 3),
                varies=True,
                deregisters=draw.random() < 0.5,
            )
            for hour in range(hours)
        ),
        mail=tuple(
            MailPlan(source=source, nodes=("n3", "n4"), target=target, at=10.0, until=duration, every=60.0)
            for source, target in (("one", "n2"), ("other", ""))
        ),
        maps=(MapPlan(name="map", nodes=_NAMES, at=10.0, until=duration, every=60.0, keys=50, deletions=0.5),),
        faults=tuple(_draw_faults(draw, duration)),
        config=replace(SMALL, **{name: getattr(real, name) for name in _TIMERS}),
        security=SecurityPlan(key_seconds=KEY_SECONDS) if seed % 2 else None,
    )


def _draw_faults(draw: random.Random, duration: float) -> Iterable[Fault]:
    at, pause = 20.0, min(900.0, duration / 5)
    while True:
        begin = round(at + draw.expovariate(1 / pause), 3)
        end = round(begin + draw.choice((2.0, 30.0, 300.0)), 3)
        if end > duration:
            return
        node = draw.choice(_NAMES)
        rest = tuple(name for name in _NAMES if name != node)
        yield draw.choice(
            (
                Crash(begin=begin, end=end, node=node, is_silent=draw.random() < 0.5),
                Leave(begin=begin, end=end, node=node),
                Pause(begin=begin, end=end, node=node),
                Moved(begin=begin, end=begin, node=node, notices=1.0),
                Partition(begin=begin, end=end, groups=((node,), rest)),
            )
        )
        at = end + 60.0


def measure_mesh(minutes: int, seed: int = 0) -> tuple[list[Minute], tuple[Violation, ...]]:
    """Run the mesh and count what its machines hold, ``SAMPLES`` times. Return that, and what the checkers found."""
    simulation = Simulation(churned_schedule(minutes, seed))
    found: list[Minute] = []
    for number in range(1, SAMPLES + 1):
        minute = minutes * number // SAMPLES
        simulation.run_until(60.0 * minute - 1.0)
        found.append(count_machines(simulation, minute))
    return found, simulation.run().violations


def count_machines(simulation: Simulation, minute: int) -> Minute:
    """Count all objects that a machine refers to, directly or through others, but not through the simulator."""
    hosts = simulation.oracle.hosts.values()
    outside = (simulation, simulation.engine, simulation.network, simulation.oracle, simulation.secured, *hosts)
    seen = {id(one) for one in outside}
    waiting: list[object] = [host.machine for host in hosts]
    objects: collections.Counter[str] = collections.Counter()
    size = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _NO_DATA):
            continue
        seen.add(id(one))
        objects[type(one).__qualname__] += 1
        size += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return Minute(minute, size, dict(objects))
