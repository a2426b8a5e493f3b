"""The lanes of a trace: for each node its leader and state over time, and the faults around it."""

from __future__ import annotations

import msgspec

from meshp2p.core.events import LeadershipChanged
from meshp2p.simulation.schedule import Schedule
from meshp2p.virtual.faults import Fault
from meshp2p.virtual.trace import Trace, TraceEntry, What

__all__ = ["Band", "FaultSpan", "bands_of", "end_of", "fault_spans", "lanes_of"]


class FaultSpan(msgspec.Struct, frozen=True):
    """A fault as it took effect. ``begin`` and ``end`` are virtual seconds; ``entry`` and ``heal`` are the numbers of
    their entries, 0 for none."""

    fault: Fault
    begin: float
    end: float
    entry: int
    heal: int


class Band(msgspec.Struct, frozen=True):
    """The state of a node from ``begin`` to ``end``: "down", "paused", or "up" with the ``leader`` that it named (None:
    nobody)."""

    begin: float
    end: float
    state: str
    leader: str | None


def lanes_of(trace: Trace, schedule: Schedule) -> list[str]:
    """Return all hosts: those of the schedule in its order, then those that only the run had (second processes of an
    id)."""
    names = dict.fromkeys(plan.id for plan in schedule.nodes)
    for entry in trace:
        if entry.what is What.START:
            names.setdefault(entry.node)
    return list(names)


def end_of(trace: Trace, schedule: Schedule) -> float:
    """Return the last virtual second to show."""
    last = trace.entries[-1].at if trace.entries else 0.0
    return max(last, schedule.duration if not trace.entries else 0.0, 0.001)


def fault_spans(trace: Trace, end: float) -> list[FaultSpan]:
    """Return the faults in the order in which they began."""
    spans: list[FaultSpan] = []
    open_spans: list[int] = []
    for entry in trace:
        if entry.what is What.FAULT:
            open_spans.append(len(spans))
            spans.append(FaultSpan(entry.detail, entry.at, end, entry.number, 0))
        elif entry.what is What.HEAL:
            place = next((each for each in open_spans if spans[each].fault == entry.detail), None)
            if place is not None:
                open_spans.remove(place)
                spans[place] = msgspec.structs.replace(spans[place], end=entry.at, heal=entry.number)
    return spans


class _Draft:
    """The bands of one node under construction."""

    def __init__(self) -> None:
        self.bands: list[Band] = []
        self._since = 0.0
        self._state = "down"
        self._leader: str | None = None

    def turn(self, at: float, state: str, leader: str | None) -> None:
        if (state, leader) == (self._state, self._leader):
            return
        if at > self._since:
            self.bands.append(Band(self._since, at, self._state, self._leader))
        self._since, self._state, self._leader = at, state, leader

    def add(self, entry: TraceEntry) -> None:
        match entry.what:
            case What.START:
                self.turn(entry.at, "up", None)
            case What.STOP if entry.detail != "leaving":
                self.turn(entry.at, "down", None)
            case What.PAUSE:
                self.turn(entry.at, "paused", self._leader)
            case What.RESUME:
                self.turn(entry.at, "up", self._leader)
            case What.EVENT if isinstance(entry.detail, LeadershipChanged):
                self.turn(entry.at, self._state, entry.detail.leader_id)
            case _:
                pass


def bands_of(trace: Trace, lanes: list[str], end: float) -> dict[str, list[Band]]:
    """Return the bands of each node, from 0 to the end without a gap."""
    drafts = {name: _Draft() for name in lanes}
    for entry in trace:
        draft = drafts.get(entry.node)
        if draft is not None:
            draft.add(entry)
    for draft in drafts.values():
        draft.turn(end, "", None)
    return {name: draft.bands for name, draft in drafts.items()}
