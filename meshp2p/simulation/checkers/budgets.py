"""How much a mesh may send, in calm and while much changes."""

from __future__ import annotations

import math

from meshp2p.core.calls import Probe, Push, SyncRequest
from meshp2p.core.directory.dial_backs import DIAL_BACK_INTERVAL
from meshp2p.core.directory.relay_selector import DIRECT_RETRY_MIN
from meshp2p.core.directory.state import AGE_BYTES, AGES_PER_PACKET, PACKET_OVERHEAD, SEAL_BYTES
from meshp2p.core.effects import Call
from meshp2p.core.events import (
    Event,
    InstanceDied,
    InstanceEvent,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceSuspected,
    InstanceUpdated,
)
from meshp2p.core.swim.convergence_check import LOOKS_MAX
from meshp2p.core.swim.departures import call_pause
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.expectations import wanted_confirmations
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import EndingFault, Fault, Forged, Kind, Liar, Partition, ShutOut

__all__ = ["Budgets"]

ITEM_BYTES = 512
"""The maximum size of an item of gossip in these runs, in which records are short. Chosen, not measured."""

RECHECKS = 10
"""How often an accuser checks a suspect again at the most: a suspicion of some 30 s, a check every three."""

DIALS_FIRST = 5
"""Tries of one address until its pauses have doubled to the longest."""

FORGED_ANSWERS = 4
"""Datagrams that a forged packet draws at the most: an ack, a ping to the address it came from, one to the address in
use, and the ack to that."""

_CHANGES = (InstanceJoined, InstanceUpdated, InstanceSuspected, InstanceRecovered, InstanceDied, InstanceLeft)


class _Spent:
    """The budget for the changes of a window: datagrams, items to spread, and calls."""

    __slots__ = ("calls", "datagrams", "events", "tellings")

    def __init__(self) -> None:
        self.events = 0
        self.datagrams = 0.0
        self.tellings = 0.0
        self.calls = 0.0


