"""The runs of the simulator that are to catch a planted fault.

``python -m simulations.mutants.hunt`` in a copy of the sources runs them, over the core as it stands there, and prints
one JSON object. With ``--survey`` it tells which runs fail and which execute the lines of which mutant (a
:class:`Survey`), with ``--seeds`` the first of these seeds of the swarm that has a violation, and else the first run
that has one (a :class:`Catch`, or null). If no run has one, figures are compared with the recorded ones, in the cases
that ``--baseline`` names (``python -m simulations baseline`` compares the same): each run may keep every law though all
of them together are slower or send more.
"""

from __future__ import annotations

import argparse
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options, build_schedule, scenarios
from simulations.baseline import CASES, compare, measure, read_baseline
from simulations.mutants.planted import read_mutants
from simulations.sweep import run_seed

__all__ = ["BASELINE", "RUNS_MAX", "Catch", "Survey", "first_failed", "hunted", "planned_runs", "surveyed"]

RUNS_MAX = 150
"""How many runs a fault has to survive."""

BASELINE = "baseline"
"""What caught a fault by figures that are not the recorded ones, where no checker did."""

SEEDS_EACH = 2
"""Seeds of each named scenario, one if it is of a secured mesh or if there is no room for more; the rest are the
swarm's first ones. A named run takes a seventh of a swarm's time and meets its fault for certain, so more of them catch
more in less time."""

SWARM_RUNS = 6
"""How many runs of the swarm there are at least."""

CPU_SECONDS_MAX = 120.0
"""Processor time after which a run hangs. The longest takes 2 to 3 s. Chosen, not measured."""

MEMORY_MAX = 4 << 30
"""Bytes of address space that a hunt may have: a fault may make a run that grows for ever. Chosen, not measured."""

Run = tuple[str, int]
"""A scenario and a seed."""


class Catch(msgspec.Struct, frozen=True):
    """The checker that saw the fault, in the run with this number, counted from 1. Where ``checker`` is ``BASELINE``
    the ``scenario`` is the case whose figures differ, ``seed`` is 0, and all runs were without a violation."""

    checker: str
    run: int
    scenario: str
    seed: int
    message: str


class Survey(msgspec.Struct, frozen=True):
    """What the runs do without a fault. ``failed`` are the numbers of those that have a violation all the same, and so
    prove nothing; ``reached`` are by mutant those that execute the lines it touches, in None where all do. ``cases``
    are those of the comparison whose figures are the recorded ones."""

    failed: dict[int, str]
    reached: dict[str, tuple[int, ...]]
    cases: tuple[str, ...] = ()


def planned_runs() -> list[Run]:
    """What is run, in this order: the named scenarios, then the swarm."""
    open_ones = [name for name in scenarios() if name != "swarm" and build_schedule(name).security is None]
    named = [(name, 0) for name in scenarios() if name != "swarm"]
    named += [(name, seed) for seed in range(1, SEEDS_EACH) for name in open_ones]
    named = named[: RUNS_MAX - SWARM_RUNS]
    return named + [("swarm", seed) for seed in range(RUNS_MAX - len(named))]


class _Hangs(BaseException):
    """A run took too long. No checker may take it for a fault of the machine's, so it is no Exception."""


def _hangs(_signal: int, _frame: FrameType | None) -> None:
    raise _Hangs


def _run(scenario: str, options: Options) -> tuple[str, str]:
    """The checker that failed this run first and what it said; empty where none did."""
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS_MAX)
    try:
        outcome = run_seed(scenario, options)
    except _Hangs:
        return "hangs", f"more than {CPU_SECONDS_MAX:g} s of processor time"
    except MemoryError:
        return "hangs", "it takes all memory"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    first = min(outcome.violations, key=lambda violation: violation.at, default=None)
    return ("", "") if first is None else (first.checker, str(first))


def _hunt(numbers: Iterator[int]) -> Catch | None:
    runs = planned_runs()
    for number in numbers:
        scenario, seed = runs[number - 1]
        checker, message = _run(scenario, Options(seed=seed))
        if checker:
            return Catch(checker, number, scenario, seed, message)
    return None


def _compare(cases: list[str]) -> Catch | None:
    """Compare the figures of these cases with the recorded ones, until one of them differs."""
    recorded = read_baseline()
    for case in cases:
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS_MAX)
        try:
            difference = next(compare(measure([case]), recorded), None)
        except ConfigError as error:  # a violation
            difference = str(error)
        except _Hangs:
            difference = f"{case} takes more than {CPU_SECONDS_MAX:g} s of processor time"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        if difference is not None:
            return Catch(BASELINE, RUNS_MAX, case, 0, difference)
    return None


