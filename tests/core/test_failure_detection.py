"""Who does not answer, what is said of it, and how it defends itself."""

from __future__ import annotations

import itertools

import pytest

from meshp2p.core.calls import Pong, Probe, Push, SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Nack, Ping, PingRequest
from meshp2p.core.directory.members import Members
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceDied, InstanceJoined, InstanceRecovered, InstanceSuspected
from meshp2p.core.machine import Machine
from meshp2p.core.record import Departed, Record, Rumour, State, tag_of
from tests.core.builders import (
    ELSEWHERE,
    a_machine,
    a_ping,
    a_record,
    answer_from,
    calls,
    emitted,
    hear,
    run_until,
    sends,
    told,
)
from tests.core.mesh import Mesh


def a_mesh(count: int, seed: int = 0, config: ProtocolConfig | None = None) -> Mesh:
    """So many nodes that have been one mesh for a while: n0 is the first."""
    mesh = Mesh(seed, config=config)
    for number in range(count):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(5)
    mesh.log.clear()
    return mesh


def deaths(mesh: Mesh) -> list[str]:
    return [event.id for events in mesh.events.values() for event in events if isinstance(event, InstanceDied)]


def suspicions(mesh: Mesh) -> list[str]:
    return [event.id for events in mesh.events.values() for event in events if isinstance(event, InstanceSuspected)]


# Dying


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_node_that_is_gone_is_dead_on_all(count: int) -> None:
    mesh = a_mesh(count)
    mesh.kill("n1")
    # a suspicion that nobody can confirm lasts 4 s, else 4 to 24 s; the probe itself takes at most a round
    mesh.run_until(lambda: all("n1" not in machine.records() for machine in mesh.nodes.values()), within=20)
    mesh.run_until(mesh.is_whole, within=2)
    assert deaths(mesh) == ["n1"] * (count - 1)


def test_a_suspect_is_listed_and_leads_until_it_is_dead() -> None:
    mesh = a_mesh(5)
    epoch = mesh.nodes["n4"].leader_epoch
    mesh.kill("n0")
    mesh.run_until(lambda: mesh.nodes["n4"].records()["n0"].state is State.SUSPECT, within=8)
    assert mesh.nodes["n4"].leader_id == "n0"
    mesh.run_until(lambda: mesh.nodes["n4"].leader_id == "n1", within=20)
    assert "n0" not in mesh.nodes["n4"].records()
    mesh.run_until(lambda: mesh.nodes["n4"].leader_epoch > epoch, within=1)


def test_independent_confirmations_shorten_a_suspicion() -> None:
    alone, among_many = a_machine(), a_machine()
    for machine in (alone, among_many):
        for instance_id in "abcdef":
            hear(machine, [a_record(instance_id)])
    hear(alone, [Rumour("a", 1, State.SUSPECT, "b")])
    hear(alone, [Rumour("a", 1, State.SUSPECT, "b")])
    for accuser in "bcd":
        hear(among_many, [Rumour("a", 1, State.SUSPECT, accuser)])
    deadlines = [machine._swim.membership.suspicions["a"].deadline() for machine in (alone, among_many)]
    assert deadlines == [1.0 + 24.0, 1.0 + 2.5]


def test_a_sync_confirms_nothing() -> None:
    machine = a_machine()
    for instance_id in "abcdef":
        hear(machine, [a_record(instance_id)])
    hear(machine, [Rumour("a", 1, State.SUSPECT, "b")])
    before = machine._swim.membership.suspicions["a"].deadline()
    for accuser in "cde":
        machine.receive_call(Push(tag_of("b"), (Rumour("a", 1, State.SUSPECT, accuser),)), 1.0)
    machine.receive_call(Push(tag_of("b"), (a_record("a", state=State.SUSPECT),)), 1.0)
    assert machine._swim.membership.suspicions["a"].deadline() == before


def test_of_a_suspicion_that_came_by_sync_the_accuser_confirms_nothing_either() -> None:
    synced, anonymous = a_machine(), a_machine()
    for machine, accuser in ((synced, "b"), (anonymous, "")):
        for instance_id in "abcdef":
            hear(machine, [a_record(instance_id)])
        machine.receive_call(Push(tag_of("c"), (Rumour("a", 1, State.SUSPECT, accuser),)), 1.0)
        for heard in "cd":
            hear(machine, [Rumour("a", 1, State.SUSPECT, heard)])
    deadlines = [machine._swim.membership.suspicions["a"].deadline() for machine in (synced, anonymous)]
    assert deadlines[0] == deadlines[1]


