"""The results of a benchmark: figures, a table for people, and JSON for programs."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from simulations.command_line import write_json_file

__all__ = ["Figure", "Machine", "Report", "Row", "Run", "describe_machine", "show_number", "table"]


class Figure(msgspec.Struct):
    """Samples of one measure, in the unit of its row, and how many others did not come in time."""

    values: list[float] = msgspec.field(default_factory=list)
    missed: int = 0

    def add(self, value: float | None) -> None:
        """Add a sample; ``None`` means that it did not come in time."""
        if value is None:
            self.missed += 1
        else:
            self.values.append(value)

    @property
    def median(self) -> float:
        """The median. A sample that did not come counts as infinite; NaN if there are no samples."""
        samples = [*self.values, *[math.inf] * self.missed]
        return statistics.median(samples) if samples else math.nan

    def share(self, part: float) -> float:
        """Return the least sample that this share of all do not exceed (nearest rank); NaN if there are none."""
        samples = [*sorted(self.values), *[math.inf] * self.missed]
        return samples[max(0, math.ceil(part * len(samples)) - 1)] if samples else math.nan

    @property
    def p99(self) -> float:
        return self.share(0.99)

    @property
    def worst(self) -> float:
        return math.inf if self.missed else max(self.values, default=math.nan)

    @property
    def least(self) -> float:
        return min(self.values, default=math.nan)


class Row(msgspec.Struct, frozen=True):
    """A row of the table. ``aim`` returns the aim for a number of nodes, empty if there is none. For a rate the least
    sample is the worst. ``tail`` is the value in parentheses after the median. ``panel`` is its place in a picture:
    among seconds, among costs, or as a number."""

    key: str
    title: str
    aim: Callable[[int], str] = lambda _: ""
    is_rate: bool = False
    tail: Literal["worst", "p99"] = "worst"
    panel: Literal["time", "cost", "count"] = "time"

    def tail_of(self, figure: Figure) -> float:
        if self.is_rate:
            return figure.least
        return figure.p99 if self.tail == "p99" else figure.worst


class Run(msgspec.Struct):
    """One system with one number of nodes. ``notes`` are for people."""

    system: str
    version: str
    nodes: int
    figures: dict[str, Figure] = msgspec.field(default_factory=dict)
    notes: list[str] = msgspec.field(default_factory=list)

    def add(self, key: str, *values: float | None) -> None:
        figure = self.figures.setdefault(key, Figure())
        for value in values:
            figure.add(value)


class Machine(msgspec.Struct):
    """The machine of a run."""

    system: str
    python: str
    processors: int
    begun_at: str
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float] | None = None


class Report(msgspec.Struct):
    """The results of one call. ``absent`` says which systems could not be measured, and why."""

    benchmark: str
    machine: Machine
    options: dict[str, int | float | str | list[int] | list[str]]
    runs: list[Run] = msgspec.field(default_factory=list)
    absent: list[str] = msgspec.field(default_factory=list)
    is_complete: bool = False

    def write(self, path: Path) -> None:
        """Write JSON with median, p99, least and worst (the greatest) beside the samples. Infinite values become
        null."""
        plain = msgspec.to_builtins(self)
        for run, shown in zip(self.runs, plain["runs"], strict=True):
            for key, figure in run.figures.items():
                for name in ("median", "p99", "least", "worst"):
                    value = getattr(figure, name)
                    shown["figures"][key][name] = value if math.isfinite(value) else None
        write_json_file(path, plain)


def describe_machine() -> Machine:
    return Machine(
        f"{platform.system()} {platform.release()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        len(os.sched_getaffinity(0)),
        dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        os.getloadavg(),
    )


def table(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """Return the runs of one number of nodes side by side, with the first one's ratio to each of the others."""
    own, *others = runs
    lines = [["", own.system, *(text for run in others for text in (run.system, "ratio")), "aim"]]
    for row in rows:
        if not any(row.key in run.figures for run in runs):
            continue
        line = [row.title, _show(row, own)]
        for run in others:
            line += [_show(row, run), _ratio(own.figures.get(row.key), run.figures.get(row.key))]
        lines.append([*line, row.aim(own.nodes)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in (0, len(widths) - 1) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _show(row: Row, run: Run) -> str:
    """Return ``median (worst)``, or what the row has instead of the worst."""
    figure = run.figures.get(row.key)
    if figure is None:
        return "-"
    if len(figure.values) + figure.missed == 1:
        return show_number(figure.median)
    return f"{show_number(figure.median)} ({show_number(row.tail_of(figure))})"


_NEVER: Final = "never"


def show_number(value: float) -> str:
    """Format with about three digits; ``never`` if it is infinite."""
    if math.isinf(value):
        return _NEVER
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.1g}"


def _ratio(own: Figure | None, other: Figure | None) -> str:
    if own is None or other is None or not (math.isfinite(own.median) and other.median > 0):
        return "-"
    return show_number(own.median / other.median) if math.isfinite(other.median) else "0"
