"""Disks, clocks, twins beyond partitions, returning homes, sizes and limits: that each fault does what it says."""

from __future__ import annotations

import typing

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import Put, Table
from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import (
    AgentPlan,
    MailPlan,
    NodePlan,
    Schedule,
    SecurityPlan,
    dump_schedule,
    load_schedule,
)
from meshp2p.simulation.simulation import Simulation, run
from meshp2p.virtual.describe import describe_fault
from meshp2p.virtual.disk import SimulatedDisk
from meshp2p.virtual.faults import (
    ClockRate,
    ClockStep,
    Crash,
    DiskFails,
    DiskFull,
    DiskSlow,
    DiskTorn,
    Fault,
    Partition,
    Sleep,
    Twin,
)
from meshp2p.virtual.trace import What
from tests.simulation.simulated import a_mesh, a_schedule

MAIL = (MailPlan(source="s", nodes=("n1",), target="n0", at=5.0, until=35.0, every=0.5),)
PUT = Put(Table.INCOMING, b"key", b"value")


# Disks


def test_a_full_disk_keeps_the_state_and_no_message() -> None:
    disk = SimulatedDisk[KeptState]()
    disk.is_full = True
    assert disk.write(KeptState(1, 1)) is None
    assert disk.write_messages([PUT]) is not None
    assert (disk.read(), disk.read_messages()) == (KeptState(1, 1), [])


def test_a_disk_that_fails_keeps_nothing() -> None:
    disk = SimulatedDisk[KeptState]()
    disk.write(KeptState(1, 1))
    disk.is_failing = True
    assert disk.write(KeptState(2, 2)) is not None
    assert disk.write_messages([PUT]) is not None
    assert (disk.read(), disk.read_messages()) == (KeptState(1, 1), [])


@pytest.mark.parametrize("kind", [DiskFull, DiskFails])
def test_a_node_whose_disk_takes_nothing_refuses_messages_and_loses_none(kind: type[DiskFull | DiskFails]) -> None:
    simulation = Simulation(a_schedule(kind(begin=10.0, end=20.0, node="n1"), mail=MAIL, calm=10.0))
    result = simulation.run()
    assert result.faults == {kind.__name__: 1}
    assert result.violations == ()
    assert result.refusals == {"StoreFull": 20}
    accepted = [letter.accepted_at for letter in simulation.oracle.letters.values()]
    assert not [at for at in accepted if 10.1 < at < 20.0]
    assert len(accepted) == 40


def test_a_slow_disk_delays_what_is_accepted() -> None:
    simulation = Simulation(a_schedule(DiskSlow(begin=10.0, end=20.0, node="n1", seconds=2.0), mail=MAIL, calm=10.0))
    result = simulation.run()
    assert result.faults == {"DiskSlow": 1}
    assert result.violations == ()
    accepted = sorted(letter.accepted_at for letter in simulation.oracle.letters.values())
    assert len(accepted) == 60
    assert not [at for at in accepted if 10.1 < at < 11.0], "each write takes 1 to 3 seconds"
    assert len([at for at in accepted if at < 20.0]) < 27


def test_a_torn_state_file_is_nothing_and_messages_are_there() -> None:
    simulation = a_mesh(DiskTorn(begin=12.0, node="n1"), Crash(begin=11.0, end=13.0, node="n1"), mail=MAIL, until=12.5)
    disk = simulation.oracle.hosts["n1"].disk
    assert disk is not None
    assert disk.read() is None
    kept = disk.read_messages()
    simulation.run_until(14.0)
    assert simulation.trace is not None
    starts = [entry.detail for entry in simulation.trace if entry.node == "n1" and entry.what is What.START]
    assert starts == [None, None]
    assert kept
    assert simulation.fired["DiskTorn"] == 1
    assert disk.read() is not None, "it was written anew"


def test_a_disk_that_is_not_there_neither_fills_nor_fails() -> None:
    schedule = a_schedule(DiskFull(begin=5.0, end=9.0, node="n1"), DiskTorn(begin=5.0, node="n1"))
    plans = tuple(msgspec.structs.replace(plan, has_disk=False) for plan in schedule.nodes)
    assert run(msgspec.structs.replace(schedule, nodes=plans)).faults == {}


