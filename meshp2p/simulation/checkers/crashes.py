"""How soon a mesh must know of a process that crashed while its machine lives."""

from __future__ import annotations

from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.expectations import crash_seconds
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import ClockStep, Crash, DiskForgets, Fault, Leave, Moved

__all__ = ["CrashEvidence"]

QUIET_FOR = 20.0
"""For so many seconds nothing happened before a crash, so that each node has its watches. Chosen, not measured."""

_HARMLESS = (Crash, Leave, ClockStep, DiskForgets)


class CrashEvidence(Checker):
    """If one process dies while its machine lives, and nothing else fails, all nodes declare it dead within the crash
    bound. The same holds if all other nodes die at once."""

    name = "crash-evidence"

    def prepare(self) -> None:
        self._disturbed_at = 0.0
        self._quiet_before = 0.0
        self._stops = 0

    def _note(self) -> None:
        now = self.oracle.engine.now
        if now > self._disturbed_at:
            self._quiet_before = now - self._disturbed_at
            self._disturbed_at = now
            self._stops = 0

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        self._note()

    def started(self, host: Host) -> None:
        self._note()

    def stopped(self, host: Host) -> None:
        self._note()
        self._stops += 1
        oracle = self.oracle
        is_twin = any(other.id == host.id for other in oracle.live)
        has_watches = self._quiet_before >= QUIET_FOR and oracle.engine.now - oracle.keepalive_until >= QUIET_FOR
        # connections of a machine that moved hang for ever, and nobody learns of it
        if host.is_dark or host.is_leaving or is_twin or oracle.has_had(Moved) or not has_watches:
            return
        if all(isinstance(fault, _HARMLESS) for fault in oracle.active.values()):
            bound = crash_seconds(oracle.config, oracle.network.links.delay_max)
            oracle.engine.at(oracle.engine.now + bound, self._check, (host.id, oracle.engine.now))

    def _check(self, argument: tuple[str, float]) -> None:
        node_id, at = argument
        oracle = self.oracle
        if self._disturbed_at > at or (self._stops > 1 and len(oracle.live) > 1):
            return  # of several that die at once some may be found by their silence alone, unless nobody else is left
        for other in oracle.live:
            if node_id in other.listed:
                after = oracle.engine.now - at
                self.violated(other, f"still lists {node_id}, whose process died {after:.2f} s ago on a living machine")