def test_a_suspicion_of_what_was_refuted_meanwhile_is_stale() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", 5), a_record("b")])
    hear(machine, [Rumour("a", 4, State.SUSPECT, "b")])
    assert machine.records()["a"].state is State.ALIVE
    assert not machine.counters.suspicions


def test_a_confirmation_that_comes_late_ends_the_suspicion_at_once_and_looks_like_no_pause() -> None:
    machine = a_machine(config=ProtocolConfig(confirmers=0))
    for instance_id in "abcdef":
        hear(machine, [a_record(instance_id)])
    hear(machine, [Rumour("a", 1, State.SUSPECT, "b")])
    machine._state.timers.cancel(Timer.PROBE)  # it shall not suspect the others
    run_until(machine, 15.0)
    hear(machine, [Rumour("a", 1, State.SUSPECT, accuser) for accuser in "cd"], now=15.0)
    assert machine.next_deadline() == 15.0
    died = emitted(machine.handle_timeouts(15.0))[0]
    assert isinstance(died, InstanceDied)
    assert (died.by, died.evidence) == (machine.id, "silent")
    assert machine.counters.pauses == 0


def test_a_suspicion_of_what_was_not_published_to_us_yet_hides_nothing_of_it() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", 5, status="old")])
    hear(machine, [Rumour("a", 7, State.SUSPECT, "b")])
    assert machine.records()["a"].state is State.SUSPECT
    assert machine.records()["a"].incarnation == 5
    hear(machine, [a_record("a", 7, status="new")])
    assert machine.records()["a"].status == "new"


# Refuting


def test_a_suspect_that_lives_refutes_and_is_alive_on_all() -> None:
    mesh = a_mesh(5)
    # nobody hears n2 for a moment, by UDP or TCP; it hears them
    mesh.is_cut = lambda sender, receiver: "n2" in (sender, receiver)
    mesh.run_until(lambda: "n2" in suspicions(mesh), within=6)
    incarnation = mesh.nodes["n2"].own.incarnation
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run_until(lambda: all(each.records()["n2"].state is State.ALIVE for each in mesh.nodes.values()), within=3)
    assert mesh.nodes["n2"].own.incarnation > incarnation
    assert deaths(mesh) == []
    recovered = [event.id for event in mesh.events["n3"] if isinstance(event, InstanceRecovered)]
    assert "n2" in recovered


def test_the_accused_is_told_by_who_finds_it_so_and_in_every_ping() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))])
    machine._swim.membership.accuse("a", 1.0, 1)
    effects = machine._conclude(1.0)
    assert Rumour("a", 1, State.SUSPECT, "me") in told([send for send in sends(effects) if send.address == ELSEWHERE])
    effects = run_until(machine, 4.0)
    pings = [send.datagram for send in sends(effects) if isinstance(send.datagram.body, Ping)]
    assert pings
    # whoever else lives at that address by now does not take it for a finding of this node's
    assert all(ping.items[0] == Rumour("a", 1, State.SUSPECT) for ping in pings)


@pytest.mark.parametrize("accuser", ["b", ""])
def test_a_suspect_of_a_sync_is_checked_until_it_refutes_because_perhaps_nobody_told_it(accuser: str) -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,)), *(a_record(name) for name in "bcdefgh")])
    machine._swim.prober.restart(1e6)
    machine.receive_call(Push(tag_of("b"), (Rumour("a", 1, State.SUSPECT, accuser),)), 1.0)
    until = 1.0
    for _ in range(2):  # the first check finds only that it lives: its pings were lost
        until += 2.0
        effects = run_until(machine, until)
        pings = [send for send in sends(effects) if isinstance(send.datagram.body, Ping) and send.address == ELSEWHERE]
        assert {ping.datagram.items[0] for ping in pings} == {Rumour("a", 1, State.SUSPECT)}
        [check] = calls(effects, Probe)
        machine.receive_reply(check.call_id, Pong("a", 1, 0), until)
    hear(machine, [a_record("a", 2, addresses=(ELSEWHERE,))], now=until)
    assert ELSEWHERE not in [call.addresses[0] for call in calls(run_until(machine, until + 2.5), Probe)]
    assert machine.records()["a"].state is State.ALIVE


