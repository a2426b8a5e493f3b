"""Accepts messages from agents into the outbox."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from meshp2p.core.calls import Refused, SendReply, Why
from meshp2p.core.directory.counters import MessageRefusal
from meshp2p.core.directory.state import NodeState
from meshp2p.core.mail.delivery import Delivery
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.mail.settling import CopyFinalizer
from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.core.message import PAYLOAD_BYTES_MAX, Message
from meshp2p.core.record import State
from meshp2p.core.requests import SendMessage
from meshp2p.errors import ConfigError, LimitExceeded, LocalProtocolError, MailboxFull, MeshError, UnknownInstance

__all__ = ["Accepting"]


class Accepting(msgspec.Struct, eq=False):
    """Checks limits, gives each message its id, and answers when it is stored."""

    _state: NodeState
    ids: MessageIds
    _outbox: Outbox
    _mailboxes: Mailboxes
    _settling: CopyFinalizer
    _delivery: Delivery

    def accept(self, requests: Mapping[int, SendMessage], now: float) -> dict[int, MeshError]:
        """Accept messages, by ticket, and write them together. Return why some are refused: nothing changed for them.

        A message is answered when it is on disk or, without a disk, also at its recipients' homes. An error is an
        :class:`UnknownInstance`, :class:`MailboxFull`, :class:`LimitExceeded` or :class:`ConfigError`.
        """
        refused: dict[int, MeshError] = {}
        accepted: dict[int, Outgoing] = {}
        for ticket, request in requests.items():
            try:
                recipients = self._recipients(request)
                self._check_room(request, len(recipients))
                message = self._message(request)
            except (LocalProtocolError, ConfigError) as error:
                refused[ticket] = error
                continue
            if recipients:
                accepted[ticket] = self._outbox.create(message, recipients, request.timeout, message.created_at, now)
                self._outbox.reserved += len(recipients)
            else:
                self._state.counters.messages_accepted += 1
                self._state.resolve(ticket, SendReply(message.id, ()))
        if accepted:
            self._store(accepted, now)
        return refused

    def _store(self, accepted: dict[int, Outgoing], now: float) -> None:
        """Write these messages, then hold and deliver them."""
        state, outbox = self._state, self._outbox

        def conclude(failure: str | None, now: float) -> None:
            if failure is not None and len(accepted) > 1:  # there may be room for some of them
                for ticket, outgoing in accepted.items():
                    self._store({ticket: outgoing}, now)
                return
            for ticket, outgoing in accepted.items():
                outbox.reserved -= outgoing.open
                if failure is not None:
                    self._count_refused(MessageRefusal.NOT_STORED)
                    state.resolve(ticket, Refused(Why.STORE_FULL, failure))
                    return
                state.counters.messages_accepted += 1
                reply = SendReply(outgoing.message.id, tuple(outgoing.copies))
                if state.keeping.is_durable:
                    state.resolve(ticket, reply)
                else:
                    self._settling.answer_later(ticket, reply, now)
                outbox.add(outgoing, now)
            self._delivery.begin(accepted.values(), now)

        state.store(map(outbox.row, accepted.values()) if state.keeping.is_durable else (), conclude, now)

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
