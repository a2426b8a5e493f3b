"""Hosted instances: listed everywhere while their agents live, wherever their homes go, and gone when they stop."""

from __future__ import annotations

import math

from meshp2p.core.events import Event, InstanceDied, InstanceEvent, InstanceUpdated
from meshp2p.core.record import Record
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.expectations import detection_seconds, mending_seconds, told_seconds
from meshp2p.simulation.host import Host

__all__ = ["LookupChecker", "Registrations"]

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

    name = "registrations"
    watches: tuple[type, ...] = (InstanceUpdated, InstanceDied)

    def prepare(self) -> None:
        self._published: dict[tuple[str, str], tuple[float, Record]] = {}
        """By the key of the home and the id, when what an instance reports was published last."""

    def started(self, host: Host) -> None:
        for key in [key for key in self._published if key[0] == host.key]:
            del self._published[key]

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent) or event.record.id not in self.oracle.agents:
            return
        record = event.record
        key = (host.key, record.id)
        if isinstance(event, InstanceDied):
            self._published.pop(key, None)
            self._look_at_death(host, record)
        elif record.home != host.id:
            self._published.pop(key, None)
        else:
            self._look_at_publication(host, key, record)

    def _look_at_death(self, host: Host, record: Record) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        since = oracle.agents[record.id]
        home = oracle.hosts.get(record.home)
        if since is None or home is None or not self._is_quiet(within=TOLD_WITHIN):
            return
        if home not in oracle.live or host not in oracle.live:  # a revoked node hears nobody
            return
        if min(now - since, oracle.steady_for(home), oracle.steady_for(host)) > TOLD_WITHIN:
            self.violated(host, f"holds {record.id} dead, whose heartbeats {home.id} answers")

    def _look_at_publication(self, host: Host, key: tuple[str, str], record: Record) -> None:
        now = self.oracle.engine.now
        at, before = self._published.get(key, (-math.inf, None))
        if before is None:
            self._published[key] = (-math.inf, record)  # it was registered or adopted, and may report at once
            return
        if (before.status, before.metrics) == (record.status, record.metrics):
            return
        self._published[key] = (now, record)
        if before.status != record.status:
            return
        interval = self.oracle.config.metrics_interval
        if now - at < CLOCK_RATE * interval:
            about = f"the metrics of {record.id} after {now - at:.2f} s, every {interval:g} s is as often as it may"
            self.violated(host, f"publishes {about}")

    def _is_quiet(self, *, within: float) -> bool:
        """Whether for so many seconds nothing was wrong but processes that are gone."""
        oracle = self.oracle
        return (
            oracle.is_undisturbed()
            and not oracle.network.impairments
            and oracle.engine.now - oracle.disturbed_at > within
        )

    def _look_at_reports(self) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        within = oracle.config.metrics_interval / CLOCK_RATE + told_seconds(oracle.config)
        if not oracle.reports or not self._is_quiet(within=within + mending_seconds(oracle.config, 0)):
            return
        for agent_id, report in oracle.reports.items():
            since = oracle.agents.get(agent_id)
            if since is None or now - max(since, report.since) < within:
                continue
            for host in oracle.live:
                record = host.listed.get(agent_id)
                if record is not None and (record.status, record.metrics) != (report.status, report.metrics):
                    lists = f"{agent_id} as {record.status!r} {record.metrics}"
                    since_then = f"which has reported {report.status!r} {report.metrics} since {report.since:.3f} s"
                    self.violated(host, f"lists {lists}, {since_then}")

    def tick(self) -> None:
        """Look at the boots of hosted records, at their homes, and at what agents reported."""
        oracle = self.oracle
        self._look_at_reports()
        for host in oracle.live if oracle.agents else ():
            machine = host.running
            if not machine.is_announced or host.is_stopped:
                continue
            for record in machine.records().values():
                if record.home == host.id and record.boot != machine.own.boot:
                    about = f"{record.id} with the boot {record.boot:x} of another process, its own is"
                    self.violated(host, f"hosts {about} {machine.own.boot:x}")

    def finish(self) -> None:
        oracle = self.oracle
        self.tick()
        if oracle.engine.now - oracle.disturbed_at < oracle.config.instance_timeout:
            return
        live = oracle.live
        ids = {host.id: None for host in live}
        bound = self._bound()
        calm = oracle.engine.now - oracle.disturbed_at > bound
        for host in live:
            for agent_id, since in oracle.agents.items():
                record = host.listed.get(agent_id)
                must_be_listed = since is not None and oracle.engine.now - since > TOLD_WITHIN
                if record is not None and record.home not in ids and calm:
                    self.violated(host, f"lists {agent_id} at {record.home}, which is gone")
                elif must_be_listed and record is None:
                    self.violated(host, f"does not list {agent_id}, whose heartbeats are answered")
                elif record is not None and agent_id in oracle.deregistered and calm:
                    at = oracle.deregistered[agent_id]
                    self.violated(host, f"lists {agent_id}, which deregistered at {at:.3f} s")
                elif (
                    since is None
                    and record is not None
                    and calm
                    and oracle.engine.now - oracle.agents_tried_at.get(agent_id, 0.0) > bound
                ):
                    self.violated(host, f"lists {agent_id}, which has stopped")

    def _bound(self) -> float:
        """Within so many seconds after its last heartbeat, or after the last disturbance, an agent that has stopped is
        gone: its home lets it go, or is gone itself and is found dead, and each node waits for another home."""
        oracle = self.oracle
        health = max((host.running.local_health for host in oracle.live), default=0)
        found = detection_seconds(oracle.config, len(oracle.hosts), health=health)
        return found + 2 * oracle.config.instance_timeout + mending_seconds(oracle.config, health)


class LookupChecker(Checker):
    """If the home of an instance answers, a node that is asked for it shows its latest report, or a later one."""

    name = "lookups"

    def looked_up(
        self, host: Host, agent_id: str, shown: tuple[str, str] | None, said: tuple[tuple[str, str], ...]
    ) -> None:
        if shown not in said and self.oracle.is_undisturbed() and not self.oracle.network.impairments:
            self.violated(host, f"shows {agent_id} as {shown}, which has reported {said[0]}")
