"""Every scenario runs to its end without a violation, and its faults really fire."""

from __future__ import annotations

import json

import pytest

from meshp2p.simulation.scenarios import Options, build_schedule, scenarios
from meshp2p.simulation.simulation import run


@pytest.mark.parametrize("name", [name for name in scenarios() if name != "swarm"])
def test_a_scenario_is_whole_in_the_end(name: str) -> None:
    schedule = build_schedule(name, Options(seed=1))
    result = run(schedule)
    assert result.violations == ()
    assert result.recovered_after is not None
    assert set(result.faults) == {type(fault).__name__ for fault in schedule.faults}


@pytest.mark.parametrize("seed", range(3))
def test_a_swarm_of_faults_breaks_no_law(seed: int) -> None:
    """`./check` runs more seeds after the tests."""
    assert run(build_schedule("swarm", Options(seed=seed, nodes=3 + seed))).violations == ()


def test_a_result_as_json_has_what_is_promised() -> None:
    result = json.loads(run(build_schedule("calm", Options(nodes=2, duration=5.0))).as_json())
    promised = ["scenario", "seed", "nodes", "digest", "virtual_seconds", "wall_seconds", "events", "faults"]
    assert list(result)[:9] == [*promised, "violations"]


def test_a_mesh_of_one_is_whole() -> None:
    assert run(build_schedule("calm", Options(nodes=1, duration=10.0))).violations == ()
