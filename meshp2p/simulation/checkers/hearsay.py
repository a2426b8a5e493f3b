"""What a node concludes from what others say of themselves (that they leave, or are slow), and to whom it gossips."""

from __future__ import annotations

import math

from meshp2p.core.calls import CallReply, SyncReply
from meshp2p.core.datagrams import Ping
from meshp2p.core.directory.patience import RETURN_SECONDS
from meshp2p.core.effects import Call, CallFailed, Send
from meshp2p.core.events import (
    Event,
    InstanceDied,
    InstanceEvent,
    InstanceJoined,
    InstanceRecovered,
    InstanceSuspected,
)
from meshp2p.core.record import State, tag_of
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import EndingFault, Fault, Partition

__all__ = ["Farewells", "ListenerChecker", "PatienceChecker"]


class Farewells(Checker):
    """A node does not list a process that answered its sync by saying that it leaves."""

    name = "farewells"
    watches: tuple[type, ...] = (InstanceJoined,)

    def prepare(self) -> None:
        self._left: dict[tuple[str, str], int] = {}

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if isinstance(reply, SyncReply) and reply.is_leaving:
            self._left[host.key, reply.sender.id] = reply.sender.boot

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceJoined) and self._left.get((host.key, event.id)) == event.record.boot:
            self.violated(host, f"lists {event.id}, which has told it that it leaves")


JUST = 0.2
"""A node that was heard so many seconds ago has not failed a check since. Chosen, not measured."""

_CLEAR = EndingFault | Partition


class ListenerChecker(Checker):
    """A node chooses no suspect for a round of gossip if it just heard another node that it does not suspect. Otherwise
    most gossip on the small side of a cut would be lost. It is checked if there was nothing but cuts and processes that
    ended."""

    name = "listeners"
    watches: tuple[type, ...] = (InstanceSuspected, InstanceRecovered, InstanceDied, InstanceJoined)

    def prepare(self) -> None:
        self._suspected_at: dict[tuple[str, str], float] = {}

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceSuspected):
            self._suspected_at[host.key, event.record.id] = host.now
        elif isinstance(event, InstanceEvent):
            self._suspected_at.pop((host.key, event.record.id), None)

    def gossips(self, host: Host, effect: Send) -> None:
        key = self.oracle.network.key_at(effect.address) or ""
        if self._suspected_at.get((host.key, key), math.inf) >= host.now:
            return  # it was chosen before this node suspected it
        listed = host.listed
        target = listed.get(key)
        if target is None or target.state is not State.SUSPECT or host.number >= OBSERVERS_MAX or host.is_leaving:
            return
        oracle = self.oracle
        if oracle.network.impairments or not all(isinstance(fault, _CLEAR) for fault in oracle.all_faults):
            return  # it may hear nodes that do not answer it
        items = effect.datagram.items
        if len(items) < 2 or items[0].id != target.id:
            return  # it is no round of gossip: one item is told to this node alone
        since = host.now - JUST
        well = [each for each in listed.values() if each.is_node and each.state is State.ALIVE and each.id != host.id]
        if any(host.heard_at.get(tag_of(each.id), -math.inf) >= since for each in well):
            self.violated(
                host, f"gossips to {target.id}, which it suspects, about {', '.join(item.id for item in items[1:])}"
            )


class PatienceChecker(Checker):
    """A node extends its timeouts for another only if that one was accused while its process lived, within
    ``RETURN_SECONDS``, or said that it is slow and cannot have said since that it is well. A process that was started
    anew is not blamed for the one before it."""

    name = "patience"
    watches: tuple[type, ...] = (InstanceSuspected, InstanceDied, InstanceRecovered, InstanceJoined)

    def prepare(self) -> None:
        self._accused_at: dict[str, float] = {}
        self._slow_at: dict[str, float] = {}
        self._died: dict[tuple[str, str], int] = {}
        """By host and id: the boot of the process that the host held dead last."""
        self._troubled_at = -math.inf

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        if not isinstance(fault, EndingFault):
            self._troubled_at = self.oracle.engine.now

    def pinged(self, host: Host, ping: Ping) -> None:
        if ping.local_health:
            self._slow_at[host.id] = self.oracle.engine.now

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent) or not event.record.is_node or host.number >= OBSERVERS_MAX:
            return
        record, oracle = event.record, self.oracle
        if isinstance(event, InstanceSuspected) and event.grounds is not None and event.grounds.patience > 1:
            self._check(host, record.id, event.grounds.patience)
        if isinstance(event, InstanceDied):
            self._died[host.key, record.id] = record.boot
        accused = oracle.only_host(record.id)
        is_back = isinstance(event, InstanceJoined) and self._died.get((host.key, record.id)) != record.boot
        if accused is None or (accused.machine is not None and not is_back):
            self._accused_at[record.id] = oracle.engine.now

    def _check(self, host: Host, accused: str, patience: float) -> None:
        oracle, config = self.oracle, self.oracle.config
        now = oracle.engine.now
        # it says how it is with each packet, and probes each other node within so many of its periods
        heard_within = (4 * len(oracle.hosts) + 10) * config.probe_interval
        calm_since = max(self._troubled_at, now - oracle.steady_for(host))
        may_be_slow = max(self._slow_at.get(accused, -math.inf), calm_since) > now - heard_within
        if may_be_slow or not oracle.is_undisturbed():
            return
        since = now - self._accused_at.get(accused, -math.inf)
        if since > RETURN_SECONDS + 1:
            self.violated(host, f"waits {patience:g} times as long for {accused}, accused wrongly {since:.0f} s ago")
