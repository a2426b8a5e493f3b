"""The benchmark of large meshes: that it measures what it says, at sizes that a test can wait for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from meshp2p.simulation.simulation import Simulation
from simulations.benchmarks.__main__ import main
from simulations.benchmarks.hosts import open_lan
from simulations.benchmarks.scale import is_flat
from simulations.benchmarks.simulated_scale import Measured, measure, plan
from simulations.namespaces import NamespacesUnavailable
from tests.simulation.refusals import assert_refused

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "simulations.benchmarks", "scale"]

MEASURED = Measured(
    nodes=100,
    instances=500,
    whole_after=1.0,
    missing="",
    idle_bytes=200.0,
    idle_datagrams=2.0,
    violations=0,
    processor_seconds=1.0,
)


def test_a_simulated_mesh_with_instances_becomes_whole_and_its_idle_bytes_are_counted() -> None:
    measured = measure(6, 12)
    assert measured.is_well
    assert measured.idle_bytes > 28 * measured.idle_datagrams > 0


def test_every_instance_of_the_plan_has_a_home_and_another_to_turn_to() -> None:
    schedule = plan(4, 10)
    assert len(schedule.agents) == 10
    assert all(len(set(agent.nodes)) == 2 for agent in schedule.agents)
    assert max(node.at for node in schedule.nodes) < min(agent.at for agent in schedule.agents)
    assert Simulation(schedule).schedule == schedule


def test_a_mesh_that_lacks_something_or_broke_a_law_is_not_well() -> None:
    assert MEASURED.is_well
    for change in ({"whole_after": None}, {"missing": "n0 lists 1 of 2"}, {"violations": 1}):
        assert not msgspec.structs.replace(MEASURED, **change).is_well


def test_bytes_are_flat_where_sizes_differ_by_no_more_than_noise() -> None:
    more = msgspec.structs.replace(MEASURED, nodes=1000, idle_bytes=215.0)
    grown = msgspec.structs.replace(MEASURED, nodes=1000, idle_bytes=260.0)
    assert is_flat([MEASURED, more])
    assert not is_flat([MEASURED, more, grown])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--processes", "1"], "2 or more"), (["--each", "0"], "0"), (["--simulated", "1"], "1")],
    ids=["processes", "each", "simulated"],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(main, ["scale", *arguments], named, capsys)


@pytest.mark.long
def test_a_few_real_and_simulated_nodes_are_measured_and_drawn(tmp_path: Path) -> None:
    try:
        with open_lan(1):
            pass
    except NamespacesUnavailable as error:
        pytest.skip(str(error))
    report, drawing = tmp_path / "report.json", tmp_path / "report.svg"
    arguments = ["--processes", "2", "--each", "3", "--simulated", "5,10", "--idle", "2"]
    done = subprocess.run(
        [*COMMAND, *arguments, "--json", str(report), "--svg", str(drawing)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["is_complete"]
    assert [run["nodes"] for run in found["runs"]] == [6, 5, 10]
    for key in ("start_full", "kill_all", "datagrams", "datagram_bytes", "processor", "resident"):
        assert found["runs"][0]["figures"][key]["values"], key
    assert "6 nodes" in drawing.read_text()
