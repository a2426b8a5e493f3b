"""Checking many nodes in parallel: what the small side of a cut learns, how soon, and what it costs."""

from __future__ import annotations

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Ping
from meshp2p.core.events import ContactLost, ContactRestored, InstanceDied, InstanceSuspected, LeadershipChanged
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.core.swim.roll_call import FIRST, GROWTH
from tests.core.builders import ELSEWHERE, a_machine, a_record, emitted, hear, run_until, sends
from tests.core.mesh import Mesh

CUT_SECONDS = 8.0


def a_mesh(count: int, seed: int = 0) -> Mesh:
    mesh = Mesh(seed)
    for number in range(count):
        mesh.add(f"n{number:02}", join="n00" if number else None)
    mesh.run_until(mesh.is_whole, within=5)
    mesh.run(5)
    mesh.log.clear()
    return mesh


def cut(mesh: Mesh, side: set[str]) -> None:
    mesh.is_cut = lambda sender, receiver: (sender in side) != (receiver in side)


def heal(mesh: Mesh) -> None:
    mesh.is_cut = lambda _sender, _receiver: False


def has_right_views(mesh: Mesh, *sides: set[str]) -> bool:
    return all(set(mesh.nodes[name].records()) == side for side in sides for name in side)


@pytest.mark.parametrize(("count", "small"), [(3, 1), (8, 1), (8, 2), (8, 4), (16, 1), (16, 3), (16, 8), (32, 1)])
def test_both_sides_of_a_cut_have_the_right_view_within_eight_seconds(count: int, small: int) -> None:
    mesh = a_mesh(count, seed=small)
    names = list(mesh.nodes)
    side = set(names[:: max(1, count // small)][:small])
    cut(mesh, side)
    mesh.run_until(lambda: has_right_views(mesh, side, set(names) - side), within=CUT_SECONDS)
    assert {mesh.nodes[name].local_health for name in side} == {0}, "what is gone does not make a node slow"
    heal(mesh)
    mesh.run_until(mesh.is_whole, within=5)


def test_a_cut_off_node_says_so_after_three_seconds_and_names_no_leader_until_it_has_checked() -> None:
    mesh = a_mesh(8)
    cut(mesh, {"n00"})
    node = mesh.nodes["n00"]
    mesh.run_until(lambda: node.hears_nobody, within=4.0)
    assert isinstance(mesh.events["n00"][-1], ContactLost | LeadershipChanged)
    assert node.leader_id is None
    mesh.run_until(lambda: node.leader_id == "n00", within=CUT_SECONDS)
    assert set(node.records()) == {"n00"}
    assert not node.hears_nobody
    heal(mesh)
    mesh.run_until(mesh.is_whole, within=5)
    kinds = [type(event) for event in mesh.events["n00"]]
    assert (kinds.count(ContactLost), kinds.count(ContactRestored)) == (1, 1)


def test_a_node_that_is_announced_while_it_hears_nobody_names_no_leader() -> None:
    mesh = a_mesh(4)
    mesh.disks["z"], mesh.full["z"] = {}, "input/output error"
    node = mesh.add("z", join="n00")
    mesh.run_until(lambda: node.hears_nobody, within=5)
    assert not node.is_announced
    cut(mesh, {"z"})
    del mesh.full["z"]
    mesh.run_until(lambda: node.is_announced, within=11)
    assert (node.hears_nobody, node.leader_id) == (True, None)
    heal(mesh)
    mesh.run_until(mesh.is_whole, within=5)
    assert {machine.leader_id for machine in mesh.nodes.values()} == {"n00"}


def test_a_node_that_is_cut_off_for_less_than_that_says_nothing() -> None:
    mesh = a_mesh(8)
    cut(mesh, {"n00"})
    mesh.run(1.9)
    heal(mesh)
    mesh.run(10)
    assert not [event for event in mesh.events["n00"] if isinstance(event, ContactLost | InstanceDied)]


def test_a_node_alone_has_lost_no_contact() -> None:
    mesh = Mesh()
    node = mesh.add("a")
    mesh.run(60)
    assert not node.hears_nobody
    assert not [event for event in mesh.events["a"] if isinstance(event, ContactLost)]


@pytest.mark.parametrize("seconds", [2, 10, 600])
def test_a_node_that_was_stopped_has_not_lost_contact_and_accuses_nobody(seconds: int) -> None:
    mesh = a_mesh(6, seed=seconds)
    stopped = mesh.pause("n03")
    mesh.run(seconds)
    before = len(mesh.events["n03"])
    mesh.resume("n03", stopped)
    mesh.run(30)
    said = [event for event in mesh.events["n03"][before:] if isinstance(event, ContactLost | InstanceSuspected)]
    assert said == []
    assert mesh.is_whole()


@pytest.mark.parametrize("seconds", [60.0, 600.0])
def test_a_node_that_hears_nobody_after_a_pause_does_not_count_the_pause_as_silence(seconds: float) -> None:
    machine = a_machine()
    hear(machine, [a_record(name) for name in "abcd"])
    resumed_at = 1.0 + seconds
    events = emitted(machine.handle_timeouts(resumed_at) + run_until(machine, resumed_at + 30.0))
    [lost] = [event for event in events if isinstance(event, ContactLost)]
    assert 3 * machine.config.probe_interval <= lost.seconds < 30.0


def test_what_a_cut_off_node_found_of_others_is_not_told_when_it_is_back() -> None:
    mesh = a_mesh(8)
    cut(mesh, {"n07"})
    mesh.run_until(lambda: len(mesh.nodes["n07"].records()) == 1, within=CUT_SECONDS)
    before = {name: len(events) for name, events in mesh.events.items()}
    heal(mesh)
    mesh.run(10)
    died = [e.id for name, events in mesh.events.items() for e in events[before[name] :] if isinstance(e, InstanceDied)]
    assert died == []
    assert mesh.is_whole()


@pytest.mark.parametrize("by", ["b", "nobody"])
def test_a_verdict_on_a_node_that_was_just_heard_is_a_suspicion(by: str) -> None:
    machine = a_machine()
    hear(machine, [a_record(name) for name in "abcd"])
    machine.receive(Datagram(Gossip(tag_of("a"))), ELSEWHERE, 1.5)
    hear(machine, [Rumour("a", 1, State.DEAD, by)], now=2.0)
    assert machine.records()["a"].state is State.SUSPECT
    hear(machine, [a_record("a", 2)], now=2.1)
    assert machine.records()["a"].state is State.ALIVE


def test_a_verdict_on_a_node_that_is_not_heard_itself_is_taken() -> None:
    machine = a_machine()
    hear(machine, [a_record(name) for name in "abcd"])
    machine.receive(Datagram(Gossip(tag_of("a"))), ELSEWHERE, 1.5)
    hear(machine, [Rumour("a", 1, State.DEAD, "b")], now=4.5)
    assert "a" not in machine.records()


def test_a_crash_that_two_were_refused_by_is_taken_whenever_the_node_was_heard() -> None:
    machine = a_machine()
    hear(machine, [a_record(name) for name in "abcd"])
    machine.receive(Datagram(Gossip(tag_of("a"))), ELSEWHERE, 1.5)
    hear(machine, [Rumour("a", 1, State.DEAD, "b", True)], now=1.6)
    assert "a" not in machine.records()


def test_a_node_that_was_heard_and_then_died_is_dead_here_too() -> None:
    machine = a_machine()
    hear(machine, [a_record(name) for name in "abcd"])
    machine.receive(Datagram(Gossip(tag_of("a"))), ELSEWHERE, 1.5)
    hear(machine, [Rumour("a", 1, State.DEAD, "b")], now=2.0)
    run_until(machine, 12.0)
    assert "a" not in machine.records()


def pings_by_second(count: int, answering: int) -> list[int]:
    """How many pings a node sends in each second that lists so many others, of whom so many answer."""
    machine = a_machine("me", ProtocolConfig(watches=0, look_delay=3600.0))
    names = [f"n{number:03}" for number in range(count)]
    hear(machine, [a_record(name) for name in names])
    living = {tag_of(name): name for name in names[:answering]}
    pings = [0] * 12
    while machine.next_deadline() < 12.0:
        now = machine.next_deadline()
        effects = machine.handle_timeouts(now)
        for send in sends(effects):
            body = send.datagram.body
            if isinstance(body, Ping):
                pings[int(now)] += 1
                if body.target in living:
                    machine.receive(Datagram(Ack(body.sequence, body.target, machine.view)), ELSEWHERE, now)
    return pings


def test_a_check_of_all_is_bounded_and_widens_only_if_few_answer() -> None:
    alone = pings_by_second(128, 0)
    assert 128 <= max(alone) <= 2 * 128
    quarter = pings_by_second(128, 32)
    assert 4 * FIRST <= max(quarter) <= 2 * (FIRST + GROWTH * FIRST), "a second wave, of which each may be pinged twice"
    halves = pings_by_second(128, 64)
    assert max(halves) <= 40
    well = pings_by_second(128, 128)
    assert max(well) <= 3
