"""The tables inside a machine have bounds: they do not grow with things that are over."""

from __future__ import annotations

import collections
import enum
import functools
import math
from typing import Any, Final

import msgspec

from meshp2p.core.digest import BUCKETS_MAX
from meshp2p.core.machine import Machine
from meshp2p.core.swim.confirmer import PROCESS_CHECKS_MAX
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["Tables", "table_sizes"]

_TABLES: Final = (dict, set, list, collections.deque)

_NAMES: Final[dict[Any, tuple[str, ...]]] = {}

LISTED: Final = frozenset(
    (
        "Hosting._hosted",
        "LifeSigns._turn",
        "Membership.suspicions",
        "NodeState.heard",
        "NodeState.reach",
        "NodeState.silent",
        "Nodes._order",
        "PathValidator._checks",
        "Prober.round_trips",
        "RelaySelector._detours",
        "RelaySelector._unreachable",
        "Watches._watches",
    )
)
"""Tables with one entry at most for each listed instance."""

OF_ALL: Final = frozenset(("LifeSigns._numbers", "Members._ids", "Members.departed", "Members.records"))
"""Tables with an entry for each instance that there ever was. The nodes of a simulation share the first two."""

MAIL: Final = frozenset(
    (
        "AckNotifier.untold[]",
        "Acknowledging._unsure[]",
        "Deadlines._heap",
        "Mailbox._passing",
        "Mailbox._places",
        "Mailbox.acknowledged",
        "Mailbox.pending",
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
"""Tables that may also have entries of things that are over: 64 in a heap, 256 signs of life."""

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
"""Tables of things under way. In calm they are nearly empty."""

CALM: Final = 30.0
"""The number of seconds without a fault after which a run counts as calm. Chosen, not measured."""

UNDER_WAY: Final = 8
"""How many things may be under way in calm, plus one for each eight listed instances. Runs have at most 5, beside the
calls for a lease."""

ROOM: Final = 256
"""How many entries of things that are over a table of ``HEAPS`` may have."""


class Tables(Checker):
    """No table of a machine has more entries than the instances, departed instances and copies of messages that it is
    about. In calm, only things that have just begun are under way.

    Unlike other checkers it looks inside the machine, at all tables that it finds there, also at those that no list
    here names. Each tick checks one host, and the end of the run checks all.
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
        copies = self._copies()
        for name, size in sizes.items():
            allowed = self._allowed(name, sizes, copies, is_calm=is_calm)
            if size > allowed and (host.key, name) not in self._violated:
                self._violated.add((host.key, name))
                self.violated(host, f"has {size} entries in {name}, where {allowed} are enough")

    def _allowed(self, name: str, sizes: dict[str, int], copies: int, *, is_calm: bool) -> int:
        oracle, config = self.oracle, self.oracle.config
        listed = sizes["Members.records"]
        if is_calm and name in TRANSIENT:
            # a leader asks all nodes at once, and what is sent to all is delivered to all at once
            has_many = config.quorum or any(len(letter.recipients) > 1 for letter in oracle.letters.values())
            asks = listed if has_many and name == "NodeState._calls" else 0
            return UNDER_WAY + listed // 8 + asks
        if is_calm and name in OPEN:
            return self._copies(since=oracle.engine.now - CALM) + UNDER_WAY
        if name in OF_ALL or name.startswith("Tags."):
            return len({*(host.id for host in oracle.hosts.values()), *oracle.agents, *oracle.deregistered})
        if name == "Confirmer._checks":  # a check ends up to a period after its node was removed
            return PROCESS_CHECKS_MAX
        if name in LISTED:
            return listed
        room = ROOM if name in HEAPS else 2 * UNDER_WAY
        known = 4 * (listed + sizes["Members.departed"])
        if name in MAIL:
            return 2 * copies + known + room
        if name in MAPS:
            return config.maps_max * (config.map_entries_max + BUCKETS_MAX)
        if name.startswith("Candidate"):
            return 2 * config.candidates_max
        return known + room

    def _copies(self, since: float = -math.inf) -> int:
        """Return how many copies of messages were accepted in this run and not acknowledged before this time."""
        acknowledged = self.oracle.acknowledged
        return sum(
            acknowledged.get((recipient, letter.id), math.inf) >= since
            for letter in self.oracle.letters.values()
            for recipient in letter.recipients
        )


def table_sizes(machine: Machine) -> collections.Counter[str]:
    """Return how many entries the tables of a machine have in all, by the class and the attribute that holds them. A
    name that ends with ``[]`` counts the entries of tables within a table."""
    sizes: collections.Counter[str] = collections.Counter()
    seen: set[int] = set()
    stack: list[Any] = [machine]
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        for name in _names(part):
            value: Any = getattr(part, name, None)
            sort = _sort(value.__class__)
            if sort == "part":
                stack.append(value)
            elif sort == "table" and value:
                title = f"{part.__class__.__name__}.{name}"
                sizes[title] += len(value)
                found = value.values() if isinstance(value, dict) else value
                sorts = set(map(_sort, set(map(type, found))))  # most have only numbers or records: none to look at
                if "table" in sorts:
                    sizes[title + "[]"] += sum(len(one) for one in found if isinstance(one, _TABLES))
                if "part" in sorts:
                    stack += [one for one in found if _sort(one.__class__) == "part"]
    return sizes


def _names(part: Any) -> tuple[str, ...]:
    """Return the names of the attributes of a part: those of the first of its class. Asking each for its ``__dict__``
    would make one, and access to its attributes slower from then on."""
    kind: Any = part.__class__
    if kind not in _NAMES:
        slots = (name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ()))
        _NAMES[kind] = (*getattr(part, "__dict__", ()), *slots)
    return _NAMES[kind]


@functools.cache
def _sort(kind: type) -> str:
    """Return ``part`` if objects of this type belong to the core and change, ``table`` for other containers, and an
    empty string for records, messages and numbers."""
    is_fixed = issubclass(kind, enum.Enum) or (issubclass(kind, msgspec.Struct) and kind.__struct_config__.frozen)
    if kind.__module__.startswith("meshp2p.core.") and not is_fixed:
        return "part"
    return "table" if issubclass(kind, _TABLES) else ""