def test_a_packet_that_says_the_same_a_hundred_times_is_refuted_once() -> None:
    machine = a_machine()
    hear(machine, [a_record(f"n{number:02}") for number in range(30)])
    before = machine.own.incarnation
    effects = hear(machine, [Rumour("me", before + more, State.DEAD, "x") for more in range(100)])
    assert machine.own.incarnation == before + 100
    assert machine.counters.refutations == 1
    assert len(sends(effects)) <= machine.config.birth_fanout
    assert machine.local_health == 1


def test_what_was_refuted_already_is_not_refuted_again() -> None:
    machine = a_machine()
    rumour = Rumour("me", machine.own.incarnation, State.SUSPECT, "x")
    hear(machine, [rumour])
    assert hear(machine, [rumour, rumour]) == []
    assert machine.counters.refutations == 1


def test_a_rumour_that_only_pretends_to_be_our_own_finding_is_not_told_at_once_to_many() -> None:
    machine = a_machine()
    hear(machine, [a_record(f"n{number:02}") for number in range(30)])
    effects = hear(machine, [Rumour("n00", 1, State.DEAD, "me")])
    assert sends(effects) == []


# Indirect probes, and local health


def test_a_node_that_one_cannot_reach_is_reached_through_others() -> None:
    mesh = a_mesh(5)
    mesh.is_dropped = lambda sender, receiver, _datagram: {sender, receiver} == {"n0", "n1"}
    mesh.run(60)
    assert suspicions(mesh) == []
    asked = [what for _, _, _, what in mesh.log if isinstance(what, Datagram) and isinstance(what.body, PingRequest)]
    assert asked
    assert mesh.is_whole()


def test_an_ack_that_a_relay_passed_on_does_not_make_the_relays_address_the_targets() -> None:
    mesh = a_mesh(5)
    mesh.is_dropped = lambda sender, receiver, _datagram: {sender, receiver} == {"n0", "n1"}
    looked_at = 0
    for _ in range(300):
        mesh.run(0.1)
        for machine in mesh.nodes.values():
            for record in machine.records().values():
                assert machine._state.address_of(record) == mesh.address(record.id)
                looked_at += record.id != machine.id
    assert looked_at > 20 * 250
    asked = [what for _, _, _, what in mesh.log if isinstance(what, Datagram) and isinstance(what.body, PingRequest)]
    assert len(asked) > 10, "no ack was passed on"


def test_the_tcp_probe_saves_a_node_whose_udp_is_dead() -> None:
    mesh = a_mesh(5)
    mesh.is_dropped = lambda sender, receiver, _datagram: "n3" in (sender, receiver)
    mesh.run(120)
    assert deaths(mesh) == []
    others = [machine for key, machine in mesh.nodes.items() if key != "n3"]
    assert all(machine.records()["n3"].state is State.ALIVE for machine in others)
    assert [what for _, _, _, what in mesh.log if isinstance(what, Probe)]


def test_a_relay_says_that_it_had_no_answer_either() -> None:
    mesh = a_mesh(5)
    mesh.kill("n4")
    mesh.run(10)
    nacks = [what for _, _, _, what in mesh.log if isinstance(what, Datagram) and isinstance(what.body, Nack)]
    assert nacks
    assert all(machine.local_health == 0 for machine in mesh.nodes.values())


def test_a_node_that_gets_no_nacks_from_relays_which_live_finds_that_it_is_slow_itself() -> None:
    mesh = a_mesh(5)
    mesh.is_cut = lambda sender, receiver: "n0" in (sender, receiver)
    mesh.is_dropped = lambda _sender, receiver, datagram: receiver == "n4" and isinstance(datagram.body, Nack)
    mesh.run_until(lambda: mesh.nodes["n4"].local_health > 0, within=10)
    timeout = mesh.nodes["n4"]._swim.prober.direct_timeout("n1", mesh.now)
    assert timeout == pytest.approx(0.2 * (mesh.nodes["n4"].local_health + 1), rel=0.01) or timeout >= 0.5
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.is_dropped = lambda _sender, _receiver, _datagram: False
    mesh.run(60)
    assert mesh.nodes["n4"].local_health == 0
    assert mesh.is_whole()


def test_a_target_that_dies_and_comes_back_as_a_hosted_instance_within_a_probe_is_let_be() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("b")])
    machine._swim.handle_timer(Timer.PROBE, "", 1.0)
    current = machine._swim.prober._round
    assert current is not None
    target, other = ("a", "b") if current.target == "a" else ("b", "a")
    hear(machine, [Rumour(target, 1, State.DEAD, other), a_record(target, 2, home=other)])
    effects = run_until(machine, 1.9)
    assert calls(effects, Probe) == []
    run_until(machine, 5.0)
    assert machine.records()[target].state is State.ALIVE


