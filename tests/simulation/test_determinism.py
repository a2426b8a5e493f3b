"""The same seed is the same run, event for event: on each Python, under each hash seed.

``digests.txt`` pins some runs, so that whatever Python runs these tests must repeat them. Where the protocol or the
simulator changed on purpose, ``MESHP2P_REWRITE_DIGESTS=1 pytest tests/simulation/test_determinism.py`` writes it anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import run
from tests.simulation.pythons import OTHERS, ROOT, NoInterpreter, prepare

PINNED = Path(__file__).with_name("digests.txt")

PROGRAM = """
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import run
for scenario in ("partition", "restart", "homes", "bursts"):
    print(scenario, "nodes=7", "seed=3", run(build_schedule(scenario, Options(seed=3, nodes=7))).digest)
for scenario in ("revoke", "renewal"):
    print(scenario, "nodes=5", "seed=3", run(build_schedule(scenario, Options(seed=3, nodes=5))).digest)
for seed in (3, 5):
    print("swarm", "nodes=5", f"seed={seed}", run(build_schedule("swarm", Options(seed=seed, nodes=5))).digest)
"""

RENEW = (
    "a pinned run is another one now. If the protocol or the simulator changed on purpose, write the digests anew:"
    " MESHP2P_REWRITE_DIGESTS=1 .venv/bin/pytest tests/simulation/test_determinism.py; if nothing changed, something"
    " in a run depends on this Python, its hash seed or its C library"
)


def digests(python: str, hash_seed: str) -> str:
    """The digests of the runs of ``PROGRAM``, a line each, as another process of this Python finds them."""
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


def test_the_pinned_runs_are_the_same_under_two_hash_seeds_on_this_python() -> None:
    one, other = (digests(sys.executable, hash_seed) for hash_seed in ("1", "2"))
    assert one == other
    if os.environ.get("MESHP2P_REWRITE_DIGESTS") == "1":
        PINNED.write_text(one)
    assert one == PINNED.read_text(), RENEW


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHERS)
def test_the_pinned_runs_are_the_same_on_each_other_python(version: str) -> None:
    try:
        python = prepare(version)
    except NoInterpreter as missing:
        pytest.skip(str(missing))
    assert digests(python, "0") == PINNED.read_text(), f"{python}: {RENEW}"
