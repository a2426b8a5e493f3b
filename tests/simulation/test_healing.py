"""How soon a mesh of a common size is whole when a cut is mended."""

from __future__ import annotations

import pytest

from meshp2p.simulation.checkers import Wholeness
from meshp2p.simulation.faults import Partition
from meshp2p.simulation.simulation import Simulation
from tests.simulation.simulated import a_schedule

NODES = 64
DATAGRAMS_MAX = 80 * NODES
"""Twice 32 nodes are news, each is told 8 times by each of 64 nodes, and a packet holds about 9."""


@pytest.mark.parametrize("seed", range(1, 5))
def test_sixty_four_nodes_are_whole_within_a_second_after_a_cut(seed: int) -> None:
    simulation = Simulation(a_schedule(nodes=NODES, duration=1000.0, seed=seed, checks=(Wholeness.name,)))
    simulation.run_until(10.0)
    names = sorted(simulation.truth.hosts)
    cut = simulation.begin(Partition(begin=0, groups=(tuple(names[::2]), tuple(names[1::2]))))
    simulation.run_until(30.0)
    assert all(len(host.machine.records()) < 40 for host in simulation.truth.live if host.machine)
    before = simulation.network.traffic.datagrams
    simulation.end(cut)
    took = simulation.become_whole(within=5.0)
    assert took is not None
    assert took <= 1.0
    assert simulation.network.traffic.datagrams - before <= DATAGRAMS_MAX
