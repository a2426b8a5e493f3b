"""Who may be declared dead, and who must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from meshp2p.core.events import Event, MemberDied, MemberEvent, MemberJoined, MemberLeft
from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.host import Host
from meshp2p.simulation.truth import Truth, detection_bound, recovery_bound

__all__ = ["Detection", "FalseDeaths"]

WELL_FOR = 30.0
"""For so many seconds a node was well, and nothing was cut, before its death counts as false. Chosen, not measured."""

STEADY_FOR = 20.0
"""For so many seconds accused and accuser must have run: a newcomer may be held for its earlier process. Chosen, not
measured."""


class FalseDeaths(Checker):
    """Nobody declares a healthy node dead, where for a recovery bound there was no trouble but what a mesh must bear:
    10 % of UDP lost, packets twice or out of order, a pause of 3 s, a wall clock that jumps, the crash of others."""

    name: ClassVar[str] = "false-deaths"
    watches: ClassVar[tuple[type, ...]] = (MemberDied,)

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._hosts: dict[str, Host] = {}
        self._counted: dict[tuple[str, int], None] = {}

    @property
    def count(self) -> int:
        """Verdicts about nodes that ran, were themselves well and could be reached, whatever else went wrong: each
        incarnation counts once, however many believed it."""
        return len(self._counted)

    def started(self, host: Host) -> None:
        self._hosts[host.id] = host

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, MemberDied) or not event.record.is_node:
            return
        accused = self._hosts.get(event.record.id)
        machine = accused.machine if accused is not None else None
        if accused is None or machine is None or accused.is_leaving or machine.own.boot != event.record.boot:
            return
        truth = self.truth
        if truth.well_for(accused) > WELL_FOR:
            self._counted[accused.id, event.record.incarnation] = None
        bound = recovery_bound(truth.config, len(truth.hosts))
        is_steady = truth.steady_for(accused) > STEADY_FOR and truth.steady_for(host) > STEADY_FOR
        if truth.troubled_for > bound and is_steady:
            self.violated(host, f"declares {accused.key} dead, which is well and can be reached")


class Detection(Checker):
    """Each crash is known to all within the detection bound, where there is no trouble besides. ``seconds`` are the
    times from a crash until the last node knew it."""

    name: ClassVar[str] = "detection"
    watches: ClassVar[tuple[type, ...]] = (MemberDied, MemberLeft, MemberJoined)

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._gone: dict[str, tuple[float, int, dict[str, int]]] = {}
        self.seconds: list[float] = []

    def stopped(self, host: Host) -> None:
        truth = self.truth
        self._gone.pop(host.id, None)
        observers = {
            other.key: other.life
            for other in truth.live
            if other is not host and other.machine is not None and host.id in other.machine.records()
        }
        for _, _, waiting in self._gone.values():
            waiting.pop(host.key, None)
        if any(other.id == host.id for other in truth.live):
            return
        if observers:
            self._gone[host.id] = (truth.engine.now, host.life, observers)
            bound = detection_bound(truth.config, len(truth.hosts))
            truth.engine.at(truth.engine.now + bound, self._check, (host.id, truth.engine.now))

    def started(self, host: Host) -> None:
        self._gone.pop(host.id, None)

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, MemberEvent):
            return
        gone = self._gone.get(event.record.id)
        if gone is None:
            return
        at, life, waiting = gone
        if isinstance(event, MemberJoined):
            waiting[host.key] = host.life
        elif waiting.pop(host.key, None) is not None and not waiting:
            self.seconds.append(self.truth.engine.now - at)
            self._gone[event.record.id] = (at, life, {})

    def _check(self, argument: tuple[str, float]) -> None:
        node_id, at = argument
        truth = self.truth
        gone = self._gone.get(node_id)
        if gone is None or gone[0] != at or truth.troubled_for < truth.engine.now - at:
            return
        for key, life in gone[2].items():
            host = truth.hosts[key]
            if host.machine is None or host.life != life or host.is_leaving:
                continue
            if node_id in host.machine.records():
                self.violated(host, f"still lists {node_id}, which crashed {truth.engine.now - at:.1f} s ago")
