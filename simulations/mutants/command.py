"""``python -m simulations mutants``: plant each fault, see what catches it, and print a table."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from meshp2p.errors import ConfigError
from simulations.baseline import CASES
from simulations.command_line import write_json_file
from simulations.mutants.hunt import BASELINE, RUNS_MAX, Catch, Survey, hunted, surveyed
from simulations.mutants.planted import ROOT, Mutant, copied, read_mutants
from simulations.mutants.unit import failing_test

__all__ = ["SIMULATOR_SHARE", "UNIT_SHARE", "Finding", "add_mutants", "complaints", "table_lines"]

UNIT_SHARE, SIMULATOR_SHARE = 0.95, 0.75
"""How many of the faults the unit tests must catch, and how many the simulator."""


class Finding(msgspec.Struct):
    """What came of one mutant. ``test`` is the unit test that failed, ``catch`` the run: None where not tried, empty
    and "survived" where nothing caught it. ``reached`` counts the runs that execute the lines it touches."""

    name: str
    test: str | None = None
    catch: Catch | str | None = None
    reached: int = 0
    error: str = ""


def add_mutants(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "mutants", help="plant faults in core, guard and trust and see which test and checker catches each"
    )
    parser.add_argument("--only", metavar="NAME", nargs="+", default=[], help="only these mutants, or all of a module")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time (default: 1)")
    parser.add_argument("--unit", action="store_true", help="only the unit tests")
    parser.add_argument("--simulator", action="store_true", help="only the simulator")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings here after each mutant")
    parser.add_argument("--resume", action="store_true", help="keep what FILE has, and go on behind it")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="another checkout to plant them in")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Exit status: 1 where an instrument catches too few, a survivor has no explanation, or a fault could not be
    planted; 0 where only some were asked for."""
    if given.jobs < 1:
        raise ConfigError(f"--jobs {given.jobs}: expected at least 1")
    if given.resume and given.json is None:
        raise ConfigError("--resume: expected --json FILE too")
    listed = read_mutants()
    mutants = [one for one in listed if not given.only or one.name in given.only or one.module in given.only]
    if not mutants:
        raise ConfigError(f"--only {' '.join(given.only)}: expected names of mutants, or modules")
    findings: dict[str, Finding] = {}
    if given.resume and given.json.exists():
        kept = msgspec.json.decode(given.json.read_bytes(), type=list[Finding])
        findings = {finding.name: finding for finding in kept if not finding.error}
    is_unit, is_simulator = given.unit or not given.simulator, given.simulator or not given.unit
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        survey = _survey(given.root.resolve(), given.jobs, pool) if is_simulator else None
        jobs = [
            pool.submit(_find, mutant, findings.get(mutant.name), given.root.resolve(), survey, is_unit=is_unit)
            for mutant in mutants
        ]
        for done, job in enumerate(concurrent.futures.as_completed(jobs), start=1):
            finding = job.result()
            findings[finding.name] = finding
            print(f"{done}/{len(mutants)} {_line(finding)}", file=sys.stderr, flush=True)
            if given.json is not None:
                write_json_file(given.json, list(findings.values()))
    ordered = [(mutant, findings[mutant.name]) for mutant in mutants]
    for line in table_lines(ordered):
        print(line)
    missed = list(complaints(ordered))
    for line in missed:
        print(line)
    return 1 if not given.only and any(line.startswith("FAILED") for line in missed) else 0


def _survey(root: Path, jobs: int, pool: concurrent.futures.Executor) -> Survey:
    """What the runs do without a fault."""
    print(f"surveying {RUNS_MAX} runs without a fault", file=sys.stderr, flush=True)
    with copied(root=root) as copy:
        parts = list(pool.map(lambda share: surveyed(copy, share, jobs), range(jobs)))
    failed = {number: message for part in parts for number, message in part.failed.items()}
    for number, message in sorted(failed.items()):
        print(f"run {number} fails without a fault, and is left out: {message}", file=sys.stderr)
    reached = {name: tuple(sorted(n for part in parts for n in part.reached[name])) for name in parts[0].reached}
    cases = tuple(case for part in parts for case in part.cases)
    for case in CASES:
        if case not in cases:
            print(f"the figures of {case!r} are not the recorded ones without a fault: left out", file=sys.stderr)
    return Survey(failed, reached, cases)


