"""Acknowledgements: stored at the recipient's home, and sent to the holders."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from meshp2p.core.calls import (
    Acknowledged,
    CallReply,
    Done,
    ForwardAcknowledge,
    ForwardStatus,
    Refused,
    StatusReply,
    Why,
)
from meshp2p.core.directory.adoption import Acquaintance
from meshp2p.core.directory.keeping import ignore_failure
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.effects import CallFailed, Delete, Table
from meshp2p.core.mail.ack_notifier import AckNotifier
from meshp2p.core.mail.home_calls import HomeCalls
from meshp2p.core.mail.ledger import Change, Ledger, MailboxChange
from meshp2p.core.mail.mailbox import Mailbox
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.message import CopyStatus
from meshp2p.core.record import State
from meshp2p.core.requests import Acknowledge

__all__ = ["Acknowledging"]


class Acknowledging(msgspec.Struct, eq=False):
    """Processes acknowledgements of agents, here or at the recipient's home, and those that homes send to this holder.
    An acknowledged message is never delivered again."""

    _state: NodeState
    _relay_selector: RelaySelector
    _acquaintance: Acquaintance
    _outbox: Outbox
    _mailboxes: Mailboxes
    _notifier: AckNotifier
    _ledger: Ledger
    _home_calls: HomeCalls
    _unsure: dict[str, dict[tuple[str, str], None]] = {}
    """By holder, the copies in mailboxes that may have been acknowledged elsewhere while this node, or the holder, was
    away, and about which the holder was not asked yet."""

    # Requests of agents

    def acknowledge(self, ticket: int, request: Acknowledge, now: float) -> None:
        """Process an acknowledgement, here or at the recipient's home; also for an unlisted recipient, if this node
        remembers it."""
        state = self._state
        record = state.members.records.get(request.recipient)
        if record is None and not self._keeps_for(request.recipient):
            self._acknowledge_elsewhere(ticket, request, now)
            return

        def again(now: float) -> None:
            self.acknowledge(ticket, request, now)

        if record is None or record.home == state.id:
            self._acknowledge_here(ticket, request.recipient, request.message_ids, again, now)
            return
        forwarded = ForwardAcknowledge(request.recipient, request.message_ids)
        self._home_calls.forward(ticket, record, forwarded, again, now)

    def _keeps_for(self, recipient: str) -> bool:
        """Return whether this node is the recipient's home, or was its last one and still has its mailbox."""
        members = self._state.members
        if recipient in members.records:
            return self._mailboxes.is_home(recipient)
        departed = members.departed.get(recipient)
        if departed is not None and departed.home:
            return departed.home == self._state.id and departed.state is State.DEAD
        return recipient in self._mailboxes.by_recipient and self._is_sure

    @property
    def _is_sure(self) -> bool:
        """Return whether this node lists all members. A restarted or cut off node may not know all of them."""
        return self._state.is_settled and self._acquaintance.has_met_all

    def _acknowledge_elsewhere(self, ticket: int, request: Acknowledge, now: float) -> None:
        """Forward the acknowledgement of an unlisted recipient to its last home.

        It is refused if there is, or may be, such a home that cannot be reached: it may still have the message, and
        would deliver it when it is back.
        """
        state = self._state
        recipient = request.recipient
        departed = state.members.departed.get(recipient)
        home = "" if departed is None else departed.id if departed.is_node else departed.home
        if departed is None and recipient not in self._outbox.lines and self._is_sure:
            state.resolve(ticket, Done())  # it is unknown
        elif departed is not None and departed.state is State.LEFT and not departed.is_node:
            state.resolve(ticket, Done())  # it was deregistered, and its messages with it
        else:
            why = f"{recipient!r} is not listed, and its home {home!r} does not answer: try again, or register it"
            self._home_calls.ask(ticket, home, ForwardAcknowledge(recipient, request.message_ids), why, now)

    # At the recipient's home

    def receive_forwarded(self, ticket: int, request: ForwardAcknowledge, now: float) -> None:
        """Process an acknowledgement that another node forwards."""
        recipient = request.recipient
        if self._keeps_for(recipient):

            def again(now: float) -> None:
                self.receive_forwarded(ticket, request, now)

            self._acknowledge_here(ticket, recipient, request.message_ids, again, now)
        else:
            why = f"{recipient!r} is not at home at {self._state.id!r}"
            self._state.resolve(ticket, Refused(Why.NOT_HOME, why))

    def _acknowledge_here(
        self, ticket: int, recipient: str, message_ids: tuple[str, ...], again: Callable[[float], None], now: float
    ) -> None:
        """Never deliver these again. Answered when that is stored and the holders know or do not answer.

        If some of them are being acknowledged already, ``again(now)`` runs once that is stored, or is reverted.
        """
        if any(self._ledger.is_acknowledging(recipient, message_id) for message_id in message_ids):
            self._state.store((), lambda _failure, now: again(now), now)
            return
        change = self._plan(recipient, self._mailboxes.mailbox(recipient), message_ids)
        acknowledged = change.mailboxes[recipient].acknowledged

        def conclude(failure: str | None, now: float) -> None:
            if failure is None:
                self._notifier.tell(ticket, recipient, acknowledged, now)
            else:
                self._state.resolve(ticket, Refused(Why.STORE_FULL, failure))

        self._ledger.commit(change, conclude, now)

    def _plan(self, recipient: str, mailbox: Mailbox, message_ids: tuple[str, ...]) -> Change:
        """Return what changes if these are acknowledged."""
        state = self._state
        part = MailboxChange()
        change = Change(mailboxes={recipient: part})
        held_here: list[tuple[str, str]] = []
        makers: dict[int, str] | None = None
        for message_id in dict.fromkeys(message_ids):
            if message_id in mailbox.acknowledged:
                continue
            incoming = mailbox.pending.get(message_id)
            if incoming is not None:
                holders = incoming.holders
            else:  # read at a home that is gone, and not delivered here yet: the accepting node still holds it
                makers = state.members.node_by_bits() if makers is None else makers
                maker = makers.get(node_bits_of(message_id) or 0)
                holders = () if maker is None else (maker,)
            untold = tuple(holder for holder in holders if holder != state.id)
            part.acknowledged[message_id] = untold
            if len(untold) < len(holders):
                held_here.append((recipient, message_id))
            if (untold or incoming is None) and state.keeping.is_durable:
                if incoming is not None:
                    change.writes.append(Delete(Table.INCOMING, incoming.key))
                change.writes.append(self._mailboxes.ack_row(recipient, message_id, untold))
        self._plan_forgotten(recipient, mailbox, change)
        change.settled = self._outbox.held(held_here)
        return change

    def _plan_forgotten(self, recipient: str, mailbox: Mailbox, change: Change) -> None:
        """Remember no more than ``remembered_max`` acknowledged ids."""
        part = change.mailboxes[recipient]
        part.forgotten = mailbox.choose_forgotten(part.acknowledged, self._state.config.remembered_max)
        change.writes += self._mailboxes.forgotten_rows(recipient, part.forgotten)

    def _plan_told(self, copies: Iterable[tuple[str, str]]) -> Change:
        """Return the changes in the mailboxes if another home took these acknowledgements. This node may be a home as
        well, or one that has not heard that the recipient moved."""
        change = Change()
        for recipient, message_id in copies:
            mailbox = self._mailboxes.by_recipient.get(recipient)
            incoming = mailbox.pending.get(message_id) if mailbox is not None else None
            is_new = self._mailboxes.is_home(recipient) and not self._mailboxes.knows(recipient, message_id)
            if incoming is None and not is_new:
                continue
            change.mailboxes.setdefault(recipient, MailboxChange(is_told=True)).acknowledged[message_id] = ()
            if incoming is not None:
                change.writes.append(Delete(Table.INCOMING, incoming.key))
        for recipient in change.mailboxes:
            self._plan_forgotten(recipient, self._mailboxes.mailbox(recipient), change)
        return change

    # At a holder

    def receive_acknowledged(self, ticket: int, request: Acknowledged, now: float) -> None:
        """Process acknowledgements that a home reports to this holder.

        Answered when they are stored and the recipients' present homes know, and refused if they cannot be stored.
        While a recipient moves, the home that took its acknowledgement may be another than the one to which this node
        delivers.
        """
        held = self._outbox.held(request.copies)
        change = self._plan_told(request.copies)
        change.settled = held
        moved: dict[str, list[str]] = {}
        for recipient, outgoing in held:
            record = self._state.members.records.get(recipient)
            if request.by and record is not None and record.home != request.by:
                moved.setdefault(recipient, []).append(outgoing.message.id)

        def conclude(failure: str | None, now: float) -> None:
            if any(self._outbox.is_held(*copy) or self._mailboxes.is_pending(copy) for copy in request.copies):
                why = failure or "what was told before could not be kept"
                self._state.resolve(ticket, Refused(Why.STORE_FULL, why))
            else:
                self._tell_present_homes(ticket, moved, now)

        self._ledger.commit(change, conclude, now)

    def _tell_present_homes(self, ticket: int, moved: dict[str, list[str]], now: float) -> None:
        """Tell all present homes to deliver these no more. Answer ``ticket`` when the reachable ones know."""
        state = self._state
        left = 1

        def conclude(_outcome: object, _now: float) -> None:
            nonlocal left
            left -= 1
            if not left:
                state.resolve(ticket, Done())

        for recipient, message_ids in moved.items():
            record = state.members.records.get(recipient)
            if record is None or record.home == state.id:
                continue
            left += 1
            self._tell_home(record.home, recipient, message_ids, conclude, now)
        conclude(None, now)

    def _tell_home(
        self,
        home: str,
        recipient: str,
        message_ids: list[str],
        then: Callable[[CallReply | CallFailed, float], None],
        now: float,
    ) -> None:
        """Tell a home to deliver these no more. If that fails, it is told again until it knows, without a waiting
        ticket."""

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if not isinstance(reply, Done):
                for message_id in message_ids:
                    self._notifier.remember(home, recipient, message_id)
                self._notifier.queues.flush(home, now)
            then(reply, now)

        told = ForwardAcknowledge(recipient, tuple(message_ids))
        self._relay_selector.call(home, told, conclude, self._state.config.forward_timeout, now)

    # When the recipient moves

    def pass_on(self, recipient: str, now: float) -> None:
        """Tell the recipient's new home what was acknowledged here.

        If that home was cut off meanwhile, it may still have these messages, and may never have heard that it was not
        the home.
        """
        record = self._state.members.records.get(recipient)
        mailbox = self._mailboxes.by_recipient.get(recipient)
        passing = [] if mailbox is None else mailbox.pop_passing()
        if record is None or not passing:
            return
        for message_id in passing:
            self._notifier.remember(record.home, recipient, message_id)
        self._notifier.queues.flush(record.home, now)

    # After this node, or another, was away

    def restore(self, kept: list[tuple[Table, bytes, bytes]], now: float) -> None:
        """Restore what was in the mailboxes before a restart, and what holders must still be told."""
        for table, key, value in kept:
            row = self._mailboxes.restore(table, key, value, now)
            if row is None:
                continue
            recipient, message_id, holders = row
            for holder in holders:
                if table is Table.INCOMING:
                    self._unsure.setdefault(holder, {})[recipient, message_id] = None
                else:
                    self._notifier.remember(holder, recipient, message_id)
        for instance_id in (*self._mailboxes.by_recipient, *self._notifier.untold):
            self._mailboxes.forget_later(instance_id, now)

    def note_away(self, holder: str) -> None:
        """Note that a node is gone, or that this one is cut off from it: its messages may be acknowledged elsewhere
        meanwhile."""
        for recipient, mailbox in self._mailboxes.by_recipient.items():
            for message_id, incoming in mailbox.pending.items():
                if holder in incoming.holders:
                    self._unsure.setdefault(holder, {})[recipient, message_id] = None

    def ask_holder(self, holder: str, now: float) -> None:
        """Ask a holder what was acknowledged at another home meanwhile, one copy after another.

        A holder that does not answer is asked again when it rejoins.
        """
        copies = self._unsure.get(holder, {})
        while copies and not self._mailboxes.is_pending(next(iter(copies))):
            del copies[next(iter(copies))]
        if not copies:
            self._unsure.pop(holder, None)
            return
        recipient, message_id = copy = next(iter(copies))

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if not isinstance(reply, StatusReply) or copy not in copies:
                return  # it does not answer, or was asked twice
            del copies[copy]
            statuses = {receipt.recipient: receipt.status for receipt in reply.receipts}
            if statuses.get(recipient) is CopyStatus.ACKNOWLEDGED and self._mailboxes.is_pending(copy):
                self._ledger.commit(self._plan_told([copy]), ignore_failure, now)
            self.ask_holder(holder, now)

        self._relay_selector.call(holder, ForwardStatus(message_id), conclude, self._state.config.forward_timeout, now)
