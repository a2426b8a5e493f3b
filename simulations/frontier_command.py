"""The command ``python -m simulations frontier``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from meshp2p.errors import ConfigError
from simulations.frontier import (
    DEFAULTS,
    Frontier,
    Goals,
    grid,
    marked,
    measure_all,
    measure_larger,
)
from simulations.frontier_picture import picture
from simulations.frontier_report import table_lines, verdict_lines, write_docs, write_frontier

__all__ = ["add_frontier"]

OUTPUT = Path("build/frontier")
NODES_MIN = 8
"""With fewer nodes, the deaths of a run would leave no mesh."""


def add_frontier(commands: Any) -> None:
    """Add the command and its options to ``commands``, the result of ``add_subparsers``."""
    parser = commands.add_parser("frontier", help="measure detection time, false deaths and bytes for many parameters")
    parser.add_argument("--nodes", type=int, default=32, help="nodes of each run (default: 32)")
    parser.add_argument("--larger", type=int, default=128, help="nodes of the larger mesh; 0: none (default: 128)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each figure (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    lists = (
        ("--intervals", "1,0.5", "probe intervals: the first with all multipliers, the others with the defaults'"),
        ("--multipliers", "4,3", "suspicion multipliers"),
        ("--confirmed", "3,2.5,2", "suspicion confirmed multipliers"),
    )
    for name, default, about in lists:
        parser.add_argument(name, type=_numbers, default=default, help=f"{about} (default: {default})")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"frontier.json and .svg go here ({OUTPUT})")
    parser.add_argument("--write-docs", action="store_true", help="write docs/frontier.md's figures and picture anew")
    parser.set_defaults(run=_run)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _look_at_larger(frontier: Frontier, goals: Goals, nodes: int) -> None:
    """Measure the defaults in the larger mesh, and the rows that meet all goals, until one meets them there as well."""
    default = next(row for row in frontier.rows if row.setting.name == DEFAULTS)
    frontier.larger.append(measure_larger(default.setting, nodes, frontier.seeds))
    for row in frontier.reaching(goals):
        if row is not default:
            frontier.larger.append(measure_larger(row.setting, nodes, frontier.seeds))
        if frontier.proposed(goals) is not None:
            return


def _run(given: argparse.Namespace) -> int:
    """Measure, print the table, and write JSON and the picture. Always returns 0: a table judges nothing."""
    if given.seeds < 1 or given.jobs < 1 or given.nodes < NODES_MIN or 0 < given.larger < NODES_MIN or given.larger < 0:
        raise ConfigError(
            f"--seeds {given.seeds} --jobs {given.jobs} --nodes {given.nodes} --larger {given.larger}:"
            f" expected at least 1 seed and job, and {NODES_MIN} nodes"
        )
    goals = Goals()
    settings = [*marked(), *grid(given.intervals, given.multipliers, given.confirmed)]
    frontier = Frontier(given.nodes, given.seeds, [])
    for row in measure_all(settings, given.nodes, given.seeds, given.jobs):
        frontier.rows.append(row)
        print(f"{len(frontier.rows)}/{len(settings)} rows", file=sys.stderr, flush=True)
    if given.larger:
        _look_at_larger(frontier, goals, given.larger)
    for line in (*table_lines(frontier, goals), *verdict_lines(frontier, goals)):
        print(line)
    write_frontier(frontier, given.output / "frontier.json")
    (given.output / "frontier.svg").write_text(picture(frontier, goals))
    if given.write_docs:
        write_docs(frontier, goals)
    return 0
