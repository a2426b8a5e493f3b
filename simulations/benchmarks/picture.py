"""The results of a benchmark as SVG: for each number of nodes a panel of times and one of costs, with all systems
beside one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from simulations.benchmarks.report import Figure, Report, Row, Run, show_number
from simulations.svg import GREY, INK, document, line, text

__all__ = ["picture"]

WIDTH: Final = 920
PLOT: Final = (310.0, 830.0)
"""The limits of an axis."""
NEVER: Final = 880.0
"""The position of values that were never reached."""
LANE: Final = 9.0
"""The height of one system within a row."""

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours that people with colour blindness can distinguish (Okabe and Ito)."""

_AXES: Final = {"time": (0.001, 100.0), "cost": (0.01, 10_000.0)}
_TITLES: Final = {
    "time": "seconds, each step ten times the one before",
    "cost": "in the unit of its row, each step ten times the one before",
    "count": "how often, in all",
}


def picture(report: Report, rows: Sequence[Row], title: str) -> str:
    """Return the whole SVG document. A dot is a median. The whisker ends at the worst value, or at the p99 if the row
    says so."""
    names = list(dict.fromkeys(run.system for run in report.runs))
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    lines = [text(10, 22, title, "start", is_bold=True), text(10, 40, _about(report), "start")]
    x = 10.0
    for name in names:
        version = next(run.version for run in report.runs if run.system == name)
        lines += [_dot(x + 5, 56, colours[name]), text(x + 15, 60, f"{name} {version}", "start")]
        x += 40 + 7 * len(f"{name} {version}")
    y = 84.0
    for absence in report.absent:
        lines.append(text(10, y, f"absent: {absence}", "start"))
        y += 18
    for size in dict.fromkeys(run.nodes for run in report.runs):
        runs = [run for run in report.runs if run.nodes == size]
        lines.append(text(10, y + 12, f"{size} nodes", "start", is_bold=True))
        y += 30
        for panel in ("time", "cost", "count"):
            shown = [row for row in rows if row.panel == panel and any(row.key in run.figures for run in runs)]
            if shown:
                lines.append(text(PLOT[0], y, _TITLES[panel], "start"))
                draw = _count if panel == "count" else _Axis(*_AXES[panel])
                height = (LANE * len(runs) + 8) if panel != "count" else 18.0
                floor = y + 8 + height * len(shown)
                if isinstance(draw, _Axis):
                    lines += draw.frame(y + 8, floor, is_time=panel == "time")
                for place, row in enumerate(shown):
                    lines += _row(row, runs, y + 8 + height * place, height, colours, draw)
                y = floor + (40 if panel != "count" else 24)
    return document(WIDTH, y, title, lines)


def _about(report: Report) -> str:
    machine = report.machine
    complete = "" if report.is_complete else "; it did not run to its end"
    load = f"load {machine.load_before[0]:.1f}"
    if machine.load_after is not None:
        load += f" before and {machine.load_after[0]:.1f} after"
    return f"{machine.processors} processors, {machine.begun_at}, {load}; dot: median, whisker: worst or p99{complete}"


class _Axis:
    """Return the position of a value, by its logarithm."""

    def __init__(self, least: float, greatest: float) -> None:
        self._least, self._greatest = least, greatest

    def x(self, value: float) -> float:
        if math.isinf(value):
            return NEVER
        begin, end = PLOT
        inside = min(max(value, self._least), self._greatest)
        return begin + (end - begin) * math.log10(inside / self._least) / math.log10(self._greatest / self._least)

    def frame(self, top: float, floor: float, *, is_time: bool) -> Iterator[str]:
        steps = round(math.log10(self._greatest / self._least))
        for step in range(steps + 1):
            value = self._least * 10**step
            x = self.x(value)
            yield line(x, top, x, floor, GREY)
            yield text(x, floor + 14, f"{value:g}")
        if is_time:
            yield text(NEVER, floor + 14, "never")

    def __call__(self, row: Row, figure: Figure, y: float, lane: int, colour: str) -> Iterator[str]:
        y += 4 + LANE * (lane + 0.5)
        middle, end = self.x(figure.median), self.x(row.tail_of(figure))
        if end != middle:
            yield line(middle, y, end, y, colour, 2)
            yield line(end, y - 3, end, y + 3, colour, 2)
        yield _dot(middle, y, colour)


def _count(_row: Row, figure: Figure, y: float, lane: int, colour: str) -> Iterator[str]:
    yield text(PLOT[0] + 60 * lane, y + 13, f"{sum(figure.values):g}", "start", colour, is_bold=True)


_Draw = Callable[[Row, Figure, float, int, str], Iterator[str]]


def _row(row: Row, runs: Sequence[Run], y: float, height: float, colours: dict[str, str], draw: _Draw) -> Iterator[str]:
    yield text(PLOT[0] - 10, y + height / 2 + 4, row.title, "end", INK)
    for lane, run in enumerate(runs):
        figure = run.figures.get(row.key)
        if figure is not None and (figure.values or figure.missed):
            said = f"{run.system}: {show_number(figure.median)} ({show_number(row.tail_of(figure))})"
            yield f"<g><title>{said}</title>"
            yield from draw(row, figure, y, lane, colours[run.system])
            yield "</g>"


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
