"""Which nodes may be declared dead, and which must be."""

from __future__ import annotations

import math

from meshp2p.core.events import Event, InstanceDied, InstanceEvent, InstanceJoined, InstanceLeft, InstanceSuspected
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.expectations import detection_seconds, false_death_seconds
from meshp2p.simulation.host import Host

__all__ = ["Detection", "FalseDeaths"]

WELL_FOR = 30.0
"""For so many seconds a node was well, and nothing was cut, before its death counts as false. Chosen, not measured."""

REMEMBERED = 60.0
"""Seconds for which it counts that a node was accused and lived (ADR 0033)."""


class FalseDeaths(Checker):
    """Nobody declares a healthy, reachable node dead if neither of the two, nor any link of the accused, was impaired
    for longer than it takes to refute an accusation. Other nodes may be impaired in any way.

    A healthy mesh must tolerate a loss of 10 % of UDP, duplicated or reordered packets, a pause of 3 s and a jump of a
    wall clock: these do not count as impairments. A node that hears of a verdict and believes it has done nothing
    wrong: the first node that emits a death of an incarnation has declared it.
    """

    name = "false-deaths"
    watches: tuple[type, ...] = (InstanceDied,)

    def prepare(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._declared: dict[tuple[str, int, int], None] = {}
        self._counted: dict[tuple[str, int], None] = {}

    @property
    def count(self) -> int:
        """The number of verdicts about nodes that ran and were healthy and reachable, whatever else failed. Each
        incarnation counts once, however many nodes believed it."""
        return len(self._counted)

    def started(self, host: Host) -> None:
        self._hosts[host.id] = host

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceDied) or not event.record.is_node:
            return
        record = event.record
        accused = self._hosts.get(record.id)
        machine = accused.machine if accused is not None else None
        if accused is None or machine is None or accused.is_leaving or machine.own.boot != record.boot:
            return
        if (record.id, record.boot, record.incarnation) in self._declared:
            return
        self._declared[record.id, record.boot, record.incarnation] = None
        oracle = self.oracle
        if oracle.well_for(accused) > WELL_FOR:
            self._counted[accused.id, record.incarnation] = None
        history = oracle.fault_history
        trouble = max(history.node_until(accused.id), history.links_until(accused.id), history.node_until(host.id))
        quiet = min(oracle.engine.now - trouble, oracle.steady_for(accused), oracle.steady_for(host))
        bound = false_death_seconds(oracle.config, machine.node_count())
        if quiet > bound:
            self.violated(
                host,
                f"declares {accused.key} dead, which is well and can be reached: no trouble for {quiet:.1f} s,"
                f" {bound:.1f} s are enough to refute",
            )


class _Gone:
    """A crash: its time, its process, the nodes that listed it then and do not know yet, and how soon others could be
    expected to find it."""

    __slots__ = ("at", "changes", "health", "is_patient", "life", "nodes", "waiting")

    def __init__(self, at: float, life: int, waiting: dict[str, int]) -> None:
        self.at = at
        self.life = life
        self.waiting = waiting
        self.nodes = 0
        self.health = 0
        self.is_patient = True
        self.changes = 0


class Detection(Checker):
    """Each node that listed a crashed node knows of the crash within a bound that follows from which other nodes were
    impaired meanwhile. The time of a node begins anew after it, or one of its links, was impaired.

    ``seconds`` are the times from a crash until the last node knew of it.
    """

    name = "detection"
    watches: tuple[type, ...] = (InstanceDied, InstanceLeft, InstanceJoined, InstanceSuspected)

    def prepare(self) -> None:
        self._gone: dict[str, _Gone] = {}
        self._accused_at: dict[str, float] = {}
        self._crashed_at = -math.inf
        self._changes = 0
        self.seconds: list[float] = []

    def stopped(self, host: Host) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        self._changes += 1
        crashed_before, self._crashed_at = self._crashed_at, now
        self._gone.pop(host.id, None)
        observers = {other.key: other.life for other in oracle.live if other is not host and host.id in other.listed}
        for gone in self._gone.values():
            gone.waiting.pop(host.key, None)
        if any(other.id == host.id for other in oracle.live) or not observers:
            return
        gone = self._gone[host.id] = _Gone(now, host.life, observers)
        machines = [other.running for other in oracle.live]
        gone.nodes = max(machine.node_count() for machine in machines)
        gone.health = max(machine.local_health for machine in machines)
        disturbed_at = max(crashed_before, self._accused_at.get(host.id, -math.inf), oracle.fault_history.any_until())
        gone.is_patient = now - disturbed_at < REMEMBERED
        gone.changes = self._changes
        for key, life in observers.items():
            self._look_later(host.id, gone, oracle.hosts[key], life)

    def started(self, host: Host) -> None:
        self._changes += 1
        self._gone.pop(host.id, None)

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent):
            return
        if isinstance(event, InstanceSuspected):
            self._accused_at[event.record.id] = self.oracle.engine.now
            return
        gone = self._gone.get(event.record.id)
        if gone is None:
            return
        if isinstance(event, InstanceJoined):
            gone.waiting[host.key] = host.life
        elif gone.waiting.pop(host.key, None) is not None and not gone.waiting:
            self.seconds.append(self.oracle.engine.now - gone.at)

    def _quiet_since(self, gone: _Gone, host: Host) -> float:
        """Return since when this observer is able to find out; infinity while it is impaired."""
        history = self.oracle.fault_history
        return max(gone.at, history.node_until(host.id), history.links_until(host.id))

    def _bound(self, node_id: str, gone: _Gone, host: Host) -> float:
        oracle = self.oracle
        history = oracle.fault_history
        since = self._quiet_since(gone, host)
        well = [
            other
            for other in oracle.live
            if other is not host and max(history.node_until(other.id), history.links_until(other.id)) <= since
        ]
        nodes = max(gone.nodes, len(oracle.live) + 1)
        bad = max(0, nodes - 2 - len(well)) + self._changes - gone.changes
        health = gone.health
        if history.any_until() > gone.at - 10 * oracle.config.probe_interval:
            health = oracle.config.local_health_max  # rounds that were under way end with nobody's answer
        elif bad:
            health += bad * oracle.config.indirect_probes  # relays that are gone send no nacks
        return detection_seconds(
            oracle.config,
            nodes,
            bad=bad,
            health=min(health, oracle.config.local_health_max),
            is_patient=gone.is_patient,
            is_ring=oracle.clocks_agree_since(gone.at),
        )

    def _look_later(self, node_id: str, gone: _Gone, host: Host, life: int) -> None:
        engine = self.oracle.engine
        since = self._quiet_since(gone, host)
        due = (engine.now if math.isinf(since) else since) + self._bound(node_id, gone, host)
        engine.at(max(due, engine.now + self.oracle.config.probe_interval), self._look, (node_id, gone, host, life))

    def _look(self, argument: tuple[str, _Gone, Host, int]) -> None:
        node_id, gone, host, life = argument
        is_waiting = self._gone.get(node_id) is gone and gone.waiting.get(host.key) == life
        if not is_waiting or host.machine is None or host.life != life or host.is_leaving or host.machine.has_lost_id:
            return
        now = self.oracle.engine.now
        since = self._quiet_since(gone, host)
        bound = self._bound(node_id, gone, host)
        if now - since < bound - 1e-6:
            self._look_later(node_id, gone, host, life)
        elif node_id in host.listed:
            self.violated(
                host,
                f"still lists {node_id}, which crashed {now - gone.at:.1f} s ago,"
                f" {bound:.1f} s after it was last in trouble itself",
            )
