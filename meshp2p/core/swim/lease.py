"""Leadership under a quorum: a lease that N nodes grant (Gray and Cheriton, Leases, SOSP 1989).

With ``quorum=N`` the home of the lowest live id asks every node for a grant. It leads only while N nodes, itself
included, hold an unexpired grant to it:

::

    holder                         granter
    asks at t ─────(LeaseAsk)────> grants to nobody else until s + lease x 1.05, where s is its time of receipt
    leads until t + lease <─(LeaseReply)─

Two sets of N among at most 2N - 1 nodes have a node in common, and that node grants to one holder at a time. The holder
counts from before the grant and the granter from after it, each by its own clock. So no two holders lead at the same
moment as long as the rates of any two clocks differ by less than 5 %. An ask that takes long is therefore as safe as a
fast one, and uses a relay if there is no direct route. The clock must not be adjustable and must count the time for
which the machine is suspended. A node that has just started may have granted before, so it waits for a whole lease.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from meshp2p.core.calls import CallReply, Done, LeaseAsk, LeaseRelease, LeaseReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.record import Record

__all__ = ["GRANT_MARGIN", "LEASE_SECONDS_MAX", "LeadershipLease", "lease_seconds"]

LEASE_PERIODS: Final = 3.0
"""The length of a lease, in probe intervals. A longer one costs fewer calls, and leaves the mesh without a leader for
longer when the leader dies. Chosen, not measured."""

GRANT_MARGIN: Final = 1.05
"""How much longer a granter waits: the maximum difference in rate of two clocks."""

RENEWALS_PER_LEASE: Final = 3
"""A lease survives the loss of one of its renewals. Chosen, not measured."""

ASKS_PER_LEASE: Final = 10
"""How often a holder that lacks grants asks. Chosen, not measured."""

LEASE_SECONDS_MAX: Final = 60.0
"""The longest lease that a node grants, so that a stranger's ask cannot leave the mesh without a leader for long.
Chosen, not measured."""


def lease_seconds(config: ProtocolConfig) -> float:
    """Return how long a grant lasts for the node that asked for it, in seconds."""
    return LEASE_PERIODS * config.probe_interval


class _Holder(msgspec.Struct, frozen=True):
    """The holder of a grant: a leader at one process of its home."""

    leader_id: str
    home: str
    boot: int

    @classmethod
    def of(cls, record: Record) -> _Holder:
        return cls(record.id, record.home, record.boot)


class LeadershipLease:
    """Both sides of the lease at one node. ``clock`` returns seconds that also pass while the machine is suspended."""

    def __init__(self, state: NodeState, relay_selector: RelaySelector, clock: Callable[[], float]) -> None:
        self._state = state
        self._relay_selector = relay_selector
        self._clock = clock
        self._seconds = lease_seconds(state.config)
        self._granted: _Holder | None = None
        self._granted_number = 0
        self._granted_until = clock() + self._seconds * GRANT_MARGIN
        self._sought: _Holder | None = None
        self._number = 0
        self._released_number = 0
        self._expiries: dict[str, float] = {}
        self.held_until: float = -math.inf
        """When fewer than a quorum of the grants to this node will be left, by the clock of leases."""
        self._requests: dict[str, float] = {}

    # State

    def allows(self, record: Record) -> bool:
        """Return whether this node may name this leader now: it is its home and holds the lease, or it granted to the
        home."""
        holder = _Holder.of(record)
        if record.home == self._state.id:
            return holder == self._sought and self.is_held
        return holder == self._granted and self._clock() < self._granted_until

    @property
    def is_held(self) -> bool:
        """Return whether this node holds the lease now. May be called from any thread."""
        return self._clock() < self.held_until

    def await_end(self, side: str, now: float) -> None:
        """Check again when the lease ``"held"`` or ``"granted"`` here ends: the clock of leases may run faster or
        slower than ``now``."""
        remaining = (self.held_until if side == "held" else self._granted_until) - self._clock()
        if remaining > 0:
            self._state.timers.set(Timer.LEASE_ENDS, now + remaining, side)

    # The holder

    def pursue(self, record: Record, now: float) -> None:
        """Ask for the lease of a leader whose home is here, and renew it from now on."""
        holder = _Holder.of(record)
        if self._sought != holder:
            self.release(now)
            self._sought = holder
        if not self._state.timers.is_set(Timer.LEASE):
            self.renew(now)

    def pause(self) -> None:
        """Ask no more until :meth:`pursue`. Grants stay until they expire."""
        self._state.timers.cancel(Timer.LEASE)

    def release(self, now: float) -> None:
        """Give up the lease, so that the granters need not wait. This node must have stopped reporting that it
        leads."""
        self._released_number = self._number
        sought, self._sought = self._sought, None
        self._expiries = {}
        self.held_until = -math.inf
        self._state.timers.cancel(Timer.LEASE)
        if sought is None:
            return
        release = LeaseRelease(sought.leader_id, sought.home, sought.boot, self._number)
        self.handle_release(release)
        for node_id in self._state.members.nodes:  # including those whose grant is on its way
            if node_id != self._state.id:
                self._relay_selector.call(node_id, release, _ignore, self._state.config.call_timeout, now)

    def renew(self, now: float) -> None:
        """Ask every node for the next grant."""
        state, holder = self._state, self._sought
        if holder is None:
            return
        self._number += 1
        ask = LeaseAsk(
            holder.leader_id, holder.home, holder.boot, self._number, self._seconds, quorum=state.config.quorum
        )
        asked_at = self._clock()
        if self.handle_ask(ask, now).is_granted:
            self._note_grant(state.id, asked_at, now)
        for node_id in state.members.nodes:
            if node_id != state.id and now >= self._requests.get(node_id, now):
                self._ask_node(node_id, ask, holder, asked_at, now)
        interval = self._seconds / (RENEWALS_PER_LEASE if self.is_held else ASKS_PER_LEASE)
        state.timers.set(Timer.LEASE, now + interval)

    def _ask_node(self, node_id: str, ask: LeaseAsk, holder: _Holder, asked_at: float, now: float) -> None:
        """Ask one node.

        It is not asked again before it answered, or the direct call would have timed out: the relays that are tried
        then may take longer than the lease lasts.
        """
        timeout = self._state.config.call_timeout
        again_at = self._requests[node_id] = now + timeout

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if self._requests.get(node_id) == again_at:
                del self._requests[node_id]
            is_released = ask.number <= self._released_number  # the granter may have granted to another holder since
            if isinstance(reply, LeaseReply) and reply.is_granted and self._sought == holder and not is_released:
                self._note_grant(node_id, asked_at, now)

        self._relay_selector.call(node_id, ask, conclude, timeout, now)

    def _note_grant(self, node_id: str, asked_at: float, now: float) -> None:
        expiry = asked_at + self._seconds
        self._expiries[node_id] = max(expiry, self._expiries.get(node_id, expiry))
        quorum = self._state.config.quorum
        if len(self._expiries) >= quorum:
            self.held_until = sorted(self._expiries.values(), reverse=True)[quorum - 1]
        self.await_end("held", now)

    # The granter

    def handle_ask(self, ask: LeaseAsk, now: float) -> LeaseReply:
        """Grant, if this node agrees on the leader and is bound to no other holder."""
        state, clock = self._state, self._clock()
        record = state.members.records.get(ask.leader_id)
        holder = _Holder(ask.leader_id, ask.home, ask.boot)
        is_agreed = record is not None and _Holder.of(record) == holder and state.members.lowest == ask.leader_id
        is_bound = clock < self._granted_until and self._granted != holder
        is_sound = ask.quorum == state.config.quorum and 0 < ask.seconds <= LEASE_SECONDS_MAX
        if not is_agreed or is_bound or not is_sound or state.is_leaving or not state.is_announced:
            return LeaseReply(is_granted=False)
        until = clock + ask.seconds * GRANT_MARGIN
        if self._granted == holder:
            until = max(until, self._granted_until)
            self._granted_number = max(ask.number, self._granted_number)
        else:
            self._granted, self._granted_number = holder, ask.number
        self._granted_until = until
        self.await_end("granted", now)
        return LeaseReply(is_granted=True)

    def handle_release(self, release: LeaseRelease) -> Done:
        """Drop the grants up to this number, which the holder gave up. A later grant stays."""
        holder = _Holder(release.leader_id, release.home, release.boot)
        if self._granted == holder and self._granted_number <= release.number:
            self._granted = None
            self._granted_until = -math.inf
        return Done()


def _ignore(_reply: CallReply | CallFailed, _now: float) -> None:
    """Ignore the outcome of a release: if it is lost, the grant expires."""
