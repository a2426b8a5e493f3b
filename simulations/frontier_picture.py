"""The frontier as a picture: how soon deaths are known against how many healthy nodes are held dead, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from simulations.frontier import SWIM, Frontier, Goals, Row

__all__ = ["picture"]

WIDTH, HEIGHT = 860, 500
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 66, 56
SHADES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""One for each probe interval: told apart by those who see few colours, too (Okabe and Ito)."""
TICKS = (0.0, 0.25, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


def _step(largest: float) -> float:
    """How far apart the ticks of an axis are: at most ten of them."""
    return next(step for step in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0) if largest / step <= 10)


class _Axes:
    """Where a point of the plot is: seconds to the right, false deaths upwards by their square root, so that none and
    few are told apart."""

    def __init__(self, rows: list[Row]) -> None:
        self.seconds_max = 1.05 * max([row.share(0.99) for row in rows if row.known], default=10.0)
        self.deaths_max = max(1.0, 1.1 * max([row.starved for row in rows], default=1.0))

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(seconds, self.seconds_max) / self.seconds_max

    def y(self, deaths: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.sqrt(deaths / self.deaths_max)


def picture(frontier: Frontier, goals: Goals) -> str:
    """The whole SVG document. A point is a row's median, its whisker ends at the p99; it is filled where the row
    reaches all goals."""
    about = "Time until a silent death is known to all, against false deaths"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">',
        "<style>text { font-family: sans-serif; font-size: 12px } .small { font-size: 10px }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    axes = _Axes(frontier.rows)
    lines += _frame(axes, goals)
    lines += _legend(frontier)
    swim = frontier.named(SWIM)
    intervals = _intervals(frontier)
    for row in frontier.rows:
        shade = SHADES[intervals.index(row.setting.config.probe_interval) % len(SHADES)]
        lines += _point(row, axes, shade, is_filled=row.reaches(goals, swim))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _intervals(frontier: Frontier) -> list[float]:
    return sorted({row.setting.config.probe_interval for row in frontier.rows})


def _text(x: float, y: float, text: str, anchor: str = "middle", shade: str = "#333333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{shade}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, shade: str, width: float = 1.0) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{shade}" stroke-width="{width:g}"/>'


def _frame(axes: _Axes, goals: Goals) -> Iterator[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    reached = axes.x(goals.known_p50) - LEFT
    yield f'<rect x="{LEFT}" y="{TOP}" width="{reached:.1f}" height="{floor - TOP}" fill="#eef7ee"/>'
    yield _line(LEFT, floor, right, floor, "#333333")
    yield _line(LEFT, TOP, LEFT, floor, "#333333")
    step = _step(axes.seconds_max)
    for turn in range(int(axes.seconds_max / step) + 1):
        x = axes.x(turn * step)
        yield _line(x, floor, x, floor + 4, "#333333")
        yield _text(x, floor + 18, f"{turn * step:g}")
    yield _text((LEFT + right) / 2, HEIGHT - 14, "seconds until a silent death is known to all: median, whisker to p99")
    for deaths in TICKS:
        if deaths <= axes.deaths_max:
            y = axes.y(deaths)
            yield _line(LEFT - 4, y, right, y, "#dddddd" if deaths else "#333333")
            yield _text(LEFT - 8, y + 4, f"{deaths:g}", "end")
    middle = (TOP + floor) / 2
    about = "false deaths a run, a tenth starved"
    yield f'<text transform="translate(20 {middle:.0f}) rotate(-90)" text-anchor="middle" fill="#333333">{about}</text>'


def _legend(frontier: Frontier) -> Iterator[str]:
    x = float(LEFT)
    for place, interval in enumerate(_intervals(frontier)):
        yield f'<circle cx="{x + 6:.1f}" cy="18" r="5" fill="{SHADES[place % len(SHADES)]}"/>'
        yield _text(x + 16, 22, f"probe every {interval:g} s", "start")
        x += 130
    yield _text(LEFT, 42, "filled: reaches all goals; number: suspicion multiplier x its maximum;", "start")
    yield _text(
        LEFT, 57, "cross: a pause of three seconds, or loss, kills a healthy node; green: the goal's median", "start"
    )


def _point(row: Row, axes: _Axes, shade: str, *, is_filled: bool) -> Iterator[str]:
    if not row.known:
        return
    config = row.setting.config
    x, y = axes.x(row.share(0.5)), axes.y(row.starved)
    about = f"{row.setting.name or 'grid'}: probe {config.probe_interval:g} s, {_factors(row)}"
    yield f"<g><title>{escape(about)}</title>"
    yield _line(x, y, axes.x(row.share(0.99)), y, shade)
    fill = shade if is_filled else "#ffffff"
    if row.setting.name:
        corners = f"{x - 7:.1f},{y:.1f} {x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f}"
        yield f'<polygon points="{corners}" fill="{fill}" stroke="#000000" stroke-width="1.5"/>'
        yield _text(x, y - 12, row.setting.name, shade="#000000")
    else:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{shade}" stroke-width="1.5"/>'
        if row.starved:
            yield _text(x + 9, y - 4, _factors(row), "start", shade)
        else:
            turned = f"translate({x + 3:.1f} {y - 10:.1f}) rotate(-60)"
            yield f'<text transform="{turned}" class="small" fill="{shade}">{_factors(row)}</text>'
    if row.paused or any(row.lossy):
        yield _line(x - 4, y - 4, x + 4, y + 4, shade, 1.5)
        yield _line(x - 4, y + 4, x + 4, y - 4, shade, 1.5)
    yield "</g>"


def _factors(row: Row) -> str:
    config = row.setting.config
    return f"{config.suspicion_multiplier:g} x {config.suspicion_max_multiplier:g}"
