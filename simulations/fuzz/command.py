"""The command ``python -m simulations fuzz``: run fuzzed lives for a while, and print their findings."""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import subprocess
import sys
from pathlib import Path

from meshp2p.errors import ConfigError
from simulations.fuzz.fuzzer import Finding, fuzz, run_life

__all__ = ["add_fuzz"]

_SEEDS_PER_JOB = 1 << 32


def add_fuzz(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("fuzz", help="send changed packets and calls to codecs, connections and a machine")
    parser.add_argument("--minutes", type=float, default=1.0, help="minutes to run (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first life (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--life", type=int, metavar="SEED", help="run only the life with this seed, and print what it found"
    )
    parser.add_argument("--guided", type=Path, metavar="DIR", help="let coverage guide it, and keep bodies in DIR")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Return exit status 1 if an invariant was broken."""
    if not given.minutes > 0 or given.jobs < 1:
        raise ConfigError(f"--minutes {given.minutes} --jobs {given.jobs}: expected more than 0 minutes, and jobs")
    if given.life is not None:
        inputs, finding = run_life(given.life)
        return _report(inputs, [] if finding is None else [finding])
    if given.guided is not None:
        return _run_guided(given.guided, given.minutes * 60)
    firsts = [given.seed + number * _SEEDS_PER_JOB for number in range(given.jobs)]
    with concurrent.futures.ProcessPoolExecutor(given.jobs) as pool:
        running = [pool.submit(fuzz, first, seconds=given.minutes * 60) for first in firsts]
        outcomes = [run.result() for run in running]
    return _report(sum(inputs for inputs, _ in outcomes), [one for _, found in outcomes for one in found])


def _run_guided(directory: Path, seconds: float) -> int:
    if importlib.util.find_spec("atheris") is None:
        raise ConfigError("--guided needs atheris: pip install 'meshp2p[fuzz]'")
    directory.mkdir(parents=True, exist_ok=True)
    limit = f"-max_total_time={max(1, int(seconds))}"
    command = [sys.executable, "-m", "simulations.fuzz.guided", str(directory), limit]
    return int(subprocess.run(command, check=False).returncode != 0)


def _report(inputs: int, found: list[Finding]) -> int:
    for finding in found:
        print(f"life {finding.seed}, input {finding.input}:\n{finding.error}")
    print(f"{inputs} inputs, {len(found)} laws broken")
    return int(bool(found))
