"""Leaving of one's own will, and what is remembered of who departed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshp2p.core.address import Address
from meshp2p.core.calls import Done, Push, SyncReply, SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceDied, InstanceLeft
from meshp2p.core.record import Rumour, State
from meshp2p.core.requests import Deregister, Heartbeat
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import NodeClosed
from tests.core.builders import ELSEWHERE, a_machine, a_ping, a_record, calls, emitted, hear, run_until
from tests.core.mesh import Mesh


def a_mesh(count: int) -> Mesh:
    mesh = Mesh(count)
    for number in range(count):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(3)
    return mesh


def test_who_leaves_is_known_to_have_left_at_once() -> None:
    mesh = a_mesh(6)
    mesh.leave("n2")
    others = [machine for key, machine in mesh.nodes.items() if key != "n2"]
    mesh.run(0.003)
    assert all("n2" not in machine.records() for machine in others)
    assert mesh.nodes["n2"].has_left
    events = [event for key in ("n0", "n5") for event in mesh.events[key] if getattr(event, "id", "") == "n2"]
    assert {type(event) for event in events if isinstance(event, InstanceLeft | InstanceDied)} == {InstanceLeft}


def test_who_left_is_never_held_dead() -> None:
    mesh = a_mesh(4)
    mesh.leave("n2")
    mesh.run(0.5)
    mesh.kill("n2")
    mesh.run(60)
    for machine in mesh.nodes.values():
        assert machine._state.members.departed["n2"].state is State.LEFT
    hear(mesh.nodes["n0"], [Rumour("n2", mesh.nodes["n0"]._state.members.departed["n2"].incarnation, State.DEAD, "x")])
    assert mesh.nodes["n0"]._state.members.departed["n2"].state is State.LEFT


def test_a_node_that_leaves_waits_for_those_whom_it_called_and_no_longer_than_their_time() -> None:
    machine = a_machine()
    hear(machine, [a_record(instance_id) for instance_id in "abcdef"])
    effects = machine.leave(1.0)
    farewells = calls(effects, Push)
    assert [call.timeout for call in farewells] == [0.5] * 3
    assert not machine.has_left
    machine.receive_reply(farewells[0].call_id, Done(), 1.1)
    machine.receive_reply(farewells[1].call_id, CallFailed(Failure.TIMEOUT, ""), 1.1)
    assert not machine.has_left
    machine.receive_reply(farewells[2].call_id, Done(), 1.1)
    assert machine.has_left
    assert machine.leave(1.2) == []


def test_a_node_that_leaves_while_it_dials_says_farewell_to_whoever_answers() -> None:
    """The answerer lists this node from the dial, and this node does not list the answerer yet."""
    leaver = a_machine("leaver")
    dial = calls(leaver.offer("seed", (ELSEWHERE,), None, 1.0) + run_until(leaver, 1.1), SyncRequest)[0]
    other = a_machine("other", addresses=(ELSEWHERE,))
    reply, _ = other.receive_call(dial.request, 1.2)
    assert isinstance(reply, SyncReply)
    assert "leaver" in other.records()
    leaver.leave(1.3)
    assert not leaver.has_left
    farewell = calls(leaver.receive_reply(dial.call_id, reply, 1.4), Push)[0]
    assert not leaver.has_left
    _, effects = other.receive_call(farewell.request, 1.5)
    assert [event.id for event in emitted(effects) if isinstance(event, InstanceLeft)] == ["leaver"]
    leaver.receive_reply(farewell.call_id, Done(), 1.6)
    assert leaver.has_left


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.REFUSED])
def test_a_node_that_leaves_waits_for_no_dial_that_failed(failure: Failure) -> None:
    machine = a_machine()
    dial = calls(machine.offer("seed", (ELSEWHERE,), None, 1.0) + run_until(machine, 1.1), SyncRequest)[0]
    machine.leave(1.2)
    assert calls(machine.receive_reply(dial.call_id, CallFailed(failure, ""), 1.3), Push) == []
    assert machine.has_left


def test_who_syncs_with_a_node_that_leaves_does_not_list_it() -> None:
    leaver = a_machine("leaver", addresses=(ELSEWHERE,))
    hear(leaver, [a_record("a")])
    leaver.leave(1.0)
    for known in ([], [leaver.own]):
        machine = a_machine("m")
        hear(machine, known)
        effects = machine.offer("seed", (ELSEWHERE,), None, 1.0) + machine.receive(
            a_ping("leaver", "m", 1), ELSEWHERE, 1.0
        )
        effects += run_until(machine, 4.0) + machine.receive(a_ping("leaver", "m", 1), ELSEWHERE, 4.0)
        call = calls(effects, SyncRequest)[0]
        reply, _ = leaver.receive_call(call.request, 2.0)
        assert isinstance(reply, SyncReply)
        assert reply.is_leaving
        machine.receive_reply(call.call_id, reply, 4.0)
        assert set(machine.records()) == {"m", "a"}
        assert machine._state.members.departed["leaver"].state is State.LEFT


def test_where_leaving_may_take_no_time_nobody_is_called() -> None:
    machine = a_machine(config=ProtocolConfig(leave_timeout=0))
    hear(machine, [a_record("a")])
    assert calls(machine.leave(1.0), Push) == []
    assert machine.has_left


def test_a_node_alone_has_left_at_once() -> None:
    machine = a_machine()
    machine.leave(1.0)
    assert machine.has_left


def test_a_node_that_was_not_announced_bids_nobody_farewell() -> None:
    machine = a_machine(is_announced=False)
    hear(machine, [a_record("a")], now=0.1)
    assert machine.leave(0.2) == []
    assert machine.has_left


def test_a_request_to_a_node_that_left_is_refused_and_changes_nothing() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    machine.leave(1.0)
    before = (dict(machine.records()), machine.view, machine.next_deadline(), repr(machine))
    asks: list[Callable[[], object]] = [
        lambda: machine.request(1, Heartbeat("a", "", ""), 2.0),
        lambda: machine.request(1, Deregister("a"), 2.0),
        lambda: machine.register(Profile("x", "h", 1), 2.0),
        lambda: machine.report("busy", "", 2.0),
    ]
    for ask in asks:
        with pytest.raises(NodeClosed, match="'me' has left"):
            ask()
    assert (dict(machine.records()), machine.view, machine.next_deadline(), repr(machine)) == before


def test_a_node_that_leaves_neither_refutes_nor_probes_nor_dials() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    machine.leave(1.0)
    incarnation = machine.own.incarnation
    hear(machine, [Rumour("me", incarnation + 5, State.DEAD, "x")])
    assert machine.own.incarnation == incarnation
    machine.offer("seed", (Address("10.0.0.7", 7),), None, 1.0)
    assert Address("10.0.0.7", 7) not in [candidate.address for candidate in machine.candidates()]
    probes = machine.counters.probes
    run_until(machine, 30.0)
    assert machine.counters.probes == probes


def test_the_instances_of_a_node_that_left_are_adopted_where_they_are_heard_of() -> None:
    mesh = a_mesh(3)
    mesh.do("n1", mesh.nodes["n1"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(0.5)
    mesh.leave("n1")
    mesh.run(0.5)
    mesh.kill("n1")
    mesh.run(5)
    assert "x" in mesh.nodes["n0"].records()
    mesh.do("n2", mesh.nodes["n2"].request(1, Heartbeat("x", "", ""), mesh.now))
    mesh.run(0.1)
    assert mesh.nodes["n0"].records()["x"].home == "n2"


def test_a_late_record_does_not_bring_back_who_left_and_a_newer_one_does() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", 5), Rumour("a", 5, State.LEFT, "a")])
    hear(machine, [a_record("a", 5), a_record("a", 4), a_record("a", 5, state=State.SUSPECT)])
    assert "a" not in machine.records()
    hear(machine, [a_record("a", 6)])
    assert "a" in machine.records()


def test_of_one_who_was_never_known_the_departure_is_remembered() -> None:
    machine = a_machine()
    assert emitted(hear(machine, [Rumour("a", 5, State.LEFT, "a")])) == []
    hear(machine, [a_record("a", 5)])
    assert "a" not in machine.records()


def test_the_departed_are_forgotten_after_their_time_and_the_oldest_where_they_are_too_many() -> None:
    machine = a_machine(config=ProtocolConfig(departed_max=3, departed_retention=100))
    for number in range(6):
        run_until(machine, 1.0 + number)
        hear(machine, [a_record(f"n{number}"), Rumour(f"n{number}", 1, State.LEFT, "")], now=1.0 + number)
    members = machine._state.members
    assert list(members.departed) == ["n3", "n4", "n5"]
    assert len(machine._state.gossip) <= 4
    run_until(machine, 104.0)
    assert list(members.departed) == ["n4", "n5"]
    run_until(machine, 107.0)
    assert list(members.departed) == []
    assert len(members.tags.ids) == 1


@pytest.mark.parametrize("since", [0.1, 1.1, 2.3, 4.7, 1234.567])
def test_forgetting_at_the_very_deadline_ends(since: float) -> None:
    machine = a_machine()
    run_until(machine, since)
    hear(machine, [Rumour("a", 1, State.LEFT, "a")], now=since)
    run_until(machine, since + machine.config.departed_retention)
    assert list(machine._state.members.departed) == []


def test_a_node_alone_through_which_instances_come_and_go_does_not_grow() -> None:
    machine = a_machine(config=ProtocolConfig(departed_max=10))
    for number in range(500):
        now = 1.0 + number / 100
        run_until(machine, now)
        machine.register(Profile(f"agent-{number}", "h", 1), now)
        machine.request(number, Heartbeat(f"agent-{number}", "busy", '{"a":1}'), now)
        machine.request(number, Deregister(f"agent-{number}"), now)
    state = machine._state
    assert len(state.members.departed) == 10
    assert len(state.gossip) <= 11
    assert len(state.members.tags.ids) == 11
    assert len(state.timers._heap) < 200
    assert len(machine._swim.hosting._hosted) == 0
    assert len(state.life._turn) == 1


def test_through_years_of_churn_no_table_of_a_node_grows() -> None:
    mesh = Mesh(config=ProtocolConfig(departed_max=5, candidates_max=8))
    mesh.add("a")
    mesh.run(2)
    for number in range(60):
        mesh.add(f"b{number}", join="a")
        mesh.run(3)
        if number % 2:
            mesh.kill(f"b{number}")
        else:
            mesh.leave(f"b{number}")
        mesh.run(6)
        mesh.nodes.pop(f"b{number}", None)
    mesh.run(30)
    machine = mesh.nodes["a"]
    state, prober = machine._state, machine._swim.prober
    assert list(machine.records()) == ["a"]
    assert len(state.members.departed) <= 5
    assert state.reach == {}
    assert prober.round_trips == {}
    assert len(state.members.nodes) <= 2
    assert len(state._calls) <= 16
    assert machine._swim.membership.suspicions == {}
    assert len(list(machine.candidates())) <= 8
