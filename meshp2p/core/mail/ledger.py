"""What one request changes: applied at once, written, and reverted as a whole if it could not be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from meshp2p.core.directory.keeping import StoreHandler
from meshp2p.core.directory.state import NodeState
from meshp2p.core.effects import Write
from meshp2p.core.mail.ack_notifier import AckNotifier
from meshp2p.core.mail.mailbox import Mailbox, MailboxEntry
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.message import Message

__all__ = ["Change", "Ledger"]


class Change(msgspec.Struct):
    """What a request changes in the outbox and the mailboxes, and what is to be written for it.

    :meth:`Ledger.commit` applies what is planned: ``settled``, ``acknowledged`` and ``forgotten``. What is ``taken`` or
    ``held`` is there already, since later parts of the same request depend on it.
    """

    writes: list[Write] = []
    held: list[tuple[Outgoing, tuple[str, ...]]] = []
    """Messages that were added to the outbox, for these recipients."""
    settled: Sequence[tuple[str, Message]] = ()
    """Copies in the outbox that become acknowledged, by recipient."""
    taken: list[tuple[str, str]] = []
    """Copies that were put into mailboxes: recipient and message id."""
    recipient: str = ""
    """In whose mailbox the following happens."""
    acknowledged: dict[str, list[str]] = {}
    """Message ids that become acknowledged, and the holders that do not know yet."""
    forgotten: dict[str, list[str]] = {}
    """Acknowledged ids that are not remembered any more, and the holders that do not know."""


@dataclass(eq=False, repr=False)
class Ledger:
    """Applies changes and writes them; the only place that reverts one."""

    _state: NodeState
    _outbox: Outbox
    _mailboxes: Mailboxes
    _notifier: AckNotifier

    def commit(self, change: Change, then: StoreHandler, now: float) -> None:
        """Apply a change and write it. ``then(None or why it failed, now)`` runs once: when it is written, or when it
        could not be written and is reverted."""
        mailbox = self._mailboxes.mailbox(change.recipient) if change.recipient else None
        removed = self._acknowledge(mailbox, change) if mailbox is not None else []
        if change.settled:
            change.writes += self._outbox.acknowledge(change.settled)

        def conclude(failure: str | None, now: float) -> None:
            if failure is not None:
                self._revert(change, mailbox, removed, now)
            then(failure, now)

        self._state.store(change.writes, conclude, now)

    def _acknowledge(self, mailbox: Mailbox, change: Change) -> list[MailboxEntry]:
        removed: list[MailboxEntry] = []
        for message_id, untold in change.acknowledged.items():
            if (incoming := mailbox.acknowledge(message_id, untold)) is not None:
                removed.append(incoming)
        for message_id, holders in change.forgotten.items():
            mailbox.forget(message_id)
            for holder in holders:
                self._notifier.forget(holder, change.recipient, message_id)
        return removed

    def _revert(self, change: Change, mailbox: Mailbox | None, removed: list[MailboxEntry], now: float) -> None:
        for outgoing, recipients in change.held:
            self._outbox.withdraw(outgoing, recipients)
        for recipient, message_id in change.taken:
            self._mailboxes.remove(recipient, message_id)
        if mailbox is not None:
            mailbox.revert(change.acknowledged, removed, change.forgotten)
            for message_id, holders in change.forgotten.items():
                for holder in holders:
                    self._notifier.remember(holder, change.recipient, message_id)
        self._outbox.reopen(change.settled, now)