# Clocks


@pytest.mark.parametrize("rate", [0.95, 1.05])
def test_a_clock_that_runs_wrong_counts_wrong_and_kills_nobody(rate: float) -> None:
    schedule = a_schedule(*(ClockRate(begin=10.0, end=50.0, node=node, rate=rate) for node in ("n0", "n2")))
    simulation = Simulation(schedule)
    host = simulation.oracle.hosts["n0"]
    simulation.run_until(30.0)
    assert host.now == pytest.approx(10.0 + 20.0 * rate)
    assert host.clock.wall_ms() % 1000_000 == 30_000
    result = simulation.run()
    assert host.now == pytest.approx(simulation.engine.now + 40.0 * (rate - 1.0))
    assert (result.violations, result.false_deaths) == ((), 0)
    assert result.faults == {"ClockRate": 2}


def test_a_clock_that_runs_fast_makes_what_waits_due_sooner() -> None:
    right, fast = (a_mesh(*faults, until=40.0) for faults in ((), (ClockRate(begin=5.0, node="n1", rate=2.0),)))
    probes = [
        sum(1 for entry in simulation.trace or () if entry.node == "n1" and entry.what is What.TIMER)
        for simulation in (right, fast)
    ]
    assert probes[1] > 1.5 * probes[0]


def test_a_machine_whose_clock_runs_wrong_and_stops_comes_right() -> None:
    simulation = a_mesh(
        ClockRate(begin=5.0, end=40.0, node="n1", rate=1.05), Sleep(begin=10.0, end=30.0, node="n1"), until=45.0
    )
    assert simulation.oracle.hosts["n1"].now == pytest.approx(45.0 - 20.0 + 0.05 * 15.0)


@pytest.mark.parametrize("seconds", [-50.0, -1.0, 1.0, 50.0])
def test_a_wall_clock_that_is_set_by_less_than_a_minute_kills_nobody(seconds: float) -> None:
    result = run(a_schedule(ClockStep(begin=20.0, end=40.0, node="n0", seconds=seconds), mail=MAIL, calm=10.0))
    assert (result.violations, result.false_deaths) == ((), 0)


def test_a_clock_of_an_absurd_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected 0\\.5 to 2"):
        ClockRate(node="n1", rate=0.0)


# A twin beyond a partition


def a_twin() -> Schedule:
    return a_schedule(
        Partition(begin=10.0, end=90.0, groups=(("n0",), ("n1", "n2", "n3"))),
        Twin(begin=60.0, node="n0", beside="n2"),
        duration=100.0,
    )


def test_a_twin_beyond_a_partition_leads_there_and_gives_way_when_the_partition_heals() -> None:
    simulation = Simulation(a_twin())
    simulation.run_until(85.0)
    hosts = simulation.oracle.hosts
    old, new = hosts["n0"].machine, hosts["n0~1"].machine
    assert old is not None
    assert new is not None
    assert sorted(old.records()) == ["n0"]
    assert sorted(new.records()) == ["n0", "n1", "n2", "n3"]
    assert (old.leader_id, new.leader_id) == ("n0", "n0")
    assert old.leader_epoch != new.leader_epoch
    result = simulation.run()
    assert result.violations == ()
    assert hosts["n0~1"].machine is None
    assert result.faults["Twin"] == 1


def test_a_twin_is_told_of_its_rival_and_reaches_it_where_it_stands_beside_nobody() -> None:
    simulation = a_mesh(Twin(begin=10.0, node="n0"), until=15.0)
    assert simulation.oracle.hosts["n0~0"].machine is None, "it found its rival, and gave way"


def test_a_twin_without_the_node_beside_it_stands_beside_nobody() -> None:
    twin = Twin(node="n0", beside="n2")
    assert twin.names() == ("n0", "n2")
    assert twin.without("n2") == Twin(node="n0")
    assert twin.without("n0") is None


# Homes, sizes and limits