def test_who_says_that_it_is_slow_is_waited_for_longer() -> None:
    """Starved, but alive: others give it more time, as long as it says so."""
    taken: list[float] = []
    for health in (0, 8, 0):
        mesh = a_mesh(8)
        for node_id, machine in mesh.nodes.items():
            if node_id != "n3":
                machine._state.patience.note_health("n3", 8)
                machine._state.patience.note_health("n3", health)
        mesh.is_cut = lambda one, other: "n3" in (one, other)
        others = [machine for node_id, machine in mesh.nodes.items() if node_id != "n3"]
        taken.append(mesh.run_until(lambda: all("n3" not in one.records() for one in others), 60))  # noqa: B023
    assert taken[0] == taken[2] < taken[1]


def test_a_ping_tells_how_slow_its_sender_is_and_the_receiver_believes_it() -> None:
    mesh = a_mesh(2)
    slow, other = mesh.nodes["n0"], mesh.nodes["n1"]
    slow._state.local_health.change(+5)
    mesh.run_until(lambda: other._state.patience.factor("n0", mesh.now) == other.config.patience_max, within=8)
    mesh.run_until(lambda: other._state.patience.factor("n0", mesh.now) == 1.0, within=60)


def test_a_relay_serves_no_more_than_it_can_remember() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))])
    answered = 0
    for sequence in range(1, 3000):
        request = PingRequest(sequence, tag_of("a"), tag_of("b"), ELSEWHERE)
        answered += len(sends(machine.receive(Datagram(request), ELSEWHERE, 1.0)))
    assert answered == 1024
    nacks = [send for send in sends(run_until(machine, 2.0)) if isinstance(send.datagram.body, Nack)]
    assert len(nacks) == 1024
    assert machine._swim.prober._relays == {}


def test_acks_and_nacks_that_nobody_asked_for_are_counted_and_change_nothing() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))])
    before = machine.counters.datagrams_unasked
    for body in (Ack(99, tag_of("a"), machine.view), Nack(99, tag_of("a"))):
        assert machine.receive(Datagram(body), ELSEWHERE, 1.0) == []
    assert machine.receive(a_ping("a", "somebody else", machine.view), ELSEWHERE, 1.0) == []
    assert machine.counters.datagrams_unasked == before + 3


def test_a_probe_that_another_node_answers_saves_nobody() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    machine._swim.handle_timer(Timer.PROBE, "", 1.0)
    machine._conclude(1.0)
    (call,) = calls(run_until(machine, 1.6), Probe)
    machine.receive_reply(call.call_id, Pong("b", 1, 0), 1.6)
    run_until(machine, 2.1)
    assert machine.records()["a"].state is State.SUSPECT


def test_the_address_at_which_a_node_answers_is_kept_though_a_ping_to_its_old_one_had_no_answer() -> None:
    """It moved without noticing, and pings this node always a moment after it was pinged at its old address."""
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("b")])
    machine._swim.handle_timer(Timer.PROBE, "", 1.0)
    effects = machine._conclude(1.0)
    [pinged] = [one for one in sends(effects) if isinstance(one.datagram.body, Ping)]
    target = "a" if pinged.datagram.body.target == tag_of("a") else "b"  # type: ignore[union-attr]
    answer_from(machine, target, ELSEWHERE, 1.4)
    (call,) = calls(run_until(machine, 1.6), Probe)
    machine.receive_reply(call.call_id, Pong(target, 1, 0), 1.6)
    run_until(machine, 1.95)
    assert machine._state.address_of(machine.records()[target]) == ELSEWHERE


def test_an_address_at_which_a_node_answered_is_forgotten_when_a_ping_to_it_has_no_answer() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    machine._state.reach["a"] = ELSEWHERE
    machine._swim.handle_timer(Timer.PROBE, "", 1.0)
    machine._conclude(1.0)
    (call,) = calls(run_until(machine, 1.6), Probe)
    machine.receive_reply(call.call_id, Pong("a", 1, 0), 1.6)
    assert machine._state.reach == {}


# Calling the dead


