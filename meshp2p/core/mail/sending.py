"""The sender's side of messages: accepted here, held until each recipient acknowledged its copy.

::

    accepted ──> kept ──> in the recipient's line ──> delivered to its home ──> acknowledged
                               ^                            │
                               └── the home changed, or forgot ┘

A holder is a node that has a message in its outbox: the one that accepted it, or one that took it over from another
that left. Only holders deliver, and only they forget when the recipient has acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.deadlines import Deadlines
from meshp2p.core.directory.keeping import StoreHandler
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Delete, Put, Resolve, Table, Write
from meshp2p.core.events import MemberChange, MemberDied, MemberJoined, MemberLeft, MemberRecovered, MemberUpdated
from meshp2p.core.mail.delivery import Delivery
from meshp2p.core.mail.outbox import Outbox, Outgoing, finished_row
from meshp2p.core.mail.peer_queue import count_fitting
from meshp2p.core.mail.receiving import Receiving
from meshp2p.core.mail.uuid7 import MessageIds, node_bits_of
from meshp2p.core.message import PAYLOAD_BYTES_MAX, CopyStatus, Message, Receipt
from meshp2p.core.messages import (
    Acknowledged,
    CallReply,
    Deposit,
    Done,
    ForwardAcknowledge,
    ForwardStatus,
    Parcel,
    Refused,
    SendReply,
    StatusReply,
    Why,
)
from meshp2p.core.record import State, tag_of
from meshp2p.core.requests import AskStatus, SendMessage
from meshp2p.errors import LimitExceeded, MailboxFull, UnknownInstance

__all__ = ["Sending"]

DEPOSITS_MAX = 3
"""How many nodes a leaving one asks, one after another, to take over what it holds. Chosen, not measured."""


class _Kept(msgspec.Struct, array_like=True):
    """What is on disk of a message in the outbox. ``expires_at`` is by the clock of
    :meth:`~meshp2p.core.directory.state.NodeState.age_at`."""

    message: Message
    recipients: tuple[str, ...]
    expires_at: int


class Sending:
    """Accepts messages, and brings each copy to its recipient's home: at once, and again whenever something happens to
    the recipient or the home, until it is acknowledged, expired or undeliverable."""

    def __init__(self, state: NodeState, carrier: Carrier, receiving: Receiving) -> None:
        self._state = state
        self._carrier = carrier
        self._receiving = receiving
        self.outbox: Outbox = Outbox(state.config.receipts_max)
        self.delivery: Delivery = Delivery(
            state, carrier, self.outbox, receiving.take_here, self._take_acknowledged, self._conclude_accept
        )
        self._ids = MessageIds(state.tag, state.random)
        self._number = 0
        self._accepting: dict[str, tuple[int, SendReply]] = {}
        self._expiries = Deadlines[str](self._is_open)
        self._reserved = 0
        self._taken_over: dict[int, dict[str, None]] = {}
        """By the bits of the node that accepted them, the ids of messages that another node accepted."""
        self._returning: dict[str, None] = {}
        self.is_handing_over: bool = False

    # What agents ask

    def accept(self, ticket: int, request: SendMessage, now: float) -> None:
        """Take a message on. Answered when it is kept: on disk, or, where there is none, at its recipients' homes too.

        Raises :class:`UnknownInstance`, :class:`MailboxFull`, :class:`LimitExceeded` and
        :class:`~meshp2p.errors.ConfigError`; then nothing changed.
        """
        state = self._state
        recipients = self._recipients(request)
        size = len(request.payload)
        if size > PAYLOAD_BYTES_MAX:
            raise LimitExceeded(f"payload of {size} bytes: at most {PAYLOAD_BYTES_MAX} are allowed")
        self._check_room(request, len(recipients), size)
        wall_ms = state.wall_ms()
        message = Message(
            self._ids.next(wall_ms),
            request.source,
            request.target,
            request.kind,
            request.name,
            request.payload,
            request.correlation_id,
            wall_ms,
            request.is_error,
        )
        message.check()
        reply = SendReply(message.id, recipients)
        state.counters.messages_accepted += 1
        if not recipients:
            state.effects.append(Resolve(ticket, reply))
            return

        def conclude(outgoing: Outgoing, failure: str | None, now: float) -> None:
            if failure is not None:
                state.counters.messages_accepted -= 1
                state.counters.messages_refused += 1
                state.effects.append(Resolve(ticket, Refused(Why.STORE_FULL, failure)))
                return
            if state.keeping.is_durable:
                state.effects.append(Resolve(ticket, reply))
            else:
                self._accepting[message.id] = (ticket, reply)
                state.timers.set(Timer.ACCEPT, now + state.config.accept_timeout, message.id)
            self._add(outgoing, now)
            self._begin(outgoing, now)

        self._hold(message, recipients, request.timeout, conclude, now)

    def _recipients(self, request: SendMessage) -> tuple[str, ...]:
        records = self._state.members.records
        target = request.target
        if target is None:
            return tuple(sorted((id_ for id_ in records if id_ != request.source), key=str.encode))
        if target not in records:
            self._state.counters.messages_refused += 1
            raise UnknownInstance(f"Target instance {target!r} not found")
        return (target,)

    def _check_room(self, request: SendMessage, copies: int, size: int) -> None:
        state, outbox = self._state, self.outbox
        config = state.config
        why = ""
        if outbox.copies + self._reserved + copies > config.outbox_copies_max:
            why = f"{outbox.copies} copies wait to be acknowledged, at most {config.outbox_copies_max} are allowed"
        elif outbox.bytes + size > config.outbox_bytes_max:
            why = f"{outbox.bytes} bytes wait to be acknowledged, at most {config.outbox_bytes_max} are allowed"
        elif request.target is not None:
            line = outbox.lines.get(request.target)
            is_home = state.members.records[request.target].home == state.id
            if (line is not None and line.is_full) or (is_home and not self._receiving.has_room(request.target, size)):
                why = f"the mailbox of {request.target!r} has no room until messages are acknowledged"
        if why:
            state.counters.messages_refused += 1
            raise MailboxFull(f"message from {request.source!r} refused: {why}")

    def ask_status(self, ticket: int, request: AskStatus, now: float) -> None:
        """Answer from the outbox, or let the node answer that accepted the message: its id tells which."""
        state = self._state
        reply = self.status(request.message_id)
        holder: str | None = None
        if not reply.receipts:
            bits = node_bits_of(request.message_id)
            holder = next((id_ for id_ in state.members.nodes if tag_of(id_) >> 32 == bits and id_ != state.id), None)
        if holder is None:
            state.effects.append(Resolve(ticket, reply))
            return

        def conclude(answer: CallReply | CallFailed, _now: float) -> None:
            if isinstance(answer, CallFailed):
                answer = Refused(Why.UNREACHABLE, f"node {holder!r}, which accepted it, does not answer")
            state.effects.append(Resolve(ticket, answer))

        self._carrier.call(holder, ForwardStatus(request.message_id), conclude, state.config.forward_timeout, now)

    def status(self, message_id: str) -> StatusReply:
        """What became of each copy, and why one that is still here is not delivered, if its home cannot be reached."""
        return StatusReply(tuple(map(self._explain, self.outbox.receipts(message_id))))

    def _explain(self, receipt: Receipt) -> Receipt:
        record = self._state.members.records.get(receipt.recipient)
        if record is None or receipt.status.is_final:
            return receipt
        why = self._carrier.why_unreachable(record.home)
        if not why:
            return receipt
        return msgspec.structs.replace(receipt, reason=f"no path to node {record.home!r}: {why}"[:1024])

    # Holding

    def _hold(
        self,
        message: Message,
        recipients: tuple[str, ...],
        timeout: float | None,
        conclude: Callable[[Outgoing, str | None, float], None],
        now: float,
    ) -> None:
        """Keep a message on disk, where there is one; ``conclude`` is told when it is."""
        state = self._state
        self._number += 1
        longest = state.config.message_timeout
        deadline = now + (longest if timeout is None else min(max(0.0, timeout), longest))
        outgoing = Outgoing(self._number, message, recipients, deadline, message.created_at)
        self._reserved += len(recipients)

        def stored(failure: str | None, now: float) -> None:
            self._reserved -= len(recipients)
            conclude(outgoing, failure, now)

        state.store((self._put(outgoing),) if state.keeping.is_durable else (), stored, now)

    def _begin(self, outgoing: Outgoing, now: float) -> None:
        """It is kept: bring it on its way."""
        state = self._state
        for recipient in outgoing.copies:
            if self.delivery.route(recipient) is None and recipient in self.outbox.lines:
                # it may have departed while this was written: then nobody says so again
                state.timers.set_earlier(Timer.RETURN, now + state.config.return_timeout, recipient)
        self.delivery.flush_all(outgoing.copies, now)
        self._conclude_accept(outgoing)

    def _add(self, outgoing: Outgoing, now: float, settled: list[tuple[str, CopyStatus]] | None = None) -> None:
        self.outbox.add(outgoing, settled or ())
        self._expire_later(outgoing, now)
        bits = node_bits_of(outgoing.message.id)
        if bits is not None and bits != self._state.tag >> 32:
            self._taken_over.setdefault(bits, {})[outgoing.message.id] = None

    def _is_open(self, message_id: str) -> bool:
        outgoing = self.outbox.by_id.get(message_id)
        return outgoing is not None and outgoing.open > 0

    def _expire_later(self, outgoing: Outgoing, now: float) -> None:
        self._expiries.add(outgoing.deadline, outgoing.message.id)
        self._state.timers.set_earlier(Timer.EXPIRE_MESSAGES, max(now, outgoing.deadline))

    def take_over(self, parcels: Iterable[Parcel], conclude: StoreHandler, now: float) -> None:
        """Hold these copies in another's place; those that are held, or were settled here, stay as they are."""
        state = self._state
        wall_ms = state.wall_ms()
        writes: list[Write] = []
        begun: list[tuple[Outgoing, tuple[str, ...]]] = []
        parcels = tuple(parcels)
        for parcel in parcels:
            message = parcel.message
            held = self.outbox.by_id.get(message.id)
            named = dict.fromkeys(parcel.recipients)  # a peer may name one twice
            recipients = tuple(id_ for id_ in named if held is None or id_ not in held.copies)
            if not recipients:
                continue
            deadline = now + min(parcel.seconds_left, state.config.message_timeout)
            if held is None:
                self._number += 1
                held = Outgoing(self._number, message, recipients, deadline, wall_ms)
                self._add(held, now)
            else:
                if not held.open:  # of what was final only the receipts are on disk
                    held.deadline = deadline
                    writes.append(Delete(Table.RECEIPTS, held.key))
                    for other, copy in held.copies.items():
                        writes.append(Put(Table.SETTLED, held.key + other.encode(), copy.status.encode()))
                self.outbox.extend(held, message, recipients, wall_ms)
                self._expire_later(held, now)
            writes.append(self._put(held))
            begun.append((held, recipients))

        def stored(failure: str | None, now: float) -> None:
            for outgoing, recipients in begun:
                if failure is None:
                    self._begin(outgoing, now)
                else:
                    self.outbox.withdraw(outgoing, recipients)
            if failure is None and not all(self._is_known(parcel) for parcel in parcels):
                failure = "what came before could not be kept"
            conclude(failure, now)

        state.store(writes, stored, now)

    def _is_known(self, parcel: Parcel) -> bool:
        """Whether these copies are held, or were; what is known no more was settled long ago."""
        held = self.outbox.by_id.get(parcel.message.id)
        return held is None or all(recipient in held.copies for recipient in parcel.recipients)

    def _put(self, outgoing: Outgoing) -> Put:
        kept = _Kept(outgoing.message, tuple(outgoing.copies), self._state.age_at(outgoing.deadline))
        return Put(Table.OUTGOING, outgoing.key, msgspec.msgpack.encode(kept))

    def rows(self) -> Iterator[Put]:
        """What a disk would have of what is held, and was."""
        for outgoing in self.outbox.by_id.values():
            if not outgoing.open:
                yield finished_row(outgoing, self.outbox.receipts(outgoing.message.id))
                continue
            yield self._put(outgoing)
            for recipient, copy in outgoing.copies.items():
                if copy.status.is_final:
                    yield Put(Table.SETTLED, outgoing.key + recipient.encode(), copy.status.encode())

    def resume(self, old: Sending) -> None:
        self._ids, self._number = old._ids, old._number

    def restore(self, kept: list[tuple[Table, bytes, bytes]], now: float) -> None:
        """Hold again what was held before a restart."""
        state = self._state
        settled: dict[int, list[tuple[str, CopyStatus]]] = {}
        for table, key, value in kept:
            if table is Table.SETTLED:
                number = int.from_bytes(key[:8], "big")
                settled.setdefault(number, []).append((key[8:].decode(), CopyStatus(value.decode())))
        wall_ms = state.wall_ms()
        for table, key, value in kept:
            if table is not Table.OUTGOING:
                continue
            one = msgspec.msgpack.decode(value, type=_Kept)
            number = int.from_bytes(key, "big")
            left = min((one.expires_at - state.age_at(now)) / 1000, state.config.message_timeout)
            outgoing = Outgoing(number, one.message, one.recipients, now + max(0.0, left), wall_ms)
            self._add(outgoing, now, settled.get(number))
            self._number = max(self._number, number)
        for table, key, value in kept:
            if table is Table.RECEIPTS:
                self.outbox.restore_finished(key, value, now)
                self._number = max(self._number, int.from_bytes(key, "big"))
        for message_id in self.outbox.by_id:
            self._ids.skip(message_id)  # so that ids increase over restarts, also where a clock was set back
        for recipient in self.outbox.lines:
            state.timers.set(Timer.RETURN, now + state.config.return_timeout, recipient)

    # What is answered late

    def _conclude_accept(self, outgoing: Outgoing) -> None:
        """Without a disk a message is accepted when it is at the recipients' homes, or when that was tried."""
        accepting = self._accepting.get(outgoing.message.id)
        if accepting is None:
            return
        if all(copy.is_tried or copy.status is not CopyStatus.QUEUED for copy in outgoing.copies.values()):
            self.end_accept(outgoing.message.id)

    def end_accept(self, message_id: str) -> None:
        accepting = self._accepting.pop(message_id, None)
        if accepting is not None:
            self._state.timers.cancel(Timer.ACCEPT, message_id)
            self._state.effects.append(Resolve(*accepting))

    # What becomes of a copy

    def _settle(self, outgoing: Outgoing, recipient: str, status: CopyStatus, reason: str) -> list[Write]:
        counters = self._state.counters
        copy = outgoing.copies.get(recipient)
        if copy is not None and not copy.status.is_final:
            counters.copies_acknowledged += status is CopyStatus.ACKNOWLEDGED
            counters.copies_expired += status is CopyStatus.EXPIRED
            counters.copies_undeliverable += status is CopyStatus.UNDELIVERABLE
        writes = self.outbox.settle(outgoing, recipient, status, reason, self._state.wall_ms())
        if not outgoing.open and self._taken_over:
            self._forget_taken_over(outgoing.message.id)
        return writes

    def _forget_taken_over(self, message_id: str) -> None:
        bits = node_bits_of(message_id) or 0
        if (ids := self._taken_over.get(bits)) is not None:
            ids.pop(message_id, None)
            if not ids:
                del self._taken_over[bits]

    def settle_acknowledged(self, copies: tuple[tuple[str, str], ...]) -> list[Write]:
        """These recipients acknowledged these messages; what is to be written."""
        writes: list[Write] = []
        for recipient, message_id in copies:
            outgoing = self.outbox.by_id.get(message_id)
            if outgoing is not None:
                writes += self._settle(outgoing, recipient, CopyStatus.ACKNOWLEDGED, "")
        return writes

    def reopen(self, copies: list[tuple[str, Message]], now: float) -> None:
        """What :meth:`settle_acknowledged` settled could not be kept: these are held again."""
        for recipient, message in copies:
            outgoing = self.outbox.by_id.get(message.id)
            copy = outgoing.copies.get(recipient) if outgoing is not None else None
            if outgoing is None or copy is None or copy.status is not CopyStatus.ACKNOWLEDGED:
                continue
            self._state.counters.copies_acknowledged -= 1
            self.outbox.reopen(outgoing, message, recipient, self._state.wall_ms())
            self._expire_later(outgoing, now)
            line, record = self.outbox.line(recipient), self._state.members.records.get(recipient)
            if line.home is None and record is not None:
                line.home = (record.home, record.boot)  # which has it

    def take_acknowledged(self, ticket: int, request: Acknowledged, now: float) -> None:
        """A home tells what was acknowledged; answered when that is kept and the recipients' present homes know, and
        refused if it cannot be kept.

        While a recipient moves, the home that took its acknowledgement may be another than the one to which this node
        delivers.
        """
        state = self._state
        copies = request.copies
        held = [(to, self.outbox.by_id[id_].message) for to, id_ in copies if self._is_held(to, id_)]
        moved: dict[str, list[str]] = {}
        for recipient, message in held:
            record = state.members.records.get(recipient)
            if request.by and record is not None and record.home != request.by:
                moved.setdefault(recipient, []).append(message.id)

        def conclude(failure: str | None, now: float) -> None:
            if failure is not None:
                self.reopen(held, now)
            if any(self._is_held(to, id_) for to, id_ in copies):  # or what this repeats could not be kept
                why = failure or "what was told before could not be kept"
                state.effects.append(Resolve(ticket, Refused(Why.STORE_FULL, why)))
            else:
                self._tell_present_homes(ticket, moved, now)

        state.store(self.settle_acknowledged(copies), conclude, now)

    def _tell_present_homes(self, ticket: int, moved: dict[str, list[str]], now: float) -> None:
        """Let nobody hand out what was acknowledged; answer ``ticket`` when those that are reached know."""
        state = self._state
        left = 1

        def conclude(_outcome: object, _now: float) -> None:
            nonlocal left
            left -= 1
            if not left:
                state.effects.append(Resolve(ticket, Done()))

        for recipient, message_ids in moved.items():
            record = state.members.records.get(recipient)
            if record is None:
                continue
            left += 1
            if record.home == state.id:
                state.store(self._receiving.note_acknowledged(recipient, message_ids), conclude, now)
            else:
                told = ForwardAcknowledge(recipient, tuple(message_ids))
                self._carrier.call(record.home, told, conclude, state.config.forward_timeout, now)
        conclude(None, now)

    def _take_acknowledged(self, copies: list[tuple[str, Message]], now: float) -> None:
        """A home says of what was delivered again that it is acknowledged; asked again if that cannot be kept."""

        def conclude(failure: str | None, now: float) -> None:
            if failure is not None:
                self.reopen(copies, now)
                for recipient in dict.fromkeys(recipient for recipient, _ in copies):
                    self.delivery.try_again(recipient, now)

        writes = self.settle_acknowledged(tuple((recipient, message.id) for recipient, message in copies))
        self._state.store(writes, conclude, now)

    def _is_held(self, recipient: str, message_id: str) -> bool:
        """Whether this copy is in the outbox and not final."""
        outgoing = self.outbox.by_id.get(message_id)
        copy = outgoing.copies.get(recipient) if outgoing is not None else None
        return copy is not None and not copy.status.is_final

    def _give_up(self, recipient: str, reason: str, now: float) -> None:
        """A recipient is gone for good."""
        line = self.outbox.lines.get(recipient)
        if line is None:
            return
        writes: list[Write] = []
        for outgoing in [*line.delivered.values(), *line.waiting.values()]:
            writes += self._settle(outgoing, recipient, CopyStatus.UNDELIVERABLE, reason)
            self._conclude_accept(outgoing)
        self._state.store(writes, _ignore, now)

    def handle_expiry(self, now: float) -> None:
        """Settle what nobody acknowledged in time."""
        writes: list[Write] = []
        for message_id in self._expiries.pop_due(now):
            outgoing = self.outbox.by_id.get(message_id)
            if outgoing is None or outgoing.deadline > now:
                continue
            for recipient, copy in list(outgoing.copies.items()):
                reason = copy.reason or "it was not acknowledged in time"
                writes += self._settle(outgoing, recipient, CopyStatus.EXPIRED, reason)
            self._conclude_accept(outgoing)
        if writes:
            self._state.store(writes, _ignore, now)
        if (earliest := self._expiries.earliest) is not None:
            self._state.timers.set(Timer.EXPIRE_MESSAGES, max(now, earliest))

    def handle_no_return(self, instance_id: str, now: float) -> None:
        """A node left, or was not seen since a restart of this one, for ``return_timeout``."""
        departed = self._state.members.departed.get(instance_id)
        if departed is not None and departed.state is State.LEFT:
            self._give_up(instance_id, "it left the mesh, and did not come back", now)

    # What happened

    def notice(self, event: MemberChange, now: float) -> None:
        """A recipient, or a home, came, went or changed: what waits for it flows at once."""
        state = self._state
        instance_id = event.id
        match event:
            case MemberJoined() | MemberUpdated() | MemberRecovered():
                line = self.outbox.lines.get(instance_id)
                before = line.home if line is not None else None
                home = self.delivery.route(instance_id)
                if home is not None and line is not None and line.home != before:
                    self.delivery.wake(home, now)
                lane = self.delivery.lanes.get(instance_id)
                if lane is not None and not isinstance(event, MemberUpdated):
                    lane.wake(now)
                elif lane is not None:
                    lane.flush(now)
                if isinstance(event, MemberJoined) and event.record.is_node:
                    self.delivery.retry_failed(now)  # whoever joined may be the way to others
                self._give_back(instance_id, now)
            case MemberLeft(record=record) if not record.is_node:
                self.delivery.route(instance_id)
                self._give_up(instance_id, "it was deregistered", now)
            case MemberLeft() | MemberDied():
                self.delivery.route(instance_id)
                reason = "it left the mesh" if isinstance(event, MemberLeft) else "it is held to be dead"
                self._note_waiting(instance_id, f"{reason}: kept until it returns")
                if isinstance(event, MemberLeft) and instance_id in self.outbox.lines:
                    state.timers.set(Timer.RETURN, now + state.config.return_timeout, instance_id)
            case _:
                pass

    def _give_back(self, maker: str, now: float) -> None:
        """A node is there: let it hold again what it accepted and this node took over. Of two holders one might not
        hear of an acknowledgement, and deliver the message to another home."""
        bits = tag_of(maker) >> 32
        held = [self.outbox.by_id[id_] for id_ in self._taken_over.get(bits, ()) if self._is_open(id_)]
        if not held or maker in self._returning or not self._state.members.has_node(maker):
            return
        self._returning[maker] = None
        held.sort(key=lambda outgoing: outgoing.number)
        parcels = [
            Parcel(
                outgoing.message,
                tuple(recipient for recipient, copy in outgoing.copies.items() if not copy.status.is_final),
                max(0.0, outgoing.deadline - now),
            )
            for outgoing in held
        ]

        def conclude(is_taken: bool, now: float) -> None:
            del self._returning[maker]
            writes: list[Write] = []
            for outgoing, parcel in zip(held, parcels, strict=True) if is_taken else ():
                is_open = {to for to, copy in outgoing.copies.items() if not copy.status.is_final}
                if is_open and is_open <= set(parcel.recipients):  # else it was settled, or extended, meanwhile
                    writes.append(Delete(Table.OUTGOING, outgoing.key))
                    writes += [Delete(Table.SETTLED, outgoing.key + to.encode()) for to in outgoing.copies]
                    self.outbox.withdraw(outgoing, list(outgoing.copies))
                    self._forget_taken_over(outgoing.message.id)
            if writes:
                self._state.store(writes, _ignore, now)

        self._deposit(parcels, [maker], 0, conclude, now)

    def _note_waiting(self, recipient: str, reason: str) -> None:
        line = self.outbox.lines.get(recipient)
        if line is not None:
            for outgoing in line.waiting.values():
                outgoing.copies[recipient].reason = reason

    def forget_gone(self, instance_id: str) -> None:
        """An instance has been gone for as long as a message is kept."""
        if not self._state.members.has_node(instance_id):
            self.delivery.forget_home(instance_id)

    # Leaving

    def hand_over(self, now: float) -> None:
        """This node leaves: let another hold what the recipients' homes do not have, or what only this one has.

        With what waits goes what was delivered before it and is not acknowledged, so that both are in order wherever
        the recipient is at home by then.
        """
        parcels = self._to_hand_over(now)
        if not parcels:
            return
        self.is_handing_over = True

        def conclude(_is_taken: bool, _now: float) -> None:
            self.is_handing_over = False

        self._deposit(parcels, self._state.choose_nodes(DEPOSITS_MAX), 0, conclude, now)

    def _to_hand_over(self, now: float) -> list[Parcel]:
        parcels: dict[int, tuple[Outgoing, list[str]]] = {}
        for recipient, line in self.outbox.lines.items():
            if recipient == self._state.id:
                continue
            is_here = line.home is not None and line.home[0] == self._state.id
            if not is_here and not line.waiting:
                continue
            for number, outgoing in [*line.delivered.items(), *line.waiting.items()]:
                parcels.setdefault(number, (outgoing, []))[1].append(recipient)
        return [
            Parcel(outgoing.message, tuple(recipients), max(0.0, outgoing.deadline - now))
            for _, (outgoing, recipients) in sorted(parcels.items())
        ]

    def _deposit(
        self,
        parcels: list[Parcel],
        nodes: list[str],
        begin: int,
        conclude: Callable[[bool, float], None],
        now: float,
    ) -> None:
        """Hand over the parcels from ``begin`` on to the first of ``nodes``; ``conclude`` is told whether one took all.

        One that refuses, or does not answer, may hold the first ones; the next one is given all, so that none holds a
        message without those before it.
        """
        state = self._state
        record = state.members.records.get(nodes[0]) if nodes else None
        if begin == len(parcels) or record is None:
            conclude(begin == len(parcels), now)
            return
        end = begin + count_fitting(parcels[begin:], state.config.delivery_bytes_max)

        def take(reply: CallReply | CallFailed, now: float) -> None:
            if isinstance(reply, Done):
                self._deposit(parcels, nodes, end, conclude, now)
            else:
                self._deposit(parcels, nodes[1:], 0, conclude, now)

        state.call_node(record, Deposit(tuple(parcels[begin:end])), take, state.config.forward_timeout)


def _ignore(_failure: str | None, _now: float) -> None:
    """What a full disk does not forget is delivered again after a restart, and known to be acknowledged there."""
