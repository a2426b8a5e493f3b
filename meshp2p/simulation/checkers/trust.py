"""Whom the nodes of a secured mesh admit, list and no longer list."""

from __future__ import annotations

import math

from meshp2p.core.datagrams import Ack, Datagram
from meshp2p.core.events import Event, InstanceEvent, InstanceJoined, InstanceLeft, InstanceUpdated
from meshp2p.core.record import BOOT_DICE_BITS, Record, owner_of, tag_of
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["Admissions", "ShutOuts"]

REVOKED_SECONDS = 2.0
"""Within this time all nodes that are well no longer list a revoked node."""


class Admissions(Checker):
    """A node opens connections only with processes that a machine of the mesh has started. When it has listed a
    process, it admits no earlier one, also after a restart."""

    name = "admissions"
    watches: tuple[type, ...] = (InstanceJoined, InstanceUpdated)

    def prepare(self) -> None:
        self._listed: dict[tuple[str, bytes, str], int] = {}

    def event(self, host: Host, event: Event) -> None:
        is_secured = self.oracle.genuine is not None
        if is_secured and isinstance(event, InstanceEvent) and event.record.is_node and event.id != host.id:
            record = event.record
            self._listed[host.key, owner_of(record), record.id] = record.boot >> BOOT_DICE_BITS

    def admitted(self, host: Host, machine: bytes, agent_id: str, boot: int) -> None:
        genuine = self.oracle.genuine
        if genuine is not None and (machine, agent_id, boot) not in genuine.processes:
            self.violated(host, f"admits {agent_id!r}, which no machine of the mesh has started")
        listed = self._listed.get((host.key, machine, agent_id), 0)
        if boot < listed:
            self.violated(host, f"admits process {boot} of {agent_id!r}, and has listed process {listed}")


class ShutOuts(Checker):
    """All nodes that are well cease to list a revoked node within ``REVOKED_SECONDS``. A node that has ceased to list
    it never lists it again, and takes no more datagrams from it, also after a restart. At the end no node lists it.

    ``seconds`` are the times from each revocation until the last node that is well had ceased to list the node.
    """

    name = "shut-outs"
    watches: tuple[type, ...] = (InstanceJoined, InstanceLeft)

    def prepare(self) -> None:
        self._ceased: dict[tuple[str, str], float] = {}
        self._tags: dict[int, str] = {}
        self._watched: dict[str, None] = {}

    @property
    def seconds(self) -> list[float]:
        shut_out = self.oracle.shut_out
        last: dict[str, float] = {}
        for (_, node), at in self._ceased.items():
            last[node] = max(last.get(node, -math.inf), at - shut_out[node])
        return list(last.values())

    def event(self, host: Host, event: Event) -> None:
        oracle = self.oracle
        if not isinstance(event, InstanceEvent) or event.id not in oracle.shut_out or not self._is_of(event.record):
            return
        if isinstance(event, InstanceLeft):
            self._ceased.setdefault((host.key, event.id), oracle.engine.now)
        elif (host.key, event.id) in self._ceased and host.id not in oracle.shut_out:
            self.violated(host, f"lists {event.id} again, whose machine was revoked")

    def opened(self, host: Host, data: bytes, datagram: Datagram) -> None:
        if not self._ceased or isinstance(datagram.body, Ack):  # a relay passes on the ack of another node
            return
        for node in self.oracle.shut_out:
            if tag_of(node) == datagram.body.sender and (host.key, node) in self._ceased:
                self.violated(host, f"takes a datagram of {node}, whose machine was revoked")

    def revoked(self, node_id: str, by: str) -> None:
        self.oracle.engine.at(self.oracle.engine.now + REVOKED_SECONDS, self._look, (node_id, by))

    def _look(self, revocation: tuple[str, str]) -> None:
        node_id, by = revocation
        oracle = self.oracle
        if oracle.network.rules or oracle.network.impairments:
            return
        well = [
            host
            for host in oracle.live
            if oracle.well_for(host) >= REVOKED_SECONDS
            and not host.is_stopped
            and oracle.steady_for(host) > REVOKED_SECONDS
        ]
        if not any(host.id == by for host in well):
            return  # a node that is off tells nobody
        for host in well:
            if self._lists(host, node_id):
                self.violated(host, f"lists {node_id} {REVOKED_SECONDS:g} s after its machine was revoked")

    def _lists(self, host: Host, node_id: str) -> bool:
        record = host.listed.get(node_id)
        return record is not None and self._is_of(record)

    def _is_of(self, record: Record) -> bool:
        """Return whether this is a record of the machine that was invited for a node of this id."""
        genuine = self.oracle.genuine
        return genuine is not None and genuine.machines.get(owner_of(record)) == record.id

    def finish(self) -> None:
        for node in self.oracle.shut_out:
            for host in self.oracle.live:
                if self._lists(host, node):
                    self.violated(host, f"lists {node} at the end, whose machine was revoked")
