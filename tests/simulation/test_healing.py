"""How soon a mesh of a common size is whole when a cut is mended, also where nodes died meanwhile."""

from __future__ import annotations

import pytest

from meshp2p.core.record import State
from meshp2p.simulation.checkers import Convergence
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Crash, Partition, Pause
from tests.simulation.simulated import a_schedule

NODES = 64
DATAGRAMS_MAX = 80 * NODES
"""Twice 32 nodes are news, each is told 8 times by each of 64 nodes, and a packet holds about 9."""


def a_mesh(nodes: int = NODES, seed: int = 1) -> tuple[Simulation, list[str]]:
    """One that has been whole for a while, and the ids of its nodes in their order."""
    simulation = Simulation(a_schedule(nodes=nodes, duration=1000.0, seed=seed, checks=(Convergence.name,)))
    simulation.run_until(10.0)
    return simulation, sorted(simulation.oracle.hosts)


def every_second_from_the_others(names: list[str]) -> Partition:
    return Partition(begin=0, groups=(tuple(names[::2]), tuple(names[1::2])))


def test_sixty_four_nodes_are_whole_within_a_second_after_a_cut() -> None:
    simulation, names = a_mesh()
    cut = simulation.begin(every_second_from_the_others(names))
    simulation.run_until(30.0)
    assert all(len(host.machine.records()) < 40 for host in simulation.oracle.live if host.machine)
    before = simulation.network.traffic.datagrams
    simulation.end(cut)
    took = simulation.become_whole(within=5.0)
    assert took is not None
    assert took <= 1.0
    assert simulation.network.traffic.datagrams - before <= DATAGRAMS_MAX


@pytest.mark.parametrize("seed", [1, 2])
def test_who_died_behind_a_short_cut_is_known_dead_soon_after_it(seed: int) -> None:
    simulation, names = a_mesh(seed=seed)
    cut = simulation.begin(every_second_from_the_others(names))
    simulation.run_until(11.0)
    simulation.begin(Crash(begin=0, node=names[0]))
    simulation.begin(Crash(begin=0, node=names[4], is_silent=True))
    simulation.run_until(12.0)
    simulation.end(cut)
    assert simulation.become_whole(within=5.0) is not None


def test_who_slept_while_the_leader_died_names_the_next_soon_after_waking() -> None:
    simulation, names = a_mesh(nodes=16)
    pause = simulation.begin(Pause(begin=0, node=names[-1]))
    simulation.run_until(50.0)
    simulation.begin(Crash(begin=0, node=names[0]))
    simulation.run_until(70.0)
    simulation.end(pause)
    assert simulation.become_whole(within=3.0) is not None


@pytest.mark.parametrize("seed", [1, 2])
def test_who_was_cut_off_alone_suspects_nobody_soon_after(seed: int) -> None:
    """None of the others has heard of its suspicions, nor of those that they have of it: no view's hash tells."""
    simulation, names = a_mesh(nodes=33, seed=seed)
    cut = simulation.begin(Partition(begin=0, groups=(tuple(names[:-1]), tuple(names[-1:]))))
    simulation.run_until(14.0)
    assert suspects(simulation)
    simulation.end(cut)
    simulation.run_until(14.0 + 5.0)
    assert not suspects(simulation)


def suspects(simulation: Simulation) -> list[str]:
    return [
        record.id
        for host in simulation.oracle.live
        if host.machine
        for record in host.machine.records().values()
        if record.state is State.SUSPECT
    ]
