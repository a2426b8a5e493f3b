"""A node that was itself stopped."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Done, Push, SyncRequest
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Ping
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import InstanceDied, InstanceSuspected
from meshp2p.core.machine import Machine
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.core.requests import Deregister
from meshp2p.core.swim.hosting import Profile
from tests.core.builders import ELSEWHERE, NOW_MS, a_machine, a_record, calls, emitted, hear, run_until, sends
from tests.core.mesh import Mesh


@pytest.mark.parametrize("seconds", [3, 60, 600])
def test_a_node_that_was_stopped_accuses_nobody_and_claims_nothing_before_it_heard_somebody(seconds: int) -> None:
    mesh = Mesh(seconds)
    for number in range(6):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(5)
    stopped = mesh.pause("n0")
    mesh.run(seconds)
    before = len(mesh.events["n0"])
    epoch = stopped.own.epoch
    mesh.resume("n0", stopped)
    assert stopped.counters.pauses == 1
    assert stopped.leader_id is None
    assert stopped.own.epoch == epoch
    mesh.run_until(mesh.is_whole, within=3)
    said = [event for event in mesh.events["n0"][before:] if isinstance(event, InstanceDied | InstanceSuspected)]
    assert said == []
    mesh.run(30)
    assert mesh.is_whole()
    assert {machine.leader_id for machine in mesh.nodes.values()} == {"n0"}


def test_suspicions_expiries_and_adoptions_have_their_whole_time_again() -> None:
    machine = a_machine("z")
    hear(machine, [a_record("a"), a_record("b"), a_record("y", home="gone")])
    hear(machine, [Rumour("a", 1, State.SUSPECT, "b")])
    machine.register(Profile("x", "h", 1), 1.0)
    machine.handle_timeouts(500.0)
    assert machine.counters.pauses == 1
    events = emitted(run_until(machine, 503.9))
    assert not [event for event in events if isinstance(event, InstanceDied)]
    assert {"a", "b", "x", "y"} <= set(machine.records())


@pytest.mark.parametrize("arrives", [True, False])
def test_a_slow_node_that_awaits_nothing_for_long_notices_that_it_was_stopped(arrives: bool) -> None:
    machine = a_machine()
    machine._state.local_health.change(+8)
    run_until(machine, 30.0)
    probe_at = machine._state.timers.deadline(Timer.PROBE)
    assert probe_at is not None
    stopped_at = probe_at - 4.5
    run_until(machine, stopped_at)
    if arrives:
        hear(machine, [a_record("a")], stopped_at + 4.0)
    else:
        machine.handle_timeouts(stopped_at + 4.0)
    assert machine.counters.pauses == 1


def test_a_small_delay_counts_into_local_health_once_a_period() -> None:
    machine = a_machine()
    machine.handle_timeouts(machine.next_deadline() + 0.3)
    assert machine.counters.pauses == 0
    assert machine.local_health == 1


def test_where_everybody_is_gone_a_node_that_was_stopped_believes_so_in_the_end() -> None:
    machine = a_machine("b")
    hear(machine, [a_record("a")])
    machine.handle_timeouts(100.0)
    run_until(machine, 160.0)
    assert list(machine.records()) == ["b"]
    assert machine.leader_id == "b"


@pytest.mark.parametrize("arrival", ["packet", "call", "reply"])
def test_what_arrives_first_after_a_pause_is_not_believed_before_the_pause_is_noticed(arrival: str) -> None:
    machine = a_machine("a")
    hear(machine, [a_record("b", addresses=(ELSEWHERE,))])
    assert machine.leader_id == "a"
    epoch = machine.own.epoch
    claims = (Rumour("a", machine.own.incarnation, State.DEAD, "b"), a_record("b", 2, epoch=7, addresses=(ELSEWHERE,)))
    if arrival == "packet":
        machine.receive(Datagram(Gossip(tag_of("b")), claims), ELSEWHERE, 100.0)
    elif arrival == "call":
        machine.receive_call(Push(tag_of("b"), claims), 100.0)
    else:
        machine.receive_reply(999, Done(), 100.0)
    assert machine.counters.pauses == 1
    assert machine.leader_id is None
    assert machine.own.epoch == epoch
    machine.handle_timeouts(100.0)
    assert machine.counters.pauses == 1, "it is the same pause"
    assert machine.own.epoch == epoch


@pytest.mark.parametrize("does", ["register", "deregister"])
def test_an_agent_that_asks_first_after_a_pause_makes_nobody_leader_before_the_pause_is_noticed(does: str) -> None:
    machine = a_machine("m")
    hear(machine, [a_record("n", addresses=(ELSEWHERE,))])
    if does == "deregister":
        machine.register(Profile("a", "h", 1), 1.0)
    leader_id = machine.leader_id
    epochs = {record.id: record.epoch for record in machine.records().values()}
    assert leader_id == ("a" if does == "deregister" else "m")
    if does == "register":
        machine.register(Profile("a", "h", 1), 100.0)
    else:
        machine.request(1, Deregister("a"), 100.0)
    assert machine.counters.pauses == 1
    assert machine.leader_id is None
    assert all(record.epoch == epochs.get(record.id, 0) for record in machine.records().values())


def test_suspicions_that_end_while_nobody_was_heard_yet_begin_anew() -> None:
    machine = a_machine("z")
    for instance_id in "ab":
        hear(machine, [a_record(instance_id)])
    machine.handle_timeouts(500.0)
    assert machine._state.is_guarded
    hear(machine, [Rumour("a", 1, State.SUSPECT, "b")], 500.0)
    machine._swim.membership.end_suspicion_period("a", 500.5)
    assert machine.records()["a"].state is State.SUSPECT
    assert machine._swim.membership.suspicions["a"].deadline() > 504.0


def a_sleeper() -> tuple[Machine, list[int]]:
    """A machine that lists others, and by how many milliseconds its wall clock is ahead of what it was told first."""
    ahead = [0]
    machine = a_machine("a")
    machine._state.wall_ms = lambda: NOW_MS + ahead[0]
    hear(machine, [a_record("b", addresses=(ELSEWHERE,)), a_record("c"), a_record("d")])
    machine.handle_timeouts(machine.next_deadline())
    return machine, ahead


def test_a_machine_that_slept_while_its_monotonic_clock_stood_still_notices_it() -> None:
    machine, ahead = a_sleeper()
    assert machine.counters.pauses == 0
    ahead[0] = 600_000
    machine.handle_timeouts(machine.next_deadline())
    assert machine.counters.pauses == 1
    assert machine.leader_id is None


def test_one_round_without_an_answer_does_not_end_the_care_after_a_pause() -> None:
    machine, _ = a_sleeper()
    now = machine.next_deadline() + 100.0
    machine.handle_timeouts(now)
    run_until(machine, now + 1.5 * machine.config.probe_interval)
    assert machine._state.is_guarded
    assert machine.leader_id is None


def test_who_was_stopped_asks_the_first_that_answers_what_it_missed() -> None:
    machine, _ = a_sleeper()
    now = machine.next_deadline() + 100.0
    effects = machine.handle_timeouts(now)
    while machine._state.is_guarded:
        for ping in [one.datagram.body for one in sends(effects) if isinstance(one.datagram.body, Ping)]:
            ack = Ack(ping.sequence, ping.target, machine.view)  # its view is the same, which says little
            effects = machine.receive(Datagram(ack), ELSEWHERE, now + 0.001)
        if machine._state.is_guarded:
            now = machine.next_deadline()
            effects = machine.handle_timeouts(now)
    assert calls(effects, SyncRequest)


def test_what_waited_while_a_node_was_stopped_is_no_sign_of_life_of_now() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("x", home="a")])
    before = machine.instance("x", 1.0)
    waited = Datagram(Gossip(tag_of("a")), (), (tag_of("x"), 1))
    machine.receive(waited, ELSEWHERE, 300.0)  # it lay in the socket's buffer
    shown, sender = machine.instance("x", 300.0), machine.instance("a", 300.0)
    assert before is not None
    assert shown is not None
    assert sender is not None
    assert shown.last_heartbeat == before.last_heartbeat
    assert sender.last_heartbeat == before.last_heartbeat
