"""What a machine keeps has a bound: tables do not grow by what is over."""

from __future__ import annotations

import collections
import enum
import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from meshp2p.core.digest import BUCKETS_MAX
from meshp2p.core.machine import Machine
from meshp2p.core.swim.confirmer import PROCESS_CHECKS_MAX
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["Tables", "table_sizes"]

_TABLES: Final = (dict, set, list, collections.deque)

LISTED: Final = frozenset(
    (
        "Hosting._hosted",
        "LifeSigns._assumed",
        "LifeSigns._heard",
        "LifeSigns._turn",
        "Membership._suspicions",
        "NodeState.heard",
        "NodeState.reach",
        "NodeState.silent",
        "Nodes._order",
        "PathValidator._checks",
        "Prober._round_trips",
        "RelaySelector._detours",
        "RelaySelector._unreachable",
        "Watches._watches",
    )
)
"""Tables with one entry at most for each listed instance."""

MAIL: Final = frozenset(
    (
        "AckNotifier.untold[]",
        "Acknowledging._unsure[]",
        "Deadlines._heap",
        "Mailbox._passing",
        "Mailbox._places",
        "Mailbox.acknowledged",
        "Mailbox.acknowledged[]",
        "Mailbox.pending",
        "MailboxEntry.holders",
        "Outbox._finished",
        "Outbox._from_others[]",
        "Outbox.by_id",
        "Outgoing.copies",
        "RecipientQueue.delivered",
        "RecipientQueue.waiting",
    )
)
"""Tables of messages: each copy that was accepted has an entry for each of its holders, of which there are two after a
handover."""

OPEN: Final = frozenset(("Mailbox.pending", "RecipientQueue.delivered", "RecipientQueue.waiting"))
"""Tables of copies that nobody acknowledged yet, or whose holder does not know of it yet."""

MAPS: Final = frozenset(("ReplicatedMap._deleted", "ReplicatedMap._held", "ReplicatedMap._words"))
"""Tables of shared maps: their entries, and a digest with a word for each of its buckets."""

HEAPS: Final = frozenset(("Deadlines._heap", "LifeSigns._news", "Timers._heap"))
"""Tables with a room of their own for what is over: 64 entries of a heap, 256 signs of life."""

TRANSIENT: Final = frozenset(
    (
        "AckNotifier._confirmations",
        "Confirmer._checks",
        "CopyFinalizer._unanswered",
        "Handover._returning",
        "Keeping._failures",
        "Keeping._stores",
        "Lookups._calls",
        "NodeState._calls",
        "NodeState.silent",
        "PathValidator._checks",
        "Prober._relays",
        "RollCall._called",
        "Swim._early_syncs",
    )
)
"""Tables of what is under way. In calm that is little."""

CALM: Final = 30.0
"""Seconds without a fault after which little is under way. Chosen, not measured."""

UNDER_WAY: Final = 8
"""How much may be under way in calm, beside one for each of eight instances. Runs have 5 at most."""

ROOM: Final = 256
"""How many entries that are over ``HEAPS`` may have."""


class Tables(Checker):
    """Each table of a machine has no more entries than there are instances, departed ones and copies of messages, each
    as far as it concerns the table; in calm nothing is under way but what has just begun.

    It looks inside the machine, at all tables that it finds there: also at those that no list here names. One host is
    looked at in each tick, and all at the end.
    """

    name = "tables"

    def prepare(self) -> None:
        self._turn = 0
        self._violated: set[tuple[str, str]] = set()

    def tick(self) -> None:
        live = self.oracle.live
        if live:
            self._turn += 1
            self._look(live[self._turn % len(live)])

    def finish(self) -> None:
        for host in self.oracle.live:
            self._look(host)

    def _look(self, host: Host) -> None:
        if host.is_stopped:
            return
        oracle = self.oracle
        is_calm = not oracle.active_troubles() and oracle.engine.now - oracle.disturbed_at > CALM
        sizes = table_sizes(host.running)
        for name, size in sizes.items():
            allowed = self._allowed(name, sizes, is_calm=is_calm)
            if size > allowed and (host.key, name) not in self._violated:
                self._violated.add((host.key, name))
                self.violated(host, f"has {size} entries in {name}, where {allowed} are enough")

    def _allowed(self, name: str, sizes: dict[str, int], *, is_calm: bool) -> int:
        oracle, config = self.oracle, self.oracle.config
        listed = sizes["Members.records"]
        if is_calm and name in TRANSIENT:
            return UNDER_WAY + listed // 8
        if is_calm and name in OPEN:
            return self._copies(since=oracle.engine.now - CALM) + UNDER_WAY
        if name in ("Members.records", "Members.departed"):
            return len({*(host.id for host in oracle.hosts.values()), *oracle.agents, *oracle.deregistered})
        if name == "Confirmer._checks":  # a check ends up to a period after its node was removed
            return PROCESS_CHECKS_MAX
        if name in LISTED:
            return listed
        room = ROOM if name in HEAPS else 2 * UNDER_WAY
        known = 4 * (listed + sizes["Members.departed"])
        if name in MAIL:
            return 2 * self._copies() + known + room
        if name in MAPS:
            return config.maps_max * (config.map_entries_max + BUCKETS_MAX)
        if name.startswith("Candidate"):
            return 2 * config.candidates_max
        return known + room

    def _copies(self, since: float = -math.inf) -> int:
        """How many copies of messages were accepted in this run, and not acknowledged before this time."""
        acknowledged = self.oracle.acknowledged
        return sum(
            acknowledged.get((recipient, letter.id), math.inf) >= since
            for letter in self.oracle.letters.values()
            for recipient in letter.recipients
        )


def table_sizes(machine: Machine) -> dict[str, int]:
    """How many entries the tables of a machine have in all, by the class and the attribute that holds them; with
    ``[]`` behind it what is in tables within a table."""
    sizes: collections.Counter[str] = collections.Counter()
    seen = {id(machine): machine}
    stack: list[Any] = [machine]
    while stack:
        part = stack.pop()
        for name, value in _attributes(part):
            found = [value]
            if isinstance(value, _TABLES):
                title = f"{type(part).__name__}.{name}"
                sizes[title] += len(value)
                found = list(value.values() if isinstance(value, dict) else value)
                sizes[title + "[]"] += sum(len(one) for one in found if isinstance(one, _TABLES))
            for one in found:
                if _is_part(one) and id(one) not in seen:
                    seen[id(one)] = one
                    stack.append(one)
    return sizes


def _attributes(part: object) -> Iterator[tuple[str, Any]]:
    yield from getattr(part, "__dict__", {}).items()
    for kind in type(part).__mro__:
        for name in kind.__dict__.get("__slots__", ()):
            if hasattr(part, name):
                yield name, getattr(part, name)


def _is_part(value: object) -> bool:
    """Whether it is an object of the core that changes: no record, message or number."""
    return type(value).__module__.startswith("meshp2p.core.") and not isinstance(value, msgspec.Struct | enum.Enum)
