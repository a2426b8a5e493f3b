"""``python -m simulations floods``: run each flood and print a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import trio

from simulations.command_line import names_with, write_json_file
from simulations.floods.shapes import SHAPES
from simulations.floods.trial import Outcome, measure

__all__ = ["add_floods", "table_lines"]

_AIMS: Final = "aims: 250 ms, 100 MB, no suspicion, 3 s"


def add_floods(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("floods", help="flood a real node and measure a client that means well beside it")
    parser.add_argument(
        "--only", metavar="WORD", nargs="+", default=[], help="run only floods with one of these in their name"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each flood (default: 8)")
    parser.add_argument("--package", type=Path, metavar="DIR", help="measure the meshp2p in this directory")
    parser.add_argument("--json", type=Path, help="write a report as JSON here")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Return exit status 1 if a node did not end by itself, or a client got no answer to any request."""
    outcomes: list[Outcome] = []
    for line in table_lines(_measured(names_with(given.only, SHAPES), given, outcomes)):
        print(line, flush=True)
    if given.json is not None:
        write_json_file(given.json, outcomes)
    return int(any(outcome.exit_status != 0 or outcome.unanswered == outcome.requests for outcome in outcomes))


def _measured(shapes: Iterable[str], given: argparse.Namespace, outcomes: list[Outcome]) -> Iterator[Outcome]:
    for shape in shapes:
        try:
            outcome = trio.run(measure, shape, given.seconds, given.package)
        except* OSError as errors:
            print(f"{shape}: {errors.exceptions[0]}", file=sys.stderr)
            outcome = Outcome(shape)
        outcomes.append(outcome)
        yield outcome


def table_lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'flood':<36} {'worst wait':>11} {'no answer':>10} {'busy':>5} {'RSS':>8} {'suspicions':>10} {'SIGTERM':>8}"
    for o in outcomes:
        wait = f"{o.worst_wait * 1000:,.0f} ms"
        exit_ = f"{o.exit_seconds:.1f} s" if o.exit_status is not None else "never"
        answers = f"{o.unanswered}/{o.requests}"
        rss = f"{o.rss_above_idle / 1e6:+.0f} MB"
        yield f"{o.shape:<36} {wait:>11} {answers:>10} {o.busy:>5.0%} {rss:>8} {o.suspicions:>10} {exit_:>8}"
    yield _AIMS
