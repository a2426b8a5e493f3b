"""Whether this node has contact to any other node.

If a node lists others and receives nothing from them for ``SILENT_PERIODS``, it reports that, checks all of them, and
names no leader until one answers or all of them are declared dead. After a suspension of this node the time starts
again: what it did not receive then was nobody's silence (:mod:`meshp2p.core.swim.pause_guard`).
"""

from __future__ import annotations

from typing import Final

from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import ContactLost, ContactRestored, InstanceChange, InstanceJoined
from meshp2p.core.record import State
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.roll_call import RollCall

__all__ = ["Contact"]

SILENT_PERIODS: Final = 3
"""Protocol periods without receiving anything. In each of them a connected node pings some other node; a node that
finds itself slow has longer periods."""


class Contact:
    """Notices loss of contact, and its end."""

    def __init__(self, state: NodeState, election: Election, roll_call: RollCall) -> None:
        self._state = state
        self._election = election
        self._roll_call = roll_call

    def notice(self, event: InstanceChange, now: float) -> None:
        if isinstance(event, InstanceJoined) and event.record.is_node:
            self._state.timers.set_earlier(Timer.CONTACT, now + self._patience())

    def note_heard(self, now: float) -> None:
        """Note a packet, call or reply from another node."""
        state = self._state
        state.heard_at = now
        if self._election.has_lost_contact:
            self._election.has_lost_contact = False
            self._forget_verdicts()
            state.emit(ContactRestored())
            state.timers.set(Timer.CONTACT, now + self._patience())

    def handle_look(self, now: float) -> None:
        """Check whether anything was received since this timer was set."""
        state = self._state
        due = state.heard_at + self._patience()
        if len(state.members.nodes) < 2 or state.is_leaving:
            return
        if now < due or state.is_guarded:
            state.timers.set(Timer.CONTACT, due if now < due else now + self._patience())
            return
        self._election.has_lost_contact = True
        state.emit(ContactLost(now - state.heard_at))
        self._election.unsettle(now)
        self._roll_call.begin(now)

    def _forget_verdicts(self) -> None:
        """Stop gossiping the deaths that this node found without contact: the others know better who lives."""
        state = self._state
        for departed in state.members.departed.values():
            if departed.by == state.id and departed.state is State.DEAD:
                state.gossip.discard(departed.id)

    def _patience(self) -> float:
        return SILENT_PERIODS * self._state.local_health.scale(self._state.config.probe_interval)
