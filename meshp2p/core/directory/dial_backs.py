"""Connections that this node opens because another node asked for them: calls of that node do not arrive here."""

from __future__ import annotations

import math

from meshp2p.core.calls import CallReply, Probe
from meshp2p.core.directory.state import NodeState
from meshp2p.core.effects import CallFailed
from meshp2p.core.events import PeersCannotCall
from meshp2p.core.record import tag_of

__all__ = ["DIAL_BACK_INTERVAL", "UNREACHABLE_AFTER", "DialBacks"]

UNREACHABLE_AFTER = 5.0
"""If calls to a live node fail for so many seconds, there is no path to it. Less would include nodes that have just
crashed. Chosen, not measured."""

TOLD_AGAIN_AFTER = 300.0
"""Seconds until it is reported again that a node's calls do not arrive here. Chosen, not measured."""

DIAL_BACK_INTERVAL = 2.0
"""Seconds in which a node dials back to a member only once: less than the ``ASK_INTERVAL`` of the other node. Chosen,
not measured."""

DIAL_BACKS_MAX = 16
"""Calls under way to dial back; past it requests are ignored. Chosen, not measured."""

COMPLAINT_LASTS = 60.0
"""A request to dial back this many seconds after the last one is about another failure. Chosen, not measured."""


class _Complaint:
    """A node says again and again that its calls do not arrive here."""

    __slots__ = ("began", "dialled_at", "heard_at", "told_at")

    def __init__(self, now: float, told_at: float) -> None:
        self.began = now
        self.heard_at = now
        self.dialled_at = -math.inf
        self.told_at = told_at


class DialBacks:
    """Dials the nodes that ask for it, and reports those that ask for long."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._complaints: dict[str, _Complaint] = {}
        self._under_way = 0

    def note_request(self, node_id: str, relay: str | None, now: float) -> None:
        """Dial a node that says that its calls do not arrive here, and the relay that it asked. It says so again and
        again; that is reported only once in a while."""
        state = self._state
        if state.is_guarded or state.is_leaving:
            return
        complaint = self._complaints.get(node_id)
        if complaint is None or now - complaint.heard_at >= COMPLAINT_LASTS:
            told_at = -math.inf if complaint is None else complaint.told_at
            complaint = self._complaints[node_id] = _Complaint(now, told_at)
        complaint.heard_at = now
        if now - complaint.dialled_at >= DIAL_BACK_INTERVAL and self._under_way < DIAL_BACKS_MAX:
            complaint.dialled_at = now
            for one in dict.fromkeys((node_id, relay or node_id)):
                self._dial(one)
        if now - complaint.began >= UNREACHABLE_AFTER and now - complaint.told_at >= TOLD_AGAIN_AFTER:
            complaint.told_at = now
            state.emit(PeersCannotCall(node_id))

    def forget(self, node_id: str) -> None:
        """Forget a node that is gone."""
        self._complaints.pop(node_id, None)

    def _dial(self, node_id: str) -> None:
        """Call a node, so that there is a connection over which it can call."""
        record = self._state.members.records.get(node_id)
        if record is None or not record.is_node or node_id == self._state.id:
            return
        self._under_way += 1

        def conclude(_reply: CallReply | CallFailed, _now: float) -> None:
            self._under_way -= 1

        self._state.call_node(record, Probe(tag_of(node_id)), conclude)
