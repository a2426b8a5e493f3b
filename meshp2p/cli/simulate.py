"""``meshp2p simulate``: one run of the protocol in virtual time, through faults, checked."""

from __future__ import annotations

import argparse
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshp2p.cli.output import printable, progress, warn, write_line
from meshp2p.cli.parser import did_you_mean
from meshp2p.errors import ConfigError
from meshp2p.recording.recording import FILE_BYTES_MAX, is_recording, load_recording
from meshp2p.simulation.checkers import CHECKERS
from meshp2p.simulation.pictures import timeline, write_html
from meshp2p.simulation.pictures.text import summary
from meshp2p.simulation.recorded import replay_recording
from meshp2p.simulation.replay import read_replay, write_replay
from meshp2p.simulation.scenarios import Options, build_schedule, scenarios
from meshp2p.simulation.schedule import Schedule, dump_schedule
from meshp2p.simulation.shrink import Shrinking, shrink
from meshp2p.simulation.simulation import Result, Simulation
from meshp2p.virtual.describe import describe_fault, lines_of
from meshp2p.virtual.trace import Trace

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    if options.list:
        width = max(map(len, scenarios()))
        for name, about in scenarios().items():
            write_line(f"{name:{width}}  {about}")
        write_line(f"\ncheckers: {', '.join(CHECKERS)}")
        return 0
    if options.replay is not None and is_recording(_read_beginning(options.replay)):
        return _replay_recording(options)
    schedule = _schedule_of(options)
    if options.json:
        write_line(dump_schedule(schedule).decode())
    else:
        _describe(schedule)
    is_traced = options.trace or options.html is not None or not options.json
    simulation = Simulation(schedule, trace=is_traced)
    with progress(lambda: f"{simulation.engine.now:.0f} of some {schedule.duration:g} virtual seconds"):
        result = simulation.run()
    if simulation.trace is not None:
        _show(simulation.trace, schedule, result, options)
    replay = options.save or (Path(f"{schedule.scenario}-{schedule.seed}.json") if result.violations else None)
    if replay is not None:
        _write(replay, lambda path: write_replay(path, schedule, result))
    if options.json:
        write_line(result.as_json().decode())
    else:
        write_line(printable_lines(summary(result)))
        if result.violations:
            write_line(f"to run it again: meshp2p simulate --replay {replay}")
    if result.violations and options.shrink:
        _shrink(schedule, result, options)
    return 1 if result.violations else 0


def _read_beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise ConfigError(f"replay file {path}: {error.strerror}") from None


def _replay_recording(options: argparse.Namespace) -> int:
    """Replay the recording of a real node, and print what it saw."""
    try:
        with options.replay.open("rb") as file:
            recording = load_recording(file.read(FILE_BYTES_MAX + 1))
        run = replay_recording(recording)
    except (ConfigError, OSError) as error:
        raise ConfigError(f"replay file {options.replay}: {error}") from None
    began, ended = (
        datetime.fromtimestamp(segment.wall_ms / 1000, UTC).isoformat(" ", "seconds")
        for segment in (recording.segments[0], recording.segments[-1])
    )
    seconds, violations = run.result.virtual_seconds, run.result.violations
    if options.json:
        _show(run.trace, run.schedule, run.result, options, is_recording=True)
        write_line(run.result.as_json().decode())
        return 1 if violations else 0
    about = f"node {recording.node_id} of mesh {recording.mesh}, meshp2p {recording.version}: {began} to {ended}"
    write_line(printable(f"{about}, {seconds:.1f} s; written because of: {recording.reason}"))
    _show(run.trace, run.schedule, run.result, options, is_recording=True)
    equal = "DIFFERENCES" if violations else "the same effects and states"
    write_line(f"replayed {run.steps} inputs and compared {run.states} states: {equal}")
    for violation in violations:
        write_line(printable(f"  {violation.message}"))
    return 1 if violations else 0


def printable_lines(text: str) -> str:
    """Return each line without control characters."""
    return "\n".join(map(printable, text.splitlines()))


def _schedule_of(options: argparse.Namespace) -> Schedule:
    if options.replay is not None:
        if options.scenario is not None:
            raise ConfigError("--replay FILE runs the schedule of the file: leave the scenario out")
        schedule, _ = read_replay(options.replay)
        return schedule
    if options.scenario is None:
        raise ConfigError("no scenario: expected one of those that --list prints, or --replay FILE")
    if options.scenario not in scenarios():
        hint = did_you_mean(options.scenario, scenarios())
        raise ConfigError(f"there is no scenario {options.scenario!r}{hint}; `meshp2p simulate --list` lists all")
    return build_schedule(
        options.scenario,
        Options(
            seed=options.seed,
            nodes=options.nodes,
            duration=options.duration,
            loss=options.loss,
            delay=options.delay,
            through_wire=options.through_wire,
            checks=None if options.check is None else tuple(options.check),
        ),
    )


def _describe(schedule: Schedule) -> None:
    write_line(
        f"scenario {schedule.scenario}, seed {schedule.seed}: {len(schedule.nodes)} nodes,"
        f" {schedule.duration:g} virtual seconds, delay {schedule.link.delay * 1000:g} ms"
    )
    for fault in schedule.faults:
        write_line(printable(f"  {fault.begin:8.2f} s  {describe_fault(fault)}"))


def _show(
    trace: Trace, schedule: Schedule, result: Result, options: argparse.Namespace, *, is_recording: bool = False
) -> None:
    """Print and write the pictures that were asked for."""
    if options.trace:
        for line in lines_of(trace):
            write_line(line)
    elif not options.json:
        write_line(printable_lines(timeline(trace, schedule, is_recording=is_recording)))
    if options.html is not None:
        command = _command_of(options)
        _write(options.html, lambda path: write_html(trace, schedule, result, path, command, is_recording=is_recording))


def _command_of(options: argparse.Namespace) -> str:
    """Return the command that repeats this run."""
    if options.replay is not None:
        return shlex.join(["meshp2p", "simulate", "--replay", str(options.replay)])
    named = ("seed", "nodes", "duration", "loss", "delay")
    given = [(f"--{name}", f"{value:g}") for name in named if (value := getattr(options, name)) is not None]
    words = [options.scenario, *(word for pair in given for word in pair)]
    words += ["--through-wire"] if options.through_wire else []
    return shlex.join(["meshp2p", "simulate", *words, *(f"--check={name}" for name in options.check or ())])


def _shrink(schedule: Schedule, result: Result, options: argparse.Namespace) -> None:
    """Write the least schedule that fails as this one did."""
    checker = result.violations[0].checker
    warn(f"looking for a smaller schedule that {checker!r} finds wrong")
    smallest = Shrinking(schedule)

    def note(state: Shrinking) -> None:
        nonlocal smallest
        smallest = state

    with progress(lambda: f"{smallest.runs} runs, {smallest.removed} parts removed"):
        least = shrink(schedule, checker, progress=note)
    path = options.save or Path(f"{schedule.scenario}-{schedule.seed}.json")
    path = path.with_suffix(".least.json")
    _write(path, lambda path: write_replay(path, least.schedule, Simulation(least.schedule).run()))
    kept = f"{len(least.schedule.nodes)} nodes, {len(least.schedule.faults)} faults"
    warn(f"{kept} are enough ({least.runs} runs): meshp2p simulate --replay {path}")


def _write(path: Path, write: Any) -> None:
    try:
        write(path)
    except OSError as error:
        raise ConfigError(f"file {str(path)!r}: {error.strerror}; expected a path that can be written") from error
