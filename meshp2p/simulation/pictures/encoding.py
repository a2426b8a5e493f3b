"""The data of a run for the script of its page: columns of small numbers, and tables that they index.

The script's side is ``page/model.js``. Frequent values are numbers: words, messages and claims are indexes of tables,
starting with 1; 0 means none.
"""

from __future__ import annotations

import json
from typing import Any

from meshp2p.core.calls import (
    Acknowledged,
    Deliver,
    Deposit,
    DeregisterReply,
    FetchReply,
    ForwardAcknowledge,
    ForwardDeregister,
    ForwardFetch,
    ForwardHeartbeat,
    HeartbeatReply,
    Pong,
    Probe,
    Push,
    SyncReply,
    SyncRequest,
)
from meshp2p.core.datagrams import Ack, Body, Datagram, Gossip, Nack, Ping, PingRequest, Unreached
from meshp2p.core.effects import CallFailed, Persist
from meshp2p.core.events import (
    ContactLost,
    ContactRestored,
    IdConflictLost,
    InstanceEvent,
    LeadershipChanged,
    MapChanged,
    PeerReachable,
    PeersCannotCall,
    PeerUnreachable,
    StorageFailed,
    StorageRecovered,
)
from meshp2p.core.map_calls import MapPush, MapSync
from meshp2p.core.record import Item, Record, tag_of
from meshp2p.core.requests import SendMessage
from meshp2p.simulation.checkers import Violation
from meshp2p.simulation.pictures.lanes import FaultSpan, end_of, fault_spans, lanes_of
from meshp2p.simulation.pictures.reasons import reasons_of
from meshp2p.simulation.schedule import Schedule
from meshp2p.virtual.describe import describe_fault, describe_reason, describe_request
from meshp2p.virtual.faults import Faulty, OneWay, Partition
from meshp2p.virtual.trace import Trace, What

__all__ = ["encode_run"]

INTEGER_MAX = 1 << 53
"""The largest exact integer of JavaScript. Larger ones are written as text."""

_LETTERS = {
    What.START: "S",
    What.STOP: "X",
    What.PAUSE: "P",
    What.RESUME: "R",
    What.FAULT: "F",
    What.HEAL: "H",
    What.SEND: "s",
    What.RECEIVE: "r",
    What.DROP: "d",
    What.CALL: "C",
    What.CALLED: "c",
    What.REPLY: "y",
    What.FAIL: "f",
    What.TIMER: "t",
    What.OFFER: "o",
    What.ASK: "a",
    What.ANSWER: "b",
    What.EVENT: "e",
    What.PERSIST: "k",
    What.VIOLATION: "V",
}

_MAIL = (SendMessage, Deliver, Acknowledged, Deposit, ForwardFetch, ForwardAcknowledge, FetchReply)
_MAPS = (MapChanged, MapSync, MapPush)

_Key = tuple[Any, ...]


