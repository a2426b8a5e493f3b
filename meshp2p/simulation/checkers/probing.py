"""Whether everybody is probed as often as the ring of ADR 0031 says."""

from __future__ import annotations

from meshp2p.core.datagrams import Ping
from meshp2p.core.events import Event, InstanceDied, InstanceEvent, InstanceJoined, InstanceLeft
from meshp2p.core.record import tag_of
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import Oracle
from meshp2p.virtual.faults import ClockStep, Fault

__all__ = ["ProbeRing"]

ON_TIME = 1e-3
"""A probe that comes so many seconds too early or too late is not one period behind the one before."""


class _Turns:
    """The probes of one process since its list of nodes changed: their number, when the first and the last were, and
    the number of each target's last."""

    __slots__ = ("count", "count_at_begin", "is_even", "last", "last_at")

    def __init__(self, count: int, now: float) -> None:
        self.count_at_begin = self.count = count
        self.last_at = now
        self.is_even = True
        self.last: dict[int, int] = {}


class ProbeRing(Checker):
    """Each node probes each other that it lists within ``2n`` turns of its own, where its list stays the same and its
    turns come a period apart, and within ``4n`` turns whatever its clock does. Where besides all clocks agree and all
    have listed the same for ``2n`` periods, no node waits for two periods until somebody probes it.

    ``n`` is how many others there are. Why 2n: n periods that follow one another name n different places, so each other
    node is named once. The one that is named is passed over only where the round has had n repeats, and from there on
    each turn is one less that waits, so that the round is over before it is named again, and then it is probed. Why 4n:
    a round takes 2n turns at the most, and a node may be first in one round and last in the next (ADR 0031). Until the
    rounds are over that began before the last change, turns may be drawn at random, and then the ring has gaps.

    Turns are counted by the machine's own count of probes. Pings of other kinds count for their targets as well, but
    those without a number (calls of the dead, last words): several may be sent at the moment of a probe.
    """

    name = "probe-ring"
    watches: tuple[type, ...] = (InstanceJoined, InstanceDied, InstanceLeft)

    def prepare(self) -> None:
        self._turns: dict[str, _Turns] = {}
        self._counts: dict[str, int] = {}
        self._probed_at: dict[int, float] = {}
        self._uneven_at = 0.0
        """When last anything happened after which the ring of the whole mesh may have a gap."""

    def _forget(self, host: Host) -> None:
        self._turns.pop(host.key, None)
        self._uneven_at = self.oracle.engine.now

    def started(self, host: Host) -> None:
        self._counts[host.key] = 0
        self._forget(host)

    def stopped(self, host: Host) -> None:
        self._forget(host)

    def paused(self, host: Host) -> None:
        self._forget(host)

    def resumed(self, host: Host, seconds: float) -> None:
        self._forget(host)

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceEvent) and event.record.is_node:
            self._forget(host)

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        self._uneven_at = self.oracle.engine.now
        if isinstance(fault, ClockStep):
            self._turns.pop(fault.node, None)

    def pinged(self, host: Host, ping: Ping) -> None:
        if host.number >= OBSERVERS_MAX or not ping.sequence:
            return
        count = host.running.counters.probes
        now = self.oracle.engine.now
        turns = self._turns.get(host.key)
        if count != self._counts[host.key]:
            self._counts[host.key] = count
            if turns is None:
                turns = self._turns[host.key] = _Turns(count, now)
            elif abs(now - turns.last_at - self.oracle.config.probe_interval) > ON_TIME:
                turns.is_even = False
                self._uneven_at = now
            turns.count = count
            turns.last_at = now
        if turns is not None:
            turns.last[ping.target] = count
        self._look_at_gap(host, ping.target, now)

    def _look_at_gap(self, host: Host, target: int, now: float) -> None:
        before = self._probed_at.get(target, now)
        self._probed_at[target] = now
        interval = self.oracle.config.probe_interval
        rounds_end = self._uneven_at + 2 * (len(self.oracle.hosts) - 1) * interval
        if now - before <= 2 * interval + ON_TIME or rounds_end > before or not self._is_one_ring():
            return
        self.violated(host, f"is the first for {now - before:.2f} s to probe {ping_target(self.oracle, target)}")

    def _is_one_ring(self) -> bool:
        oracle = self.oracle
        if len(oracle.hosts) > OBSERVERS_MAX or oracle.network.impairments or oracle.network.rules:
            return False  # the turns of some are unknown, or late
        live = oracle.live
        if len({host.clock.wall_skew for host in live}) > 1 or not oracle.is_undisturbed():
            return False
        # a node that was cut off takes itself for slow, and leaves turns out, until so many of its probes succeeded
        return all(self._is_on_time(host) and host.running.node_count() == len(live) for host in live)

    def _is_on_time(self, host: Host) -> bool:
        turns = self._turns.get(host.key)
        due = self.oracle.engine.now - self.oracle.config.probe_interval - ON_TIME
        return turns is not None and turns.is_even and turns.last_at >= due

    def tick(self) -> None:
        for host in self.oracle.live:
            turns, machine = self._turns.get(host.key), host.running
            if turns is None or host.is_stopped:
                continue
            others = machine.node_count() - 1
            turns_max = (2 if turns.is_even else 4) * others
            if turns.count - turns.count_at_begin <= turns_max:
                continue
            for record in machine.records().values():
                last = turns.last.get(tag_of(record.id), turns.count_at_begin)
                if record.is_node and record.id != host.id and turns.count - last > turns_max:
                    since = turns.count - last
                    self.violated(
                        host, f"has not probed {record.id} for {since} turns, at most {turns_max} are allowed"
                    )

    def finish(self) -> None:
        self.tick()


def ping_target(oracle: Oracle, tag: int) -> str:
    """The id that a tag stands for, for messages."""
    return next((host.id for host in oracle.hosts.values() if tag_of(host.id) == tag), f"tag {tag:016x}")
