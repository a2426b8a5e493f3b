"""Accepts messages from agents into the outbox."""

from __future__ import annotations

import msgspec

from meshp2p.core.calls import Refused, SendReply, Why
from meshp2p.core.directory.counters import MessageRefusal
from meshp2p.core.directory.state import NodeState
from meshp2p.core.mail.delivery import Delivery
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.settling import CopyFinalizer
from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.core.message import PAYLOAD_BYTES_MAX, Message
from meshp2p.core.record import State
from meshp2p.core.requests import SendMessage
from meshp2p.errors import LimitExceeded, MailboxFull, UnknownInstance

__all__ = ["Accepting"]


class Accepting(msgspec.Struct, eq=False):
    """Checks limits, gives each message its id, and answers when it is stored."""

    _state: NodeState
    ids: MessageIds
    _outbox: Outbox
    _mailboxes: Mailboxes
    _settling: CopyFinalizer
    _delivery: Delivery

    def accept(self, ticket: int, request: SendMessage, now: float) -> None:
        """Accept a message. It is answered when the message is on disk or, without a disk, also at its recipients'
        homes.

        Raises :class:`UnknownInstance`, :class:`MailboxFull`, :class:`LimitExceeded` and
        :class:`~meshp2p.errors.ConfigError`; then nothing changed.
        """
        state = self._state
        recipients = self._recipients(request)
        self._check_room(request, len(recipients))
        message = self._message(request)
        reply = SendReply(message.id, recipients)
        if not recipients:
            state.counters.messages_accepted += 1
            state.resolve(ticket, reply)
            return
        outgoing = self._outbox.create(message, recipients, request.timeout, message.created_at, now)

        def conclude(failure: str | None, now: float) -> None:
            self._outbox.reserved -= len(recipients)
            if failure is not None:
                self._count_refused(MessageRefusal.NOT_STORED)
                state.resolve(ticket, Refused(Why.STORE_FULL, failure))
                return
            state.counters.messages_accepted += 1
            if state.keeping.is_durable:
                state.resolve(ticket, reply)
            else:
                self._settling.answer_later(ticket, reply, now)
            self._outbox.add(outgoing, now)
            self._delivery.begin(outgoing, now)

        self._outbox.reserved += len(recipients)
        state.store([self._outbox.row(outgoing)] if state.keeping.is_durable else (), conclude, now)

    def _recipients(self, request: SendMessage) -> tuple[str, ...]:
        records = self._state.members.records
        target = request.target
        if target is None:
            return tuple(sorted((id_ for id_ in records if id_ != request.source), key=str.encode))
        if target not in records and not self._may_wait(request):
            self._count_refused(MessageRefusal.UNKNOWN_TARGET)
            raise UnknownInstance(f"Target instance {target!r} not found")
        return (target,)

    def _may_wait(self, request: SendMessage) -> bool:
        """Return whether the message may wait for a recipient that is dead and may come back."""
        departed = self._state.members.departed.get(request.target or "")
        return request.if_absent == "queue" and departed is not None and departed.state is State.DEAD

    def _check_room(self, request: SendMessage, copies: int) -> None:
        state, outbox = self._state, self._outbox
        config = state.config
        size = len(request.payload)
        if size > PAYLOAD_BYTES_MAX:
            self._count_refused(MessageRefusal.TOO_LARGE)
            raise LimitExceeded(f"payload of {size} bytes: at most {PAYLOAD_BYTES_MAX} are allowed")
        why = ""
        if outbox.copies + outbox.reserved + copies > config.outbox_copies_max:
            why = f"{outbox.copies} copies wait to be acknowledged, at most {config.outbox_copies_max} are allowed"
        elif outbox.bytes + size > config.outbox_bytes_max:
            why = f"{outbox.bytes} bytes wait to be acknowledged, at most {config.outbox_bytes_max} are allowed"
        elif request.target is not None:
            line = outbox.lines.get(request.target)
            is_full = self._mailboxes.is_home(request.target) and not self._mailboxes.has_room(request.target, size)
            if (line is not None and line.is_full) or is_full:
                why = f"the mailbox of {request.target!r} has no room until messages are acknowledged"
        if why:
            self._count_refused(MessageRefusal.NO_ROOM)
            raise MailboxFull(f"message from {request.source!r} refused: {why}")

    def _count_refused(self, why: MessageRefusal) -> None:
        self._state.counters.messages_refused[why] += 1

    def _message(self, request: SendMessage) -> Message:
        wall_ms = self._state.wall_ms()
        message = Message(
            self.ids.next(wall_ms),
            request.source,
            request.target,
            request.kind,
            request.name,
            request.payload,
            request.correlation_id,
            wall_ms,
            request.is_error,
            request.trace,
        )
        message.check()
        return message
