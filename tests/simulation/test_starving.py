"""A mesh in which some hardly run is calm."""

from __future__ import annotations

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import Event, InstanceDied
from meshp2p.simulation.host import Host
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Lossy, Stalls
from tests.simulation.simulated import a_schedule

SECONDS = 60.0
STARVED = ("n3", "n7")


class _Counting(Simulation):
    """Notes which incarnations anybody held dead."""

    held_dead: dict[tuple[str, int], None]

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceDied):
            self.held_dead[event.record.id, event.record.incarnation] = None
        super().event(host, event)


def held_dead(seed: int, config: ProtocolConfig) -> list[str]:
    """Who is held dead in a minute in which two nodes stand still for 4 of every 5 s; an id for each time."""
    simulation = _Counting(a_schedule(nodes=16, duration=1000.0, seed=seed, config=config, checks=()))
    simulation.held_dead = {}
    simulation.run_until(10.0)
    simulation.begin(Lossy(begin=0, probability=0.05))
    for name in STARVED:
        simulation.begin(Stalls(begin=0, node=name, every=5.0, seconds=4.0))
    simulation.run_until(10.0 + SECONDS)
    return [name for name, _ in simulation.held_dead]


@pytest.mark.parametrize("seed", [1, 2])
def test_who_stands_still_for_most_of_the_time_is_seldom_held_dead(seed: int) -> None:
    times = held_dead(seed, ProtocolConfig())
    assert set(times) <= set(STARVED)
    assert len(times) <= 2
    assert len(held_dead(seed, ProtocolConfig(patience_max=1.0))) >= 4