def test_calling_the_dead_heals_a_partition() -> None:
    mesh = a_mesh(8)
    mesh.is_cut = lambda sender, receiver: (sender < "n4") != (receiver < "n4")
    mesh.run(60)
    assert [len(machine.records()) for machine in mesh.nodes.values()] == [4] * 8
    assert {machine.leader_id for machine in mesh.nodes.values()} == {"n0", "n4"}
    died = len(deaths(mesh))
    mesh.is_cut = lambda _sender, _receiver: False
    assert mesh.run_until(mesh.is_whole, within=8) <= 8
    assert len(deaths(mesh)) == died, "healing killed nobody"


def test_a_node_that_is_left_alone_calls_one_dead_node_about_once_a_second() -> None:
    mesh = a_mesh(4)
    for key in ("n1", "n2", "n3"):
        mesh.kill(key)
    mesh.run(80)
    assert list(mesh.nodes["n0"].records()) == ["n0"]
    mesh.log.clear()
    mesh.run(100)
    called = [when for when, _, _, what in mesh.log if isinstance(what, Datagram)]
    assert 50 <= len(called) <= 100
    assert all(0.66 < later - earlier < 2.01 for earlier, later in itertools.pairwise(called))


def test_many_nodes_together_call_a_dead_one_about_once_an_interval() -> None:
    machine = a_machine("m")
    hear(machine, [a_record(name) for name in "abcdefghij"])
    hear(machine, [Rumour("a", 1, State.DEAD, "b")])
    timers, now = machine._state.timers, 1.0
    pauses: list[float] = []
    while now < 1000:
        called_at = timers.deadline(Timer.CALL_DEAD)
        assert called_at is not None
        pauses.append(called_at - now)
        timers.cancel(Timer.CALL_DEAD)
        now = called_at
        machine._state.effects.clear()
        machine._swim.departures.handle_call(now)
        assert len(sends(machine._state.effects)) == 1
    assert all(1.1 <= pause <= 3.3 for pause in pauses[:4]), "just after the death"
    assert all(5.5 <= pause <= 16.5 for pause in pauses[20:])
    assert 70 < len(pauses) < 130  # one in eleven seconds, and some more in the first minute


def test_who_calls_others_and_is_reached_by_nobody_comes_back_ever_more_rarely() -> None:
    mesh = a_mesh(5)
    # a firewall of n0's machine, which would lead: what it asks is answered, what others ask is not
    mesh.is_cut = lambda _sender, receiver: receiver == "n0"
    mesh.run(600)
    returns = [event for event in mesh.events["n3"] if isinstance(event, InstanceJoined) and event.id == "n0"]
    assert 2 <= len(returns) <= 1 + 16
    mesh.events["n3"].clear()
    mesh.run(600)
    returns = [event for event in mesh.events["n3"] if isinstance(event, InstanceJoined) and event.id == "n0"]
    assert 1 <= len(returns) <= 12
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.run_until(mesh.is_whole, within=10)


def test_one_who_is_held_dead_is_told_so_when_it_speaks_and_called_back() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), Rumour("a", 1, State.DEAD, "b")])
    effects = machine.receive(a_ping("a", "me"), ELSEWHERE, 1.0)
    assert Rumour("a", 1, State.DEAD, "b") in told(effects)
    assert [effect.addresses for effect in calls(effects, SyncRequest)] == [(ELSEWHERE,)]
    assert machine.receive(Datagram(Gossip(tag_of("a"))), ELSEWHERE, 1.0) == []


def test_a_death_that_a_peer_of_another_view_tells_is_doubted_and_the_accused_is_told() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,)), a_record("b"), a_record("c"), a_record("d")])
    _, effects = machine.receive_call(Push(tag_of("b"), (Rumour("a", 1, State.DEAD, "b"),)), 1.0)
    assert machine.records()["a"].state is State.SUSPECT
    assert told([send for send in sends(effects) if send.address == ELSEWHERE]) == [Rumour("a", 1, State.SUSPECT)]
    assert machine._swim.membership.suspicions["a"].deadline() == 5.0
    machine.receive_call(Push(tag_of("b"), (Rumour("c", 1, State.LEFT, "c"),)), 1.0)
    assert "c" not in machine.records()


def a_doubting_machine() -> Machine:
    """It is told, at time 1, by a peer of another view that ``a`` is dead; it probes nobody."""
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,)), *(a_record(name) for name in "bcdefgh")])
    machine._swim.prober.restart(1e6)
    machine._state.local_health.score = 0
    _, effects = machine.receive_call(Push(tag_of("b"), (Rumour("a", 1, State.DEAD, "b"),)), 1.0)
    assert calls(effects, Probe) == []
    return machine


