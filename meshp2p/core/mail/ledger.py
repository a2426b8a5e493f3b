"""The changes of one request: applied at once, written, and reverted as a whole if the write fails."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from meshp2p.core.directory.keeping import StoreHandler
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Write
from meshp2p.core.mail.ack_notifier import AckNotifier
from meshp2p.core.mail.mailbox import MailboxEntry
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing

__all__ = ["Change", "Ledger", "MailboxChange"]


class MailboxChange(msgspec.Struct):
    """The changes of a request in one mailbox. :meth:`Ledger.commit` fills ``removed``."""

    acknowledged: dict[str, tuple[str, ...]] = {}
    """Message ids that become acknowledged, and the holders that do not know yet."""
    forgotten: dict[str, tuple[str, ...]] = {}
    """Acknowledged ids that are no longer remembered, and the holders that do not know."""
    is_told: bool = False
    """Whether another home took these acknowledgements. If that cannot be written, these messages are withheld all the
    same."""
    removed: list[MailboxEntry] = []


class Change(msgspec.Struct):
    """The changes of a request in the outbox and the mailboxes, and what must be written for them.

    :meth:`Ledger.commit` applies the planned changes: ``settled`` and ``mailboxes``. The others are applied already,
    since later parts of the same request depend on them.
    """

    writes: list[Write] = []
    held: list[tuple[Outgoing, tuple[str, ...]]] = []
    """Messages that were added to the outbox, for these recipients."""
    settled: Sequence[tuple[str, Outgoing]] = ()
    """Copies in the outbox that become acknowledged, by recipient."""
    mailboxes: dict[str, MailboxChange] = {}
    """The ids that become acknowledged, by recipient."""
    taken: list[tuple[str, MailboxEntry]] = []
    """Messages that were put into mailboxes, by recipient."""


class Ledger(msgspec.Struct, eq=False):
    """Applies changes and writes them. It is the only place that reverts one."""

    _state: NodeState
    _outbox: Outbox
    _mailboxes: Mailboxes
    _notifier: AckNotifier
    _acknowledging: set[tuple[str, str]] = set()

    def is_acknowledging(self, recipient: str, message_id: str) -> bool:
        """Return whether the acknowledgement of this copy is being written, and may still be reverted."""
        return (recipient, message_id) in self._acknowledging

    def commit(self, change: Change, then: StoreHandler, now: float) -> None:
        """Apply a change and write it.

        ``then(None or why it failed, now)`` runs once: when it is written, or when the write failed and it is reverted.
        """
        for recipient, part in change.mailboxes.items():
            self._acknowledge(recipient, part)
        copies = {(recipient, id_) for recipient, part in change.mailboxes.items() for id_ in part.acknowledged}
        self._acknowledging |= copies
        messages = [outgoing.message for _, outgoing in change.settled]
        writes, receipts = self._outbox.acknowledge(change.settled)

        def conclude(failure: str | None, now: float) -> None:
            self._acknowledging -= copies
            if failure is None:
                self._note_stored(change)
            else:
                self._revert(change, now)
                self._outbox.reopen(change.settled, messages, receipts, now)
            for recipient, part in change.mailboxes.items():
                if self._mailboxes.is_elsewhere(recipient) and not part.is_told:  # it moved during the write
                    self._state.timers.set(Timer.RETURN_MAIL, now, recipient)
            then(failure, now)

        self._state.store([*change.writes, *writes], conclude, now)

    def _acknowledge(self, recipient: str, part: MailboxChange) -> None:
        mailbox = self._mailboxes.mailbox(recipient)
        for message_id, untold in part.acknowledged.items():
            if (incoming := mailbox.acknowledge(message_id, untold)) is not None:
                part.removed.append(incoming)
        for message_id, holders in part.forgotten.items():
            mailbox.forget(message_id)
            for holder in holders:
                self._notifier.forget(holder, recipient, message_id)

    def _note_stored(self, change: Change) -> None:
        for recipient, part in change.mailboxes.items():
            mailbox = self._mailboxes.by_recipient.get(recipient)
            if mailbox is not None:
                mailbox.note_stored(part.acknowledged)

    def _revert(self, change: Change, now: float) -> None:
        for outgoing, recipients in change.held:
            self._outbox.withdraw(outgoing, recipients)
        for recipient, incoming in change.taken:
            self._mailboxes.remove(recipient, incoming.message.id)
            incoming.is_lost = True
        for recipient, part in change.mailboxes.items():
            mailbox = self._mailboxes.mailbox(recipient)
            removed = [incoming for incoming in part.removed if not incoming.is_lost]
            self._mailboxes.put_back(recipient, removed, now)
            mailbox.revert(part.acknowledged.keys(), part.forgotten)
            if part.is_told:
                mailbox.withhold(removed)
            for message_id, holders in part.forgotten.items():
                for holder in holders if message_id in mailbox.acknowledged else ():
                    self._notifier.remember(holder, recipient, message_id)