class Budgets(Checker):
    """Between two checks, the mesh sends no more datagrams, bytes and calls than the probes and the changes of this and
    the previous window account for.

    In calm, a node has its own probe and that of one other: two datagrams in a period, each a ping or an ack without
    items. It also calls the nodes that it lists as dead, and dials addresses at which no listed node was found. The
    same holds on each side of a partition. While a node calls another through a relay, it also probes the direct path.

    A probe without an answer in time costs up to four more datagrams for each relay: request, ping, ack, and the ack or
    nack that is passed on. A node passes on each change that it hears of as often as a rumour is sent, and then checks
    up to ``LOOKS_MAX`` times. A suspicion also has its confirmations, and is checked again and again. A node that
    publishes an instance or finds a death sends ``birth_fanout`` more. A packet of an attacker causes
    ``FORGED_ANSWERS``.
    """

    name = "budgets"
    watches: tuple[type, ...] = _CHANGES

    def prepare(self) -> None:
        self._spent = _Spent()
        self._spent_before = _Spent()
        self._calls = 0
        self._looked_at = self._died_at = 0.0
        self._datagrams = self._bytes = 0
        self._nodes = 0
        self._detours = 0
        self._forged = 0

    def started(self, host: Host) -> None:
        self._nodes += 1

    def calls(self, host: Host, effect: Call) -> None:
        self._calls += isinstance(effect.request, Probe | SyncRequest | Push)

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent):
            return
        config = self.oracle.config
        nodes = len(self.oracle.hosts)
        spent = self._spent
        spent.events += 1
        if isinstance(event, InstanceDied):
            self._died_at = self.oracle.engine.now
        tellings = config.retransmits(nodes)
        if isinstance(event, InstanceSuspected):
            tellings *= 1 + wanted_confirmations(config, nodes)
            spent.datagrams += 4 * (1 + RECHECKS)
            spent.calls += 3 * (1 + RECHECKS)
        else:
            spent.datagrams += 2 * LOOKS_MAX
            spent.calls += 3
        if event.record.home == host.id or isinstance(event, InstanceDied):
            tellings += config.birth_fanout
        spent.tellings += tellings

    def tick(self) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        seconds = now - self._looked_at
        if seconds < oracle.config.probe_interval:
            return
        traffic = oracle.network.traffic
        datagrams, packet_bytes = traffic.datagrams - self._datagrams, traffic.packet_bytes - self._bytes
        datagrams_max = self._datagrams_max(seconds)
        tellings = self._spent.tellings + self._spent_before.tellings
        bare = PACKET_OVERHEAD + AGE_BYTES * AGES_PER_PACKET
        if oracle.genuine is not None:
            bare += SEAL_BYTES
            tellings += self._called(seconds)  # each with the signed verdict
        state = "calm" if self._is_calm() else "busy"
        self._compare("datagrams", datagrams, datagrams_max, seconds, state)
        self._compare("bytes", packet_bytes, datagrams * bare + tellings * ITEM_BYTES, seconds, state)
        self._compare("calls", self._calls, self._calls_max(seconds), seconds, state)
        self._spent_before, self._spent = self._spent, _Spent()
        self._datagrams, self._bytes, self._calls = traffic.datagrams, traffic.packet_bytes, 0
        self._forged = self._forged_packets()
        self._looked_at = now
        self._nodes = len(oracle.live)
        self._detours = sum(len(host.running.detours) for host in oracle.live)

    def _compare(self, what: str, sent: float, sent_max: float, seconds: float, state: str) -> None:
        if sent > sent_max:
            each = max(1, self._nodes) * seconds
            self.violated(
                None,
                f"the mesh sent {sent / each:.2f} {what} a node and second in {seconds:.0f} s,"
                f" {sent_max / each:.2f} are enough when {state}",
            )

    def _is_calm(self) -> bool:
        """Whether nothing happened in this window and the previous one, so that only probes are left."""
        oracle = self.oracle
        if self._spent.events or self._spent_before.events or oracle.network.impairments:
            return False
        since = 2 * self._looked_at - oracle.engine.now
        # a datagram that was long on its way shows an old view; keepalive ends watch connections, and each has a check
        if max(oracle.network.late_until, oracle.keepalive_until) > since:
            return False
        two_rounds = 4 * (len(oracle.hosts) - 1) * oracle.config.probe_interval
        is_quiet = oracle.disturbed_at < since and oracle.fault_history.addresses_until() < since - two_rounds
        return is_quiet and all(self._leaves_calm(fault) for fault in oracle.active.values())

    def _leaves_calm(self, fault: Fault) -> bool:
        """Whether probes succeed during this fault: it removed nodes, or cut all of them into complete parts."""
        if isinstance(fault, Partition):
            has_parts = all(kind in fault.kinds for kind in (Kind.UDP, Kind.TCP)) and not fault.period
            return has_parts and all(name in fault.names() for name in self.oracle.hosts)
        return isinstance(fault, EndingFault) and not (isinstance(fault, ShutOut) and fault.keeps_talking)

    def _datagrams_max(self, seconds: float) -> float:
        config = self.oracle.config
        periods = seconds / config.probe_interval + 1
        called = self._called(seconds)
        if self._is_calm():
            return self._nodes * 2 * periods + called + 3 * math.sqrt(called)
        probes = self._nodes * (2 + 4 * config.indirect_probes) * periods
        changes = self._spent.datagrams + self._spent.tellings
        changes += self._spent_before.datagrams + self._spent_before.tellings
        forged = FORGED_ANSWERS * (self._forged_packets() - self._forged)
        # a call of a dead node that lives is answered, and so is the answer
        return probes + 3 * (called + 3 * math.sqrt(called)) + changes + forged

    def _called(self, seconds: float) -> float:
        """How often nodes call dead ones, on average."""
        every = len(self.oracle.hosts)
        shares = (1 - host.running.node_count() / every for host in self.oracle.live)
        pause = call_pause(self.oracle.config, self._looked_at - self._died_at)
        return (seconds / pause + 1) * max(0.0, sum(shares))

    def _forged_packets(self) -> int:
        """How many packets attackers have sent."""
        return sum(self.oracle.network.links.fired.get(name, 0) for name in (Forged.__name__, Liar.__name__))

    def _calls_max(self, seconds: float) -> float:
        config = self.oracle.config
        tries = seconds / (0.75 * config.dial_interval_max) + DIALS_FIRST
        dialled = sum(
            candidate.instance_id in (None, host.id) or candidate.instance_id not in host.listed
            for host in self.oracle.live
            for candidate in host.running.candidates()
        )
        if self._is_calm():  # no detour begins, and each that there was ends when the direct way is probed
            return dialled * tries + self._detours * (seconds / DIRECT_RETRY_MIN + 1)
        periods = seconds / config.probe_interval + 1
        dialled_back = 0.0
        if self._forged_packets() > self._forged:  # in an open mesh they may ask each node to dial all others back
            dialled_back = 2 * self._nodes * (self._nodes - 1) * (1 + seconds / DIAL_BACK_INTERVAL)
        # a probe over TCP, and a sync with its push
        spent = self._spent.calls + self._spent_before.calls
        return 3 * self._nodes * periods + spent + dialled * tries + dialled_back