def _find(mutant: Mutant, known: Finding | None, root: Path, survey: Survey | None, *, is_unit: bool) -> Finding:
    finding = known or Finding(mutant.name)
    try:
        with copied(mutant, root) as copy:
            if is_unit and finding.test is None:
                finding.test = failing_test(copy, mutant.module, mutant.package)
            if survey is not None and finding.catch is None:
                reached = survey.reached.get(mutant.name, tuple(range(1, RUNS_MAX + 1)))
                finding.reached = len(reached)
                numbers = [number for number in reached if number not in survey.failed]
                finding.catch = hunted(copy, numbers, survey.cases) or "survived"
    except (ConfigError, RuntimeError) as error:
        finding.error = str(error)
    return finding


def _line(finding: Finding) -> str:
    if finding.error:
        return f"{finding.name}: {finding.error}"
    parts = [finding.name]
    if finding.test is not None:
        parts.append(f"unit: {finding.test or 'SURVIVED'}")
    if isinstance(finding.catch, Catch):
        parts.append(f"simulator: {finding.catch.checker} {_within(finding.catch)}")
    elif finding.catch is not None:
        parts.append(f"simulator: SURVIVED, reached in {finding.reached}")
    return "; ".join(parts)


def _within(catch: Catch) -> str:
    """In which run, or by which figures."""
    return f"case {catch.scenario}" if catch.checker == BASELINE else f"run {catch.run}"


def table_lines(findings: list[tuple[Mutant, Finding]]) -> Iterator[str]:
    """A Markdown table, and below it how many each instrument caught."""
    yield "| fault | module | caught by the unit test | caught in the simulator by | in |"
    yield "|---|---|---|---|---|"
    for mutant, finding in findings:
        test = "" if finding.test is None else finding.test or f"no: {mutant.no_test or 'UNEXPLAINED'}"
        checker = within = ""
        if isinstance(finding.catch, Catch):
            checker, within = finding.catch.checker, _within(finding.catch)
        elif finding.catch is not None:
            checker = f"no: {mutant.no_run or 'UNEXPLAINED'} (reached in {finding.reached} runs)"
        yield f"| {mutant.name} | {mutant.module} | {finding.error or test} | {checker} | {within} |"
    yield ""
    for what, caught, tried in _counts(findings):
        yield f"{what}: {len(caught)} of {len(tried)} caught ({len(caught) / len(tried):.0%})"


def _counts(findings: list[tuple[Mutant, Finding]]) -> Iterator[tuple[str, list[Finding], list[Finding]]]:
    """For each instrument that was used, what it caught and what it was tried on."""
    found = [finding for _, finding in findings]
    tried = [finding for finding in found if finding.test is not None]
    if tried:
        yield "unit tests", [finding for finding in tried if finding.test], tried
    tried = [finding for finding in found if finding.catch is not None]
    if tried:
        caught = [finding for finding in tried if isinstance(finding.catch, Catch)]
        yield "simulator", caught, tried


def complaints(findings: list[tuple[Mutant, Finding]]) -> Iterator[str]:
    """What keeps the list from being good enough, and explanations of faults that are caught: those fail nothing, for a
    run of the swarm may catch a fault by luck."""
    for mutant, finding in findings:
        if finding.error:
            yield f"FAILED {mutant.name}: {finding.error}"
        if finding.test == "" and not mutant.no_test:
            yield f"FAILED {mutant.name}: no unit test catches it, and `no_test` does not say why"
        if finding.catch == "survived" and not mutant.no_run:
            yield f"FAILED {mutant.name}: no run catches it, and `no_run` does not say why"
        if finding.test and mutant.no_test:
            yield f"STALE {mutant.name}: {finding.test} catches it: remove `no_test`"
        if isinstance(finding.catch, Catch) and mutant.no_run:
            yield f"STALE {mutant.name}: {finding.catch.checker} catches it, {_within(finding.catch)}: remove `no_run`"
    for what, caught, tried in _counts(findings):
        share = UNIT_SHARE if what == "unit tests" else SIMULATOR_SHARE
        if len(caught) < share * len(tried):
            yield f"FAILED {what}: {len(caught)} of {len(tried)} caught, expected {share:.0%}"
