"""The same seed is the same run, event for event."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import run

ROOT = Path(__file__).parents[2]

PROGRAM = """
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import run
for scenario in ("partition", "restart", "homes", "bursts"):
    print(scenario, run(build_schedule(scenario, Options(seed=3, nodes=7))).digest)
for seed in (3, 5):
    print("swarm", run(build_schedule("swarm", Options(seed=seed, nodes=5))).digest)
"""


def digests(python: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_again_has_the_same_digest_with_a_trace_and_without() -> None:
    schedule = build_schedule("swarm", Options(seed=7, nodes=6))
    one, other = run(schedule), run(schedule, trace=True)
    assert one.digest == other.digest
    assert (one.events, one.faults) == (other.events, other.faults)


def test_another_seed_is_another_run() -> None:
    found = {run(build_schedule("calm", Options(seed=seed, duration=10.0))).digest for seed in range(5)}
    assert len(found) == 5


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    assert digests(sys.executable, "1") == digests(sys.executable, "2")


@pytest.mark.slow
def test_the_digest_is_the_same_on_each_supported_python_that_is_here() -> None:
    expected = digests(sys.executable, "0")
    for version in ("3.11", "3.12", "3.13"):
        python = shutil.which(f"python{version}")
        if python is not None and can_run(python):
            assert digests(python, "0") == expected, version


def can_run(python: str) -> bool:
    """Whether this interpreter has what meshp2p needs."""
    command = [python, "-c", "import meshp2p"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0
