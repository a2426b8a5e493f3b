"""The leader: the lowest live id in this node's own view.

Without a quorum there are no votes and no messages. With one, a leader must hold a lease: see
:mod:`meshp2p.core.swim.lease`. A leader's home raises its epoch when it begins to lead; (epoch, leader id) is the
fencing token. If two leaders meet, the later claim prevails.
"""

from __future__ import annotations

from collections import deque

import msgspec

from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import LeadershipChanged
from meshp2p.core.record import EPOCH_MAX, Claim, epoch_above
from meshp2p.core.swim.lease import LeadershipLease
from meshp2p.core.swim.ownership import Ownership

__all__ = ["Election"]


RELOOK_INTERVAL = 0.1
"""The minimum time before the next check, in seconds. Chosen, not measured."""


class Election:
    """Names the leader, or none: in the settle window, and under a quorum while the lowest live id has no lease."""

    def __init__(self, state: NodeState, ownership: Ownership, lease: LeadershipLease | None) -> None:
        self._state = state
        self._ownership = ownership
        self._lease = lease
        self.has_lost_contact: bool = False
        """Whether this node listed others, received nothing from them for long, and has not since."""
        self._deaths: deque[float] = deque()
        self._named_id: str | None = None
        self._epoch_told = 0
        self._has_claimed = False
        """Whether the current term of a leader whose home is here has its own epoch."""
        self._grounds: tuple[bool, bool, bool, Claim, int, bool] | None = None

    @property
    def hears_nobody(self) -> bool:
        """Whether this node has lost contact, and still lists others."""
        return self.has_lost_contact and len(self._state.members.nodes) > 1

    def start(self, now: float) -> None:
        self._state.timers.set(Timer.SETTLE, now + self._state.config.settle_timeout)

    def look_again(self, now: float) -> None:
        """Check again, because the settle window ended and no leader can be named yet."""
        self._state.timers.set(Timer.SETTLE, now + max(self._state.config.settle_timeout, RELOOK_INTERVAL))

    def settle(self) -> None:
        """End the settle window: its time is over, or a settled peer was met. Not while it hears nobody."""
        if self._state.is_guarded or self.hears_nobody:
            return
        self._state.is_settled = True
        self._state.timers.cancel(Timer.SETTLE)

    def unsettle(self, now: float) -> None:
        """Name no leader for another settle window, because much of this node's view may be wrong."""
        self._state.is_settled = False
        self.start(now)

    def note_death(self, now: float) -> None:
        """Note that a node died. If more than a third of the view, and at least two, died within a settle window, this
        side may be cut off."""
        window = self._state.config.settle_timeout
        self._deaths.append(now)
        while self._deaths[0] < now - window:
            self._deaths.popleft()
        gone = len(self._deaths)
        if gone >= 2 and 3 * gone > len(self._state.members.nodes) + gone:
            self._deaths.clear()
            self.unsettle(now)

    @property
    def leader_id(self) -> str | None:
        """Return the leader, or None. Under a quorum the clock is read each time, because a lease may have ended."""
        return self._named_id if self._lease is None or self._is_allowed(self._named_id) else None

    @property
    def is_leading(self) -> bool:
        """Return whether this node itself leads now. May be called from any thread."""
        return self._named_id == self._state.id and (self._lease is None or self._lease.is_held)

    def _is_allowed(self, leader_id: str | None) -> bool:
        """Return whether leases allow this node to name this leader."""
        record = self._state.members.records.get(leader_id or "")
        return record is not None and (self._lease is None or self._lease.allows(record))

    @property
    def epoch(self) -> int:
        """The epoch of the leader's claim; 0 while there is no leader or its claim has not arrived."""
        record = self._state.members.records.get(self.leader_id or "")
        if record is None or (record.epoch, record.id) != self._state.members.top_claim:
            return 0  # a claim from before another leader is no valid token any more, and neither is an implausible one
        if record.home == self._state.id and not self._has_claimed:
            return 0  # and neither is a claim of an earlier term
        return record.epoch

    @property
    def is_current(self) -> bool:
        """Return whether :meth:`update` would change nothing, if no member changed since its last run."""
        return self._grounds == self._grounds_now()

    def _grounds_now(self) -> tuple[bool, bool, bool, Claim, int, bool]:
        """Return what decides who leads, apart from the members."""
        state = self._state
        is_allowed = self._lease is None or self._is_allowed(state.members.lowest)
        kept = state.keeping.kept.epoch
        return state.is_settled, state.is_announced, state.is_leaving, state.members.top_claim, kept, is_allowed

    def update(self, now: float) -> None:
        """Determine the leader, and claim the leadership if it is this node's to claim, once the epoch is on disk."""
        state = self._state
        members = state.members
        may_name = state.is_settled and state.is_announced and not state.is_leaving
        leader_id = members.lowest if may_name and len(members.nodes) >= state.config.quorum else None
        if self._lease is not None:
            self._pursue_lease(self._lease, leader_id, now)
            if not self._is_allowed(leader_id):
                leader_id = None
        self._grounds = self._grounds_now()
        previous_id, self._named_id = self._named_id, leader_id
        if leader_id != previous_id:
            self._has_claimed = False
        if leader_id is not None:
            record = members.records[leader_id]
            is_outbid = not self._has_claimed or members.top_claim > (record.epoch, record.id)
            epoch = epoch_above(max(members.top_claim[0], state.epoch_kept), state.own.boot)
            may_claim = record.home == state.id and not self._ownership.is_away
            if may_claim and is_outbid and epoch <= EPOCH_MAX and state.keeping.keep(0, epoch):
                claim = msgspec.structs.replace(
                    record, incarnation=record.incarnation + 1, epoch=epoch, epoch_since=state.wall_ms()
                )
                self._ownership.publish(claim, now)
                self._has_claimed = True
        if leader_id != previous_id:
            self._state.leader_version += 1
            self._state.counters.leader_changes += 1
        elif self.epoch == self._epoch_told:
            return
        self._epoch_told = self.epoch
        state.emit(LeadershipChanged(leader_id, previous_id, self.epoch))

    def _pursue_lease(self, lease: LeadershipLease, candidate_id: str | None, now: float) -> None:
        """Ask for the lease of a candidate whose home is here, and release it once another is the candidate."""
        candidate = self._state.members.records.get(candidate_id or "")
        if candidate is None and not self._state.is_leaving:
            lease.pause()
        elif candidate is None or candidate.home != self._state.id or self._ownership.is_away:
            lease.release(now)
        else:
            lease.pursue(candidate, now)

    def handle_lease(self, timer: Timer, subject: str, now: float) -> None:
        """Ask for the next grants, or check whether a lease has ended."""
        if self._lease is None:
            return
        if timer is Timer.LEASE:
            self._lease.renew(now)
        else:
            self._lease.await_end(subject, now)
