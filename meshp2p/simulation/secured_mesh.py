"""A simulated secured mesh: its machines, who is invited and revoked, and the connections between its nodes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import Oracle
from meshp2p.simulation.schedule import SecurityPlan
from meshp2p.simulation.secured.machines import Genuine, MachineOnDisk, found_mesh_of
from meshp2p.simulation.trust_links import SecuredLinks

__all__ = ["SecuredMesh"]


class SecuredMesh:
    """One secured mesh. ``first`` is the node whose machine founds it. ``admitted`` is told which process a host has
    admitted."""

    def __init__(
        self,
        first: str,
        plan: SecurityPlan,
        oracle: Oracle,
        admitted: Callable[[Host, bytes, str, int], None],
        seed: int,
    ) -> None:
        self.genuine: Genuine = Genuine()
        self.machines: dict[str, MachineOnDisk] = {first: found_mesh_of(first, self.genuine)}
        self.links: SecuredLinks = SecuredLinks(oracle.network, oracle.hosts, admitted)
        oracle.network.introducer = self.links
        oracle.genuine = self.genuine
        self._first = first
        self._plan = plan
        self._oracle = oracle
        self._random = random.Random(f"{seed}/trust").random

    def join(self, host: Host) -> None:
        """Give a host the machine of its node, which is invited if it is new."""
        host.member = self._invited(host.id)
        host.key_seconds, host.retired_seconds = self._plan.key_seconds, self._plan.retired_seconds

    def _invited(self, node_id: str) -> MachineOnDisk:
        """Return the machine of a node. If it is new, it is invited, as is the machine that invites it."""
        machine = self.machines.get(node_id)
        if machine is None:
            inviter = self._plan.inviters.get(node_id, self._first)
            machine = self.machines[node_id] = self._invited(inviter).invite(node_id)
            self._announce(inviter)
        return machine

    def revoke(self, node_id: str, by: str) -> list[str]:
        """Revoke the machine of a node, on the machine of another one. Return the nodes whose machines are revoked: it
        and those that it invited."""
        trust = self.machines[by].revoke(self.machines[node_id])
        self._announce(by)
        return [name for name, machine in self.machines.items() if trust.why_revoked(machine.key.fingerprint)]

    def _announce(self, node_id: str) -> None:
        """Let the processes on a machine take in what was written to its disk. They look once a second."""
        engine = self._oracle.engine
        for host in self._oracle.hosts.values():
            if host.id == node_id and host.machine is not None:
                engine.at(engine.now + self._random(), partial(host.handle_trust, host.life, self._refresh), host)

    def _refresh(self, host: Host) -> None:
        if host.security is not None:
            host.security.refresh()
            self.links.look(host)
