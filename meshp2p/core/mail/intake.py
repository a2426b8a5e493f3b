"""Deliveries of other nodes, and of this one, into the mailboxes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from meshp2p.core.directory.state import NodeState
from meshp2p.core.mail.ledger import Change, Ledger
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.reading import Reading
from meshp2p.core.message import Message
from meshp2p.core.messages import Deliver, DeliverReply, Outcome, Parcel

__all__ = ["Intake"]

_Place = tuple[int, int, str, str]
"""Where the outcome of a copy stands in a reply (parcel, recipient), and which copy it is (recipient, message id)."""


class _Taking:
    """What came of a delivery so far."""

    def __init__(self) -> None:
        self.outcomes: list[list[Outcome]] = []
        self.taken: list[_Place] = []
        self.repeated: list[_Place] = []
        self.change: Change = Change()
        self.full: dict[str, None] = {}
        """Recipients whose mailbox had no room."""


@dataclass(eq=False, repr=False)
class Intake:
    """Takes copies into mailboxes, in their order and each once, and wakes the reads that wait for them."""

    _state: NodeState
    _mailboxes: Mailboxes
    _reading: Reading
    _ledger: Ledger

    def receive(self, ticket: int, request: Deliver, now: float) -> None:
        """Another node delivers; answered when what was taken is kept."""
        state = self._state
        taking = _Taking()
        outcomes = taking.outcomes
        if request.boot in (0, state.own.boot):
            self._take(taking, request.holder, request.parcels, now)
        else:
            outcomes += ([Outcome.ELSEWHERE] * len(parcel.recipients) for parcel in request.parcels)

        def conclude(failure: str | None, _now: float) -> None:
            for index, place, _, _ in taking.taken if failure is not None else ():
                outcomes[index][place] = Outcome.FULL
            for index, place, recipient, message_id in taking.repeated:
                if not self._mailboxes.knows(recipient, message_id):
                    outcomes[index][place] = Outcome.FULL  # what it repeated could not be kept
            state.resolve(ticket, DeliverReply(tuple(map(tuple, outcomes))))

        self._ledger.commit(taking.change, conclude, now)
        self._wake(taking)  # behind the store: an answer may be next

    def take_here(self, parcels: tuple[Parcel, ...], now: float) -> DeliverReply:
        """Deliver what this node itself holds, which is on disk already."""
        taking = _Taking()
        self._take(taking, self._state.id, parcels, now)
        self._wake(taking)
        return DeliverReply(tuple(map(tuple, taking.outcomes)))

    def _wake(self, taking: _Taking) -> None:
        self._reading.wake(dict.fromkeys(recipient for _, _, recipient, _ in taking.taken))

    def _take(self, taking: _Taking, holder: str, parcels: Iterable[Parcel], now: float) -> None:
        for index, parcel in enumerate(parcels):
            places: list[Outcome] = []
            taking.outcomes.append(places)
            seconds = min(parcel.seconds_left, self._state.config.message_timeout)
            for recipient in parcel.recipients:
                place = (index, len(places), recipient, parcel.message.id)
                places.append(self._take_copy(taking, place, holder, parcel.message, now + seconds, now))

    def _take_copy(
        self, taking: _Taking, place: _Place, holder: str, message: Message, deadline: float, now: float
    ) -> Outcome:
        state, mailboxes = self._state, self._mailboxes
        recipient = place[2]
        if not mailboxes.is_home(recipient):
            return Outcome.ELSEWHERE
        mailbox = mailboxes.mailbox(recipient)
        present = mailbox.pending.get(message.id)
        if present is not None:
            if holder not in present.holders:
                present.holders.append(holder)
            state.counters.messages_repeated += 1
            taking.repeated.append(place)
            return Outcome.TAKEN
        if message.id in mailbox.acknowledged:
            state.counters.messages_repeated += 1
            mailboxes.note_told(recipient, message.id, holder)
            return Outcome.ACKNOWLEDGED
        if recipient in taking.full or not mailboxes.has_room(recipient, message.size):
            taking.full[recipient] = None  # and what comes behind it waits too, for it must not be read before
            return Outcome.FULL
        incoming = mailboxes.put(recipient, message, [holder], deadline, now)
        if state.keeping.is_durable and holder != state.id:
            taking.change.writes.append(mailboxes.row(recipient, incoming, [holder]))
        taking.taken.append(place)
        taking.change.taken.append((recipient, message.id))
        state.counters.messages_taken += 1
        return Outcome.TAKEN
