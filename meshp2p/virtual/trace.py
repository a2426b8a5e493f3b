"""Everything that happened in a run and why, where somebody wants to see it.

Each entry names the entry that caused it: a packet's arrival the sending, what a node then does the arrival. So a
verdict can be followed back to the packet that was lost. Without a trace a run keeps only a digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

__all__ = ["Trace", "TraceEntry", "What"]


class What(StrEnum):
    """The kind of an entry."""

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
    ANSWER = "answer"
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
        return number
