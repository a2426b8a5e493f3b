"""What a trace tells of one of its entries: what led to it, and what its node knew then."""

from __future__ import annotations

from meshp2p.core.events import InstanceDied, InstanceEvent, InstanceLeft
from meshp2p.core.record import Record
from meshp2p.simulation.pictures.reasons import Reason
from meshp2p.virtual.trace import Trace, TraceEntry, What


def why(trace: Trace, number: int) -> list[TraceEntry]:
    """What led to this entry, the last first: its chain of causes, and where a chain ends in a verdict about a member,
    what led to the verdict before it (a death to the suspicion)."""
    before: dict[int, int] = {}
    verdicts: dict[tuple[str, str], int] = {}
    for entry in trace:
        if entry.what is What.EVENT and isinstance(entry.detail, InstanceEvent):
            key = (entry.node, entry.detail.id)
            before[entry.number] = verdicts.get(key, 0)
            verdicts[key] = entry.number
    chain: dict[int, None] = {}
    waiting = [number]
    while waiting:
        current = waiting.pop()
        while current and current not in chain:
            chain[current] = None
            waiting.append(before.get(current, 0))
            current = trace[current].cause
    return [trace[each] for each in sorted(chain, reverse=True)]


def explain(reasons: dict[int, Reason], number: int) -> list[int]:
    """A verdict and all entries behind it, the last first."""
    found: set[int] = set()
    while number and number not in found:
        found.add(number)
        reason = reasons.get(number, Reason((), 0))
        found.update(reason.steps)
        number = reason.then
    return sorted(found, reverse=True)


def view_at(trace: Trace, node: str, number: int) -> dict[str, Record]:
    """Whom a node listed right after this entry, by id."""
    view: dict[str, Record] = {}
    for entry in trace.entries[:number]:
        if entry.node != node:
            continue
        if entry.what is What.START:
            view = {}
        elif entry.what is What.EVENT and isinstance(entry.detail, InstanceEvent):
            if isinstance(entry.detail, InstanceDied | InstanceLeft):
                view.pop(entry.detail.id, None)
            else:
                view[entry.detail.id] = entry.detail.record
    return view
