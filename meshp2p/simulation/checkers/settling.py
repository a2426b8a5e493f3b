"""When a node may name a leader that has just begun, or found that what it holds may be wrong."""

from __future__ import annotations

import math

from meshp2p.core.calls import CallReply, SyncReply
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.events import Event, LeadershipChanged
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["SettlingChecker"]

ROUNDING = 1e-6


class SettlingChecker(Checker):
    """A node names a leader when it has looked around for ``settle_timeout``, or when it has synced with a node that
    is settled; and it says that it is settled only then. So it is after its start, and after it has named nobody.

    Where a quorum is wanted a node also names nobody because too few are there: then only its start counts.
    """

    name = "settling"
    watches: tuple[type, ...] = (LeadershipChanged,)

    def prepare(self) -> None:
        self._since: dict[str, float] = {}
        """Since when each looks around, by its own clock."""
        self._met_at: dict[str, float] = {}
        """When each last synced with one that is settled, by its own clock."""
        self._ceased_at: dict[str, float] = {}
        """When each last ceased to be settled. What it answered before that may still be on its way."""

    def started(self, host: Host) -> None:
        self._since[host.key] = host.now
        self._met_at.pop(host.key, None)
        self._ceased_at.pop(host.key, None)

    def _may_be_settled(self, host: Host) -> bool:
        since = self._since.get(host.key, -math.inf)
        has_looked = host.now - since >= self.oracle.config.settle_timeout - ROUNDING
        return has_looked or self._met_at.get(host.key, -math.inf) >= since

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if not isinstance(reply, SyncReply) or not reply.is_settled:
            return
        for other in self.oracle.live:
            if other.running.own.boot == reply.sender.boot:
                ceased_for = self.oracle.engine.now - self._ceased_at.get(other.key, -math.inf)
                if not self._may_be_settled(other) and ceased_for > effect.timeout:
                    self.violated(other, f"says to {host.key} that it is settled, before it looked around")
                    return
                break
        self._met_at[host.key] = host.now

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, LeadershipChanged):
            return
        if event.leader_id is None:
            if not self.oracle.config.quorum:
                self._since[host.key] = host.now
                self._ceased_at[host.key] = self.oracle.engine.now
        elif not self._may_be_settled(host):
            self.violated(host, f"names {event.leader_id} as leader before it looked around or met a settled node")
