"""Whether healthy nodes know that they are healthy."""

from __future__ import annotations

from meshp2p.core.events import Event, InstanceDied, InstanceSuspected
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import Crash, Leave

__all__ = ["SelfDoubt"]

SCORE_MAX = 0
"""A probe of a dead node may miss one relay's nack, where the relay is dead too. Chosen, not measured."""


class SelfDoubt(Checker):
    """If other nodes crash and nothing else fails, a node does not consider itself slow: its local health stays low."""

    name = "local-health"
    watches: tuple[type, ...] = (InstanceSuspected, InstanceDied)

    def event(self, host: Host, event: Event) -> None:
        oracle = self.oracle
        machine = host.running
        if oracle.was_troubled:
            return
        if any(oracle.steady_for(other) < oracle.config.call_timeout for other in oracle.live):
            return  # its probe may have begun before there was another node to ask
        gone = sum(isinstance(fault, Crash | Leave) for fault in oracle.active.values())
        if gone == 1 and len(oracle.active) == 1 and machine.local_health > SCORE_MAX:
            self.violated(host, f"takes itself for slow (local health {machine.local_health}) since another crashed")
