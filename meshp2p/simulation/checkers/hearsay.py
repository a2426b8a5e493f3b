"""What a node concludes from what others say of themselves: that they leave, and that they are slow."""

from __future__ import annotations

import math

from meshp2p.core.calls import CallReply, SyncReply
from meshp2p.core.datagrams import Ping
from meshp2p.core.directory.patience import RETURN_SECONDS
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.events import (
    Event,
    InstanceDied,
    InstanceEvent,
    InstanceJoined,
    InstanceRecovered,
    InstanceSuspected,
)
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import EndingFault, Fault

__all__ = ["Farewells", "PatienceChecker"]


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
