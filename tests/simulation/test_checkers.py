"""Each checker sees what it is for: a machine without a safeguard, or an event that must not be."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import (
    Event,
    InstanceDied,
    InstanceJoined,
    InstanceRecovered,
    InstanceUpdated,
    LeadershipChanged,
)
from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.record import Record, State
from meshp2p.core.swim import election
from meshp2p.errors import ConfigError
from meshp2p.simulation.checkers import CHECKERS, Convergence
from meshp2p.simulation.expectations import suspicion_seconds
from meshp2p.simulation.letter import Letter
from meshp2p.simulation.oracle import Component, MapWrite
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import AgentPlan, MailPlan, SecurityPlan
from meshp2p.simulation.simulation import Simulation, run
from meshp2p.virtual.faults import ALL_KINDS, Blocked, Crash, Delayed, Partition, Pause, Twin
from simulations.ablations.safeguards import SAFEGUARDS, ablation
from tests.simulation.simulated import a_mesh, a_schedule


def a_record(simulation: Simulation, node_id: str = "n1", **changes: object) -> Record:
    machine = simulation.oracle.hosts[node_id].machine
    assert machine is not None
    return msgspec.structs.replace(machine.own, **changes)


def told(simulation: Simulation, *events: Event) -> list[str]:
    """What checkers say when the machine of n0 emits these events."""
    before = len(simulation.violations)
    for event in events:
        simulation.event(simulation.oracle.hosts["n0"], event)
    return [violation.checker for violation in simulation.violations[before:]]


@pytest.mark.parametrize("safeguard", sorted(SAFEGUARDS))
def test_without_a_safeguard_the_checker_that_is_for_it_fails(safeguard: str) -> None:
    """The seeds are few: a safeguard that shows in one run of ten is shown by some of twenty."""
    wanted = SAFEGUARDS[safeguard]
    checks = (wanted.checker,) if wanted.checker in CHECKERS else None
    for seed in range(20):
        result = run(
            build_schedule(wanted.scenario, Options(seed=seed, ablations=(safeguard,), checks=checks)),
            ablate=ablation,
        )
        if any(violation.checker == wanted.checker for violation in result.violations):
            return
        raised = [violation.message for violation in result.violations if violation.checker == "machine"]
        assert raised == [], "the alteration does not fit the machine"
    pytest.fail(f"{wanted.checker} sees nothing in 20 seeds of {wanted.scenario} without {safeguard}")


def test_a_safeguard_that_is_unknown_or_cannot_be_switched_off_here_is_refused() -> None:
    schedule = build_schedule("calm", Options(ablations=("nonsense",)))
    with pytest.raises(ConfigError, match="ablation 'nonsense': expected one of refutation"):
        run(schedule, ablate=ablation)
    with pytest.raises(ConfigError, match="ablation 'nonsense': safeguards are switched off by `python -m"):
        run(schedule)


def test_an_incarnation_that_falls_is_seen() -> None:
    simulation = a_mesh()
    own = a_record(simulation)
    fallen = msgspec.structs.replace(own, incarnation=own.incarnation - 1)
    assert told(simulation, InstanceUpdated(fallen)) == ["incarnations"]


def test_an_incarnation_that_nobody_published_is_seen() -> None:
    simulation = a_mesh()
    own = a_record(simulation)
    invented = msgspec.structs.replace(own, incarnation=own.incarnation + 1)
    assert told(simulation, InstanceUpdated(invented)) == ["incarnations"]


def test_the_dead_that_rise_are_seen() -> None:
    simulation = a_mesh()
    own = a_record(simulation)
    dead = msgspec.structs.replace(own, state=State.DEAD)
    assert "incarnations" in told(simulation, InstanceDied(dead), InstanceJoined(own))


def test_a_departed_that_departs_again_is_seen() -> None:
    simulation = a_mesh()
    left = a_record(simulation, state=State.LEFT)
    assert "incarnations" in told(simulation, InstanceDied(left), InstanceDied(left))


def test_a_recovery_without_a_refutation_is_seen() -> None:
    simulation = a_mesh()
    assert told(simulation, InstanceRecovered(a_record(simulation))) == ["incarnations"]


def test_a_claim_that_does_not_outbid_what_was_heard_is_seen() -> None:
    simulation = a_mesh(checks=("epochs",))
    later = a_record(simulation, "n0").epoch + 7
    assert told(simulation, InstanceUpdated(a_record(simulation, "n3", epoch=later))) == []
    assert told(simulation, InstanceUpdated(a_record(simulation, "n0", epoch=later - 1, epoch_since=1))) == ["epochs"]


@pytest.mark.parametrize("skips", [True, False])
def test_a_token_that_two_processes_claim_is_seen(monkeypatch: pytest.MonkeyPatch, skips: bool) -> None:
    if not skips:
        monkeypatch.setattr(election, "epoch_above", lambda known, _boot: known + 1)
    alone = (Delayed(begin=5.0, seconds=0.4), Twin(begin=10.0, end=11.5, node="n0"))
    found = [violation.message for violation in run(a_schedule(*alone, duration=30.0, checks=("epochs",))).violations]
    assert found == ([] if skips else ["claimed the token (1, 'n0'), which another process of its id claimed"])


def test_a_leader_that_is_not_the_lowest_is_seen() -> None:
    simulation = a_mesh()
    machine = simulation.oracle.hosts["n0"].machine
    assert machine is not None
    machine._swim.election._named_id = "n2"
    assert told(simulation, LeadershipChanged("n2", "n0", 1)) == ["epochs"]


@pytest.mark.parametrize(("seconds", "seen"), [(2.9, ["pause-guard"]), (3.1, [])])
def test_a_node_that_was_stopped_may_claim_when_three_rounds_of_probes_had_no_answer(
    seconds: float, seen: list[str]
) -> None:
    simulation = a_mesh(
        Pause(begin=10.0, end=15.0, node="n0"), Blocked(begin=11.0, kinds=ALL_KINDS), until=15.0 + seconds
    )
    own = a_record(simulation, "n0")
    claim = msgspec.structs.replace(own, epoch=own.epoch + 7, incarnation=own.incarnation + 1)
    assert told(simulation, InstanceUpdated(claim)) == seen


@pytest.mark.parametrize(("until", "seen"), [(20.0, ["registrations"]), (230.0, [])])
def test_an_agent_that_stopped_may_be_listed_for_a_while(until: float, seen: list[str]) -> None:
    agent = AgentPlan(id="agent", nodes=("n1",), at=1.0, until=until, every=2.0)
    simulation = a_mesh(until=5.0, duration=240.0, agents=(agent,), checks=("registrations",))
    machine = simulation.oracle.hosts["n1"].machine
    assert machine is not None
    machine._swim.hosting.handle_expired = lambda instance_id, now: None  # type: ignore[method-assign]
    assert [violation.checker for violation in simulation.run().violations][:1] == seen


def test_a_death_without_a_suspicion_is_seen() -> None:
    simulation = a_mesh(until=30.0, checks=("suspicions",))
    dead = a_record(simulation, state=State.DEAD)
    assert told(simulation, InstanceDied(dead)) == ["suspicions"]


@pytest.mark.parametrize(("confirmations", "seconds"), [(0, 28.9), (1, 12.24), (2, 2.5), (3, 2.5)])
def test_a_suspicion_is_expected_to_last_as_the_protocol_says(confirmations: int, seconds: float) -> None:
    assert suspicion_seconds(ProtocolConfig(), 16, confirmations) == pytest.approx(seconds, abs=0.01)


def test_an_agent_that_bears_the_boot_of_an_earlier_process_of_its_home_is_seen() -> None:
    agent = AgentPlan(id="agent", nodes=("n1",), at=1.0, every=5.0)
    simulation = a_mesh(duration=30.0, agents=(agent,), checks=("registrations",))
    simulation.checkers["registrations"].finish()
    assert simulation.violations == []
    machine = simulation.oracle.hosts["n1"].machine
    assert machine is not None
    machine._state.members.put(msgspec.structs.replace(machine.records()["agent"], boot=1))
    simulation.checkers["registrations"].finish()
    assert "boot" in simulation.violations[0].message


def test_a_process_that_forgets_its_claim_to_lead_is_seen() -> None:
    simulation = a_mesh(until=30.0, checks=("incarnations",))
    own = a_record(simulation, "n0")
    assert own.epoch
    forgot = msgspec.structs.replace(own, incarnation=own.incarnation + 1, epoch=0)
    assert told(simulation, InstanceUpdated(forgot)) == ["incarnations"]


REPORTING = AgentPlan(id="agent", nodes=("n1",), at=1.0, every=12.0, varies=True)


def test_a_report_that_was_held_back_and_never_published_is_seen() -> None:
    simulation = a_mesh(until=2.0, duration=240.0, agents=(REPORTING,), checks=("registrations",))
    machine = simulation.oracle.hosts["n1"].machine
    assert machine is not None
    machine._swim.hosting.handle_publish = lambda instance_id, now: None  # type: ignore[method-assign]
    violations = simulation.run().violations
    assert {violation.checker for violation in violations} == {"registrations"}
    assert "which has reported" in violations[0].message
    assert run(a_schedule(duration=240.0, agents=(REPORTING,))).violations == ()


def test_metrics_that_are_published_too_often_are_seen() -> None:
    agent = msgspec.structs.replace(REPORTING, every=2.0)
    simulation = a_mesh(until=2.0, duration=60.0, agents=(agent,), checks=("registrations",))
    machine = simulation.oracle.hosts["n1"].machine
    assert machine is not None
    machine._state.config = msgspec.structs.replace(machine._state.config, metrics_interval=1.0)
    assert "publishes the metrics of agent" in simulation.run().violations[0].message
    assert run(a_schedule(duration=60.0, agents=(agent,))).violations == ()


def test_the_death_of_an_agent_whose_heartbeats_are_answered_is_seen() -> None:
    agent = AgentPlan(id="agent", nodes=("n1",), at=1.0, every=2.0)
    simulation = a_mesh(until=30.0, agents=(agent,), checks=("registrations",))
    machine = simulation.oracle.hosts["n1"].machine
    assert machine is not None
    dead = msgspec.structs.replace(machine.records()["agent"], state=State.DEAD)
    assert told(simulation, InstanceDied(dead)) == ["registrations"]


def test_an_agent_that_deregistered_is_listed_nowhere() -> None:
    agent = AgentPlan(id="agent", nodes=("n1", "n2"), at=1.0, every=2.0, until=20.0, deregisters=True)
    simulation = a_mesh(duration=240.0, agents=(agent,), checks=("registrations",))
    assert simulation.run().violations == ()
    assert list(simulation.oracle.deregistered) == ["agent"]
    record = a_record(simulation, id="agent", home="n1")
    machine = simulation.oracle.hosts["n0"].machine
    assert machine is not None
    machine._state.members.put(record)
    simulation.checkers["registrations"].finish()
    assert "which deregistered at" in simulation.violations[0].message


def test_a_write_that_loses_against_what_its_writer_had_read_is_seen() -> None:
    simulation = a_mesh(until=10.0, checks=("maps",))
    held = MapEntry("key", Stamp(5_000, 0, 1), b'"theirs"')
    for wanted, seen in ((held.value, []), (b'"mine"', ["maps"]), (b"", ["maps"])):
        simulation.violations.clear()
        simulation.oracle.map_writes[:] = [MapWrite("map", held, "n0", 1, 9.0, wanted)]
        simulation.checkers["maps"].finish()
        assert [violation.checker for violation in simulation.violations] == seen


def test_a_false_death_is_seen_where_there_was_no_trouble() -> None:
    simulation = a_mesh(until=30.0)
    dead = a_record(simulation, state=State.DEAD)
    assert "false-deaths" in told(simulation, InstanceDied(dead))


def test_a_death_in_a_partition_is_no_violation() -> None:
    simulation = a_mesh(Partition(begin=20.0, groups=(("n0",), ("n1",))), until=30.0, checks=("false-deaths",))
    assert told(simulation, InstanceDied(a_record(simulation, state=State.DEAD))) == []


def test_a_crash_that_nobody_notices_is_seen() -> None:
    schedule = a_schedule(Crash(begin=20.0, node="n3"), duration=200.0, checks=("detection",))
    simulation = Simulation(schedule)
    for host in simulation.oracle.hosts.values():
        host._alter = lambda host: setattr(host.machine._swim.membership, "accuse", lambda *_, **__: None)  # type: ignore[union-attr]
    result = simulation.run()
    assert {violation.checker for violation in result.violations} == {"detection"}
    assert len(result.violations) == 3  # one for each that is left


def test_detection_is_timed() -> None:
    result = run(a_schedule(Crash(begin=20.0, node="n3")))
    assert len(result.detections) == 1
    assert 0 < result.detections[0] < 20


def test_a_part_of_a_cut_mesh_that_lists_the_other_part_is_not_whole() -> None:
    cut = Partition(begin=10.0, groups=(("n0", "n1"), ("n2", "n3")))
    simulation = a_mesh(cut, duration=400.0, until=12.0, checks=("convergence",))
    assert len(simulation.oracle.components()) == 2
    simulation.oracle.network.rules.clear()  # the cut is gone and nobody was told
    simulation.run_until(150.0)
    assert [violation.checker for violation in simulation.violations] == ["convergence", "convergence"]


@pytest.mark.parametrize(("begin", "is_sure"), [(0.0, False), (10.0, True)])
def test_nodes_that_were_cut_off_from_whom_they_were_told_of_need_not_meet(begin: float, is_sure: bool) -> None:
    cut = Partition(begin=begin, groups=(("n0", "n1"), ("n2", "n3")))
    simulation = a_mesh(cut, duration=60.0, until=20.0)
    assert [component.is_sure for component in simulation.oracle.components()] == [True, is_sure]


def test_who_is_told_only_of_one_whom_it_cannot_reach_is_not_known_to_a_bridge() -> None:
    simulation = a_mesh(Partition(begin=0.0, groups=(("n0", "n1"), ("n2",))), duration=60.0, until=20.0)
    assert [component.is_sure for component in simulation.oracle.components()] == [False]


def test_a_long_partition_makes_two_whole_meshes() -> None:
    result = run(a_schedule(Partition(begin=10.0, end=300.0, groups=(("n0", "n1"), ("n2", "n3"))), duration=320.0))
    assert result.violations == ()


def test_tables_and_packets_have_bounds() -> None:
    simulation = a_mesh()
    small = msgspec.structs.replace(simulation.oracle.config, members_max=2, candidates_max=1, packet_bytes_max=512)
    simulation.oracle.config = small
    simulation.network.traffic.packet_bytes_max = 513
    simulation.checkers["bounds"].finish()
    messages = " ".join(violation.message for violation in simulation.violations)
    assert "lists 4 instances" in messages
    assert "513 bytes" in messages


def test_a_recipient_that_fell_behind_is_given_time_to_read_its_backlog() -> None:
    mail = (MailPlan(source="sender", nodes=("n0",), target="n3", at=5.0, until=15.0, every=0.005),)
    result = run(a_schedule(duration=20.0, calm=10.0, mail=mail))
    assert result.violations == ()
    assert result.virtual_seconds > 40.0  # 2,000 messages, of which some 50 are read in a second


def test_a_message_that_is_lost_while_a_backlog_is_read_is_seen() -> None:
    mail = (MailPlan(source="sender", nodes=("n0",), target="n3", at=5.0, until=30.0, every=0.1),)
    simulation = a_mesh(until=31.0, duration=31.0, calm=10.0, mail=mail)
    lost = Letter("ffff", "sender", "n0", 1, 6.0, b"", ("n3",))
    simulation.oracle.letters[lost.id] = lost
    result = simulation.run()
    assert [violation.checker for violation in result.violations] == ["messages"]


def test_a_schedule_that_names_no_checkers_has_all_of_them() -> None:
    schedule = build_schedule("calm", Options(duration=5.0))
    assert list(Simulation(msgspec.structs.replace(schedule, checks=None)).checkers) == list(CHECKERS)
    assert Simulation(msgspec.structs.replace(schedule, checks=())).checkers == {}
    with pytest.raises(ConfigError, match="'nonsense'"):
        Simulation(msgspec.structs.replace(schedule, checks=("nonsense",)))


def test_what_a_machine_raises_is_a_violation_and_ends_the_run() -> None:
    simulation = Simulation(a_schedule())

    def raise_it(*_arguments: object) -> None:
        raise ZeroDivisionError("in the code under test")

    simulation.run_until(5.0)
    machine = simulation.oracle.hosts["n2"].machine
    assert machine is not None
    machine.receive = raise_it  # type: ignore[method-assign, assignment]
    result = simulation.run()
    assert [violation.checker for violation in result.violations] == ["machine"]
    assert "ZeroDivisionError: in the code under test" in result.violations[0].message


def test_a_machine_that_spins_is_seen() -> None:
    simulation = a_mesh()
    host = simulation.oracle.hosts["n1"]
    assert host.machine is not None
    now: Callable[[], float] = lambda: host.now  # noqa: E731
    host.machine.next_deadline = now  # type: ignore[method-assign]
    simulation.run_until(20.0)
    assert simulation.violations[0].checker == "machine"
    assert host.machine is None


def test_records_that_were_published_a_moment_ago_may_differ_between_views() -> None:
    nodes = [f"n{number}" for number in range(8)]
    security = SecurityPlan(inviters=dict.fromkeys(nodes[1:], "n0"), key_seconds=2.0, retired_seconds=0.5)
    simulation = a_mesh(nodes=8, security=security)
    checker = Convergence(simulation.oracle, lambda _violation: None)
    component = Component(tuple(simulation.oracle.live), is_sure=True)
    missing = ""
    while " hold different records of " not in missing:
        simulation.run_until(simulation.oracle.engine.now + 0.01)
        missing = checker.what_is_missing_now()
    differing = missing.rpartition(" of ")[2].split(", ")
    assert checker.what_is_missing(component, frozenset(nodes)) == ""
    assert checker.what_is_missing(component, frozenset(nodes).difference(differing)) == missing
