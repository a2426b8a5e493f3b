"""Shrinking a failing schedule to the least that fails."""

from __future__ import annotations

import pytest

from meshp2p.errors import ConfigError
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.shrink import shrink
from meshp2p.virtual.faults import Crash, Duplicated, Lossy, Partition
from simulations.ablations.safeguards import ablation
from tests.simulation.simulated import a_schedule


def has_partition(schedule: Schedule, _checker: str) -> bool:
    return any(isinstance(fault, Partition) for fault in schedule.faults)


def test_what_a_failure_does_not_need_is_taken_away() -> None:
    schedule = a_schedule(
        Lossy(begin=1.0, probability=0.1),
        Partition(begin=20.0, end=50.0, groups=(("n0", "n1", "n2"), ("n3", "n4", "n5"))),
        Duplicated(begin=5.0, probability=0.1),
        Crash(begin=9.0, end=12.0, node="n2"),
        nodes=6,
        through_wire=True,
    )
    least = shrink(schedule, "convergence", fails=has_partition).schedule
    assert [type(fault) for fault in least.faults] == [Partition]
    assert len(least.nodes) == 2
    assert least.faults[0].begin <= 2.0
    assert least.duration < 10.0
    assert not least.through_wire


def test_a_schedule_that_does_not_fail_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to shrink"):
        shrink(a_schedule(duration=5.0), "convergence")


def test_it_makes_no_more_runs_than_it_may() -> None:
    schedule = a_schedule(*(Partition(begin=float(place), groups=(("n0",), ("n1",))) for place in range(10)))
    assert shrink(schedule, "convergence", fails=has_partition, runs_max=5).runs <= 5


def test_a_real_failure_shrinks_to_its_heart() -> None:
    schedule = a_schedule(
        Crash(begin=5.0, end=8.0, node="n3"),
        Partition(begin=10.0, end=40.0, groups=(("n0", "n1"), ("n2", "n3"))),
        ablations=("refutation",),
        checks=("convergence",),
    )
    least = shrink(schedule, "convergence", runs_max=60, ablate=ablation).schedule
    assert [type(fault) for fault in least.faults] == [Partition]
    assert len(least.nodes) <= 3