@pytest.mark.parametrize("down", [0.01, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("is_silent", [False, True])
def test_mail_waits_for_an_agent_whose_home_is_back_before_the_next_heartbeat(down: float, is_silent: bool) -> None:
    schedule = a_schedule(
        Crash(begin=21.0, end=21.0 + down, node="n2", is_silent=is_silent),
        agents=(AgentPlan(id="agent", nodes=("n2",), at=5.0, every=5.0),),
        mail=(MailPlan(source="s", nodes=("n1",), target="agent", at=6.0, until=50.0, every=0.5),),
        calm=10.0,
    )
    simulation = Simulation(schedule)
    result = simulation.run()
    assert result.violations == ()
    assert result.faults == {"Crash": 1}
    assert [letter for letter in simulation.oracle.letters.values() if 21.0 < letter.accepted_at < 25.0]


def test_payloads_have_all_sizes_up_to_the_most() -> None:
    simulation = Simulation(
        a_schedule(mail=(MailPlan(source="s", nodes=("n1",), at=5.0, until=55.0, every=0.2, bytes_max=1_000_000),))
    )
    assert simulation.run().violations == ()
    sizes = sorted(len(letter.payload) for letter in simulation.oracle.letters.values())
    assert sizes[0] < 10
    assert 200 < sizes[len(sizes) // 2] < 5_000
    assert 200_000 < sizes[-1] <= 1_000_000
    payloads = [letter.payload for letter in simulation.oracle.letters.values()]
    assert len(set(payloads)) == len(payloads)


def test_full_mailboxes_and_outboxes_refuse_and_lose_nothing() -> None:
    schedule = build_schedule("full")
    simulation = Simulation(schedule)
    result = simulation.run()
    assert result.violations == ()
    assert result.refusals["MailboxFull"] > 20
    assert len(simulation.oracle.letters) > 100


# The swarm


def drawn() -> list[Schedule]:
    return [build_schedule("swarm", Options(seed=seed)) for seed in range(400)]


def test_a_swarm_draws_every_fault_and_limit() -> None:
    schedules = drawn()
    kinds = {type(fault) for schedule in schedules for fault in schedule.faults}
    assert kinds == set(typing.get_args(Fault))
    changed = {
        name
        for schedule in schedules
        for name in ProtocolConfig.__struct_fields__
        if getattr(schedule.config, name) != getattr(ProtocolConfig(), name)
    }
    assert changed >= {"quorum", "mailbox_messages_max", "outbox_copies_max", "receipts_max", "probe_interval"}
    assert {plan.bytes_max for schedule in schedules for plan in schedule.mail} >= {0, 1000, 100_000, 1_000_000}
    assert any(0 < abs(plan.wall_skew) <= 50 for schedule in schedules for plan in schedule.nodes)
    assert any(plan.source == "waiting" for schedule in schedules for plan in schedule.mail)


def test_a_swarm_draws_defaults_as_often_as_not() -> None:
    defaults = sum(schedule.config == ProtocolConfig() for schedule in drawn())
    assert 160 < defaults < 280


def test_twins_that_a_swarm_starts_beyond_a_partition_are_cut_off_from_their_rivals() -> None:
    twins = 0
    for schedule in drawn():
        for place, fault in enumerate(schedule.faults):
            if isinstance(fault, Twin) and fault.beside:
                cut = schedule.faults[place + 1]
                assert isinstance(cut, Partition)
                assert fault.beside in next(group for group in cut.groups if fault.node not in group)
                twins += 1
    assert twins > 5


@pytest.mark.parametrize("kind", typing.get_args(Fault), ids=lambda kind: kind.__name__)
def test_every_fault_is_written_read_and_told_in_words(kind: type[Fault]) -> None:
    fault, security = next(
        (fault, schedule.security) for schedule in drawn() for fault in schedule.faults if type(fault) is kind
    )
    names = sorted({*fault.names(), "x", "y"})  # the first one may revoke the others
    nodes = tuple(NodePlan(id=name) for name in names)
    if security is not None:
        security = SecurityPlan()
    schedule = Schedule(scenario="test", seed=1, duration=300.0, nodes=nodes, faults=(fault,), security=security)
    assert load_schedule(dump_schedule(schedule)).faults == (fault,)
    assert describe_fault(fault).startswith(kind.__name__)
