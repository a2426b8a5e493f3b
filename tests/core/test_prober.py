"""Probing: whom, and what becomes of it."""

from __future__ import annotations

import itertools
import random

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Ping
from meshp2p.core.events import InstanceJoined, InstanceSuspected
from meshp2p.core.swim import prober
from meshp2p.simulation.checkers.tables import table_sizes
from tests.core.mesh import Mesh


def clocks_within(seconds: float, count: int) -> list[float]:
    """What the wall clocks of so many nodes are ahead, at random."""
    draw = random.Random(count)
    return [draw.uniform(0, seconds) for _ in range(count)]


def a_probed_mesh(ahead: list[float], seconds: float) -> dict[str, list[tuple[float, str]]]:
    """When, in so many seconds, each node of a mesh was pinged, and by whom. ``ahead`` is what each one's wall clock is
    ahead, in the order of their ids."""
    mesh = Mesh()
    for number, each in enumerate(ahead):
        mesh.clock_ahead_ms[f"n{number:02}"] = int(each * 1000)
        mesh.add(f"n{number:02}", join="n00" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(5)
    mesh.log.clear()
    mesh.run(seconds)
    pings: dict[str, list[tuple[float, str]]] = {name: [] for name in mesh.nodes}
    for when, sender, address, what in mesh.log:
        if isinstance(what, Datagram) and isinstance(what.body, Ping):
            pings[mesh.key_at(address)].append((when, sender))
    return pings


def gaps(pings: dict[str, list[tuple[float, str]]]) -> list[float]:
    """The seconds between one ping to a node and the next to the same, sorted."""
    return sorted(b - a for each in pings.values() for (a, _), (b, _) in itertools.pairwise(each))


@pytest.mark.parametrize("count", [2, 3, 5, 16, 33])
def test_no_node_waits_for_two_periods_to_be_probed_by_anybody(count: int) -> None:
    pings = a_probed_mesh([0.0] * count, 60.0)
    assert all(59 <= len(each) <= 61 for each in pings.values())
    assert gaps(pings)[-1] < 2.0


def test_clocks_that_differ_by_a_tenth_of_a_period_hardly_change_that() -> None:
    found = gaps(a_probed_mesh(clocks_within(0.1, 16), 120.0))
    assert found[int(len(found) * 0.9)] < 2.0
    assert found[-1] < 4.0


def test_half_of_the_ring_on_a_machine_whose_clock_is_off_leaves_no_stretch_unprobed() -> None:
    assert gaps(a_probed_mesh([0.0] * 12 + [12.0] * 12, 120.0))[-1] < 5.0


def test_clocks_that_have_nothing_to_do_with_one_another_leave_random_turns() -> None:
    pings = a_probed_mesh(clocks_within(1e6, 16), 120.0)
    found = gaps(pings)
    assert found[int(len(found) * 0.99)] < 6.0
    for target, each in pings.items():
        assert {sender for _, sender in each} == set(pings) - {target}


def test_each_probes_each_other_once_in_as_many_periods_as_there_are_others() -> None:
    pings = a_probed_mesh([0.0] * 9, 80.0)
    for target, each in pings.items():
        for other in set(pings) - {target}:
            turns = [when for when, sender in each if sender == other]
            assert len(turns) == 10
            assert all(abs(b - a - 8.0) < 1e-6 for a, b in itertools.pairwise(turns))


def test_a_probe_of_the_process_that_died_does_not_accuse_the_one_that_came_back() -> None:
    for seed in range(20):
        mesh = Mesh(seed)
        mesh.add("a")
        mesh.add("b", join="a")
        mesh.add("c", join="a")
        mesh.run_until(mesh.is_whole, 5)
        mesh.kill("a")
        while "a" in mesh.nodes["b"].records():
            mesh.run(1)
        mesh.add("a", join="b")
        mesh.run(5)
        for observer in ("b", "c"):
            events = mesh.events[observer]
            returned = max(i for i, e in enumerate(events) if isinstance(e, InstanceJoined) and e.id == "a")
            assert not [event for event in events[returned:] if isinstance(event, InstanceSuspected)]


def test_with_a_short_period_too_each_node_is_probed_once_in_each() -> None:
    interval = 0.25
    mesh = Mesh(config=ProtocolConfig(probe_interval=interval, probe_timeout=0.1, probe_timeout_min=0.05))
    names = ("a", "b", "c", "d", "e")
    for name in names:
        mesh.add(name, join=None if name == "a" else "a")
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(5)
    mesh.log.clear()
    mesh.run(20)
    for name in names:
        at = [
            when
            for when, _, address, what in mesh.log
            if mesh.key_at(address) == name and isinstance(what, Datagram) and isinstance(what.body, Ping)
        ]
        assert max(later - earlier for earlier, later in itertools.pairwise(at)) < 2 * interval


def test_of_many_nodes_only_those_that_were_just_heard_are_remembered_as_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "HEARD_MAX", 4)
    mesh = Mesh()
    for number in range(24):
        mesh.add(f"n{number:02}", join="n00" if number else None)
    mesh.run(60.0)
    heard = [table_sizes(machine)["NodeState.heard"] for machine in mesh.nodes.values()]
    assert 2 <= max(heard) <= 12
