"""Machines that pause, sleep, are slow, forget, and come back."""

from __future__ import annotations

import pytest

from meshp2p.core.directory.keeping import KeptState
from meshp2p.simulation.clock import EPOCH_MS
from meshp2p.simulation.simulation import run
from meshp2p.virtual.disk import SimulatedDisk
from meshp2p.virtual.faults import (
    ClockRate,
    ClockStep,
    Crash,
    DiskFails,
    DiskForgets,
    DiskFull,
    DiskSlow,
    DiskTorn,
    Leave,
    Moved,
    Pause,
    Sleep,
    Slow,
    Stalls,
    Twin,
)
from meshp2p.virtual.trace import What
from tests.simulation.simulated import a_mesh, a_schedule


def test_a_disk_that_forgets_loses_what_was_not_written_before_a_crash() -> None:
    disk = SimulatedDisk[KeptState]()
    disk.write(KeptState(1, 1))
    disk.become_forgetful()
    disk.write(KeptState(2, 2))
    assert disk.crash()
    assert disk.read() == KeptState(1, 1)
    disk.write(KeptState(3, 3))
    disk.become_honest()
    assert disk.read() == KeptState(3, 3)
    disk.erase()
    assert disk.read() is None


def test_a_paused_process_reads_its_sockets_before_it_looks_at_its_clock() -> None:
    simulation = a_mesh(Pause(begin=10.0, end=15.0, node="n1"), until=16.0)
    assert simulation.trace is not None
    at_once = [entry.what for entry in simulation.trace if entry.node == "n1" and entry.at == 15.0]
    assert at_once[0] is What.RESUME
    assert What.RECEIVE in at_once
    assert at_once.index(What.TIMER) > max(place for place, what in enumerate(at_once) if what is What.RECEIVE)
    assert not [
        entry
        for entry in simulation.trace
        if entry.node == "n1" and 10.0 < entry.at < 15.0 and entry.what is not What.DROP
    ]


def test_a_sleeping_machine_hears_nothing_and_its_clock_stops_or_goes_on() -> None:
    for clock_stops in (True, False):
        simulation = a_mesh(Sleep(begin=10.0, end=30.0, node="n1", clock_stops=clock_stops), until=30.0)
        host = simulation.oracle.hosts["n1"]
        assert host.now == pytest.approx(10.0 if clock_stops else 30.0)
        assert simulation.trace is not None
        received = [entry.at for entry in simulation.trace if entry.node == "n1" and entry.what is What.RECEIVE]
        assert not [at for at in received if 10.1 < at <= 30.0]


def test_a_slow_process_answers_late_and_in_order() -> None:
    simulation = a_mesh(Slow(begin=5.0, node="n1", seconds=0.1), until=30.0)
    assert simulation.trace is not None
    delays = [
        entry.at - simulation.trace[entry.cause].at
        for entry in simulation.trace
        if entry.node == "n1" and entry.what is What.RECEIVE and entry.at > 6.0
    ]
    assert sum(delays) / len(delays) > 0.05


def test_a_wall_clock_can_be_set_back_and_comes_right() -> None:
    simulation = a_mesh(ClockStep(begin=5.0, end=8.0, node="n1", seconds=-3600.0), until=6.0)
    host = simulation.oracle.hosts["n1"]
    assert host.clock.wall_ms() == EPOCH_MS - 3_594_000
    simulation.run_until(9.0)
    assert host.clock.wall_ms() == EPOCH_MS + 9_000


def test_a_crash_ends_a_process_and_what_it_kept_is_there_when_it_comes_back() -> None:
    simulation = a_mesh(Crash(begin=5.0, end=6.0, node="n1"), until=5.5)
    host = simulation.oracle.hosts["n1"]
    assert host.machine is None
    simulation.run_until(10.0)
    assert host.machine is not None
    assert host.life == 2
    assert simulation.trace is not None
    starts = [entry.detail for entry in simulation.trace if entry.node == "n1" and entry.what is What.START]
    assert starts[0] is None
    assert isinstance(starts[1], KeptState)


def test_a_crash_can_lose_the_state_and_move_the_node() -> None:
    simulation = a_mesh(Crash(begin=5.0, end=6.0, node="n1", keeps_state=False, moves=True), until=5.5)
    before = simulation.oracle.hosts["n1"].address
    simulation.run_until(10.0)
    assert simulation.oracle.hosts["n1"].address != before
    assert simulation.trace is not None
    starts = [entry.detail for entry in simulation.trace if entry.node == "n1" and entry.what is What.START]
    assert starts == [None, None]


def test_a_node_that_leaves_is_let_go_by_all() -> None:
    simulation = a_mesh(Leave(begin=5.0, node="n1"), until=8.0)
    assert simulation.oracle.hosts["n1"].machine is None
    assert all("n1" not in host.machine.records() for host in simulation.oracle.live if host.machine is not None)
    assert simulation.violations == []


@pytest.mark.parametrize(
    "fault",
    [
        Pause(begin=10.0, end=12.5, node="n1"),
        Sleep(begin=10.0, end=30.0, node="n1"),
        Slow(begin=10.0, end=30.0, node="n1", seconds=0.02),
        Stalls(begin=10.0, end=40.0, node="n1", seconds=1.5),
        ClockStep(begin=10.0, end=30.0, node="n1"),
        Moved(begin=10.0, node="n1"),
        ClockRate(begin=10.0, end=30.0, node="n1"),
        DiskForgets(begin=10.0, end=30.0, node="n1"),
        DiskFull(begin=10.0, end=30.0, node="n1"),
        DiskFails(begin=10.0, end=30.0, node="n1"),
        DiskSlow(begin=10.0, end=30.0, node="n1"),
        DiskTorn(begin=10.0, node="n1"),
        Twin(begin=10.0, end=30.0, node="n1"),
        Twin(begin=10.0, end=30.0, node="n1", beside="n2"),
        Crash(begin=10.0, end=20.0, node="n0"),
        Leave(begin=10.0, end=20.0, node="n0"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_each_fault_of_a_host_fires_and_the_mesh_is_whole_afterwards(fault: Pause) -> None:
    result = run(a_schedule(fault))
    assert result.faults == {type(fault).__name__: 1}
    assert result.violations == ()
    assert result.recovered_after is not None
