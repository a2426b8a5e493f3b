"""Hosted instances: listed everywhere while their agents live, wherever their homes go, and gone when they stop."""

from __future__ import annotations

from typing import ClassVar

from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.expectations import detection_seconds, mending_seconds

__all__ = ["Registrations"]

TOLD_WITHIN = 5.0
"""Seconds within which a registration is known to all: a sync mends what gossip lost. Chosen, not measured."""


class Registrations(Checker):
    """At the end every agent whose heartbeats are answered is listed on all nodes, at a home that lives, and nobody
    lists one that has stopped and must be gone by now.

    A record says which process of its home answers for it: a home that was started again publishes its agents anew,
    else messages for them are held back for ever.
    """

    name: ClassVar[str] = "registrations"

    def tick(self) -> None:
        """Look at the boots of hosted records, at their homes."""
        truth = self.truth
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
