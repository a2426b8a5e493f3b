"""The views of each side of a partition, and their times."""

from __future__ import annotations

from collections.abc import Sequence

from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.expectations import contact_seconds, cut_seconds
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import Fault, Kind, Partition

__all__ = ["Cuts"]

QUIET = 60.0
"""Seconds without any trouble after which nobody is waited for longer, because it was accused and lived (ADR 0033)."""


class Cuts(Checker):
    """If a converged, healthy mesh is partitioned, each part lists itself and nobody else within ``cut_seconds``,
    however small it is. A single node reports within ``contact_seconds`` that it hears nobody, and names no leader
    until it lists only itself."""

    name = "cuts"

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        if not begins or not isinstance(fault, Partition) or not self._is_clean(fault) or not self._is_well():
            return
        engine, config = self.oracle.engine, self.oracle.config
        argument = (fault.groups, engine.now)
        if any(len(group) == 1 for group in fault.groups):
            engine.at(engine.now + contact_seconds(config), self._look_at_lone, argument)
        engine.at(engine.now + cut_seconds(config, len(self.oracle.hosts)), self._look, argument)

    def _is_clean(self, fault: Partition) -> bool:
        has_all_kinds = all(kind in fault.kinds for kind in (Kind.UDP, Kind.TCP)) and not fault.period
        return has_all_kinds and sorted(fault.names()) == sorted(self.oracle.hosts)

    def _is_well(self) -> bool:
        oracle = self.oracle
        if oracle.active or oracle.network.impairments or oracle.fault_history.any_until() > oracle.engine.now - QUIET:
            return False
        machines = [host.running for host in oracle.live]
        return len(machines) == len(oracle.hosts) and all(
            machine.node_count() == len(machines) and not machine.local_health for machine in machines
        )

    def _is_undisturbed(self, since: float) -> bool:
        return self.oracle.disturbed_at <= since and len(self.oracle.live) == len(self.oracle.hosts)

    def _look(self, argument: tuple[Sequence[Sequence[str]], float]) -> None:
        groups, since = argument
        if not self._is_undisturbed(since):
            return
        for group in groups:
            for key in group:
                host = self.oracle.hosts[key]
                listed = _listed_nodes(host)
                if listed != sorted(group):
                    after = self.oracle.engine.now - since
                    self.violated(
                        host, f"lists {len(listed)} nodes {after:.1f} s after the cut, its side has {len(group)}"
                    )
                    return

    def _look_at_lone(self, argument: tuple[Sequence[Sequence[str]], float]) -> None:
        groups, since = argument
        if not self._is_undisturbed(since):
            return
        for [key] in (group for group in groups if len(group) == 1):
            host = self.oracle.hosts[key]
            machine = host.running
            if len(_listed_nodes(host)) == 1:
                continue
            if not machine.hears_nobody:
                self.violated(host, f"does not say that it hears nobody, {self.oracle.engine.now - since:.1f} s after")
            elif machine.leader_id is not None:
                self.violated(host, f"hears nobody, has not checked, and names {machine.leader_id} as leader")


def _listed_nodes(host: Host) -> list[str]:
    return sorted(record.id for record in host.listed.values() if record.is_node)
