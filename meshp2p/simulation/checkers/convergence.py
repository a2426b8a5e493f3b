"""Each connected component has one view and one leader, the lowest live id."""

from __future__ import annotations

import math

from meshp2p.core.events import Event, InstanceDied, InstanceEvent, InstanceJoined, InstanceLeft, InstanceUpdated
from meshp2p.core.record import State
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.checkers.mending import mending_bound
from meshp2p.simulation.expectations import mending_seconds, told_seconds
from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import Component
from meshp2p.virtual.faults import DiskFails, DiskFull, DiskSlow, Fault

__all__ = ["COMPONENTS_MAX", "Convergence"]

COMPONENTS_MAX = 200
"""In a larger mesh components are looked at only where there is but one: to find them takes every pair of nodes."""

LOOK_AGAIN = 0.05
"""Virtual seconds until views are compared again that may differ by news on its way. Chosen, not measured."""


class Convergence(Checker):
    """The nodes of a component list each other and nobody else, and name one leader under one epoch, within a bound.
    The bound follows from what is missing when the last fault or process begins or ends (:mod:`.mending`)."""

    name = "convergence"
    watches: tuple[type, ...] = (InstanceJoined, InstanceDied, InstanceLeft, InstanceUpdated)

    def prepare(self) -> None:
        self._measures_at = -1.0
        self._instances_at = -math.inf
        """When last anybody heard that a hosted instance came or went: one of them may be the lowest id, and lead."""
        self._published_at: dict[str, float] = {}
        """When each node last published something new of itself, as it does for each change of its keys."""
        self._whole: list[tuple[Component, float]] = []
        """Components that must be whole by now, and when they were last disturbed."""

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        self._measure_soon()

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceUpdated):
            if event.record.id == host.id:
                self._published_at[host.id] = self.oracle.engine.now
        elif isinstance(event, InstanceEvent) and not event.record.is_node:
            self._instances_at = self.oracle.engine.now

    def started(self, host: Host) -> None:
        self._measure_soon()

    def stopped(self, host: Host) -> None:
        self._measure_soon()

    def _measure_soon(self) -> None:
        """Measure what is missing after everything that happens at this moment."""
        engine = self.oracle.engine
        if engine.now > self._measures_at:
            self._measures_at = engine.now
            engine.at(engine.now, self._measure)

    def _measure(self, _argument: None) -> None:
        if not self._can_judge():
            return
        engine = self.oracle.engine
        for component in self.oracle.components():
            if component.is_sure:
                due = engine.now + mending_bound(self.oracle, component.hosts)
                engine.at(due, self._look, (component, engine.now, due))

    def _look(self, argument: tuple[Component, float, float]) -> None:
        component, since, due = argument
        oracle = self.oracle
        if oracle.disturbed_at > since:
            return  # that was measured anew
        told = told_seconds(oracle.config)
        # where many nodes change their keys often, some change is always on its way
        news = frozenset(name for name, at in self._published_at.items() if at > oracle.engine.now - told)
        missing = self.what_is_missing(component, news)
        published_at = max(self._published_at.values(), default=-math.inf)
        settles_at = self._instances_at + mending_seconds(oracle.config, 0)
        if missing and oracle.engine.now < settles_at:
            oracle.engine.at(settles_at, self._look, argument)
        elif missing and oracle.engine.now < min(published_at, due) + told:
            oracle.engine.at(oracle.engine.now + LOOK_AGAIN, self._look, argument)  # it may be that news on its way
        elif missing:
            self.violated(None, f"not whole {oracle.engine.now - since:.1f} s after the last disturbance: {missing}")
        else:
            self._whole.append((component, since))

    def tick(self) -> None:
        """Check that components that have converged stay so. A difference is either news on its way, which spreads in
        time, or stays."""
        engine = self.oracle.engine
        self._whole = [each for each in self._whole if each[1] >= self.oracle.disturbed_at]
        for argument in self._whole:
            if self.what_is_missing(argument[0]):
                self._whole.remove(argument)
                due = engine.now + mending_bound(self.oracle, argument[0].hosts)
                engine.at(due, self._look, (*argument, due))
                return

    def _can_judge(self) -> bool:
        oracle = self.oracle
        if any(host.is_stopped or host.is_dark for host in oracle.live):
            return False
        if oracle.network.rules and len(oracle.hosts) > COMPONENTS_MAX:
            return False
        faults = oracle.active.values()
        if any(isinstance(fault, DiskFull | DiskFails | DiskSlow) for fault in faults):
            return False  # a leader whose disk refuses writes claims no epoch
        return all(oracle.fault_history.is_bearable(fault) or _cuts(fault) for fault in faults)

    def bound(self) -> float:
        """Return within how many seconds from now the live nodes converge, if all faults are over."""
        return mending_bound(self.oracle, tuple(self.oracle.live))

    def is_whole(self) -> bool:
        """Whether all live nodes are one mesh now, even if they need not be yet."""
        return not self.what_is_missing_now()

    def what_is_missing_now(self) -> str:
        """Return why the live nodes are not one mesh; empty if they are, or if there are none."""
        live = self.oracle.live
        return self.what_is_missing(Component(tuple(live), is_sure=True)) if live else ""

    def what_is_missing(self, component: Component, news: frozenset[str] = frozenset()) -> str:
        """Return why this component has not converged; empty if it has. The records of these nodes may differ, because
        they published new ones a moment ago."""
        first, *rest = component.hosts
        if any(host.machine is None for host in component.hosts):
            return f"{next(host.key for host in component.hosts if host.machine is None)} is down"
        problem = self._is_wrong(first, component)
        if problem:
            return problem
        machine = first.running
        view, leader, epoch, size = machine.view, machine.leader_id, machine.leader_epoch, len(first.listed)
        for host in rest:
            other = host.running
            if (other.view != view or len(host.listed) != size) and (difference := _difference(first, host, news)):
                return difference
            if other.leader_id != leader or other.leader_epoch != epoch:
                return (
                    f"{first.key} names leader {leader} in epoch {epoch},"
                    f" {host.key} names {other.leader_id} in {other.leader_epoch}"
                )
        for host in component.hosts:
            suspects = [each.id for each in host.listed.values() if each.state is State.SUSPECT]
            if suspects:
                return f"{host.key} suspects {', '.join(suspects)}"
        return ""

    def _is_wrong(self, host: Host, component: Component) -> str:
        machine, listed = host.running, host.listed
        expected = {each.id: each for each in component.hosts}
        if len(expected) < len(component.hosts):
            twin = next(each for each in component.hosts if expected[each.id] is not each)
            return f"{twin.key} and {expected[twin.id].key} both hold the id {twin.id}"
        agents = self.oracle.agents
        missing = [name for name in expected if name not in listed]
        extra = [name for name in listed if name not in expected and name not in agents]
        if missing or extra:
            return f"{host.key} misses {_some(missing)} and lists {_some(extra)} beside"
        lowest = min(listed, key=str.encode)
        has_quorum = len(component.hosts) >= machine.config.quorum
        if machine.leader_id != (lowest if has_quorum else None):
            return f"{host.key} names leader {machine.leader_id}, the lowest live id is {lowest}"
        if has_quorum and not machine.leader_epoch:
            return f"{host.key} knows no epoch of leader {machine.leader_id}"
        return ""


def _cuts(fault: Fault) -> bool:
    return type(fault).__name__ in ("Partition", "OneWay", "Blocked", "Crash", "Leave") and not getattr(
        fault, "period", 0.0
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nobody"


def _difference(one: Host, other: Host, news: frozenset[str]) -> str:
    ours, theirs = one.listed, other.listed
    lacks = [name for name in ours if name not in theirs]
    more = [name for name in theirs if name not in ours]
    if lacks or more:
        return f"{other.key} lacks {_some(lacks)} and lists {_some(more)} beside what {one.key} lists"
    differing = [
        name
        for name in ours
        if (ours[name].incarnation, ours[name].boot) != (theirs[name].incarnation, theirs[name].boot)
    ]
    if differing and news.issuperset(differing):
        return ""
    return f"{one.key} and {other.key} hold different records of {_some(differing)}"