class _Table:
    """Values without duplicates, in the order in which they were added."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        return self._places.setdefault(value, len(self._places) + 1)

    def values(self) -> list[Any]:
        return list(self._places)


class _Encoder:
    def __init__(self, trace: Trace, schedule: Schedule) -> None:
        self._trace = trace
        self.words = _Table()
        self.items = _Table()
        self.details = _Table()
        self.violations: list[dict[str, Any]] = []
        self._names: dict[int, str] = {}
        for plan in schedule.nodes:
            self._names[tag_of(plan.id)] = plan.id
        self._seen: dict[int, int] = {}
        """Details by the identity of the object, which the trace keeps alive."""

    def word(self, text: str | None) -> int:
        return self.words.place(text) if text else 0

    def named(self, tag: int) -> int:
        return self.word(self._names.get(tag, ""))

    def item(self, item: Item) -> int:
        if isinstance(item, Record):
            self._names.setdefault(tag_of(item.id), item.id)
            return self.items.place((0, self.word(item.id), _exact(item.incarnation), int(item.state), 0))
        by = self.word(item.by)
        return self.items.place((1, self.word(item.id), _exact(item.incarnation), int(item.state), by))

    def all_items(self, items: tuple[Item, ...]) -> tuple[int, ...]:
        return tuple(self.item(item) for item in items)

    def place(self, what: What, detail: Any, cause: int) -> int:
        """Return the index of a detail in its table. A detail that only repeats the sent one has none, because the
        cause has it."""
        if detail is None or isinstance(detail, Faulty):
            return 0
        if cause and what in (What.RECEIVE, What.CALLED):
            return 0
        place = self._seen.get(id(detail))
        if place is None:
            place = self._seen[id(detail)] = self.details.place(self._detail(detail))
        return place

    def _detail(self, detail: Any) -> _Key:
        match detail:
            case Datagram(body=body, items=items):
                return ("D", *self._body(body), self.all_items(items))
            case InstanceEvent(record=record):
                kind = type(detail).__name__.removeprefix("Instance").lower()
                place = self.item(record)
                why = self.word(describe_reason(detail))
                return ("E", kind, place, _exact(record.epoch), self.word(record.home), why)
            case LeadershipChanged(leader_id=leader, previous_id=previous, epoch=epoch):
                return ("L", self.word(leader), self.word(previous), _exact(epoch))
            case IdConflictLost(id=name, address=address):
                return ("K", self.word(name), self.word(str(address)))
            case StorageFailed(reason=reason):
                return ("F", reason)
            case StorageRecovered():
                return ("F", "")
            case PeerUnreachable(id=name) | PeerReachable(id=name) | PeersCannotCall(id=name):
                return ("U", type(detail).__name__, self.word(name))
            case ContactLost(seconds=seconds):
                return ("C", round(seconds, 1))
            case ContactRestored():
                return ("C", 0)
            case CallFailed(failure=failure, reason=reason):
                return ("X", str(failure), reason)
            case Persist(incarnation=incarnation, epoch=epoch):
                return ("P", _exact(incarnation), _exact(epoch))
            case Violation(checker=checker, message=message):
                return ("V", checker, message)
            case str():
                return ("T", detail, "")
            case _:
                return self._call(detail)

    def _body(self, body: Body) -> _Key:
        match body:
            case Ping(sequence=sequence, target=target):
                return ("ping", _exact(sequence), self.named(target))
            case Ack(sequence=sequence):
                return ("ack", _exact(sequence), 0)
            case Nack(sequence=sequence):
                return ("nack", _exact(sequence), 0)
            case PingRequest(sequence=sequence, target=target):
                return ("ping_req", _exact(sequence), self.named(target))
            case Gossip():
                return ("gossip", 0, 0)
            case Unreached(target=target):
                return ("unreached", 0, self.named(target))

    def _call(self, detail: Any) -> _Key:
        match detail:
            case Probe(target=target):
                return ("Q", "probe", self.named(target), ())
            case SyncRequest(sender=sender):
                return ("Q", "sync", 0, self.all_items((sender,)) if sender is not None else ())
            case Push(items=items):
                return ("Q", "push", 0, self.all_items(items))
            case ForwardHeartbeat(id=name):
                return ("Q", "heartbeat", self.word(name), ())
            case ForwardDeregister(id=name):
                return ("Q", "deregister", self.word(name), ())
            case SyncReply(sender=sender, items=items):
                return ("A", "sync reply", self.all_items((sender, *items)))
            case Pong() | HeartbeatReply() | DeregisterReply():
                return ("A", type(detail).__name__, ())
            case _:
                subject = "mail" if isinstance(detail, _MAIL) else "maps" if isinstance(detail, _MAPS) else ""
                return ("T", describe_request(detail), subject)

    def violation(self, number: int, violation: Violation) -> None:
        self.violations.append({"n": number, "at": violation.at, "node": violation.node, "checker": violation.checker,
                                "message": violation.message})  # fmt: skip


def _exact(number: int) -> int | str:
    return number if number < INTEGER_MAX else str(number)


def _encode_fault(span: FaultSpan) -> dict[str, Any]:
    fault = span.fault
    encoded: dict[str, Any] = {
        "kind": type(fault).__name__,
        "label": describe_fault(fault),
        "begin": span.begin,
        "end": span.end,
        "n": span.entry,
        "heal": span.heal,
    }
    if isinstance(fault, Partition):
        encoded["groups"] = fault.groups
        encoded["period"] = fault.period
    elif isinstance(fault, OneWay):
        encoded["groups"] = (fault.senders, fault.receivers)
    else:
        encoded["nodes"] = fault.names()
    return encoded


def encode_run(trace: Trace, schedule: Schedule, violations: tuple[Violation, ...], command: str, file: str) -> str:
    """Return the run as JSON for a script element: nothing in it can end the element.

    ``command`` repeats the run; ``file`` is the content of a replay file.
    """
    encoder = _Encoder(trace, schedule)
    spans = fault_spans(trace, end_of(trace, schedule))
    lanes = [encoder.word(name) for name in lanes_of(trace, schedule)]
    times, nodes, peers, causes, details, letters = [], [], [], [], [], []
    before = 0
    for entry in trace:
        at = round(entry.at * 1e6)
        times.append(at - before)
        before = at
        letters.append(_LETTERS[entry.what])
        nodes.append(encoder.word(entry.node))
        peers.append(encoder.word(entry.peer))
        causes.append(entry.number - entry.cause if entry.cause else 0)
        details.append(encoder.place(entry.what, entry.detail, entry.cause))
        if isinstance(entry.detail, Violation):
            encoder.violation(entry.number, entry.detail)
    if not encoder.violations:
        for violation in violations:
            encoder.violation(0, violation)
    run = {
        "end": end_of(trace, schedule),
        "command": command,
        "file": file,
        "file_name": f"{schedule.scenario}-{schedule.seed}.json",
        "lanes": lanes,
        "t": times,
        "w": "".join(letters),
        "n": nodes,
        "p": peers,
        "c": causes,
        "d": details,
        "words": encoder.words.values(),
        "items": encoder.items.values(),
        "details": encoder.details.values(),
        "faults": [_encode_fault(span) for span in spans],
        "reasons": {number: (why.then, *why.steps) for number, why in reasons_of(trace).items()},
        "violations": encoder.violations,
    }
    text = json.dumps(run, separators=(",", ":"), ensure_ascii=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
