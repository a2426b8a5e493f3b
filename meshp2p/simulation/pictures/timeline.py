"""A run for a terminal: a line for each node, a column for each slice of time, and then the events as text."""

from __future__ import annotations

import string

from meshp2p.core.events import InstanceDied, InstanceLeft, InstanceRecovered, InstanceSuspected
from meshp2p.simulation.pictures.lanes import Band, FaultSpan, bands_of, end_of, fault_spans, lanes_of
from meshp2p.simulation.schedule import Schedule
from meshp2p.virtual.describe import describe, describe_fault, is_notable, printable
from meshp2p.virtual.trace import Trace, TraceEntry, What

__all__ = ["timeline"]

LETTERS = string.ascii_uppercase + string.ascii_lowercase
"""One letter for each leader; ``*`` for further ones."""

NAME_WIDTH_MAX = 20
COLUMNS_MIN = 20
NOTES_MAX = 80
TOGETHER = 1.0
"""Virtual seconds in which equal verdicts of several nodes are combined in one line. Like the three above, chosen, not
measured."""

_SIGNS = (
    ("!", "violation"),
    ("x", "declares dead"),
    ("?", "suspects"),
    ("+", "sees refuted"),
    ("<", "left or revoked"),
)
_RANKS = {sign: rank for rank, (sign, _) in enumerate(_SIGNS)}


