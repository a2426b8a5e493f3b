"""Why a node suspected another, declared it dead or removed it: the entries of the trace behind what the event says.

A verdict of the node's own says in its :class:`~meshp2p.core.events.Grounds` which ping had no answer, and which other
nodes found the suspect unresponsive. One that it heard says which node found it, and its cause is the message. The
trace is read once, in order, so that an explanation contains only earlier entries.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from meshp2p.core.calls import ForwardHeartbeat, Probe
from meshp2p.core.datagrams import Ack, Ping, PingRequest
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceDied, InstanceLeft, InstanceSuspected
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.core.requests import Heartbeat
from meshp2p.virtual.faults import Bursts, Delayed, Fault, Lossy, Pause, ShutOut, Sleep, Slow, Stalls
from meshp2p.virtual.trace import Trace, TraceEntry, What

__all__ = ["Reason", "reasons_of"]

LATE = 0.15
"""Seconds from which a packet counts as late, and faults that delay packets are named. Chosen, not measured."""

_HOLDING = (Slow, Stalls, Delayed)
"""Faults for which a packet is on its way for long."""

_DELAYING = (*_HOLDING, Pause, Sleep, Bursts, Lossy)


class Reason(msgspec.Struct, frozen=True):
    """The numbers of the entries behind a verdict, in order, and of the verdict that it follows from; 0 for none."""

    steps: tuple[int, ...]
    then: int


def reasons_of(trace: Trace) -> dict[int, Reason]:
    """Return the reason of each verdict by the number of its entry."""
    reader = _Reader(trace)
    for entry in trace:
        reader.read(entry)
    return reader.reasons


class _Reader:
    def __init__(self, trace: Trace) -> None:
        self.reasons: dict[int, Reason] = {}
        self._trace = trace
        self._pings: dict[tuple[str, int], int] = {}
        """The last ping of a node with this sequence number."""
        self._asked: dict[tuple[str, int], list[int]] = defaultdict(list)
        """What a node sent to learn whether the node of this tag lives."""
        self._outcomes: dict[int, int] = {}
        """What became of a packet or a call, and what was sent because a packet arrived."""
        self._refusals: dict[tuple[str, int], int] = {}
        self._claims: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        """By observer and subject, where each accuser was first heard since the suspicion began."""
        self._verdicts: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._heartbeats: dict[tuple[str, str], int] = {}
        self._down: dict[str, int] = {}
        """Where a process that does not run, or stands still, ended or stopped."""
        self._faults: dict[int, Fault] = {}

    def read(self, entry: TraceEntry) -> None:
        number, node, detail, cause = entry.number, entry.node, entry.detail, entry.cause
        match entry.what:
            case What.SEND | What.CALL:
                self._sent(entry)
            case What.RECEIVE | What.CALLED | What.REPLY:
                self._outcomes.setdefault(cause, number)
                if isinstance(detail, ForwardHeartbeat):
                    self._heartbeats[node, detail.id] = number
                for item in getattr(detail, "items", ()):
                    if isinstance(item, Rumour) and item.state in (State.SUSPECT, State.DEAD):
                        self._claims[node, item.id].setdefault(item.by, number)
            case What.DROP:
                self._outcomes.setdefault(cause, number)
            case What.FAIL if cause:
                self._outcomes.setdefault(cause, number)
                asked = self._trace[cause].detail
                if isinstance(asked, Probe) and isinstance(detail, CallFailed) and detail.failure is Failure.REFUSED:
                    self._refusals[node, asked.target] = number
            case What.ASK if isinstance(detail, Heartbeat):
                self._heartbeats[node, detail.id] = number
            case What.PAUSE | What.STOP if detail != "leaving":
                self._down[node] = number
            case What.START | What.RESUME:
                self._down.pop(node, None)
            case What.FAULT:
                self._faults[number] = detail
            case What.HEAL:
                self._faults = {each: fault for each, fault in self._faults.items() if fault != detail}
            case What.EVENT if isinstance(detail, InstanceSuspected | InstanceDied | InstanceLeft):
                self._conclude(entry, detail)
            case _:
                pass

    def _sent(self, entry: TraceEntry) -> None:
        body = getattr(entry.detail, "body", entry.detail)
        is_answer = entry.cause and self._trace[entry.cause].what is What.RECEIVE
        if isinstance(body, Ping):
            self._pings[entry.node, body.sequence] = entry.number
        if is_answer and isinstance(body, Ping | Ack):
            self._outcomes.setdefault(entry.cause, entry.number)
        elif isinstance(body, Ping | PingRequest | Probe):
            self._asked[entry.node, body.target].append(entry.number)

    def _conclude(self, entry: TraceEntry, event: InstanceSuspected | InstanceDied | InstanceLeft) -> None:
        if isinstance(event, InstanceLeft):
            if event.is_revoked:
                self.reasons[entry.number] = Reason(tuple(self._revocations(event.record.home)), 0)
            return
        verdicts = self._verdicts[entry.node, event.id]
        steps, then = self._reason(entry, event)
        self.reasons[entry.number] = Reason(tuple(sorted(set(steps))), then)
        if isinstance(event, InstanceSuspected):
            self._claims[entry.node, event.id].clear()
        verdicts.append(entry.number)

    def _reason(self, entry: TraceEntry, event: InstanceSuspected | InstanceDied) -> tuple[list[int], int]:
        node, grounds = entry.node, event.grounds
        tag, last = tag_of(event.id), self._last(entry.node, event.id)
        if isinstance(event, InstanceSuspected) and grounds is not None and grounds.ping:
            return list(self._attempts(entry, event.id, self._pings.get((node, grounds.ping), entry.number))), 0
        if isinstance(event, InstanceDied) and grounds is not None:
            claims = self._claims[node, event.id]
            heard = [claims[by] for by in (*grounds.accusers, *grounds.refused) if by in claims and by != event.by]
            if event.evidence == "refused":
                return [*heard, *filter(None, [self._refusals.get((node, tag))])], last
            first = self._trace[last].detail.by if last else ""
            own = self._attempts(entry, event.id, last) if event.by in grounds.accusers and first != event.by else ()
            return [*heard, *own], last
        if isinstance(event, InstanceDied) and event.evidence == "home_lost":
            return [entry.cause], self._last(node, event.record.home)
        cause = self._trace[entry.cause] if entry.cause else None
        if cause is None or cause.what is What.TIMER:
            return [*filter(None, [entry.cause, self._heartbeats.get((node, event.id), 0)])], 0
        told = self._trace[cause.cause] if cause.cause else cause
        found = self._found_by(told, event)
        late = self._blame(cause.number, (node, told.node), entry.at)
        return [cause.number, told.number, *late], found or self._last(event.by, event.id, own=event)

    def _last(self, node: str, subject: str, own: InstanceSuspected | InstanceDied | None = None) -> int:
        """Return the node's last verdict on the subject; with ``own``, the last one of that kind that it found
        itself."""
        for number in reversed(self._verdicts[node, subject]):
            verdict = self._trace[number].detail
            if own is None or (type(verdict) is type(own) and verdict.by == node and verdict.evidence == own.evidence):
                return number
        return 0

    def _found_by(self, told: TraceEntry, event: InstanceSuspected | InstanceDied) -> int:
        """Return the verdict of which this message told. Its sender may have noted it just after sending."""
        for number in reversed(self._verdicts[told.node, event.id]):
            verdict = self._trace[number]
            is_earlier = number < told.number or (told.cause and verdict.cause == told.cause)
            if is_earlier and verdict.detail.by == event.by and verdict.detail.evidence == event.evidence:
                return number
        return 0

    def _attempts(self, verdict: TraceEntry, subject: str, since: int) -> Iterator[int]:
        """Return what the node sent to learn whether the subject lives, what became of that, and what stood in the
        way."""
        node = verdict.node
        asked = self._asked[node, tag_of(subject)]
        cause = self._trace[since].cause
        if cause and self._trace[cause].what in (What.FAIL, What.RECEIVE):
            yield cause  # a watch connection broke, or another node was heard
        for first in asked[bisect_left(asked, since) :]:
            each: int | None = first
            while each:
                yield each
                yield from self._blame(each, (node, subject), verdict.at)
                each = self._outcomes.get(each)
        if down := self._down.get(subject):
            yield from filter(None, (down, self._trace[down].cause))

        yield from self._revocations(node, subject)

    def _blame(self, number: int, pair: tuple[str, str], now: float) -> Iterator[int]:
        """Return the faults that lost this packet, made it late, or keep it on its way until ``now``."""
        entry = self._trace[number]
        is_late = entry.what is What.RECEIVE and entry.at - self._trace[entry.cause].at > LATE
        is_open = entry.what in (What.SEND, What.CALL) and number not in self._outcomes and pair[1] not in self._down
        is_held = is_open and now - entry.at > LATE
        for fault_number, fault in self._faults.items():
            names = fault.names()
            is_near = not names or any(name in names for name in pair)
            is_lost = entry.what is What.DROP and type(fault).__name__ == entry.detail
            slows = (is_late and isinstance(fault, _DELAYING)) or (is_held and isinstance(fault, _HOLDING))
            if is_lost or (is_near and slows):
                yield fault_number

    def _revocations(self, *nodes: str) -> Iterator[int]:
        """Return the faults that revoked the machine of one of these nodes."""
        for number, fault in self._faults.items():
            if isinstance(fault, ShutOut) and fault.node in nodes:
                yield number
