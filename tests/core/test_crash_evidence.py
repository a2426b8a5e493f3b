"""A process that died is known at once: watch connections, checks, and refusals that two nodes found."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from meshp2p.core.calls import Pong, Probe
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Ping
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Effect, Failure, Unwatch, Watch, WatchOpened
from meshp2p.core.events import InstanceDied, InstanceRecovered, InstanceSuspected, LeadershipChanged
from meshp2p.core.machine import Machine
from meshp2p.core.record import Rumour, State, tag_of
from tests.core.builders import ELSEWHERE, HERE, a_machine, a_record, calls, emitted, hear, run_until, sends, told

RESET = CallFailed(Failure.UNREACHABLE, "connection reset")
REFUSED = CallFailed(Failure.REFUSED, "connection refused")
TIMEOUT = CallFailed(Failure.TIMEOUT, "no answer")


def watches(effects: Iterable[Effect]) -> dict[str, Watch]:
    """The watches that are opened, by the id of who is watched."""
    names = {tag_of(name): name for name in "abcdefghmxyz"}
    return {names[effect.request.target]: effect for effect in effects if isinstance(effect, Watch)}


def probe_nobody(machine: Machine) -> None:
    """Let it forget that nobody answered it so far, and go on without probing."""
    machine._swim.prober.restart(1e6)
    machine._state.local_health.score = 0


def a_watcher(*others: str, config: ProtocolConfig | None = None) -> tuple[Machine, dict[str, Watch]]:
    """The machine of ``m`` among others, at time 3, with its watches; it probes nobody."""
    machine = a_machine("m", config)
    probe_nobody(machine)
    hear(machine, [a_record(other) for other in others])
    opened = watches(run_until(machine, 3.0))
    for name, watch in opened.items():
        machine.receive_watch(watch.watch_id, WatchOpened(watch.addresses[0], Pong(name, 1, 0)), 3.0)
    return machine, opened


def accusations(effects: Iterable[Effect]) -> list[Rumour]:
    return [item for item in told(effects) if isinstance(item, Rumour) and item.state is State.SUSPECT]


def refuse(machine: Machine, watch: Watch, now: float = 3.0) -> list[Effect]:
    """The watch breaks, the check is refused, and no ack comes: all that the machine did."""
    broken = machine.receive_watch(watch.watch_id, RESET, now)
    [call] = calls(broken, Probe)
    assert call.addresses == watch.addresses[:1]
    refused = machine.receive_reply(call.call_id, REFUSED, now + 0.001)
    return [*broken, *refused, *run_until(machine, now + 0.02)]


def test_a_node_watches_its_two_successors_in_the_order_of_ids() -> None:
    machine, opened = a_watcher("a", "b", "x", "y", "z")
    assert list(opened) == ["x", "y"]
    assert machine._swim.watches.watched == ["x", "y"]


def test_behind_the_last_id_the_order_goes_on_with_the_first() -> None:
    assert list(a_watcher("a", "b", "c", "x")[1]) == ["x", "a"]


def test_a_newcomer_that_is_nearer_is_watched_in_place_of_another_but_not_at_once() -> None:
    machine, opened = a_watcher("a", "x", "z")
    effects = hear(machine, [a_record("y")], now=3.0)
    assert watches(effects) == {}
    effects = run_until(machine, 3.5)
    assert list(watches(effects)) == ["y"]
    assert [effect for effect in effects if isinstance(effect, Unwatch)] == [Unwatch(opened["z"].watch_id)]


def test_a_process_that_came_back_is_watched_anew() -> None:
    machine, opened = a_watcher("a", "x", "z")
    effects = hear(machine, [a_record("x", 5, boot=2)], now=3.0) + run_until(machine, 3.0)
    assert Unwatch(opened["x"].watch_id) in effects
    assert list(watches(effects)) == ["x"]


def test_a_process_that_came_back_while_it_was_suspected_is_watched_anew() -> None:
    machine, opened = a_watcher("a", "x", "z")
    hear(machine, [Rumour("x", 1, State.SUSPECT, "a")], now=3.0)
    effects = hear(machine, [a_record("x", 5, boot=2)], now=3.0) + run_until(machine, 3.0)
    assert InstanceRecovered in map(type, emitted(effects))
    assert Unwatch(opened["x"].watch_id) in effects
    assert list(watches(effects)) == ["x"]


def hearers_of(accusation: Rumour, effects: Iterable[Effect], machine: Machine) -> str:
    """The ids of those to whom the accusation is sent."""
    addresses = {send.address for send in sends(effects) if accusation in send.datagram.items}
    return "".join(record.id for record in machine.records().values() if record.addresses[0] in addresses)


def test_a_refusal_that_one_node_found_is_told_to_the_accused_and_the_other_watcher_and_then_to_confirmers() -> None:
    machine, opened = a_watcher("a", "b", "c", "h", "x", "y", "z", config=ProtocolConfig(confirmers=2))
    effects = refuse(machine, opened["x"])
    assert [type(event) for event in emitted(effects)] == [InstanceSuspected]
    accusation = Rumour("x", 1, State.SUSPECT, "m", True)
    assert hearers_of(accusation, effects, machine) == "hx"
    later = run_until(machine, 3.039)
    assert hearers_of(accusation, later, machine) == ""
    assert hearers_of(accusation, run_until(machine, 3.041), machine) == "hyz"


def test_if_the_other_watcher_is_suspected_the_confirmers_are_told_at_once() -> None:
    machine, opened = a_watcher("a", "b", "c", "h", "x", "y", "z", config=ProtocolConfig(confirmers=2))
    hear(machine, [Rumour("h", 1, State.SUSPECT, "z")], now=3.0)
    effects = refuse(machine, opened["x"])
    assert len(hearers_of(Rumour("x", 1, State.SUSPECT, "m", True), effects, machine)) == 3


def test_who_is_no_watcher_and_is_refused_tells_watchers_and_confirmers() -> None:
    machine, _ = a_watcher("a", "b", "c", "h", "x", "y", "z", config=ProtocolConfig(confirmers=2))
    machine._swim.membership.accuse("b", 3.0, 0, is_refused=True)
    effects = machine.receive_stored((), None, 3.0)
    assert hearers_of(Rumour("b", 1, State.SUSPECT, "m", True), effects, machine) == "abyz"


def test_a_suspect_that_answers_late_is_not_accused_again() -> None:
    machine, opened = a_watcher("a", "b", "c", "x", "y")
    effects = refuse(machine, opened["x"])
    [sequence] = {send.datagram.body.sequence for send in sends(effects) if isinstance(send.datagram.body, Ping)}
    machine.receive(Datagram(Ack(sequence, tag_of("x"), 0)), machine.records()["x"].addresses[0], 3.03)
    accusation = Rumour("x", 1, State.SUSPECT, "m", True)
    assert hearers_of(accusation, run_until(machine, 3.05), machine) == ""


@pytest.mark.parametrize("is_first", [True, False])
def test_two_who_were_refused_make_it_dead_at_once_and_the_next_leads(is_first: bool) -> None:
    machine, opened = a_watcher("a", "b", "x", "y", config=ProtocolConfig(watches=4))
    assert machine.leader_id == "a"
    other = Rumour("a", 1, State.SUSPECT, "b", True)
    effects = [] if is_first else hear(machine, [other], now=3.0)
    effects += refuse(machine, opened["a"])
    if is_first:
        assert "a" in machine.records()
        effects += hear(machine, [other], now=3.03)
    events = emitted(effects)
    assert [type(event) for event in events] == [InstanceSuspected, InstanceDied, LeadershipChanged]
    found = [(event.by, event.evidence) for event in events if isinstance(event, InstanceSuspected | InstanceDied)]
    assert found == [("b" if not is_first else "m", "refused"), ("m", "refused")]
    assert machine.leader_id == "b"
    assert Rumour("a", 1, State.DEAD, "m", True) in told(effects)


def test_a_verdict_says_what_the_node_weighed() -> None:
    machine, opened = a_watcher("a", "x", "y")
    refuse(machine, opened["x"])
    hear(machine, [Rumour("x", 1, State.SUSPECT, "a")], now=3.5)
    effects = hear(machine, [Rumour("x", 1, State.SUSPECT, "y", True)], now=3.6)
    [death] = [event for event in emitted(effects) if isinstance(event, InstanceDied)]
    assert death.grounds is not None
    assert (death.grounds.accusers, death.grounds.refused) == (("a", "m", "y"), ("m", "y"))
    assert 3.0 < death.grounds.since < 3.1


def test_a_suspicion_names_the_ping_that_got_no_answer_unless_it_was_heard() -> None:
    machine, opened = a_watcher("a", "x", "y")
    effects = refuse(machine, opened["x"])
    pings = [send.datagram.body.sequence for send in sends(effects) if isinstance(send.datagram.body, Ping)]
    [found] = [event.grounds for event in emitted(effects) if isinstance(event, InstanceSuspected)]
    effects = hear(machine, [Rumour("y", 1, State.SUSPECT, "x")], now=3.1)
    [heard] = [event.grounds for event in emitted(effects) if isinstance(event, InstanceSuspected)]
    assert found is not None
    assert heard is not None
    assert (found.ping, found.is_check) == (pings[0], True)
    assert heard.ping == 0
    assert heard.deadline > heard.since == 3.1


def test_who_was_not_refused_itself_believes_no_two_others() -> None:
    machine, _ = a_watcher("a", "b", "x", "y", config=ProtocolConfig(confirmers=0, watches=0))
    hear(machine, [Rumour("a", 1, State.SUSPECT, name, True) for name in "bxy"], now=3.0)
    assert "a" in machine.records()


def test_where_there_are_but_two_one_refusal_is_enough() -> None:
    machine, opened = a_watcher("x")
    refuse(machine, opened["x"])
    assert list(machine.records()) == ["m"]


def test_of_three_two_that_crash_at_once_are_dead_for_the_third() -> None:
    machine, opened = a_watcher("x", "y")
    refuse(machine, opened["x"])
    assert "x" in machine.records()
    refuse(machine, opened["y"], now=3.05)
    assert list(machine.records()) == ["m"]


def test_who_answers_a_ping_though_tcp_is_refused_is_not_accused() -> None:
    machine, opened = a_watcher("a", "x")
    broken = machine.receive_watch(opened["x"].watch_id, RESET, 3.0)
    [call] = calls(broken, Probe)
    [ping] = [send for send in sends(broken) if isinstance(send.datagram.body, Ping)]
    machine.receive_reply(call.call_id, REFUSED, 3.001)
    assert isinstance(ping.datagram.body, Ping)
    ack = Ack(ping.datagram.body.sequence, tag_of("x"), 0)
    machine.receive(Datagram(ack), ping.address, 3.01)
    effects = run_until(machine, 3.4)
    assert accusations(effects) == []
    assert machine.counters.datagrams_unasked == 0


@pytest.mark.parametrize(
    ("round_trips", "grace"),
    [({}, 0.02), ({"x": 0.002}, 0.006), ({"a": 0.003}, 0.009), ({"x": 0.1}, 0.02), ({"x": 1e-4, "a": 1.0}, 0.005)],
)
def test_an_ack_may_take_as_long_as_three_usual_round_trips_within_limits(
    round_trips: dict[str, float], grace: float
) -> None:
    machine, opened = a_watcher("a", "b", "x")
    machine._swim.prober.round_trips |= round_trips
    [call] = calls(machine.receive_watch(opened["x"].watch_id, RESET, 3.0), Probe)
    machine.receive_reply(call.call_id, REFUSED, 3.001)
    assert accusations(run_until(machine, 3.0 + grace - 0.0005)) == []
    assert accusations(run_until(machine, 3.0 + grace + 0.0005))


def test_a_refusal_after_a_broken_call_is_believed_as_soon_as_one_at_once() -> None:
    machine, opened = a_watcher("a", "b", "x")
    machine._swim.prober.round_trips["x"] = 0.001
    [call] = calls(machine.receive_watch(opened["x"].watch_id, RESET, 3.0), Probe)
    machine.receive_reply(call.call_id, RESET, 3.001)
    [again] = calls(run_until(machine, 3.0061), Probe)
    machine.receive_reply(again.call_id, REFUSED, 3.007)
    assert accusations(run_until(machine, 3.0125))


def test_who_answers_by_tcp_lives_though_its_connection_broke() -> None:
    machine, opened = a_watcher("a", "x")
    [call] = calls(machine.receive_watch(opened["x"].watch_id, RESET, 3.0), Probe)
    machine.receive_reply(call.call_id, Pong("x", 1, 0), 3.001)
    effects = run_until(machine, 4.5)
    assert accusations(effects) == []
    assert "x" in watches(effects)


def test_a_connection_that_is_taken_by_a_process_that_dies_is_tried_again() -> None:
    machine, opened = a_watcher("x")
    [call] = calls(machine.receive_watch(opened["x"].watch_id, RESET, 3.0), Probe)
    machine.receive_reply(call.call_id, RESET, 3.001)
    [again] = calls(run_until(machine, 3.03), Probe)
    machine.receive_reply(again.call_id, REFUSED, 3.03)
    run_until(machine, 3.1)
    assert list(machine.records()) == ["m"]


def test_who_never_had_a_connection_and_is_refused_has_as_long_for_an_ack_as_a_probe_has() -> None:
    machine = a_machine("m")
    probe_nobody(machine)
    hear(machine, [a_record("x")])
    watch = watches(run_until(machine, 3.0))["x"]
    [call] = calls(machine.receive_watch(watch.watch_id, REFUSED, 3.0), Probe)
    machine.receive_reply(call.call_id, REFUSED, 3.001)
    run_until(machine, 3.49)
    assert "x" in machine.records()
    run_until(machine, 3.51)
    assert "x" not in machine.records()


def test_another_process_at_its_port_is_not_watched_and_says_nothing_of_it() -> None:
    machine = a_machine("m")
    probe_nobody(machine)
    hear(machine, [a_record("x")])
    watch = watches(run_until(machine, 3.0))["x"]
    opened = machine.receive_watch(watch.watch_id, WatchOpened(watch.addresses[0], Pong("y", 9, 0)), 3.0)
    assert opened == [Unwatch(watch.watch_id)]
    assert machine.receive_watch(watch.watch_id, REFUSED, 3.0) == []
    assert machine._swim.watches.watched == []


def test_silence_after_a_connection_broke_is_a_plain_suspicion() -> None:
    machine, opened = a_watcher("a", "b", "x")
    [call] = calls(machine.receive_watch(opened["x"].watch_id, RESET, 3.0), Probe)
    effects = run_until(machine, 3.99)
    assert accusations(effects) == []
    machine.receive_reply(call.call_id, TIMEOUT, 4.0)
    effects = run_until(machine, 4.0)
    assert {rumour.is_refused for rumour in accusations(effects)} == {False}


def test_a_watch_that_cannot_be_opened_is_tried_ever_more_rarely() -> None:
    machine, opened = a_watcher("x")
    machine._state.timers.cancel(Timer.LOOK)
    pauses: list[float] = []
    watch, now = opened["x"], 3.0
    machine.receive_watch(watch.watch_id, TIMEOUT, now)
    while len(pauses) < 6:
        at = machine.next_deadline()
        if again := watches(machine.handle_timeouts(at)):
            pauses.append(at - now)
            watch, now = again["x"], at
            machine.receive_watch(watch.watch_id, TIMEOUT, now)
        hear(machine, [a_record("x", 10 + int(at * 1000))], now=at)  # it lives
    assert pauses[-1] > 4 * pauses[0]


def test_an_ack_to_an_earlier_ping_does_not_end_a_check() -> None:
    machine, opened = a_watcher("a", "b", "x")
    effects = machine.receive_watch(opened["x"].watch_id, RESET, 3.0)
    [call] = calls(effects, Probe)
    [ping] = [send.datagram.body for send in sends(effects) if isinstance(send.datagram.body, Ping)]
    for late in range(1, 4):
        machine.receive(Datagram(Ack(ping.sequence - late, tag_of("x"), 0)), ELSEWHERE, 3.1)
    machine.receive_reply(call.call_id, TIMEOUT, 4.0)
    assert accusations(run_until(machine, 4.1))


@pytest.mark.parametrize("accuser", ["m", "a"])
def test_a_node_that_accused_another_checks_it_again_two_periods_after_each_failed_check(accuser: str) -> None:
    """It accuses by itself, or confirms what another node found. It was cut off itself, so the suspect heard nothing;
    the first check after the cut tells the suspect, which refutes."""
    suspect = a_machine("x", addresses=(ELSEWHERE,))
    machine = a_machine("m", ProtocolConfig(confirmers=16, watches=0, suspicion_multiplier=12))
    others = [a_record(name) for name in "abcdefghyz"]
    probe_nobody(machine)
    hear(machine, [suspect.own, *others])
    hear(suspect, [machine.own])
    run_until(machine, 2.0)
    if accuser == "m":
        machine._swim.confirmer.check("x", 2.0)
        machine._conclude(2.0)
    else:
        hear(machine, [Rumour("x", suspect.own.incarnation, State.SUSPECT, accuser)], 2.0)
    checked_at: list[float] = []
    effects: list[Effect] = []
    while (now := machine.next_deadline()) <= 11.0:
        effects = machine.handle_timeouts(now)
        if Probe(tag_of("x")) in [call.request for call in calls(effects, Probe)]:
            checked_at.append(now)
        for other in others:
            machine.receive(Datagram(Gossip(tag_of(other.id))), other.addresses[0], now)
    assert checked_at == [5.0, 8.0, 11.0]
    assert machine.records()["x"].state is State.SUSPECT
    for ping in [send for send in sends(effects) if send.address == ELSEWHERE]:
        for answer in sends(suspect.receive(ping.datagram, HERE, 11.0)):
            machine.receive(answer.datagram, ELSEWHERE, 11.0)
    assert machine.records()["x"].state is State.ALIVE


def test_what_was_refused_to_an_earlier_process_is_not_held_against_the_next() -> None:
    machine, opened = a_watcher("x")
    [call] = calls(machine.receive_watch(opened["x"].watch_id, RESET, 3.0), Probe)
    machine.receive_reply(call.call_id, REFUSED, 3.001)
    hear(machine, [a_record("x", 5, boot=2)], now=3.01)
    run_until(machine, 3.1)
    assert machine.records()["x"].state is State.ALIVE


def test_a_break_after_it_left_is_nothing() -> None:
    machine, opened = a_watcher("a", "x")
    effects = hear(machine, [Rumour("x", 1, State.LEFT, "x")], now=3.0)
    effects = machine.receive_watch(opened["x"].watch_id, RESET, 3.0)
    assert calls(effects, Probe) == []


def test_a_node_that_was_stopped_accuses_nobody_of_whom_it_finds_the_connection_broken() -> None:
    machine, opened = a_watcher("a", "x")
    machine._swim.prober.restart(3.0)
    effects = machine.receive_watch(opened["x"].watch_id, RESET, 63.0)
    assert machine.counters.pauses == 1
    assert calls(effects, Probe) == []
    assert "x" in watches(run_until(machine, 64.0))


def test_a_node_that_leaves_watches_nobody() -> None:
    machine, opened = a_watcher("a", "x")
    effects = machine.leave(3.0)
    closed = [effect.watch_id for effect in effects if isinstance(effect, Unwatch)]
    assert closed == [watch.watch_id for watch in opened.values()]


def test_who_refutes_is_alive_and_the_refusal_is_forgotten() -> None:
    machine, opened = a_watcher("a", "b", "x")
    refuse(machine, opened["x"])
    effects = hear(machine, [a_record("x", 2)], now=3.05)
    assert [type(event) for event in emitted(effects)] == [InstanceRecovered]
    hear(machine, [Rumour("x", 2, State.SUSPECT, "a", True)], now=3.06)
    assert "x" in machine.records()


# Who hears a suspicion


def confirmers_of(suspect: str, accuser: str, names: str) -> list[str]:
    """Who of these nodes checks, asked of each machine by itself."""
    chosen = []
    for name in names:
        machine = a_machine(name)
        hear(machine, [a_record(other) for other in names if other != name])
        effects = hear(machine, [Rumour(suspect, 1, State.SUSPECT, accuser)], now=1.2)
        if calls(effects, Probe):
            chosen.append(name)
    return chosen


def test_a_suspicion_is_checked_by_the_same_four_whoever_is_asked_and_not_by_the_two_it_concerns() -> None:
    chosen = confirmers_of("a", "b", "abcdefghxyz")
    assert len(chosen) == 4
    assert not {"a", "b"} & set(chosen)


def test_a_suspect_that_does_not_answer_a_confirmer_is_confirmed_and_its_suspicion_is_short() -> None:
    machine = a_machine("m", ProtocolConfig(confirmers=8))
    hear(machine, [a_record(name) for name in "abcxyz"])
    probe_nobody(machine)
    effects = hear(machine, [Rumour("a", 1, State.SUSPECT, "b")], now=1.2)
    [call] = calls(effects, Probe)
    assert [
        (item.id, item.state)
        for send in sends(effects)
        if isinstance(send.datagram.body, Ping)
        for item in send.datagram.items
        if item.id == "a"
    ] == [("a", State.SUSPECT)]
    run_until(machine, 2.19)
    machine.receive_reply(call.call_id, TIMEOUT, 2.2)
    assert Rumour("a", 1, State.SUSPECT, "m") in told(run_until(machine, 2.2))
    hear(machine, [Rumour("a", 1, State.SUSPECT, "c")], now=2.3)
    run_until(machine, 3.69)
    assert "a" in machine.records()
    run_until(machine, 3.71)
    assert "a" not in machine.records()


def test_who_accuses_tells_those_who_check() -> None:
    machine = a_machine("m")
    names = "abcdefghxyz"
    hear(machine, [a_record(name) for name in names])
    machine._swim.membership.accuse("a", 1.2, 1)
    effects = machine._conclude(1.2)
    accusation = Rumour("a", 1, State.SUSPECT, "m")
    hearers = [send.address for send in sends(effects) if accusation in send.datagram.items]
    addresses = {record.addresses[0]: record.id for record in machine.records().values()}
    assert len(hearers) == 5
    assert "a" in {addresses.get(address, "") for address in hearers}
    assert ELSEWHERE not in hearers


def test_a_check_pings_also_where_the_node_says_that_it_is_if_it_answered_elsewhere() -> None:
    """Somebody answered in its place, and a firewall refuses its connections: it lives, and says so."""
    machine, opened = a_watcher("a", "b", "x", "y", "z")
    machine._state.reach["x"] = ELSEWHERE
    broken = machine.receive_watch(opened["x"].watch_id, RESET, 3.0)
    pings = [one for one in sends(broken) if isinstance(one.datagram.body, Ping)]
    assert [one.address for one in pings] == [ELSEWHERE, machine.records()["x"].addresses[0]]
    [call] = calls(broken, Probe)
    machine.receive_reply(call.call_id, REFUSED, 3.001)
    sequence = pings[1].datagram.body.sequence  # type: ignore[union-attr]
    machine.receive(Datagram(Ack(sequence, tag_of("x"), 0, 0)), pings[1].address, 3.002)
    assert accusations(run_until(machine, 6.0)) == []
