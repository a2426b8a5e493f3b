"""``meshp2p simulate``: one run of the protocol in virtual time, through faults, checked."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from meshp2p.cli.output import printable, warn, write_line
from meshp2p.errors import ConfigError
from meshp2p.simulation.checkers import CHECKERS
from meshp2p.simulation.pictures import timeline, write_html
from meshp2p.simulation.pictures.text import summary
from meshp2p.simulation.replay import read_replay, write_replay
from meshp2p.simulation.scenarios import Options, build_schedule, scenarios
from meshp2p.simulation.schedule import Schedule, dump_schedule
from meshp2p.simulation.shrink import shrink
from meshp2p.simulation.simulation import Result, Simulation
from meshp2p.virtual.describe import describe_fault, lines_of
from meshp2p.virtual.trace import Trace

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    simulate = commands.add_parser(
        "simulate",
        help="run a mesh in virtual time through faults, and check it",
        description="Run a mesh in virtual time through faults, and check it.",
        allow_abbrev=False,
    )
    simulate.add_argument("scenario", nargs="?", help="what happens: see --list")
    simulate.add_argument("--list", action="store_true", help="name the scenarios with a line about each")
    simulate.add_argument("--seed", type=int, default=1, help="what all chance is drawn from (%(default)s)")
    simulate.add_argument("--nodes", type=int, help="how many nodes")
    simulate.add_argument("--duration", type=float, metavar="SECONDS", help="virtual seconds until all faults end")
    simulate.add_argument("--loss", type=float, metavar="SHARE", help="share of datagrams lost all the time, 0 to 1")
    simulate.add_argument("--delay", type=float, metavar="SECONDS", help="one-way delay of all that is sent")
    simulate.add_argument("--through-wire", action="store_true", help="encode and decode every message")
    simulate.add_argument(
        "--check", action="append", metavar="NAME", help=f"only these checkers: {', '.join(CHECKERS)}"
    )
    simulate.add_argument("--replay", type=Path, metavar="FILE", help="run what a failure wrote, exactly as it was")
    simulate.add_argument("--shrink", action="store_true", help="find the least schedule that still fails")
    simulate.add_argument("--save", type=Path, metavar="FILE", help="write the run to be replayed; a failure always is")
    simulate.add_argument("--html", type=Path, metavar="FILE", help="draw the run into one page")
    simulate.add_argument("--trace", action="store_true", help="print everything that happened")
    simulate.add_argument("--json", action="store_true", help="print the schedule, and at the end the result, as JSON")
    simulate.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.list:
        width = max(map(len, scenarios()))
        for name, about in scenarios().items():
            write_line(f"{name:{width}}  {about}")
        return 0
    schedule = _schedule_of(options)
    if options.json:
        write_line(dump_schedule(schedule).decode())
    else:
        _describe(schedule)
    is_traced = options.trace or options.html is not None or not options.json
    simulation = Simulation(schedule, trace=is_traced)
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
            write_line(f"to see it again: meshp2p simulate --replay {replay}")
    if result.violations and options.shrink:
        _shrink(schedule, result, options)
    return 1 if result.violations else 0


def printable_lines(text: str) -> str:
    """Each line without control characters."""
    return "\n".join(map(printable, text.splitlines()))


def _schedule_of(options: argparse.Namespace) -> Schedule:
    if options.replay is not None:
        if options.scenario is not None:
            raise ConfigError("--replay FILE runs what is in the file: leave the scenario out")
        schedule, _ = read_replay(options.replay)
        return schedule
    if options.scenario is None:
        raise ConfigError(f"no scenario: expected one of {', '.join(scenarios())}, or --list or --replay FILE")
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


def _show(trace: Trace, schedule: Schedule, result: Result, options: argparse.Namespace) -> None:
    """Print and write the pictures that were asked for."""
    if options.trace:
        for line in lines_of(trace):
            write_line(line)
    elif not options.json:
        write_line(printable_lines(timeline(trace, schedule)))
    if options.html is not None:
        _write(options.html, lambda path: write_html(trace, schedule, result, path, _command_of(options)))


def _command_of(options: argparse.Namespace) -> str:
    """What to type to see this run again."""
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
    warn(f"shrinking what {checker!r} found")
    least = shrink(schedule, checker)
    path = options.save or Path(f"{schedule.scenario}-{schedule.seed}.json")
    path = path.with_suffix(".least.json")
    _write(path, lambda path: write_replay(path, least.schedule, Simulation(least.schedule).run()))
    kept = f"{len(least.schedule.nodes)} nodes, {len(least.schedule.faults)} faults"
    warn(f"{kept} are enough, found in {least.runs} runs: meshp2p simulate --replay {path}")


def _write(path: Path, write: Any) -> None:
    try:
        write(path)
    except OSError as error:
        raise ConfigError(f"file {str(path)!r}: {error.strerror}; expected a path that can be written") from error
