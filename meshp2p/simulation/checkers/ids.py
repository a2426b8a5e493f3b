"""Which of two processes with one id stops, and how often an unreachable node returns."""

from __future__ import annotations

from collections import deque

from meshp2p.core.events import Event, IdConflictLost, InstanceEvent, InstanceJoined
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import Crash, Leave, Rejected, Twin

__all__ = ["GivingWay", "Returns"]

TOGETHER_MAX = 15.0
"""Seconds within which two processes with one id find each other. Chosen, not measured."""

RETURNS_SECONDS, RETURNS_MAX = 120.0, 8
"""The pauses before a return double from 5 to 60 s, so five of them fit into the time."""


class GivingWay(Checker):
    """Of two processes with one id that reach each other, the younger stops within ``TOGETHER_MAX``."""

    name = "giving-way"
    watches: tuple[type, ...] = (IdConflictLost,)

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, IdConflictLost) or not event.address:
            return
        # a rival that has ended since may be the one that it gave way to
        rivals = [other for other in self.oracle.hosts.values() if other.id == host.id and other is not host]
        boots = [other.machine.own.boot for other in rivals if other.machine is not None]
        if boots and len(boots) == len(rivals) and min(boots) > host.running.own.boot:
            self.violated(host, "gives its id up to a process that has held it for a shorter time")

    def tick(self) -> None:
        oracle = self.oracle
        together_for = oracle.engine.now - oracle.disturbed_at
        if together_for <= TOGETHER_MAX or not all(isinstance(f, Crash | Leave | Twin) for f in oracle.active.values()):
            return
        seen: dict[str, Host] = {}
        for host in oracle.live:
            if host.id in seen:
                self.violated(host, f"has run for {together_for:.0f} s, and so has {seen[host.id].key} with its id")
            seen[host.id] = host


class Returns(Checker):
    """A node that reaches others but is reached by nobody, as behind a firewall that drops everything, comes back from
    the dead at growing intervals."""

    name = "returns"
    watches: tuple[type, ...] = (InstanceJoined,)

    def prepare(self) -> None:
        self._returns: dict[tuple[str, str], deque[float]] = {}

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent) or not event.record.is_node:
            return
        now = self.oracle.engine.now
        since = self._walled_since(event.record.id)
        if since is None:
            return
        returns = self._returns.setdefault((host.key, event.record.id), deque())
        returns.append(now)
        while returns[0] < max(since, now - RETURNS_SECONDS):
            returns.popleft()
        if len(returns) > RETURNS_MAX:
            returns.clear()
            about = f"{RETURNS_MAX} times in {RETURNS_SECONDS:.0f} s, and is reached by nobody"
            self.violated(host, f"sees {event.record.id} return more than {about}")

    def _walled_since(self, node_id: str) -> float | None:
        """Return since when a firewall drops everything from others to this node; None if none does."""
        for fault in self.oracle.active.values():
            if not isinstance(fault, Rejected) or not fault.drops_udp or fault.receivers != (node_id,):
                continue
            if all(host.key in fault.senders or host.id == node_id for host in self.oracle.hosts.values()):
                return fault.begin
        return None
