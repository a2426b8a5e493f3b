"""Leadership under a quorum, judged by the grants that were requested and given."""

from __future__ import annotations

import msgspec

from meshp2p.core.calls import CallReply, LeaseAsk, LeaseRelease, LeaseReply
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.swim.lease import GRANT_MARGIN, lease_seconds
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["Grants"]

ROUNDING = 1e-6

Holder = tuple[str, str, int]
"""A leader, its home, and the boot of that."""


class _Grant(msgspec.Struct, frozen=True):
    """A grant that arrived: its holder, the number of the request, when that was sent, and when the answer came."""

    holder: Holder
    number: int
    asked_at: float
    answered_at: float


class Grants(Checker):
    """Judged by the calls alone, a node that says that it leads has unexpired grants of enough nodes, each counted from
    the time of its request. A granter is bound until its grant expires or is released, and for that long after it
    started. A node that lists fewer nodes than the quorum requests no grants.

    The clock of leases is virtual time. A node's own grant is not visible, and counts as given.
    """

    name = "grants"

    def prepare(self) -> None:
        self._seconds = lease_seconds(self.oracle.config)
        self._bound = self._seconds * GRANT_MARGIN
        self._asked_at: dict[tuple[Holder, int], float] = {}
        self._released: dict[Holder, int] = {}
        self._held: dict[str, dict[str, float]] = {}
        """By the key of the holder, when the grant of each node expires."""
        self._given: dict[tuple[str, int], dict[Holder, _Grant]] = {}
        """By the key and life of the granter, the last grant that each holder got."""
        self._began_at: dict[str, float] = {}
        self._looks_at: dict[str, float] = {}

    def started(self, host: Host) -> None:
        self._began_at[host.key] = self.oracle.engine.now
        self._held.pop(host.key, None)

    def calls(self, host: Host, effect: Call) -> None:
        request = effect.request
        if type(request) is LeaseAsk:
            ask = (_holder(request), request.number)
            is_first = ask not in self._asked_at  # later ones may be the same ask, through a relay
            self._asked_at.setdefault(ask, self.oracle.engine.now)
            nodes = host.running.node_count()
            if is_first and nodes < request.quorum:
                self.violated(host, f"asks for a lease among {nodes} nodes, with a quorum of {request.quorum}")
        elif type(request) is LeaseRelease:
            holder = _holder(request)
            self._released[holder] = max(request.number, self._released.get(holder, 0))

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if type(reply) is not LeaseReply or not reply.is_granted or type(effect.request) is not LeaseAsk:
            return
        ask, now = effect.request, self.oracle.engine.now
        granter = effect.target or effect.node_id
        asked_at = self._asked_at[_holder(ask), ask.number]
        expires = self._held.setdefault(host.key, {})
        expires[granter] = max(asked_at + self._seconds, expires.get(granter, 0.0))
        self._look_later(host)
        giver = self.oracle.only_host(granter)
        if giver is not None:
            self._check_granter(giver, _Grant(_holder(ask), ask.number, asked_at, now))

    # Holders

    def _ends_at(self, host: Host) -> float:
        """Return when fewer grants than the quorum are left, including its own."""
        others = self.oracle.config.quorum - 1
        expiries = sorted(self._held.get(host.key, {}).values(), reverse=True)
        return expiries[others - 1] if 0 < others <= len(expiries) else 0.0

    def _look_later(self, host: Host) -> None:
        due = self._ends_at(host) + ROUNDING
        engine = self.oracle.engine
        if due > engine.now and self._looks_at.get(host.key, 0.0) < engine.now:
            self._looks_at[host.key] = due
            engine.at(due, self._look, host)

    def _look(self, host: Host) -> None:
        ends_at, now = self._ends_at(host), self.oracle.engine.now
        if now < ends_at:
            self._look_later(host)
        elif host.machine is not None and not host.is_stopped and _says_that_it_leads(host):
            self.violated(host, f"says that it leads {now - ends_at:.6f} s after the grants of too many expired")

    # Granters

    def _check_granter(self, giver: Host, grant: _Grant) -> None:
        began_at = self._began_at.get(giver.key, 0.0)
        if giver.machine is None or grant.asked_at < began_at:
            return
        after = grant.answered_at - began_at
        if after < self._bound - ROUNDING:
            self.violated(giver, f"grants the lease {after:.3f} s after it started, an earlier process may be bound")
        given = self._given.setdefault((giver.key, giver.life), {})
        for other in given.values():
            is_released = self._released.get(other.holder, 0) >= other.number
            is_bound = grant.answered_at < other.asked_at + self._bound - ROUNDING
            if other.holder != grant.holder and is_bound and not is_released and grant.asked_at > other.answered_at:
                self.violated(giver, f"grants the lease to {grant.holder[0]}, and is bound to {other.holder[0]}")
        given[grant.holder] = grant


def _holder(request: LeaseAsk | LeaseRelease) -> Holder:
    return request.leader_id, request.home, request.boot


def _says_that_it_leads(host: Host) -> bool:
    leader_id = host.running.leader_id
    return leader_id is not None and host.is_home_of(leader_id)
