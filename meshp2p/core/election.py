"""Who leads: the lowest live id in this node's own view. No votes, no messages.

A leader's home raises its epoch when it begins to lead; (epoch, leader id) is the fencing token, and of two leaders
that met it is the later claim that prevails.
"""

from __future__ import annotations

from collections import deque

import msgspec

from meshp2p.core.events import LeaderChanged
from meshp2p.core.ownership import Ownership
from meshp2p.core.record import EPOCH_MAX, Claim, epoch_above
from meshp2p.core.state import NodeState
from meshp2p.core.timers import Timer

__all__ = ["Election"]


RELOOK_INTERVAL = 0.1
"""The least before it is looked again, in seconds. Chosen, not measured."""


class Election:
    """Names the leader, or none: while the node looks around (the settle window), and where its side has too few nodes
    for the quorum."""

    def __init__(self, state: NodeState, ownership: Ownership) -> None:
        self._state = state
        self._ownership = ownership
        self._deaths: deque[float] = deque()
        self.leader_id: str | None = None
        self._epoch_told = 0
        self.version: int = 0
        """Counts the changes of leader."""
        self._grounds: tuple[bool, bool, bool, Claim, int] | None = None

    @property
    def is_settled(self) -> bool:
        return self._state.is_settled

    def start(self, now: float) -> None:
        self._state.timers.set(Timer.SETTLE, now + self._state.config.settle_timeout)

    def look_again(self, now: float) -> None:
        """The settle window ended and nobody can be named yet."""
        self._state.timers.set(Timer.SETTLE, now + max(self._state.config.settle_timeout, RELOOK_INTERVAL))

    def settle(self) -> None:
        """The node has looked around for long enough, or met a node that had."""
        if self._state.is_guarded:
            return
        self._state.is_settled = True
        self._state.timers.cancel(Timer.SETTLE)

    def unsettle(self, now: float) -> None:
        """What this node holds may be wrong at large: name no leader before it looked around again."""
        self._state.is_settled = False
        self.start(now)

    def note_death(self, now: float) -> None:
        """A node died. Where more than a third of the view, and at least two, died within a settle window, it may be
        this side that is cut off."""
        window = self._state.config.settle_timeout
        self._deaths.append(now)
        while self._deaths[0] < now - window:
            self._deaths.popleft()
        gone = len(self._deaths)
        if gone >= 2 and 3 * gone > len(self._state.members.nodes) + gone:
            self._deaths.clear()
            self.unsettle(now)

    @property
    def epoch(self) -> int:
        """The epoch of the leader's claim, 0 while there is no leader or its claim is on its way."""
        record = self._state.members.records.get(self.leader_id or "")
        if record is None or (record.epoch, record.id) < self._state.members.top_claim:
            return 0  # what it claimed before somebody else led is no token any more
        return record.epoch

    @property
    def is_current(self) -> bool:
        """Whether :meth:`update` would change nothing, where no member changed since it was run."""
        return self._grounds == self._grounds_now()

    def _grounds_now(self) -> tuple[bool, bool, bool, Claim, int]:
        """What decides who leads, beside the members."""
        state = self._state
        kept = state.keeping.kept.epoch
        return state.is_settled, state.is_announced, state.is_leaving, state.members.top_claim, kept

    def update(self, now: float) -> None:
        """Name the leader anew, and claim where it is this node's to claim: once the epoch is on disk."""
        state = self._state
        members = state.members
        self._grounds = self._grounds_now()
        may_name = self.is_settled and state.is_announced and not state.is_leaving
        leader_id = members.lowest if may_name and len(members.nodes) >= state.config.quorum else None
        previous_id, self.leader_id = self.leader_id, leader_id
        if leader_id is not None:
            record = members.records[leader_id]
            is_outbid = leader_id != previous_id or members.top_claim != (record.epoch, record.id)
            epoch = epoch_above(max(members.top_claim[0], state.epoch_kept), state.own.boot)
            may_claim = record.home == state.id and not self._ownership.is_away
            if may_claim and is_outbid and epoch <= EPOCH_MAX and state.keeping.keep(0, epoch):
                claim = msgspec.structs.replace(
                    record, incarnation=record.incarnation + 1, epoch=epoch, epoch_since=state.wall_ms()
                )
                self._ownership.publish(claim, now)
        if leader_id != previous_id:
            self.version += 1
        elif self.epoch == self._epoch_told:
            return
        self._epoch_told = self.epoch
        state.emit(LeaderChanged(leader_id, previous_id, self.epoch))
