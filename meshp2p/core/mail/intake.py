"""Puts deliveries, of other nodes and of this one, into the mailboxes."""

from __future__ import annotations

import msgspec

from meshp2p.core.calls import Deliver, DeliverReply, Outcome, Parcel
from meshp2p.core.directory.state import NodeState
from meshp2p.core.mail.ledger import Change, Ledger
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.reading import MailboxReader

__all__ = ["Intake"]


class _Taking(Change):
    """The changes of one delivery. Copies are pairs of (recipient, message id)."""

    holder: str = ""
    repeated: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Copies that were already here."""
    acknowledged: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Copies whose acknowledgement is still being written."""
    full: dict[str, None] = msgspec.field(default_factory=dict)
    """Recipients whose mailbox had no room."""


class Intake(msgspec.Struct, eq=False):
    """Puts copies into mailboxes, in order and each once, and wakes the reads that wait for them."""

    _state: NodeState
    _mailboxes: Mailboxes
    _reading: MailboxReader
    _ledger: Ledger

    def receive(self, ticket: int, request: Deliver, now: float) -> None:
        """Process a delivery of another node; answered when what was taken is stored."""
        taking = _Taking(holder=request.holder)
        if request.boot in (0, self._state.own.boot):
            outcomes = self._accept(taking, request.parcels, now)
        else:
            outcomes = [[Outcome.ELSEWHERE] * len(parcel.recipients) for parcel in request.parcels]

        def conclude(failure: str | None, _now: float) -> None:
            lost = set() if failure is None else {(to, incoming.message.id) for to, incoming in taking.taken}
            for copy in taking.repeated:
                if not self._mailboxes.knows(*copy):
                    lost.add(copy)  # the delivery that it repeats could not be written
            for copy in taking.acknowledged:
                if self._mailboxes.is_pending(copy) or not self._mailboxes.knows(*copy):
                    lost.add(copy)  # the acknowledgement could not be written: its holder must not forget it
            for parcel, places in zip(request.parcels, outcomes, strict=True) if lost else ():
                for place, recipient in enumerate(parcel.recipients):
                    if (recipient, parcel.message.id) in lost:
                        places[place] = Outcome.FULL
            self._state.resolve(ticket, DeliverReply(tuple(map(tuple, outcomes))))

        self._ledger.commit(taking, conclude, now)
        self._wake(taking)  # after the store, which must be made before a read is answered

    def deliver_here(self, parcels: tuple[Parcel, ...], now: float) -> DeliverReply:
        """Deliver what this node itself holds, which is on disk already."""
        taking = _Taking(holder=self._state.id)
        outcomes = self._accept(taking, parcels, now)
        self._wake(taking)
        return DeliverReply(tuple(map(tuple, outcomes)))

    def _wake(self, taking: _Taking) -> None:
        self._reading.wake(dict.fromkeys(recipient for recipient, _ in taking.taken))

    def _accept(self, taking: _Taking, parcels: tuple[Parcel, ...], now: float) -> list[list[Outcome]]:
        return [
            [self._accept_copy(taking, parcel, recipient, now) for recipient in parcel.recipients] for parcel in parcels
        ]

    def _accept_copy(self, taking: _Taking, parcel: Parcel, recipient: str, now: float) -> Outcome:
        counters, mailboxes, message, holder = self._state.counters, self._mailboxes, parcel.message, taking.holder
        if not mailboxes.is_home(recipient):
            return Outcome.ELSEWHERE
        mailbox = mailboxes.mailbox(recipient)
        if (present := mailbox.pending.get(message.id)) is not None:
            if holder not in present.holders:
                present.holders += (holder,)
            counters.messages_repeated += 1
            taking.repeated.append((recipient, message.id))
            return Outcome.TAKEN
        if message.id in mailbox.acknowledged:
            counters.messages_repeated += 1
            if self._ledger.is_acknowledging(recipient, message.id):
                taking.acknowledged.append((recipient, message.id))
            else:
                mailboxes.note_told(recipient, message.id, holder)
            return Outcome.ACKNOWLEDGED
        if recipient in taking.full or not mailboxes.has_room(recipient, message.size):
            counters.copies_without_room += 1
            taking.full[recipient] = None  # later messages wait too: they must not be read before this one
            return Outcome.FULL
        incoming = mailboxes.put(recipient, message, (holder,), parcel.seconds_left, now)
        if self._state.keeping.is_durable and holder != self._state.id:
            taking.writes.append(mailboxes.row(recipient, incoming, incoming.holders))
        taking.taken.append((recipient, incoming))
        counters.messages_taken += 1
        return Outcome.TAKEN
