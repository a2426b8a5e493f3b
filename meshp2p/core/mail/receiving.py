"""The recipient's side of messages: mailboxes at its home, read and acknowledged at any node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.deadlines import Deadlines
from meshp2p.core.directory.keeping import StoreHandler
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Delete, Put, Resolve, Table, Write
from meshp2p.core.events import MemberChange, MemberDied, MemberJoined, MemberLeft, MemberUpdated
from meshp2p.core.mail.ack_notifier import AckNotifier
from meshp2p.core.mail.mailbox import Incoming, Mailbox
from meshp2p.core.mail.peer_queue import count_fitting
from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.mail.waits import WAIT_MAX, Waits
from meshp2p.core.message import CopyStatus, Message
from meshp2p.core.messages import (
    CallReply,
    Deliver,
    DeliverReply,
    Deposit,
    Done,
    FetchReply,
    ForwardAcknowledge,
    ForwardFetch,
    ForwardStatus,
    Outcome,
    Parcel,
    Refused,
    StatusReply,
    Why,
)
from meshp2p.core.record import Record, State
from meshp2p.core.requests import Acknowledge, Fetch
from meshp2p.core.swim.hosting import Hosting

__all__ = ["Receiving"]

TURN_SECONDS = 5.0
"""How long a read that is forwarded waits at the home before it is forwarded anew: no longer it waits at a home that
hangs, or that is not the home any more. Chosen, not measured."""


class _KeptMail(msgspec.Struct, array_like=True):
    """What is on disk of a message in a mailbox. ``expires_at`` is by the clock of
    :meth:`~meshp2p.core.directory.state.NodeState.age_at`."""

    recipient: str
    message: Message
    holders: list[str]
    expires_at: int


class _KeptAck(msgspec.Struct, array_like=True):
    """What is on disk of an acknowledged message."""

    recipient: str
    message_id: str
    holders: list[str]


class Receiving:
    """Takes copies into mailboxes, hands them out until they are acknowledged and never after, and tells their holders.

    A mailbox is at the recipient's home. Reads and acknowledgements that arrive elsewhere are forwarded there; where
    the home is gone, this node adopts the recipient, and the holders deliver here.
    """

    def __init__(self, state: NodeState, carrier: Carrier, hosting: Hosting) -> None:
        self._state = state
        self._carrier = carrier
        self._hosting = hosting
        self.settle_here: Callable[[tuple[tuple[str, str], ...]], list[Write]] = _settle_nothing
        """Told what was acknowledged of the messages that this node holds itself; what is to be written."""
        self.take_over: Callable[[Iterable[Parcel], StoreHandler, float], None] = _take_over_nothing
        """Lets this node hold messages whose holders are gone."""
        self.has_met_all: Callable[[], bool] = _has_met_nobody
        """Whether there can be no members that this node has never heard of."""
        self.has_mail_for: Callable[[str], bool] = _has_no_mail
        """Whether this node holds messages for this recipient."""
        self.reopen_here: Callable[[list[tuple[str, Message]], float], None] = _reopen_nothing
        """Told what was settled here and could not be kept."""
        self.mailboxes: dict[str, Mailbox] = {}
        self._number = 0
        self._expiries = Deadlines[tuple[str, str]](self._is_pending)
        self.telling: AckNotifier = AckNotifier(state, carrier, self._note_told)
        self.waits: Waits = Waits(state, self._read)
        self._waits_elsewhere: set[int] = set()
        self._restored: dict[str, dict[tuple[str, str], None]] = {}
        """By holder, the copies of a restored mailbox that it was not asked about yet."""

    # Taking in

    def is_home(self, recipient: str) -> bool:
        record = self._state.members.records.get(recipient)
        return record is not None and record.home == self._state.id

    def has_room(self, recipient: str, size: int) -> bool:
        """Whether the mailbox takes a message of so many bytes. One that is empty takes any, which else nobody could
        ever deliver."""
        mailbox = self.mailboxes.get(recipient)
        config = self._state.config
        if mailbox is None or not mailbox.pending:
            return True
        return len(mailbox.pending) < config.mailbox_messages_max and mailbox.bytes + size <= config.mailbox_bytes_max

    def take(self, ticket: int, request: Deliver, now: float) -> None:
        """Another node delivers; answered when what was taken is kept."""
        state = self._state
        writes: list[Write] = []
        taken: list[tuple[int, int, str, str]] = []
        repeated: list[tuple[int, int, str, str]] = []
        if request.boot in (0, state.own.boot):
            outcomes = self._take(request.holder, request.parcels, writes, taken, repeated, now)
        else:
            outcomes = [[Outcome.ELSEWHERE] * len(parcel.recipients) for parcel in request.parcels]

        def conclude(failure: str | None, _now: float) -> None:
            for index, place, recipient, message_id in taken if failure is not None else ():
                outcomes[index][place] = Outcome.FULL
                if (mailbox := self.mailboxes.get(recipient)) is not None:
                    mailbox.remove(message_id)
            for index, place, recipient, message_id in repeated:
                mailbox = self.mailboxes.get(recipient)
                if mailbox is None or not mailbox.knows(message_id):
                    outcomes[index][place] = Outcome.FULL  # what it repeated could not be kept
            state.effects.append(Resolve(ticket, DeliverReply(tuple(tuple(places) for places in outcomes))))

        state.store(writes, conclude, now)
        self.waits.wake({recipient: None for _, _, recipient, _ in taken})  # behind the store: an answer may be next

    def take_here(self, parcels: tuple[Parcel, ...], now: float) -> tuple[tuple[Outcome, ...], ...]:
        """Deliver what this node itself holds, which is on disk already."""
        taken: list[tuple[int, int, str, str]] = []
        outcomes = self._take(self._state.id, parcels, [], taken, [], now)
        self.waits.wake({recipient: None for _, _, recipient, _ in taken})
        return tuple(tuple(places) for places in outcomes)

    def _take(
        self,
        holder: str,
        parcels: tuple[Parcel, ...],
        writes: list[Write],
        taken: list[tuple[int, int, str, str]],
        repeated: list[tuple[int, int, str, str]],
        now: float,
    ) -> list[list[Outcome]]:
        state = self._state
        full: dict[str, None] = {}
        outcomes: list[list[Outcome]] = []
        for index, parcel in enumerate(parcels):
            message = parcel.message
            places: list[Outcome] = []
            outcomes.append(places)
            for recipient in parcel.recipients:
                if not self.is_home(recipient):
                    places.append(Outcome.ELSEWHERE)
                    continue
                mailbox = self.mailboxes.get(recipient)
                if mailbox is None:
                    mailbox = self.mailboxes[recipient] = Mailbox()
                present = mailbox.pending.get(message.id)
                if present is not None:
                    if holder not in present.holders:
                        present.holders.append(holder)
                    state.counters.messages_repeated += 1
                    repeated.append((index, len(places), recipient, message.id))
                    places.append(Outcome.TAKEN)
                elif message.id in mailbox.acknowledged:
                    state.counters.messages_repeated += 1
                    self._note_told(recipient, message.id, holder)
                    places.append(Outcome.ACKNOWLEDGED)
                elif recipient in full or not self.has_room(recipient, message.size):
                    full[recipient] = None  # and what comes behind it waits too, for it must not be read before
                    places.append(Outcome.FULL)
                else:
                    seconds = min(parcel.seconds_left, state.config.message_timeout)
                    incoming = self._put(recipient, mailbox, message, holder, now + seconds, now)
                    if state.keeping.is_durable and holder != state.id:
                        kept = _KeptMail(recipient, message, [holder], state.age_at(incoming.deadline))
                        writes.append(Put(Table.INCOMING, incoming.key, msgspec.msgpack.encode(kept)))
                    taken.append((index, len(places), recipient, message.id))
                    places.append(Outcome.TAKEN)
                    state.counters.messages_taken += 1
        return outcomes

    def _put(
        self, recipient: str, mailbox: Mailbox, message: Message, holder: str, deadline: float, now: float
    ) -> Incoming:
        self._number += 1
        incoming = Incoming(self._number, message, [holder], deadline)
        mailbox.put(incoming)
        self._expiries.add(deadline, (recipient, message.id))
        self._state.timers.set_earlier(Timer.EXPIRE_MAIL, max(now, deadline))
        return incoming

    def _is_pending(self, copy: tuple[str, str]) -> bool:
        mailbox = self.mailboxes.get(copy[0])
        return mailbox is not None and copy[1] in mailbox.pending

    def rows(self) -> Iterator[Put]:
        """What a disk would have of the mailboxes: what this node holds itself is among what it sends."""
        for recipient, mailbox in self.mailboxes.items():
            for incoming in mailbox.pending.values():
                holders = [holder for holder in incoming.holders if holder != self._state.id]
                if holders:
                    mail = _KeptMail(recipient, incoming.message, holders, self._state.age_at(incoming.deadline))
                    yield Put(Table.INCOMING, incoming.key, msgspec.msgpack.encode(mail))
            for message_id, holders in mailbox.acknowledged.items():
                ack = _KeptAck(recipient, message_id, holders)
                yield Put(Table.ACKNOWLEDGED, _ack_key(recipient, message_id), msgspec.msgpack.encode(ack))

    def restore(self, kept: list[tuple[Table, bytes, bytes]], now: float) -> None:
        """Take up again what was in the mailboxes before a restart."""
        state = self._state
        for table, key, value in kept:
            if table is Table.INCOMING:
                mail = msgspec.msgpack.decode(value, type=_KeptMail)
                mailbox = self.mailboxes.setdefault(mail.recipient, Mailbox())
                left = min((mail.expires_at - state.age_at(now)) / 1000, state.config.message_timeout)
                self._number = int.from_bytes(key, "big") - 1
                incoming = self._put(mail.recipient, mailbox, mail.message, mail.holders[0], now + max(0.0, left), now)
                incoming.holders = mail.holders
                for holder in mail.holders:
                    self._restored.setdefault(holder, {})[mail.recipient, mail.message.id] = None
            elif table is Table.ACKNOWLEDGED:
                ack = msgspec.msgpack.decode(value, type=_KeptAck)
                self.mailboxes.setdefault(ack.recipient, Mailbox()).acknowledged[ack.message_id] = ack.holders
                for holder in ack.holders:
                    self.telling.remember(holder, ack.recipient, ack.message_id)
        for instance_id in (*self.mailboxes, *self.telling.untold):
            state.timers.set(Timer.FORGET_MAIL, now + state.config.message_timeout, instance_id)

    # Reading

    def fetch(self, ticket: int, request: Fetch, now: float) -> None:
        """Read, here or at the recipient's home."""
        state = self._state
        record = state.members.records.get(request.recipient)
        wait = min(max(request.wait, 0.0), WAIT_MAX)
        if record is None or record.home == state.id:
            self.fetch_here(ticket, ForwardFetch(request.recipient, request.limit, request.after, wait), now)
            return
        until = now + wait
        turn = min(wait, TURN_SECONDS)
        if wait:
            self._waits_elsewhere.add(ticket)

        def take(reply: CallReply, now: float) -> None:
            if wait and ticket not in self._waits_elsewhere:
                return  # it was abandoned
            has_waited = now - until + wait >= turn  # a home that answers at once has no room for more that wait
            if isinstance(reply, FetchReply) and not reply.messages and reply.is_home and has_waited and now < until:
                again(now)
                return
            if isinstance(reply, FetchReply) and not reply.is_home:
                present = state.members.records.get(request.recipient)
                if present is not None and present.home != record.home:
                    left = max(0.0, until - now)
                    self.fetch(ticket, msgspec.structs.replace(request, wait=left), now)
                    return
                reply = FetchReply(())
            self._waits_elsewhere.discard(ticket)
            state.effects.append(Resolve(ticket, reply))

        def again(now: float) -> None:
            if wait and ticket not in self._waits_elsewhere:
                return
            self._waits_elsewhere.discard(ticket)
            self.fetch(ticket, msgspec.structs.replace(request, wait=max(0.0, until - now)), now)

        forwarded = ForwardFetch(request.recipient, request.limit, request.after, turn)
        self._forward(ticket, record, forwarded, take, again, turn, now)

    def fetch_here(self, ticket: int, request: ForwardFetch, now: float) -> None:
        """Read a mailbox of this node's; where nothing is in it, wait."""
        state = self._state
        recipient = request.recipient
        is_home = self.is_home(recipient)
        limit = max(1, min(request.limit, state.config.mailbox_messages_max))
        messages = self._read(recipient, request.after, limit) if is_home else ()
        is_known = recipient in state.members.records
        may_wait = request.wait > 0 and (is_home or not is_known) and not state.is_leaving
        if messages or not may_wait or self.waits.count >= state.config.waits_max:
            state.effects.append(Resolve(ticket, FetchReply(messages, is_home or not is_known)))
            return
        self.waits.begin(ticket, recipient, request.after, limit, now + min(request.wait, WAIT_MAX))

    def _read(self, recipient: str, after: str, limit: int) -> tuple[Message, ...]:
        mailbox = self.mailboxes.get(recipient)
        return () if mailbox is None else mailbox.read(after, limit, self._state.config.fetch_bytes_max)

    def abandon(self, ticket: int) -> None:
        """Whoever read under this ticket waits no longer."""
        self._waits_elsewhere.discard(ticket)
        self.waits.abandon(ticket)

    def end_all_waits(self) -> None:
        """This node leaves: whoever waits is answered."""
        for recipient in self.waits.recipients():
            self.waits.end(recipient, is_home=self.is_home(recipient))

    # Acknowledging

    def acknowledge(self, ticket: int, request: Acknowledge, now: float) -> None:
        """Take an acknowledgement, here or at the recipient's home; also that of a recipient that is not listed now, if
        this node remembers it."""
        state = self._state
        record = state.members.records.get(request.recipient)
        if record is None and not self.keeps_for(request.recipient):
            self._acknowledge_elsewhere(ticket, request, now)
            return
        if record is None or record.home == state.id:
            self.acknowledge_here(ticket, request.recipient, request.message_ids, now)
            return

        def take(reply: CallReply, _now: float) -> None:
            state.effects.append(Resolve(ticket, reply))

        forwarded = ForwardAcknowledge(request.recipient, request.message_ids)
        self._forward(ticket, record, forwarded, take, lambda now: self.acknowledge(ticket, request, now), 0.0, now)

    def keeps_for(self, recipient: str) -> bool:
        """Whether this node is the recipient's home, or was its last one and has its mailbox still."""
        members = self._state.members
        if recipient in members.records:
            return self.is_home(recipient)
        departed = members.departed.get(recipient)
        if departed is not None and departed.home:
            return departed.home == self._state.id and departed.state is State.DEAD
        return recipient in self.mailboxes and self._is_sure

    @property
    def _is_sure(self) -> bool:
        """Whether this node would list a member that there is. One that was started again, or is cut off, has not heard
        of all."""
        return self._state.is_settled and self.has_met_all()

    def _acknowledge_elsewhere(self, ticket: int, request: Acknowledge, now: float) -> None:
        """The recipient is not listed: let its last home take it. Refused if there is one, or may be one, that is not
        reached: it may have the message still, and would hand it out when it is back."""
        state = self._state
        recipient = request.recipient
        departed = state.members.departed.get(recipient)
        home = "" if departed is None else departed.id if departed.is_node else departed.home

        def conclude(reply: CallReply | CallFailed, _now: float) -> None:
            if isinstance(reply, CallFailed) or (isinstance(reply, Refused) and reply.why is Why.NOT_HOME):
                why = f"{recipient!r} is not listed, and its home {home!r} does not answer: try again, or register it"
                reply = Refused(Why.UNREACHABLE, why)
            state.effects.append(Resolve(ticket, reply))

        if departed is None and not self.has_mail_for(recipient) and self._is_sure:
            state.effects.append(Resolve(ticket, Done()))  # nobody has heard of it
        elif departed is not None and departed.state is State.LEFT and not departed.is_node:
            state.effects.append(Resolve(ticket, Done()))  # it was deregistered, and its messages with it
        else:
            forwarded = ForwardAcknowledge(recipient, request.message_ids)
            self._carrier.call(home, forwarded, conclude, state.config.forward_timeout, now)

    def note_acknowledged(self, recipient: str, message_ids: Iterable[str]) -> list[Write]:
        """A former home took these acknowledgements, and the holders know: nothing is handed out here either. What is
        to be written."""
        mailbox = self.mailboxes.setdefault(recipient, Mailbox())
        writes: list[Write] = []
        for message_id in message_ids:
            incoming = mailbox.remove(message_id)
            if incoming is None:
                mailbox.acknowledge_early(message_id, [])
            else:
                mailbox.acknowledge(incoming, [])
                writes.append(Delete(Table.INCOMING, incoming.key))
        return writes

    def acknowledge_here(self, ticket: int, recipient: str, message_ids: tuple[str, ...], now: float) -> None:
        """These are never handed out again. Answered when that is kept, and the holders know or do not answer."""
        state = self._state
        mailbox = self.mailboxes.setdefault(recipient, Mailbox())
        unknown = [id_ for id_ in message_ids if id_ not in mailbox.acknowledged]
        writes: list[Write] = []
        here: list[tuple[str, str]] = []
        removed: list[Incoming] = []
        told: list[tuple[str, list[str]]] = []
        makers: dict[int, str] | None = None
        for message_id in dict.fromkeys(unknown):
            incoming = mailbox.remove(message_id)
            if incoming is not None:
                removed.append(incoming)
                holders = incoming.holders
            else:  # read at a home that is gone, and not delivered here yet: who accepted it still holds it
                makers = state.members.node_by_bits() if makers is None else makers
                maker = makers.get(node_bits_of(message_id) or 0)
                holders = [] if maker is None else [maker]
            others = [holder for holder in holders if holder != state.id]
            if len(others) < len(holders):
                here.append((recipient, message_id))
            if incoming is not None:
                mailbox.acknowledge(incoming, others)
            else:
                mailbox.acknowledge_early(message_id, others)
            told.append((message_id, others))
            if (others or incoming is None) and state.keeping.is_durable:
                if incoming is not None:
                    writes.append(Delete(Table.INCOMING, incoming.key))
                kept = _KeptAck(recipient, message_id, others)
                writes.append(Put(Table.ACKNOWLEDGED, _ack_key(recipient, message_id), msgspec.msgpack.encode(kept)))
        forgotten = mailbox.forget(state.config.remembered_max)
        for message_id, holders in forgotten.items():
            writes.append(Delete(Table.ACKNOWLEDGED, _ack_key(recipient, message_id)))
            for holder in holders:
                self.telling.forget(holder, recipient, message_id)
        writes += self.settle_here(tuple(here))

        def conclude(failure: str | None, now: float) -> None:
            if failure is not None:
                for message_id, _ in told:
                    mailbox.acknowledged.pop(message_id, None)
                mailbox.put_back(removed)
                messages = {incoming.message.id: incoming.message for incoming in removed}
                self.reopen_here([(to, messages[id_]) for to, id_ in here if id_ in messages], now)
            elif not all(message_id in mailbox.acknowledged for message_id in message_ids):
                failure = "an acknowledgement that this one repeats could not be kept"
            if failure is None:
                self.telling.tell(ticket, recipient, told, now)
            else:
                state.effects.append(Resolve(ticket, Refused(Why.STORE_FULL, failure)))

        state.store(writes, conclude, now)

    def _note_told(self, recipient: str, message_id: str, holder: str) -> None:
        """A holder knows that this was acknowledged."""
        mailbox = self.mailboxes.get(recipient)
        holders = mailbox.acknowledged.get(message_id) if mailbox is not None else None
        if holders is not None and holder in holders:
            holders.remove(holder)

    # Elsewhere

    def _forward(
        self,
        ticket: int,
        held: Record,
        request: ForwardFetch | ForwardAcknowledge,
        take: Callable[[CallReply, float], None],
        again: Callable[[float], None],
        wait: float,
        now: float,
    ) -> None:
        """Let the home answer. Where it is gone, or is not reached, adopt the recipient, if it is a hosted one."""
        state = self._state

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if isinstance(reply, Refused) and reply.why is Why.NOT_HOME:
                present = state.members.records.get(held.id)
                if present is None or present.home == held.home:
                    reply = Refused(Why.UNREACHABLE, f"the home of {held.id!r} changes: try again")
                else:
                    again(now)
                    return
            if not isinstance(reply, CallFailed):
                take(reply, now)
            elif held.is_node or state.is_leaving:
                why = f"node {held.home!r}, where {held.id!r} is at home, does not answer"
                state.effects.append(Resolve(ticket, Refused(Why.UNREACHABLE, why)))
            else:
                present = state.members.records.get(held.id)
                if present is not None and present.home == held.home:
                    self._hosting.adopt(held.id, now)
                again(now)

        self._carrier.call(held.home, request, conclude, state.config.forward_timeout + wait, now)

    # What falls due, and what happened

    def handle_expiry(self, now: float) -> None:
        """Take out of the mailboxes what nobody acknowledged in time."""
        writes: list[Write] = []
        for recipient, message_id in self._expiries.pop_due(now):
            mailbox = self.mailboxes.get(recipient)
            incoming = mailbox.pending.get(message_id) if mailbox is not None else None
            if mailbox is not None and incoming is not None and incoming.deadline <= now:
                mailbox.remove(message_id)
                writes.append(Delete(Table.INCOMING, incoming.key))
        if writes:
            self._state.store(writes, _ignore, now)
        if (earliest := self._expiries.earliest) is not None:
            self._state.timers.set(Timer.EXPIRE_MAIL, max(now, earliest))

    def notice(self, event: MemberChange, now: float) -> None:
        """Look at what happened to a recipient, or to a holder."""
        instance_id = event.id
        match event:
            case MemberJoined() | MemberUpdated():
                if instance_id in self.mailboxes and not self.is_home(instance_id):
                    self._give_back(instance_id, now)
                elif instance_id in self.waits and not self.is_home(instance_id):
                    self.waits.end(instance_id, is_home=False)
                if isinstance(event, MemberJoined):
                    self.telling.wake(instance_id, now)
                    self._ask_holder(instance_id, now)
            case MemberLeft(record=record) if not record.is_node:
                self._drop(instance_id, now)
            case MemberDied(record=record) | MemberLeft(record=record):
                if record.is_node or instance_id in self.mailboxes:
                    self._forget_later(instance_id, now)
            case _:
                pass

    def _ask_holder(self, holder: str, now: float) -> None:
        """Learn what was acknowledged at another home while this node was not there, one copy after another. A holder
        that does not answer is asked on when it joins again."""
        state = self._state
        copies = self._restored.get(holder, {})
        while copies and not self._is_pending(next(iter(copies))):
            del copies[next(iter(copies))]
        if not copies:
            self._restored.pop(holder, None)
            return
        recipient, message_id = copy = next(iter(copies))

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if not isinstance(reply, StatusReply) or copy not in copies:
                return  # it does not answer, or was asked twice
            del copies[copy]
            statuses = {receipt.recipient: receipt.status for receipt in reply.receipts}
            if statuses.get(recipient) is CopyStatus.ACKNOWLEDGED and self._is_pending(copy):
                state.store(self.note_acknowledged(recipient, [message_id]), _ignore, now)
            self._ask_holder(holder, now)

        self._carrier.call(holder, ForwardStatus(message_id), conclude, state.config.forward_timeout, now)

    def _forget_later(self, instance_id: str, now: float) -> None:
        self._state.timers.set(Timer.FORGET_MAIL, now + self._state.config.message_timeout, instance_id)

    def forget_gone(self, instance_id: str, now: float) -> None:
        """An instance has been gone, or elsewhere, for as long as a message is kept: whatever it acknowledged here has
        expired everywhere, and so has what it held."""
        if not self.is_home(instance_id):
            self._drop(instance_id, now)
        if not self._state.members.has_node(instance_id):
            self.telling.forget_holder(instance_id)

    def _drop(self, recipient: str, now: float) -> None:
        """A recipient is gone for good, and what it had here with it."""
        mailbox = self.mailboxes.pop(recipient, None)
        self.waits.end(recipient, is_home=self.is_home(recipient))
        if mailbox is None:
            return
        writes: list[Write] = [Delete(Table.INCOMING, incoming.key) for incoming in mailbox.pending.values()]
        writes += [Delete(Table.ACKNOWLEDGED, _ack_key(recipient, id_)) for id_ in mailbox.acknowledged]
        self._state.store(writes, _ignore, now)

    def _give_back(self, recipient: str, now: float) -> None:
        """The recipient has another home. Its messages are delivered there by their holders; of those whose holders
        are gone this node becomes one."""
        state = self._state
        self.waits.end(recipient, is_home=self.is_home(recipient))
        mailbox = self.mailboxes[recipient]
        waiting, mailbox.pending, mailbox.bytes = list(mailbox.pending.values()), {}, 0
        if not mailbox.acknowledged:
            del self.mailboxes[recipient]
        self._forget_later(recipient, now)
        by_holder: dict[str, list[Incoming]] = {}
        for incoming in waiting:
            if state.id in incoming.holders:
                continue  # the outbox has it
            listed = [holder for holder in incoming.holders if state.members.has_node(holder)]
            by_holder.setdefault(listed[0] if listed else "", []).append(incoming)
        for holder, batch in by_holder.items():
            self._return_to(holder, recipient, batch, 0, now)

    def _return_to(self, holder: str, recipient: str, batch: list[Incoming], begin: int, now: float) -> None:
        """Ask a holder whether it still holds these from ``begin`` on: it takes them if it does not know them. If it
        does not answer, hold all of them here, so that none is delivered without those before it."""
        state = self._state
        parcels = tuple(Parcel(one.message, (recipient,), max(0.0, one.deadline - now)) for one in batch)
        end = begin + count_fitting(parcels[begin:], state.config.delivery_bytes_max)

        def forget(returned: list[Incoming], now: float) -> None:
            state.store([Delete(Table.INCOMING, incoming.key) for incoming in returned], _ignore, now)

        def conclude_here(failure: str | None, now: float) -> None:
            if failure is None:
                forget(batch, now)

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if not isinstance(reply, Done):
                self.take_over(parcels, conclude_here, now)
                return
            forget(batch[begin:end], now)
            if end < len(batch):
                self._return_to(holder, recipient, batch, end, now)

        record = state.members.records.get(holder)
        if record is None:
            self.take_over(parcels, conclude_here, now)
        else:
            state.call_node(record, Deposit(parcels[begin:end]), conclude)


def _ack_key(recipient: str, message_id: str) -> bytes:
    return f"{message_id} {recipient}".encode()


def _ignore(_failure: str | None, _now: float) -> None:
    """What a full disk does not forget comes back after a restart, and is then forgotten."""


def _has_met_nobody() -> bool:
    raise NotImplementedError


def _has_no_mail(_recipient: str) -> bool:
    raise NotImplementedError


def _settle_nothing(_copies: tuple[tuple[str, str], ...]) -> list[Write]:
    raise NotImplementedError


def _reopen_nothing(_copies: list[tuple[str, Message]], _now: float) -> None:
    raise NotImplementedError


def _take_over_nothing(_parcels: Iterable[Parcel], _conclude: StoreHandler, _now: float) -> None:
    raise NotImplementedError