class _Tracer:
    """Notes which watched lines are executed, at little cost: code with nothing left to see is not traced."""

    def __init__(self, watched: dict[str, frozenset[int]]) -> None:
        self._watched = watched
        self.seen: dict[str, set[int]] = {path: set() for path in watched}
        self._left: dict[CodeType, set[int]] = {}

    def trace(self, frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            watched = self._watched.get(code.co_filename, frozenset())
            left = self._left[code] = {line for _, _, line in code.co_lines() if line in watched}
        if not left:
            return None
        seen = self.seen[code.co_filename]

        def look(frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
            if event == "line" and frame.f_lineno in left:
                left.discard(frame.f_lineno)
                seen.add(frame.f_lineno)
            return look if left else None

        return look


def _survey(share: int, of: int) -> Survey:
    """Every ``of``-th run from the ``share``-th on."""
    root = Path(__file__).parents[2]
    touched: dict[str, tuple[str, frozenset[int]]] = {}
    watched: dict[str, set[int]] = {}
    for mutant in read_mutants():
        file = mutant.path(root)
        source = file.read_text() if file.exists() else ""
        if source.count(mutant.old) == 1 and (lines := mutant.lines(source)):
            touched[mutant.name] = (str(file), lines)
            watched.setdefault(str(file), set()).update(lines)
    frozen = {name: frozenset(lines) for name, lines in watched.items()}
    failed: dict[int, str] = {}
    reached: dict[str, list[int]] = {name: [] for name in touched}
    for number, (scenario, seed) in enumerate(planned_runs(), start=1):
        if number % of != share:
            continue
        tracer = _Tracer(frozen)
        sys.settrace(tracer.trace)
        try:
            checker, message = _run(scenario, Options(seed=seed))
        finally:
            sys.settrace(None)
        if checker:
            failed[number] = message
        for name, (path, lines) in touched.items():
            if lines & tracer.seen[path]:
                reached[name].append(number)
    cases = [case for place, case in enumerate(CASES) if place % of == share and _compare([case]) is None]
    return Survey(failed, {name: tuple(numbers) for name, numbers in reached.items()}, tuple(cases))


# What the command runs in a copy


def _in_copy(copy: Path, *arguments: str) -> bytes:
    command = [sys.executable, "-m", "simulations.mutants.hunt", *arguments]
    ended = subprocess.run(command, cwd=copy, capture_output=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"the simulator ended with status {ended.returncode}:\n{ended.stderr.decode()[-3000:]}")
    return ended.stdout


def hunted(copy: Path, numbers: list[int], cases: tuple[str, ...] = ()) -> Catch | None:
    """Run these of the planned runs in a copy of the sources, until one has a violation; where none has, compare the
    figures of these cases with the recorded ones."""
    arguments = ("--runs", ",".join(map(str, numbers)), "--baseline", ",".join(cases))
    return msgspec.json.decode(_in_copy(copy, *arguments), type=Catch | None)


def surveyed(copy: Path, share: int, of: int) -> Survey:
    """Survey every ``of``-th run in a copy of the sources without a fault, from number ``share`` on."""
    return msgspec.json.decode(_in_copy(copy, "--survey", f"{share}/{of}"), type=Survey, strict=False)


def first_failed(copy: Path, seeds: Sequence[int], options: Options) -> int | None:
    """Run these seeds of the swarm, with the nodes and the duration of ``options``, in a copy of the sources. Return
    the first seed whose run has a violation."""
    arguments = (
        "--seeds",
        ",".join(map(str, seeds)),
        "--nodes",
        str(options.nodes),
        "--duration",
        str(options.duration),
    )
    return msgspec.json.decode(_in_copy(copy, *arguments), type=int | None)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="")
    parser.add_argument("--baseline", default="")
    parser.add_argument("--survey", default="")
    parser.add_argument("--seeds")
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--duration", type=float)
    given = parser.parse_args()
    signal.signal(signal.SIGVTALRM, _hangs)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    if given.survey:
        share, of = map(int, given.survey.split("/"))
        answer: Survey | Catch | int | None = _survey(share, of)
    elif given.seeds is not None:
        runs = (
            Options(seed=int(seed), nodes=given.nodes, duration=given.duration)
            for seed in given.seeds.split(",")
            if seed
        )
        answer = next((options.seed for options in runs if _run("swarm", options)[0]), None)
    else:
        answer = _hunt(map(int, filter(None, given.runs.split(","))))
        answer = answer or _compare(list(filter(None, given.baseline.split(","))))
    print(msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    _main()
