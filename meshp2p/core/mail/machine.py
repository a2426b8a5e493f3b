"""Messages between agents: the router of the parts of :mod:`meshp2p.core.mail`.

::

    sender's node                                                     recipient's home
    agent ──> Accepting ──> Outbox ──> Delivery ──(Deliver)──> Intake ──> Mailboxes ──> MailboxReader ──> agent
                               ^
                         Acknowledging <──(Acknowledged)── AckNotifier <────────── Acknowledging <── agent

    Outbox, Mailboxes    what this node holds for senders, and for recipients
    Ledger               applies what a request changes, writes it, and reverts it if it could not be written
    CopyFinalizer        copies that expire or are given up, and answers that wait for the recipients' homes
    HomeCalls            reads and acknowledgements that arrive at another node than the recipient's home
    Handover             messages that change their holder: at leaving, coming back, and moving
    Receipts             what became of a message

Nodes call each other through :class:`~meshp2p.core.directory.relay_selector.RelaySelector`, which goes through a relay
if there is no direct path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from meshp2p.core.calls import Acknowledged, Deliver, Deposit, ForwardAcknowledge, ForwardFetch, ForwardStatus, Passed
from meshp2p.core.directory.adoption import Acquaintance, Adoption
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Table
from meshp2p.core.events import (
    InstanceChange,
    InstanceDied,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceUpdated,
)
from meshp2p.core.mail.accepting import Accepting
from meshp2p.core.mail.ack_notifier import AckNotifier
from meshp2p.core.mail.acknowledging import Acknowledging
from meshp2p.core.mail.delivery import Delivery
from meshp2p.core.mail.handover import Handover
from meshp2p.core.mail.home_calls import HomeCalls
from meshp2p.core.mail.intake import Intake
from meshp2p.core.mail.ledger import Ledger
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.reading import MailboxReader
from meshp2p.core.mail.receipts import Receipts
from meshp2p.core.mail.settling import CopyFinalizer
from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.core.requests import Acknowledge, AskStatus, Fetch, MailQuestion, SendMessage
from meshp2p.errors import InternalError

__all__ = ["Mail", "MailRequest"]

MailRequest = Passed | Deposit
"""Calls that concern messages."""


class Mail:
    """Passes each request, call, timer and change of a member to the parts it concerns. The parts are built from
    the bottom up: each gets those that it uses.

    ``kept`` is what the disk has, in the order of keys; None if there is no disk.
    """

    def __init__(
        self,
        state: NodeState,
        relay_selector: RelaySelector,
        adoption: Adoption,
        acquaintance: Acquaintance,
        kept: Sequence[tuple[Table, bytes, bytes]] | None,
    ) -> None:
        self._state = state
        self._kept = list(kept or ())
        self.outbox: Outbox = Outbox(state)
        self.mailboxes: Mailboxes = Mailboxes(state)
        self.notifier: AckNotifier = AckNotifier(state, relay_selector, self.mailboxes)
        home_calls = HomeCalls(state, relay_selector, adoption)
        self.receipts: Receipts = Receipts(state, relay_selector, self.outbox, home_calls)
        self.reading: MailboxReader = MailboxReader(state, self.mailboxes, home_calls)
        self._settling = CopyFinalizer(state, self.outbox)
        ledger = Ledger(state, self.outbox, self.mailboxes, self.notifier)
        self._acknowledging = Acknowledging(
            state, relay_selector, acquaintance, self.outbox, self.mailboxes, self.notifier, ledger, home_calls
        )
        self._intake = Intake(state, self.mailboxes, self.reading, ledger)
        self.delivery: Delivery = Delivery(state, relay_selector, self.outbox, self._settling, ledger, self._intake)
        self.handover: Handover = Handover(state, self.outbox, self.mailboxes, ledger, self.delivery)
        ids = MessageIds(state.tag, state.random)
        self.accepting: Accepting = Accepting(state, ids, self.outbox, self.mailboxes, self._settling, self.delivery)

    # Its life

    def start(self, now: float) -> None:
        """Restore what was stored."""
        kept, self._kept = self._kept, []
        self._acknowledging.restore(kept, now)
        self.outbox.restore(kept, now)
        for message_id in self.outbox.by_id:
            self.accepting.ids.skip(message_id)  # so that ids increase over restarts, also if a clock was set back
        for recipient in self.outbox.lines:
            self._state.timers.set(Timer.RETURN, now + self._state.config.return_timeout, recipient)

    def rows(self) -> list[tuple[Table, bytes, bytes]]:
        """Return the rows that a disk would have of the messages here, in the order of keys."""
        puts = (*self.mailboxes.rows(), *self.outbox.rows())
        return sorted((put.table, put.key, put.value) for put in puts)

    def resume(self, old: Mail) -> None:
        """Continue the ids and numbers of the earlier machine, so that none is used twice."""
        self.accepting.ids = old.accepting.ids
        self.outbox.resume(old.outbox)

    def leave(self, now: float) -> None:
        """Answer waiting reads, tell holders of acknowledgements, and let another node hold what only this one has."""
        self.reading.end_all_waits()
        for holder in list(self.notifier.untold):
            self.notifier.wake(holder, now)
        self.handover.leave(now)

    # What happened

    def request(self, ticket: int, request: MailQuestion, now: float) -> None:
        """Process a request of an agent. Raises an error of :meth:`Accepting.accept`; then nothing changed."""
        match request:
            case SendMessage():
                for error in self.accepting.accept({ticket: request}, now).values():
                    raise error
            case Fetch():
                self.reading.fetch(ticket, request, now)
            case Acknowledge():
                self._acknowledging.acknowledge(ticket, request, now)
            case AskStatus():
                self.receipts.ask(ticket, request, now)
            case _:
                assert_never(request)

    def receive_call(self, ticket: int, request: MailRequest, now: float) -> None:
        """Process a call of another node. The reply is resolved under ``ticket``."""
        match request:
            case Deposit():
                self.handover.receive(ticket, request, now)
            case Deliver():
                self._intake.receive(ticket, request, now)
            case Acknowledged():
                self._acknowledging.receive_acknowledged(ticket, request, now)
            case ForwardFetch():
                self.reading.fetch_here(ticket, request, now)
            case ForwardAcknowledge():
                self._acknowledging.receive_forwarded(ticket, request, now)
            case ForwardStatus(message_id=message_id):
                self._state.resolve(ticket, self.receipts.status(message_id))
            case _:
                assert_never(request)

    def handle_timer(self, timer: Timer, subject: str, now: float) -> None:
        match timer:
            case Timer.DELIVER:
                self.delivery.flush(subject, now)
            case Timer.UNBLOCK:
                self.delivery.unblock(subject, now)
            case Timer.ACCEPT:
                self._settling.answer(subject)
            case Timer.RETURN:
                self._settling.handle_no_return(subject, now)
            case Timer.EXPIRE_MESSAGES:
                self._settling.handle_expiry(now)
            case Timer.TELL:
                self.notifier.queues.flush(subject, now)
            case Timer.EXPIRE_MAIL:
                self.mailboxes.handle_expiry(now)
            case Timer.WAIT:
                self.reading.handle_wait_over(subject)
            case Timer.CONFIRM:
                self.notifier.end_confirmation(int(subject))
            case Timer.FORGET_MAIL:
                self._forget_gone(subject, now)
            case Timer.RETURN_MAIL:
                self._return_mail(subject, now)
            case _:
                raise InternalError(f"no part handles timer {timer!r}")

    def _forget_gone(self, instance_id: str, now: float) -> None:
        """Forget an instance that has been gone, or elsewhere, for as long as a message is kept: what it acknowledged
        here, and what it held, has expired everywhere."""
        if not self.mailboxes.is_home(instance_id):
            self._drop(instance_id, now)
        if not self._state.members.has_node(instance_id):
            self.notifier.forget_holder(instance_id)
            self.delivery.forget_home(instance_id)

    def _return_mail(self, recipient: str, now: float) -> None:
        """Give up the mailbox of a recipient that has another home."""
        if self.mailboxes.is_elsewhere(recipient) and recipient in self.mailboxes.by_recipient:
            self._acknowledging.pass_on(recipient, now)
            self.handover.return_mail(recipient, now)

    def _drop(self, recipient: str, now: float) -> None:
        """Drop the mailbox of a recipient that is gone for good."""
        self.reading.end_waits(recipient)
        self.mailboxes.drop(recipient, now)

    def notice(self, event: InstanceChange, now: float) -> None:
        """Process a change of a recipient, a home or a holder: first for the mailboxes, then for the outbox."""
        instance_id = event.id
        match event:
            case InstanceJoined() | InstanceUpdated():
                if not self.mailboxes.is_home(instance_id):
                    self.reading.end_waits(instance_id)
                    self._return_mail(instance_id, now)
                if isinstance(event, InstanceJoined):
                    self.notifier.wake(instance_id, now)
                    self._acknowledging.ask_holder(instance_id, now)
            case InstanceLeft(record=record) if not record.is_node:
                self._drop(instance_id, now)
            case InstanceDied(record=record) | InstanceLeft(record=record):
                if record.is_node or instance_id in self.mailboxes.by_recipient:
                    self.mailboxes.forget_later(instance_id, now)
                self._acknowledging.note_away(instance_id)
            case _:
                pass
        self.delivery.notice(event, now)
        match event:
            case InstanceJoined() | InstanceUpdated() | InstanceRecovered():
                self.handover.give_back(instance_id, now)
            case InstanceLeft(record=record) if not record.is_node:
                self._settling.give_up(instance_id, "it was deregistered", now)
            case _:
                pass
