"""The benchmark of seals and signatures measures and prints; how fast they are, no test says."""

from __future__ import annotations

import json

import pytest

from simulations.benchmarks.__main__ import main


def test_it_prints_what_each_step_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sealing", "--count", "20", "--json"]) == 0
    costs = {cost["name"]: cost["value"] for cost in json.loads(capsys.readouterr().out)}
    assert costs["a ping, sealed"] == costs["a ping, plain"] + 24 - 16  # it needs no tags of its sender and target
    assert costs["verify a record"] > costs["look up a verified record"] > 0