def timeline(trace: Trace, schedule: Schedule, width: int = 100, *, is_recording: bool = False) -> str:
    """Return the run as plain text that ends with a line break. The lanes take at most ``width`` columns (but enough
    for 20 slices of time); lines of text may be longer.

    A column shows the gravest event of its slice of time, or else the leader that the node named at its end.
    """
    lanes = lanes_of(trace, schedule)
    end = end_of(trace, schedule)
    chart = _Chart(lanes, end, width)
    bands = bands_of(trace, lanes, end)
    letters = _letters(bands)
    title = f"{schedule.scenario}, seed {schedule.seed}: {len(schedule.nodes)} nodes, {end:.1f} virtual seconds"
    if is_recording:
        title = f"{schedule.scenario}: {end:.1f} s as one node saw them"
    lines = [f"{printable(title)}; a column is {end / chart.columns:.2g} s", ""]
    lines.append(chart.line("", chart.axis()))
    spans = fault_spans(trace, end)
    lines += [chart.line("fault", chart.fault(span)) for span in spans]
    signs = _signs(trace, lanes)
    for name in lanes:
        lines.append(chart.line(printable(name), chart.lane(bands[name], signs[name], letters)))
    lines += ["", _legend(letters), ""]
    lines += _notes(trace)
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Chart:
    """The columns: the slice of time of each, and its text."""

    def __init__(self, lanes: list[str], end: float, width: int) -> None:
        widest = max(len("fault"), *(len(printable(name)) for name in lanes))
        self._names = min(widest, NAME_WIDTH_MAX)
        self.columns = max(COLUMNS_MIN, width - self._names - 2)
        self._end = end

    def line(self, name: str, cells: str) -> str:
        if len(name) > self._names:
            name = name[: self._names - 1] + "…"
        return f"{name:<{self._names}}  {cells}"

    def column(self, at: float) -> int:
        return min(self.columns - 1, max(0, int(at / self._end * self.columns)))

    def axis(self) -> str:
        cells = [" "] * self.columns
        step = _nice(self._end / max(1, self.columns // 12))
        for index in range(int(self._end / step) + 1):
            text = f"{index * step:g}"
            start = self.column(index * step)
            if start + len(text) <= self.columns:
                cells[start : start + len(text)] = text
        return "".join(cells)

    def fault(self, span: FaultSpan) -> str:
        """Return a bar with the fault's name in it, or behind it if the bar is short."""
        begin, last = self.column(span.begin), self.column(span.end)
        label = printable(describe_fault(span.fault))
        length = last - begin + 1
        bar = "[" + "=" * (length - 2) + "]" if length > 1 else "|"
        if len(label) + 4 <= length:
            bar = f"[ {label} {'=' * (length - len(label) - 4)}]"
        elif begin + length + 1 + len(label) <= self.columns:
            bar = f"{bar} {label}"
        elif len(label) + 1 <= begin:
            return f"{' ' * (begin - len(label) - 1)}{label} {bar}"
        else:
            room = self.columns - begin - 4
            bar = f"[ {label[: max(0, room - 1)]}…]" if room > 4 else bar
        return " " * begin + bar

    def lane(self, bands: list[Band], signs: list[tuple[float, str]], letters: dict[str, str]) -> str:
        cells = []
        place = 0
        for column in range(self.columns):
            at = (column + 1) * self._end / self.columns
            while place < len(bands) - 1 and bands[place].end < at:
                place += 1
            cells.append(_cell(bands[place], letters) if bands else " ")
        for at, sign in signs:
            column = self.column(at)
            if cells[column] not in _RANKS or _RANKS[sign] < _RANKS[cells[column]]:
                cells[column] = sign
        return "".join(cells)


def _nice(least: float) -> float:
    power = 1e-6
    while True:
        for factor in (1, 2, 5):
            if factor * power >= least:
                return factor * power
        power *= 10


def _cell(band: Band, letters: dict[str, str]) -> str:
    match band.state:
        case "down":
            return " "
        case "paused":
            return "~"
        case _:
            return letters[band.leader] if band.leader is not None else "."


def _letters(bands: dict[str, list[Band]]) -> dict[str, str]:
    """Return a letter for each leader, in the order of their ids."""
    leaders = sorted({band.leader for own in bands.values() for band in own if band.leader is not None})
    return {leader: LETTERS[place] if place < len(LETTERS) else "*" for place, leader in enumerate(leaders)}


def _legend(letters: dict[str, str]) -> str:
    who = "  ".join(f"{letter} = {printable(name)}" for name, letter in letters.items())
    signs = "  ".join(f"{sign} {words}" for sign, words in _SIGNS)
    return f"who leads: {who or 'nobody'}  . = nobody\nsigns: {signs}  ~ stands still  blank: does not run"


def _sign_of(entry: TraceEntry) -> str:
    if entry.what is What.VIOLATION:
        return "!"
    match entry.detail:
        case InstanceDied():
            return "x"
        case InstanceSuspected():
            return "?"
        case InstanceRecovered():
            return "+"
        case InstanceLeft():
            return "<"
        case _:
            return ""


def _signs(trace: Trace, lanes: list[str]) -> dict[str, list[tuple[float, str]]]:
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in lanes}
    for entry in trace:
        if entry.what is What.EVENT or entry.what is What.VIOLATION:
            sign = _sign_of(entry)
            if sign and entry.node in found:
                found[entry.node].append((entry.at, sign))
    return found


def _notes(trace: Trace) -> list[str]:
    """Return the events as text, one line for what several nodes did at about the same time."""
    groups: list[tuple[float, str, list[str]]] = []
    recent: dict[str, int] = {}
    for entry in trace:
        if not is_notable(entry):
            continue
        words = describe(entry)
        place = recent.get(words)
        if place is not None and entry.node and entry.at - groups[place][0] <= TOGETHER:
            if entry.node not in groups[place][2]:
                groups[place][2].append(entry.node)
        else:
            recent[words] = len(groups)
            groups.append((entry.at, words, [entry.node] if entry.node else []))
    lines = [_note(at, words, nodes) for at, words, nodes in groups[:NOTES_MAX]]
    if len(groups) > NOTES_MAX:
        lines.append(f"{'':>11}  and {len(groups) - NOTES_MAX} more")
    return lines


def _note(at: float, words: str, nodes: list[str]) -> str:
    shown = [printable(node) for node in sorted(nodes)[:6]]
    more = f" and {len(nodes) - len(shown)} more" if len(nodes) > len(shown) else ""
    who = f"{', '.join(shown)}{more}: " if nodes else ""
    return f"{at:>10.3f}s  {who}{printable(words)}"
