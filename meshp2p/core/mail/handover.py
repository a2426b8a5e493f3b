"""Messages that change their holder.

::

    a node leaves ──────────────────────> another node holds what only the leaving one has
    the node that accepted it is back ──> it holds again what others took over from it
    a recipient has another home ───────> the holders of its mail are asked whether they still hold it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from meshp2p.core.calls import CallReply, Deposit, Done, Parcel, Refused, Why
from meshp2p.core.directory.keeping import StoreHandler, ignore_failure
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Delete, Table, Write
from meshp2p.core.mail.delivery import Delivery
from meshp2p.core.mail.ledger import Change, Ledger
from meshp2p.core.mail.mailbox import MailboxEntry
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.mail.peer_queue import count_fitting
from meshp2p.core.record import tag_of

__all__ = ["Handover"]

DEPOSITS_MAX = 3
"""How many nodes a leaving node asks, one after another, to take over its messages. Chosen, not measured."""


class Handover(msgspec.Struct, eq=False):
    """Takes messages over from other nodes, and lets others take over from this one."""

    _state: NodeState
    _outbox: Outbox
    _mailboxes: Mailboxes
    _ledger: Ledger
    _delivery: Delivery
    _returning: dict[str, None] = {}
    is_handing_over: bool = False
    """Whether this node leaves, and another is asked to take over."""

    # From others

    def receive(self, ticket: int, request: Deposit, now: float) -> None:
        """Process a deposit of another node; answered when it is stored."""
        state = self._state
        if state.is_leaving:
            state.resolve(ticket, Refused(Why.UNREACHABLE, f"node {state.id!r} leaves"))
            return

        def conclude(failure: str | None, _now: float) -> None:
            state.resolve(ticket, Done() if failure is None else Refused(Why.STORE_FULL, failure))

        self._take_over(request.parcels, conclude, now)

    def _take_over(self, parcels: Sequence[Parcel], conclude: StoreHandler, now: float) -> None:
        """Hold these copies in place of another node. Copies that are held or final here stay as they are."""
        outbox = self._outbox
        wall_ms = self._state.wall_ms()
        change = Change()
        for parcel in parcels:
            message = parcel.message
            held = outbox.by_id.get(message.id)
            named = dict.fromkeys(parcel.recipients)  # a peer may name one twice
            recipients = tuple(id_ for id_ in named if held is None or id_ not in held.copies)
            if not recipients:
                continue
            if held is None:
                held = outbox.create(message, recipients, parcel.seconds_left, wall_ms, now)
                outbox.take_over(held, now)
            else:
                change.writes += outbox.extend(held, message, recipients, parcel.seconds_left, now)
            change.writes.append(outbox.row(held))
            change.held.append((held, recipients))

        def stored(failure: str | None, now: float) -> None:
            if failure is None:
                self._delivery.begin([outgoing for outgoing, _ in change.held], now)
            if failure is None and not all(map(self._is_known, parcels)):
                failure = "what came before could not be kept"
            conclude(failure, now)

        self._ledger.commit(change, stored, now)

    def _is_known(self, parcel: Parcel) -> bool:
        """Return whether these copies are held or final here. An unknown message was settled long ago."""
        held = self._outbox.by_id.get(parcel.message.id)
        return held is None or all(recipient in held.copies for recipient in parcel.recipients)

    # To the node that accepted them

    def give_back(self, maker: str, now: float) -> None:
        """Give a node that is back the messages that it accepted and this node took over. With two holders, one might
        miss an acknowledgement and deliver the message to another home."""
        held = self._outbox.held_for(tag_of(maker) >> 32)
        if not held or maker in self._returning or not self._state.members.has_node(maker):
            return
        self._returning[maker] = None
        parcels = [outgoing.parcel(outgoing.pending, now) for outgoing in held]

        def conclude(is_taken: bool, now: float) -> None:
            del self._returning[maker]
            writes: list[Write] = []
            for outgoing, parcel in zip(held, parcels, strict=True) if is_taken else ():
                pending = set(outgoing.pending)
                if pending and pending <= set(parcel.recipients):  # else it was settled, or extended, meanwhile
                    writes.append(Delete(Table.OUTGOING, outgoing.key))
                    writes += [Delete(Table.SETTLED, outgoing.key + to.encode()) for to in outgoing.copies]
                    self._outbox.withdraw(outgoing, list(outgoing.copies))
            if writes:
                self._state.store(writes, ignore_failure, now)

        self._deposit(parcels, [maker], 0, conclude, now)

    # To the holders of mail

    def return_mail(self, recipient: str, now: float) -> None:
        """Give up the mail of a recipient that has another home. Its holders deliver it there; this node becomes the
        holder of messages whose holders are gone."""
        state = self._state
        by_holder: dict[str, list[MailboxEntry]] = {}
        for incoming in self._mailboxes.give_up(recipient, now):
            if state.id in incoming.holders:
                continue  # the outbox has it
            listed = [holder for holder in incoming.holders if state.members.has_node(holder)]
            by_holder.setdefault(listed[0] if listed else "", []).append(incoming)
        for holder, batch in by_holder.items():
            self._return_to(holder, recipient, batch, now)

    def _return_to(self, holder: str, recipient: str, batch: list[MailboxEntry], now: float) -> None:
        """Give these back to a holder, which takes those that it does not know. If it does not answer, or is not there,
        hold all of them here, so that none is delivered without those before it. If that cannot be written, keep them
        in the mailbox and try again."""
        mailboxes = self._mailboxes
        parcels = [Parcel(one.message, (recipient,), max(0.0, one.deadline - now)) for one in batch]

        def forget(failure: str | None, now: float) -> None:
            kept = [] if failure is None else [one for one in batch if not mailboxes.knows(recipient, one.message.id)]
            deletes = [Delete(Table.INCOMING, one.key) for one in batch if one not in kept]
            if deletes:
                self._state.store(deletes, ignore_failure, now)
            if kept:
                mailboxes.put_back(recipient, kept, now)
                self._state.timers.set(Timer.RETURN_MAIL, now + self._state.config.delivery_interval_max, recipient)

        def conclude(is_taken: bool, now: float) -> None:
            if is_taken:
                forget(None, now)
            else:
                self._take_over(parcels, forget, now)

        self._deposit(parcels, [holder], 0, conclude, now)

    # Leaving

    def leave(self, now: float) -> None:
        """Let another node hold what the recipients' homes do not have, or what only this one has, because it leaves.

        With what waits goes what was delivered before it and is not acknowledged, so that both are in order wherever
        the recipient is at home by then. So does what was accepted and is still being written to disk.
        """
        self.is_handing_over = True
        if self._outbox.reserved:
            self._state.store((), lambda _failure, now: self._hand_over(now), now)
        else:
            self._hand_over(now)

    def _hand_over(self, now: float) -> None:
        parcels = self._parcels(now)

        def conclude(_is_taken: bool, _now: float) -> None:
            self.is_handing_over = False

        # the process ends after leave_timeout: by then each of these nodes must have been asked
        timeout = self._state.config.leave_timeout / DEPOSITS_MAX
        self._deposit(parcels, self._state.choose_nodes(DEPOSITS_MAX), 0, conclude, now, timeout)

    def _parcels(self, now: float) -> list[Parcel]:
        chosen: dict[int, tuple[Outgoing, list[str]]] = {}
        for recipient, line in self._outbox.lines.items():
            if recipient == self._state.id:
                continue
            is_here = line.home is not None and line.home[0] == self._state.id
            if not is_here and not line.waiting:
                continue
            for number, outgoing in [*line.delivered.items(), *line.waiting.items()]:
                chosen.setdefault(number, (outgoing, []))[1].append(recipient)
        return [outgoing.parcel(recipients, now) for _, (outgoing, recipients) in sorted(chosen.items())]

    def _deposit(
        self,
        parcels: list[Parcel],
        nodes: list[str],
        begin: int,
        conclude: Callable[[bool, float], None],
        now: float,
        timeout: float | None = None,
    ) -> None:
        """Hand over the parcels from ``begin`` on to the first of ``nodes``; ``conclude`` gets whether one took all.

        One that refuses, or does not answer, may hold the first ones; the next one is given all, so that none holds a
        message without those before it. Each call is given ``timeout`` seconds, ``forward_timeout`` if that is absent
        or 0.
        """
        state = self._state
        record = state.members.records.get(nodes[0]) if nodes else None
        if begin == len(parcels) or record is None:
            conclude(begin == len(parcels), now)
            return
        end = begin + count_fitting(parcels[begin:], state.config.delivery_bytes_max)

        def on_reply(reply: CallReply | CallFailed, now: float) -> None:
            if isinstance(reply, Done):
                self._deposit(parcels, nodes, end, conclude, now, timeout)
            else:
                self._deposit(parcels, nodes[1:], 0, conclude, now, timeout)

        state.call_node(record, Deposit(tuple(parcels[begin:end])), on_reply, timeout or state.config.forward_timeout)
