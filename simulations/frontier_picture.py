"""Draw the frontier as SVG: for each row its detection times, with its false deaths beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from simulations.frontier import SWIM, Frontier, Goals, Row

__all__ = ["picture"]

WIDTH, LINE = 920, 22
LABEL, PLOT, COUNTS = 270, 640, 660
"""Where the labels end, where the plot ends, and where the figures beside it begin."""
TOP, BOTTOM = 74, 44
COLUMNS = (("loss", 0), ("starved", 60), ("paused", 130), ("B/s", 195))

INK, GREY, GREEN = "#222222", "#dddddd", "#eef7ee"
WELL, ILL = "#0072b2", "#d55e00"
"""Told apart by those who see few colours, too (Okabe and Ito)."""


def picture(frontier: Frontier, goals: Goals) -> str:
    """Return the whole SVG document.

    A row's dot is its median, and the whisker ends at its p99. The dot is filled and blue if the row meets all goals;
    figures that miss a goal are orange.
    """
    rows = sorted(frontier.rows, key=lambda row: (row.share(0.5), row.share(0.99)))
    height = TOP + LINE * len(rows) + BOTTOM
    about = "For each row: time until a silent death is known to all, and false deaths"
    seconds_max = math.ceil(max([goals.known_p99, *(row.share(0.99) for row in rows if row.known)]) + 0.5)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{about}">',
        "<style>text { font-family: sans-serif; font-size: 12px }</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_frame(seconds_max, height - BOTTOM, goals),
    ]
    swim = frontier.named(SWIM)
    for place, row in enumerate(rows):
        lines += _row(row, TOP + LINE * place + LINE / 2, seconds_max, goals, swim)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _x(seconds: float, seconds_max: float) -> float:
    return LABEL + (PLOT - LABEL) * min(seconds, seconds_max) / seconds_max


def _text(x: float, y: float, text: str, anchor: str = "middle", ink: str = INK, *, is_bold: bool = False) -> str:
    weight = ' font-weight="bold"' if is_bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}"{weight}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, ink: str, width: float = 1.0) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}" stroke-width="{width:g}"/>'


def _frame(seconds_max: int, floor: float, goals: Goals) -> Iterator[str]:
    """Draw title, headings, and the time axis. Green is within the goal for the median; dashes mark the goal for the
    p99."""
    yield _text(10, 20, "Seconds until a silent death is known to all: median, and a whisker to the p99", "start")
    yield _text(10, 38, "filled: reaches all goals; green: the goal's median; dashes: its p99", "start")
    yield _text(COUNTS, TOP - 24, "false deaths a run:", "start")
    for name, offset in COLUMNS:
        yield _text(COUNTS + offset, TOP - 8, name, "start")
    yield (
        f'<rect x="{LABEL}" y="{TOP}" width="{_x(goals.known_p50, seconds_max) - LABEL:.1f}"'
        f' height="{floor - TOP:.1f}" fill="{GREEN}"/>'
    )
    step = math.ceil(seconds_max / 12)
    for seconds in range(0, seconds_max + 1, step):
        x = _x(seconds, seconds_max)
        yield _line(x, TOP, x, floor + 4, GREY)
        yield _text(x, floor + 18, f"{seconds} s")
    x = _x(goals.known_p99, seconds_max)
    yield (
        f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{floor:.1f}" stroke="{INK}" stroke-dasharray="4 3"'
        ' stroke-width="1"/>'
    )


def _row(row: Row, y: float, seconds_max: int, goals: Goals, swim: Row | None) -> Iterator[str]:
    config = row.setting.config
    factors = f"{config.suspicion_multiplier:g}"
    if config.confirmers:
        factors += f" / {config.suspicion_confirmed_multiplier:g}"
    label = f"probe {config.probe_interval:g} s, {factors}"
    misses = row.misses(goals, swim)
    ink = ILL if misses else WELL
    about = f"{row.setting.name or label}: {'; '.join(misses) or 'reaches all'}"
    yield f"<g><title>{escape(about)}</title>"
    if row.setting.name:
        label = f"{row.setting.name} ({config.probe_interval:g} s, {factors})"
    yield _text(LABEL - 10, y + 4, label, "end", is_bold=bool(row.setting.name))
    if row.known:
        middle, end = _x(row.share(0.5), seconds_max), _x(row.share(0.99), seconds_max)
        yield _line(middle, y, end, y, ink, 2)
        yield _line(end, y - 4, end, y + 4, ink, 2)
        fill = "#ffffff" if misses else ink
        yield f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{ink}" stroke-width="2"/>'
    figures = (
        (f"{sum(row.lossy):.2g}", any(row.lossy)),
        (f"{row.starved:.2f}", any(miss.startswith("starved") for miss in misses)),
        (f"{row.paused:.0%}", bool(row.paused)),
        (f"{row.idle_bytes:.0f}", False),
    )
    for (_, offset), (figure, is_missed) in zip(COLUMNS, figures, strict=True):
        yield _text(COUNTS + offset, y + 4, figure, "start", ILL if is_missed else INK, is_bold=is_missed)
    yield "</g>"
