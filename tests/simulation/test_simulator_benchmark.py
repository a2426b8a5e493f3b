"""The simulator's benchmark measures and prints; how fast it is, no test says."""

from __future__ import annotations

import itertools
import json

import pytest

from simulations.benchmarks.__main__ import main
from simulations.benchmarks.formation import form
from simulations.benchmarks.simulator import Measure, measure_seeds


def test_it_prints_a_line_for_each_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulator", "--sizes", "5", "--quick", "--json"]) == 0
    measures = json.loads(capsys.readouterr().out)
    assert [measure["name"].split(":")[0] for measure in measures] == [
        "partition, 5 nodes, 120 s",
        *["5 nodes"] * 3,
    ]
    assert all(measure["value"] >= 0 for measure in measures)


def test_a_mesh_forms_in_waves_and_learns_that_a_node_was_lost() -> None:
    steps = list(form(6))
    assert [(step.what, step.nodes) for step in steps] == [
        *[("joined", nodes) for nodes in (1, 2, 4, 6)],
        ("lost 1", 5),
    ]
    assert all(earlier.datagrams < later.datagrams for earlier, later in itertools.pairwise(steps))
    assert str(steps[-1]).startswith("lost 1       5 nodes")


def test_a_goal_is_reached_or_missed() -> None:
    assert measure_seeds(2).goal == 40.0
    assert Measure("a", 2.0, 1.0, "").is_reached
    assert not Measure("a", 0.5, 1.0, "").is_reached