def test_one_who_is_held_dead_in_another_view_and_does_not_refute_is_checked_and_dead_once_it_refuses() -> None:
    machine = a_doubting_machine()
    [check] = calls(run_until(machine, 1.5), Probe)
    assert check.addresses == (ELSEWHERE,)
    machine.receive_reply(check.call_id, CallFailed(Failure.REFUSED, "connection refused"), 1.501)
    run_until(machine, 2.1)
    assert "a" not in machine.records()


def test_one_who_is_held_dead_in_another_view_and_is_silent_is_dead_after_a_confirmed_suspicion() -> None:
    machine = a_doubting_machine()
    [check] = calls(run_until(machine, 1.5), Probe)
    machine.receive_reply(check.call_id, CallFailed(Failure.TIMEOUT, "no answer"), 2.4)
    run_until(machine, 4.49)
    assert "a" in machine.records()
    run_until(machine, 4.51)
    assert "a" not in machine.records()


def test_one_who_is_held_dead_in_another_view_and_answers_lives() -> None:
    machine = a_doubting_machine()
    [check] = calls(run_until(machine, 1.5), Probe)
    hear(machine, [a_record("a", 2, addresses=(ELSEWHERE,))], now=1.6)
    machine.receive_reply(check.call_id, Pong("a", 1, 0), 1.6)
    run_until(machine, 3.5)  # later it hears nobody at all
    assert machine.records()["a"].state is State.ALIVE


def test_a_long_suspicion_is_short_and_begins_anew_once_another_view_holds_the_suspect_dead() -> None:
    machine = a_machine()
    hear(machine, [a_record(name) for name in "abcdefgh"])
    machine._swim.prober.restart(1e6)
    machine.receive_call(Push(tag_of("b"), (Rumour("a", 1, State.SUSPECT),)), 1.0)
    assert machine._swim.membership.suspicions["a"].deadline() == 25.0
    run_until(machine, 2.0)
    machine.receive_call(Push(tag_of("c"), (Rumour("a", 1, State.DEAD, "c"),)), 2.0)
    assert machine._swim.membership.suspicions["a"].deadline() == 6.0
    run_until(machine, 3.0)
    machine.receive_call(Push(tag_of("d"), (Rumour("a", 1, State.DEAD, "d"),)), 3.0)
    assert machine._swim.membership.suspicions["a"].deadline() == 6.0, "who syncs often must not lengthen it"


def test_a_record_of_the_same_incarnation_does_not_clear_a_suspicion_nor_look_like_news() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    events = emitted(hear(machine, [a_record("a", state=State.SUSPECT)]))
    assert [type(event) for event in events] == [InstanceSuspected]
    assert emitted(hear(machine, [a_record("a"), a_record("a", state=State.SUSPECT)])) == []
    held: Record = machine.records()["a"]
    assert held.state is State.SUSPECT


@pytest.mark.parametrize(("others", "multiplier"), [("ab", 1.0), ("abcdef", 6.0)])
def test_a_suspicion_waits_for_confirmations_only_if_enough_others_could_give_them(
    others: str, multiplier: float
) -> None:
    machine = a_machine()
    hear(machine, [a_record(instance_id) for instance_id in others])
    hear(machine, [Rumour("a", 1, State.SUSPECT, "b")])
    lasts = machine._swim.membership.suspicions["a"].deadline() - 1.0
    assert lasts == multiplier * machine.config.suspicion_timeout(1 + len(others))


@pytest.mark.parametrize(("state", "counts_max"), [(State.DEAD, 50), (State.LEFT, 0)])
def test_of_many_nodes_that_depart_in_a_moment_few_make_the_node_count_the_dead(
    state: State, counts_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = a_machine("m")
    names = [f"n{number}" for number in range(1000)]
    hear(machine, [a_record(name) for name in names])
    counts: list[int] = []
    count = Members.callable_dead

    def counted(members: Members) -> list[Departed]:
        dead = count(members)
        counts.append(len(dead))
        return dead

    monkeypatch.setattr(Members, "callable_dead", counted)
    hear(machine, [Rumour(name, 1, state, "b") for name in names[:990]])
    assert len(counts) <= counts_max
    planned = machine._state.timers.deadline(Timer.CALL_DEAD)
    if state is State.DEAD:
        assert planned is not None
        assert 0.1 <= planned - 1.0 <= 0.21, "almost all are dead"
    else:
        assert planned is None
