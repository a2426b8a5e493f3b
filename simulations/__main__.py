"""Sweeps, replays and shrinks simulated runs.

Exit status: 0 for success, 1 if a violation was found, 2 for invalid input or an unreachable cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from meshp2p.errors import ConfigError
from meshp2p.simulation.pictures.text import summary
from meshp2p.simulation.replay import read_replay, write_replay
from meshp2p.simulation.scenarios import Options, scenarios
from meshp2p.simulation.shrink import Shrinking, shrink
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.describe import is_notable, lines_of
from simulations.ablations.safeguards import ablation
from simulations.ablations.table import table_lines
from simulations.baseline import compare, measure, read_baseline, write_baseline
from simulations.chaos.command import add_chaos
from simulations.exploration import add_exploration
from simulations.floods.command import add_floods
from simulations.frontier_command import add_frontier
from simulations.fuzz.command import add_fuzz
from simulations.lan.command import add_lan
from simulations.lines import add_lines
from simulations.memory.command import add_memory
from simulations.mutants.command import add_mutants
from simulations.regressions import read_regressions, run_regression
from simulations.reports import failure_line, summary_lines, write_json, write_junit
from simulations.sweep import Seed, sweep, write_failures

if TYPE_CHECKING:
    from simulations.cluster import Cluster

FAILURES = Path("build/simulations")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulations",
        description="Sweeps of the simulator, fuzzers, faults in real meshes, measurements.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    sweeping = commands.add_parser("sweep", help="run many seeds of a scenario")
    sweeping.add_argument("--seeds", type=int, default=100, help="number of seeds (default: 100)")
    sweeping.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    sweeping.add_argument(
        "--varied", action="store_true", help="choose seeds whose schedules differ, of 32 times as many"
    )
    where = sweeping.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="run on the Dask cluster at tcp://HOST:PORT")
    sweeping.add_argument("--scenario", default="swarm", help=f"one of {', '.join(scenarios())} (default: swarm)")
    sweeping.add_argument("--nodes", type=int, help="nodes of each run")
    sweeping.add_argument("--duration", type=float, help="virtual seconds of each run")
    sweeping.add_argument("--junit", type=Path, help="write JUnit's XML here")
    sweeping.add_argument("--json", type=Path, help="write a report as JSON here")
    sweeping.add_argument(
        "--failures", type=Path, default=FAILURES, help=f"write replay files of failures here ({FAILURES})"
    )
    sweeping.set_defaults(run=_sweep)

    replaying = commands.add_parser("replay", help="run a replay file again")
    replaying.add_argument("file", type=Path)
    replaying.add_argument("--trace", action="store_true", help="print the timeline with every packet")
    replaying.set_defaults(run=_replay)

    shrinking = commands.add_parser("shrink", help="find the least schedule that fails as a replay file does")
    shrinking.add_argument("file", type=Path)
    shrinking.add_argument("--output", type=Path, help="where to write it (default: beside the file, .least.json)")
    shrinking.add_argument("--runs", type=int, default=400, help="runs at most (default: 400)")
    shrinking.set_defaults(run=_shrink)

    commands.add_parser("regressions", help="run every seed that once failed").set_defaults(run=_regressions)
    recording = commands.add_parser("baseline", help="compare figures of fixed runs with the recorded ones")
    recording.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    recording.add_argument("--record", action="store_true", help="record what is found instead")
    recording.set_defaults(run=_baseline)
    ablating = commands.add_parser("ablations", help="switch off each safeguard and see which checker fails")
    ablating.add_argument("--seeds", type=int, default=20, help="seeds of each (default: 20)")
    ablating.set_defaults(run=_ablations)
    add_chaos(commands)
    add_exploration(commands)
    add_floods(commands)
    add_lan(commands)
    add_frontier(commands)
    add_fuzz(commands)
    add_lines(commands)
    add_memory(commands)
    add_mutants(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except ConfigError as error:
        print(f"simulations: {error}", file=sys.stderr)
        return 2


def _sweep(given: argparse.Namespace) -> int:
    if given.seeds < 1 or given.jobs < 1:
        raise ConfigError(f"--seeds {given.seeds} --jobs {given.jobs}: expected at least 1 of each")
    is_terminal = sys.stderr.isatty()
    shown, told = -1, 0

    def progress(done: int, failed: Sequence[Seed]) -> None:
        nonlocal shown, told
        for seed in failed[told:]:  # at once: a sweep that is interrupted has no summary
            print(f"\r{failure_line(seed):80}" if is_terminal else failure_line(seed), file=sys.stderr, flush=True)
        told = len(failed)
        percent = 100 * done // given.seeds
        line = f"{done}/{given.seeds} seeds, {len(failed)} failed"
        if is_terminal:
            bar = "#" * (percent * 40 // 100)
            print(f"\r[{bar:40}] {line}", end="", file=sys.stderr, flush=True)
        elif percent // 10 > shown:
            shown = percent // 10
            print(line, file=sys.stderr, flush=True)

    options = Options(seed=given.first, nodes=given.nodes, duration=given.duration)
    with contextlib.ExitStack() as stack:
        spread = None if given.scheduler is None else stack.enter_context(_open_cluster(given.scheduler)).map
        outcome = sweep(
            given.scenario,
            options,
            given.seeds,
            jobs=given.jobs,
            is_varied=given.varied,
            spread=spread,
            progress=progress,
        )
    if is_terminal:
        print(file=sys.stderr)
    replays = write_failures(outcome, options, given.failures) if outcome.failures else []
    if given.json is not None:
        write_json(outcome, given.json)
    if given.junit is not None:
        write_junit(outcome, given.junit)
    for line in summary_lines(outcome, replays):
        print(line)
    return 1 if outcome.failures else 0


def _open_cluster(address: str) -> AbstractContextManager[Cluster]:
    try:
        from simulations.cluster import open_cluster  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ConfigError(f"--scheduler needs {error.name}: pip install 'meshp2p[dask]'") from None
    return open_cluster(address)


def _replay(given: argparse.Namespace) -> int:
    schedule, outcome = read_replay(given.file)
    simulation = Simulation(schedule, trace=True, ablate=ablation)
    result = simulation.run()
    if simulation.trace is not None:
        for line in lines_of(entry for entry in simulation.trace if given.trace or is_notable(entry)):
            print(line)
    print(summary(result))
    if outcome.digest:
        same = (
            "the same run as the file's" if outcome.digest == result.digest else "NOT the run of the file: code differs"
        )
        print(same)
    return 1 if result.violations else 0


def _shrink(given: argparse.Namespace) -> int:
    schedule, _ = read_replay(given.file)
    result = Simulation(schedule, ablate=ablation).run()
    if not result.violations:
        raise ConfigError(f"{given.file}: this run has no violation (any more): nothing to shrink")

    def progress(state: Shrinking) -> None:
        least = state.schedule
        print(
            f"{state.runs} runs: {len(least.faults)} faults, {len(least.nodes)} nodes, {least.duration:g} s",
            file=sys.stderr,
        )

    found = shrink(schedule, result.violations[0].checker, runs_max=given.runs, ablate=ablation, progress=progress)
    path = given.output or given.file.with_suffix(".least.json")
    least = Simulation(found.schedule, ablate=ablation).run()
    write_replay(path, found.schedule, least)
    print(summary(least))
    for fault in found.schedule.faults:
        print(f"  {fault!r}")
    print(f"python -m simulations replay {path}")
    return 1


def _regressions(_given: argparse.Namespace) -> int:
    failed = 0
    for regression in read_regressions():
        result = run_regression(regression)
        failed += bool(result.violations)
        print(f"{'FAILED' if result.violations else 'ok':6} {regression.name}: {regression.story}")
        for violation in result.violations:
            print(f"       {violation}")
    return 1 if failed else 0


def _baseline(given: argparse.Namespace) -> int:
    if given.record:
        write_baseline(measure(jobs=given.jobs))
        return 0
    recorded = read_baseline()
    found = measure(jobs=given.jobs)
    differing = list(compare(found, recorded))
    for line in differing:
        print(f"CHANGED {line}")
    if differing:
        print("Where that is meant: python -m simulations baseline --record, and say why in the commit.")
        return 1
    print(f"baseline: {len(found)} figures are as recorded")
    return 0


def _ablations(given: argparse.Namespace) -> int:
    caught = True
    for line, is_caught in table_lines(given.seeds):
        caught = caught and is_caught
        print(line)
    return 0 if caught else 1


if __name__ == "__main__":
    sys.exit(main())
