"""Everything that happened in a run and why, where somebody wants to see it.

Each entry names the entry that caused it: a packet's arrival the sending, what a node then does the arrival. So a
verdict can be followed back to the packet that was lost. Without a trace a run keeps only a digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from meshp2p.core.events import InstanceDied, InstanceEvent, InstanceLeft
from meshp2p.core.record import Record

__all__ = ["Trace", "TraceEntry", "What"]


class What(StrEnum):
    """What an entry tells."""

    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    FAULT = "fault"
    HEAL = "heal"
    SEND = "send"
    RECEIVE = "receive"
    DROP = "drop"
    CALL = "call"
    CALLED = "called"
    REPLY = "reply"
    FAIL = "fail"
    TIMER = "timer"
    OFFER = "offer"
    ASK = "ask"
    EVENT = "event"
    PERSIST = "persist"
    VIOLATION = "violation"


class TraceEntry(msgspec.Struct, frozen=True):
    """One thing that happened.

    ``at`` is in virtual seconds, ``node`` where it happened (empty: to the network), ``peer`` the other node,
    ``detail`` the message, event or fault itself, ``cause`` the number of the entry that led to it, 0 for none.
    """

    number: int
    at: float
    node: str
    what: What
    peer: str
    detail: Any
    cause: int


class Trace:
    """The entries of a run, in their order; an entry's number is its place, beginning with 1."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []
        self._verdicts: dict[tuple[str, str], int] = {}
        self._before: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[TraceEntry]:
        return iter(self.entries)

    def __getitem__(self, number: int) -> TraceEntry:
        return self.entries[number - 1]

    def add(self, at: float, node: str, what: What, peer: str = "", detail: Any = None, cause: int = 0) -> int:
        """Note an entry; its number."""
        number = len(self.entries) + 1
        self.entries.append(TraceEntry(number, at, node, what, peer, detail, cause))
        if what is What.EVENT and isinstance(detail, InstanceEvent):
            key = (node, detail.id)
            before = self._verdicts.get(key)
            if before is not None:
                self._before[number] = before
            self._verdicts[key] = number
        return number

    def why(self, number: int) -> list[TraceEntry]:
        """What led to this entry, the last first: its chain of causes, and where a chain ends in a verdict about a
        member, what led to the verdict before it (a death to the suspicion)."""
        chain: dict[int, None] = {}
        waiting = [number]
        while waiting:
            current = waiting.pop()
            while current and current not in chain:
                chain[current] = None
                before = self._before.get(current)
                if before is not None:
                    waiting.append(before)
                current = self[current].cause
        return [self[each] for each in sorted(chain, reverse=True)]

    def view_at(self, node: str, number: int) -> dict[str, Record]:
        """Whom a node listed right after this entry, by id."""
        view: dict[str, Record] = {}
        for entry in self.entries[:number]:
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

    def as_json(self) -> bytes:
        """The entries as lines of JSON. Types are told by their tags, messages by the names of their types."""
        return b"".join(msgspec.json.encode(_as_plain(entry)) + b"\n" for entry in self.entries)


def _as_plain(entry: TraceEntry) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "number": entry.number,
        "at": round(entry.at, 9),
        "node": entry.node,
        "what": str(entry.what),
    }
    if entry.peer:
        plain["peer"] = entry.peer
    if entry.cause:
        plain["cause"] = entry.cause
    if entry.detail is not None:
        plain["detail"] = _describe(entry.detail)
    return plain


def _describe(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = {name: _describe(getattr(value, name)) for name in value.__struct_fields__}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_describe(item) for item in value]
    return value
