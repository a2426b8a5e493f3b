"""Which datagrams and claims the machines of a secured mesh get."""

from __future__ import annotations

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Datagram
from meshp2p.core.events import Event, InstanceEvent, InstanceJoined, InstanceRecovered, InstanceUpdated
from meshp2p.core.record import Item, Record, Rumour, SignedRecord, SignedRumour, State
from meshp2p.errors import Refusal
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["AccusationLimit", "Authorship", "KeyChanges", "Replays"]

CALM_SECONDS = 10.0
"""So long after a disturbance all nodes have the records of the others. Chosen, not measured."""


RENEWED_SECONDS = 20.0
"""A change of keys may be late by so much: a process that is stopped for a moment retires its former key late, and then
changes its key late. Chosen, not measured."""

UNDER_WAY = 0.1
"""How long a datagram is on the way at most, in a calm mesh. Chosen, not measured."""


ACCUSATIONS_MAX, ACCUSATIONS_EACH, ACCUSATIONS_PER_SECOND = 64, 4, 2.0
"""How many accusations of one machine a machine gets at once, how many more for each node, and how many a second."""


class AccusationLimit(Checker):
    """A machine gets a limited number of different accusations that another one signed."""

    name = "accusation-limit"

    def prepare(self) -> None:
        self._left: dict[tuple[str, int, str], tuple[float, float]] = {}
        """By host, process and accuser, how many more it may get, and since when."""
        self._known: dict[tuple[str, int, SignedRumour], None] = {}

    def handed(self, host: Host, items: tuple[Item, ...]) -> None:
        now, nodes = host.now, len(self.oracle.hosts)
        most = ACCUSATIONS_MAX + ACCUSATIONS_EACH * nodes
        for item in items:
            if not isinstance(item, SignedRumour) or item.by in (item.id, host.id) or item.id not in self.oracle.hosts:
                continue
            if (host.key, host.life, item) in self._known:
                continue
            self._known[host.key, host.life, item] = None
            key = (host.key, host.life, item.by)
            left, since = self._left.get(key, (float(most), now))
            left = min(most, left + ACCUSATIONS_PER_SECOND * (now - since)) - 1
            self._left[key] = (left, now)
            if left < -1:
                self._left[key] = (most, now)
                self.violated(host, f"gets more than {most} accusations of {item.by} at once")


class Authorship(Checker):
    """A machine gets a rumour only if its author made it, except about itself, and lists a node only by a record that
    this node published. It gets no datagram in another's name."""

    name = "authorship"
    watches: tuple[type, ...] = (InstanceJoined, InstanceUpdated, InstanceRecovered)

    def opened(self, host: Host, data: bytes, datagram: Datagram) -> None:
        if data in self.oracle.misnamed:
            self.violated(host, "opens a datagram that names another node than the one that sealed it")

    def handed(self, host: Host, items: tuple[Item, ...]) -> None:
        genuine = self.oracle.genuine
        if genuine is None:
            return
        for item in items:
            if isinstance(item, SignedRumour):
                if genuine.claims.get(item) != item.by:
                    self.violated(host, f"gets a rumour that {item.by} never made: {item.id} is {item.state.name}")
            elif isinstance(item, Rumour):
                if item.id != host.id:
                    self.violated(host, f"gets a rumour about {item.id} that nobody signed: {item.state.name}")
            elif not isinstance(item, SignedRecord):
                self.violated(host, f"gets a record of {item.id} that nobody signed")
            elif item.state is State.SUSPECT:
                self.violated(host, f"gets {item.id} as a suspect by its record, which says nothing of that")

    def event(self, host: Host, event: Event) -> None:
        if self.oracle.genuine is not None and isinstance(event, InstanceEvent):
            self._check_record(host, event.record)

    def _check_record(self, host: Host, record: Record) -> None:
        genuine = self.oracle.genuine
        published = msgspec.structs.replace(record, state=State.ALIVE)
        if genuine is not None and genuine.claims.get(published) != record.home:
            self.violated(host, f"lists {record.id} by a record that {record.home} never published")


class Replays(Checker):
    """Each datagram is opened once at most, whatever was restarted since it was sent."""

    name = "replays"

    def prepare(self) -> None:
        self._opened: set[tuple[str, bytes]] = set()

    def opened(self, host: Host, data: bytes, datagram: Datagram) -> None:
        if (host.key, data) in self._opened:
            self.violated(host, "opens a datagram that it has opened before")
        self._opened.add((host.key, data))


class KeyChanges(Checker):
    """A process changes its key in time. In a calm mesh each datagram of a node that is listed opens, also while keys
    change, except those that are on the way at that moment: the record with the new keys may overtake them."""

    name = "key-changes"

    def prepare(self) -> None:
        self._used_since: dict[tuple[str, int, int], float] = {}
        """By host, process and number of its key, since when it uses the key, or was last stopped."""

    def tick(self) -> None:
        now = self.oracle.engine.now
        for host in self.oracle.live:
            own = host.running.own
            if isinstance(own, SignedRecord):
                used = (host.key, host.life, own.proof.key_number)
                if host.is_stopped:
                    self._used_since[used] = now
                elif now - self._used_since.setdefault(used, now) > host.key_seconds + RENEWED_SECONDS:
                    self.violated(host, f"uses its key for datagrams for longer than {host.key_seconds:g} s")

    def barred(self, host: Host, data: bytes, source: Address, reason: Refusal) -> None:
        oracle = self.oracle
        if oracle.active or oracle.engine.now - oracle.disturbed_at < CALM_SECONDS or oracle.was_troubled:
            return
        sender = oracle.hosts.get(oracle.network.key_at(source))
        if sender and sender.id in host.listed and oracle.engine.now - sender.renewed_at >= UNDER_WAY:
            self.violated(host, f"does not open a datagram of {sender.key}: {reason}")
