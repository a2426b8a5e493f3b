"""Lookups of one instance at its home.

An instance's reports are published at a limited rate, and then gossip takes time. So a node that is asked for one
instance asks its home, which also knows unpublished reports. Thus a client whose heartbeat was answered finds its
status at any node. One call for an instance is under way at a time. A lookup that arrives meanwhile may concern a later
heartbeat than the answer, so it waits for the next call.
"""

from __future__ import annotations

from typing import Final

from meshp2p.core.calls import AskInstance, CallReply, InstanceReply
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.record import Record, tag_of
from meshp2p.core.swim.hosting import Hosting

__all__ = ["LOOKUP_SECONDS", "Lookups"]

LOOKUP_SECONDS: Final = 0.25
"""How long a lookup waits for the home; then this node answers from its own view."""


class _Call:
    """The call for one instance that is under way: the lookups it answers, and those that wait for the next."""

    __slots__ = ("later", "waiting")

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.later: list[int] = []


class Lookups:
    """Lookups of single instances, by ticket."""

    def __init__(self, state: NodeState, hosting: Hosting) -> None:
        self._state = state
        self._hosting = hosting
        self._calls: dict[str, _Call] = {}

    def ask(self, ticket: int, instance_id: str, now: float) -> None:
        """Answer ``ticket`` with an :class:`~meshp2p.core.calls.InstanceReply`, within ``LOOKUP_SECONDS``. Its
        ``is_home`` is false if there is a home that did not answer in that time."""
        state = self._state
        if self._find_home(instance_id) is None:
            self._answer_by_view(ticket, instance_id)
            return
        state.timers.set(Timer.LOOKUP, now + LOOKUP_SECONDS, f"{ticket} {instance_id}")
        is_first = instance_id not in self._calls
        call = self._calls.setdefault(instance_id, _Call())
        call.later.append(ticket)
        if is_first:
            self._call_home(instance_id, call)

    def handle_over(self, subject: str) -> None:
        """End a lookup that waited for long enough."""
        ticket, instance_id = subject.split(" ", 1)
        if self._forget(int(ticket), instance_id):
            self._answer_by_view(int(ticket), instance_id)

    def abandon(self, ticket: int) -> None:
        """Drop the lookup with this ticket."""
        for instance_id in self._calls:
            if self._forget(ticket, instance_id):
                return

    def _forget(self, ticket: int, instance_id: str) -> bool:
        call = self._calls.get(instance_id)
        for waiting in () if call is None else (call.waiting, call.later):
            if ticket in waiting:
                waiting.remove(ticket)
                self._state.timers.cancel(Timer.LOOKUP, f"{ticket} {instance_id}")
                return True
        return False

    def _find_home(self, instance_id: str) -> Record | None:
        """Return the other node that answers for an instance; None if this one does, or none."""
        records = self._state.members.records
        held = records.get(instance_id)
        home = None if held is None or held.home == self._state.id else records.get(held.home)
        return home if home is not None and home.is_node else None

    def _call_home(self, instance_id: str, call: _Call) -> None:
        """Call for the lookups that arrived since the last call; end if there are none."""
        call.waiting, call.later = call.later, []
        home = self._find_home(instance_id)
        if not call.waiting or home is None:
            del self._calls[instance_id]
            for ticket in call.waiting:
                self._end(ticket, instance_id, None)
            return

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            found = reply if isinstance(reply, InstanceReply) and reply.is_home else None
            if found is not None and found.record is not None:
                self._state.life.note_listed(tag_of(instance_id), now - found.age_ms / 1000)
            for ticket in call.waiting:
                self._end(ticket, instance_id, found)
            call.waiting = []
            self._call_home(instance_id, call)

        self._state.call_node(home, AskInstance(instance_id), conclude, LOOKUP_SECONDS)

    def _end(self, ticket: int, instance_id: str, found: InstanceReply | None) -> None:
        self._state.timers.cancel(Timer.LOOKUP, f"{ticket} {instance_id}")
        if found is None:
            self._answer_by_view(ticket, instance_id)
        else:
            self._state.resolve(ticket, found)

    def _answer_by_view(self, ticket: int, instance_id: str) -> None:
        is_home = self._find_home(instance_id) is None
        owner = self._hosting.owner_of(instance_id)
        self._state.resolve(ticket, InstanceReply(self._hosting.present(instance_id), 0, is_home, owner))
