"""Copies in the outbox that become final, and the answers that wait for that."""

from __future__ import annotations

import msgspec

from meshp2p.core.calls import SendReply
from meshp2p.core.directory.keeping import ignore_failure
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Write
from meshp2p.core.mail.copy_state import CopyEvent
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.message import CopyStatus
from meshp2p.core.record import State

__all__ = ["CopyFinalizer"]


class CopyFinalizer(msgspec.Struct, eq=False):
    """Makes copies final that will not be acknowledged, and answers senders once the outcome of all copies is known."""

    _state: NodeState
    _outbox: Outbox
    _unanswered: dict[str, tuple[int, SendReply]] = {}
    """By id, accepted messages whose sender waits for the answer: its ticket and the answer."""

    # Copies

    def give_up(self, recipient: str, reason: str, now: float) -> None:
        """Settle all copies of a recipient that is gone for good."""
        line = self._outbox.lines.get(recipient)
        if line is None:
            return
        writes: list[Write] = []
        for outgoing in [*line.delivered.values(), *line.waiting.values()]:
            writes += self._outbox.settle(outgoing, recipient, CopyEvent.GIVEN_UP, reason)
            self.note_progress(outgoing)
        self._state.store(writes, ignore_failure, now)

    def handle_expiry(self, now: float) -> None:
        """Settle the copies that were not acknowledged in time."""
        writes: list[Write] = []
        for outgoing in self._outbox.pop_expired(now):
            for recipient in outgoing.pending:
                reason = outgoing.copies[recipient].reason or "it was not acknowledged in time"
                writes += self._outbox.settle(outgoing, recipient, CopyEvent.EXPIRED, reason)
            self.note_progress(outgoing)
        if writes:
            self._state.store(writes, ignore_failure, now)

    def handle_no_return(self, instance_id: str, now: float) -> None:
        """Give up a node that left and did not come back within ``return_timeout``."""
        departed = self._state.members.departed.get(instance_id)
        if departed is not None and departed.state is State.LEFT:
            self.give_up(instance_id, "it left the mesh, and did not come back", now)

    # Answers

    def answer_later(self, ticket: int, reply: SendReply, now: float) -> None:
        """Answer later: without a disk a message is accepted when it is at its recipients' homes, when that was tried,
        or after ``accept_timeout``."""
        self._unanswered[reply.message_id] = (ticket, reply)
        self._state.timers.set(Timer.ACCEPT, now + self._state.config.accept_timeout, reply.message_id)

    def note_progress(self, outgoing: Outgoing) -> None:
        """Answer if all copies were tried or are final."""
        if outgoing.message.id not in self._unanswered:
            return
        if all(copy.is_tried or copy.status is not CopyStatus.QUEUED for copy in outgoing.copies.values()):
            self.answer(outgoing.message.id)

    def answer(self, message_id: str) -> None:
        """Answer now, even if some copies were not tried."""
        unanswered = self._unanswered.pop(message_id, None)
        if unanswered is not None:
            self._state.timers.cancel(Timer.ACCEPT, message_id)
            self._state.resolve(*unanswered)
