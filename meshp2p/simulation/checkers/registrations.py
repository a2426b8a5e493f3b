"""Hosted instances: listed everywhere while their agents live, wherever their homes go, and gone when they stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from meshp2p.core.events import Event, MemberDied, MemberEvent, MemberUpdated
from meshp2p.core.record import Record
from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.expectations import detection_seconds, mending_seconds, told_seconds
from meshp2p.simulation.host import Host
from meshp2p.simulation.truth import Truth
from meshp2p.virtual.faults import Crash, Leave

__all__ = ["Registrations"]

TOLD_WITHIN = 5.0
"""Seconds within which a registration is known to all: a sync mends what gossip lost. Chosen, not measured."""


CLOCK_RATE = 0.94
"""A clock that runs 5 % fast makes an interval so much shorter."""


class Registrations(Checker):
    """At the end every agent whose heartbeats are answered is listed on all nodes, at a home that lives, and nobody
    lists one that has stopped and must be gone by now.

    A record says which process of its home answers for it: a home that was started again publishes its agents anew,
    else messages for them are held back for ever. What an agent reports is listed everywhere when it may be published
    again and was told; a change of metrics alone is not published before ``metrics_interval``. Nobody holds an agent
    dead whose heartbeats its home answers, and one that deregistered is listed nowhere.
    """

    name: ClassVar[str] = "registrations"
    watches: ClassVar[tuple[type, ...]] = (MemberUpdated, MemberDied)

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._published: dict[tuple[str, str], tuple[float, Record]] = {}
        """By the key of the home and the id, when what an instance reports was published last."""

    def started(self, host: Host) -> None:
        for key in [key for key in self._published if key[0] == host.key]:
            del self._published[key]

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, MemberEvent) or event.record.id not in self.truth.agents:
            return
        record = event.record
        key = (host.key, record.id)
        if isinstance(event, MemberDied):
            self._published.pop(key, None)
            self._look_at_death(host, record)
        elif record.home != host.id:
            self._published.pop(key, None)
        else:
            self._look_at_publication(host, key, record)

    def _look_at_death(self, host: Host, record: Record) -> None:
        truth = self.truth
        now = truth.engine.now
        since = truth.agents[record.id]
        home = truth.hosts.get(record.home)
        if since is None or home is None or home not in truth.live or not self._is_quiet(within=TOLD_WITHIN):
            return
        if min(now - since, truth.steady_for(home), truth.steady_for(host)) > TOLD_WITHIN:
            self.violated(host, f"holds {record.id} dead, whose heartbeats {home.id} answers")

    def _look_at_publication(self, host: Host, key: tuple[str, str], record: Record) -> None:
        now = self.truth.engine.now
        at, before = self._published.get(key, (-math.inf, None))
        if before is None:
            self._published[key] = (-math.inf, record)  # it was registered or adopted, and may report at once
            return
        if (before.status, before.metrics) == (record.status, record.metrics):
            return
        self._published[key] = (now, record)
        if before.status != record.status:
            return
        interval = self.truth.config.metrics_interval
        if now - at < CLOCK_RATE * interval:
            about = f"the metrics of {record.id} after {now - at:.2f} s, every {interval:g} s is as often as it may"
            self.violated(host, f"publishes {about}")

    def _is_quiet(self, *, within: float) -> bool:
        """Whether for so many seconds nothing was wrong but processes that are gone."""
        truth = self.truth
        is_calm = all(isinstance(fault, Crash | Leave) for fault in truth.active.values())
        return is_calm and not truth.network.impairments and truth.engine.now - truth.disturbed_at > within

    def _look_at_reports(self) -> None:
        truth = self.truth
        now = truth.engine.now
        within = truth.config.metrics_interval / CLOCK_RATE + told_seconds(truth.config)
        if not truth.reports or not self._is_quiet(within=within + mending_seconds(truth.config, 0)):
            return
        for agent_id, report in truth.reports.items():
            since = truth.agents.get(agent_id)
            if since is None or now - max(since, report.since) < within:
                continue
            for host in truth.live:
                record = host.machine.records().get(agent_id) if host.machine is not None else None
                if record is not None and (record.status, record.metrics) != (report.status, report.metrics):
                    lists = f"{agent_id} as {record.status!r} {record.metrics}"
                    since_then = f"which has reported {report.status!r} {report.metrics} since {report.since:.3f} s"
                    self.violated(host, f"lists {lists}, {since_then}")

    def tick(self) -> None:
        """Look at the boots of hosted records, at their homes, and at what agents reported."""
        truth = self.truth
        self._look_at_reports()
        for host in truth.live if truth.agents else ():
            machine = host.machine
            if machine is None or not machine.is_announced or host.is_stopped:
                continue
            for record in machine.records().values():
                if record.home == host.id and record.boot != machine.own.boot:
                    about = f"{record.id} with the boot {record.boot:x} of another process, its own is"
                    self.violated(host, f"hosts {about} {machine.own.boot:x}")

    def finish(self) -> None:
        truth = self.truth
        self.tick()
        if truth.engine.now - truth.disturbed_at < truth.config.instance_timeout:
            return
        live = truth.live
        ids = {host.id: None for host in live}
        bound = self._bound()
        calm = truth.engine.now - truth.disturbed_at > bound
        for host in live:
            if host.machine is None:
                continue
            records = host.machine.records()
            for agent_id, since in truth.agents.items():
                record = records.get(agent_id)
                must_be_listed = since is not None and truth.engine.now - since > TOLD_WITHIN
                if record is not None and record.home not in ids and calm:
                    self.violated(host, f"lists {agent_id} at {record.home}, which is gone")
                elif must_be_listed and record is None:
                    self.violated(host, f"does not list {agent_id}, whose heartbeats are answered")
                elif record is not None and agent_id in truth.deregistered and calm:
                    at = truth.deregistered[agent_id]
                    self.violated(host, f"lists {agent_id}, which deregistered at {at:.3f} s")
                elif (
                    since is None
                    and record is not None
                    and calm
                    and truth.engine.now - truth.agents_tried_at.get(agent_id, 0.0) > bound
                ):
                    self.violated(host, f"lists {agent_id}, which has stopped")

    def _bound(self) -> float:
        """Within so many seconds after its last heartbeat, or after the last disturbance, an agent that has stopped is
        gone: its home lets it go, or is gone itself and is found dead, and each node waits for another home."""
        truth = self.truth
        health = max((host.machine.local_health for host in truth.live if host.machine is not None), default=0)
        found = detection_seconds(truth.config, len(truth.hosts), health=health)
        return found + 2 * truth.config.instance_timeout + mending_seconds(truth.config, health)
