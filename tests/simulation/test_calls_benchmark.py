"""The benchmark of calls measures and prints; how fast they are, no test says."""

from __future__ import annotations

import json

import pytest

from simulations.benchmarks.__main__ import main


def test_it_prints_what_a_call_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calls", "--calls", "32", "--json"]) == 0
    costs = json.loads(capsys.readouterr().out)
    assert [cost["name"] for cost in costs] == ["1 at a time", "16 at a time"]
    assert all(cost["processor_us"] > 0 for cost in costs)
