"""Meshes that fall into parts: each part has the right view within 8 s, however small it is, and then a leader."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Partition

CUT_SECONDS = 8.0
CUT_AT = 20.0
CONFIG = ProtocolConfig()
BEFORE = 0.001
"""Seconds before the cut at which the run stops, to look at what it was like."""

Cut = Callable[[Sequence[str]], tuple[tuple[str, ...], ...]]


def isolated(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(names[:1]), tuple(names[1:])


def halves(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(names[::2]), tuple(names[1::2])


def thirds(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(names[::3]), tuple(names[1::3]), tuple(names[2::3])


def listed_nodes(simulation: Simulation, key: str) -> list[str]:
    host = simulation.oracle.hosts[key]
    return sorted(record.id for record in host.running.records().values() if record.is_node)


SIZES = [
    3,
    8,
    16,
    pytest.param(48, marks=pytest.mark.long),
    pytest.param(128, marks=pytest.mark.long),
]


@pytest.mark.parametrize("cut", [isolated, thirds, halves])
@pytest.mark.parametrize("count", SIZES)
def test_each_part_of_a_cut_lists_itself_alone_within_eight_seconds(count: int, cut: Cut) -> None:
    schedule = build_schedule("calm", Options(seed=count, nodes=count, duration=60.0))
    names = [node.id for node in schedule.nodes]
    parts = cut(names)
    fault = Partition(begin=CUT_AT, end=schedule.duration, groups=parts)
    simulation = Simulation(msgspec.structs.replace(schedule, faults=(fault,), config=CONFIG))
    simulation.run_until(CUT_AT - BEFORE)
    assert all(listed_nodes(simulation, name) == sorted(names) for name in names)
    simulation.run_until(CUT_AT + CUT_SECONDS)
    assert simulation.fired["Partition"] > 0
    for part in parts:
        for name in part:
            assert listed_nodes(simulation, name) == sorted(part)
    simulation.run_until(CUT_AT + CUT_SECONDS + CONFIG.settle_timeout)
    for part in parts:
        for name in part:
            assert simulation.oracle.hosts[name].running.leader_id == min(part)
