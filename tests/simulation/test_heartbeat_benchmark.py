"""The benchmark of heartbeats: that it goes on without what is not there, and measures what it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.benchmarks.__main__ import main
from tests.simulation.refusals import assert_refused

ROOT = Path(__file__).parents[2]


def test_without_wrk_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["heartbeats"]) == 1
    assert capsys.readouterr().err == "absent: wrk (Debian: wrk)\n"


@pytest.mark.parametrize(("option", "value"), [("--repeats", "0"), ("--only", "meshp2p-http")])
def test_a_wrong_value_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(main, ["heartbeats", option, value], option, capsys)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_it_measures_a_node_and_says_which_peers_are_absent() -> None:
    command = [sys.executable, "-m", "simulations.benchmarks", "heartbeats", "--seconds", "1", "--repeats", "1"]
    done = subprocess.run([*command, "--peers", sys.executable], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "absent: fastapi: ModuleNotFoundError" in done.stdout
    (rate,) = (line for line in done.stdout.splitlines() if line.startswith("heartbeats, /s"))
    assert all(float(word) > 0 for word in rate.split()[2:4])
