"""The mailboxes of the recipients whose home is this node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from meshp2p.core.directory.deadlines import Deadlines
from meshp2p.core.directory.keeping import ignore_failure
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.core.mail.mailbox import Mailbox, MailboxEntry
from meshp2p.core.message import Message

__all__ = ["Mailboxes"]


class _KeptMail(msgspec.Struct, array_like=True):
    """A message in a mailbox, as stored on disk. ``expires_at`` is by the clock of
    :meth:`~meshp2p.core.directory.state.NodeState.age_at`."""

    recipient: str
    message: Message
    holders: tuple[str, ...]
    expires_at: int


class _KeptAck(msgspec.Struct, array_like=True):
    """An acknowledged message, as stored on disk."""

    recipient: str
    message_id: str
    holders: tuple[str, ...]


class Mailboxes:
    """All mailboxes of this node, by recipient: messages until they are acknowledged, expired or given back, and
    acknowledged ids."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self.by_recipient: dict[str, Mailbox] = {}
        self._number = 0
        self._expiries = Deadlines(self.is_pending, state.timers, Timer.EXPIRE_MAIL)

    # Questions

    def is_home(self, recipient: str) -> bool:
        """Return whether this node is the recipient's home."""
        record = self._state.members.records.get(recipient)
        return record is not None and record.home == self._state.id

    def is_elsewhere(self, recipient: str) -> bool:
        """Return whether the recipient is listed with another home."""
        return recipient in self._state.members.records and not self.is_home(recipient)

    def is_pending(self, copy: tuple[str, str]) -> bool:
        """Return whether this copy, a pair of (recipient, message id), waits here."""
        mailbox = self.by_recipient.get(copy[0])
        return mailbox is not None and copy[1] in mailbox.pending

    def knows(self, recipient: str, message_id: str) -> bool:
        """Return whether this copy waits here, or is remembered as acknowledged."""
        mailbox = self.by_recipient.get(recipient)
        return mailbox is not None and mailbox.knows(message_id)

    @property
    def pending(self) -> int:
        """How many copies wait in all mailboxes."""
        return sum(len(mailbox.pending) for mailbox in self.by_recipient.values())

    def has_room(self, recipient: str, size: int) -> bool:
        """Return whether the mailbox has room for a message of so many bytes. An empty one accepts any message:
        otherwise a large one could never be delivered."""
        mailbox = self.by_recipient.get(recipient)
        config = self._state.config
        if mailbox is None or not mailbox.pending:
            return True
        return len(mailbox.pending) < config.mailbox_messages_max and mailbox.bytes + size <= config.mailbox_bytes_max

    def read(self, recipient: str, after: str, limit: int) -> tuple[Message, ...]:
        """See :meth:`~meshp2p.core.mail.mailbox.Mailbox.read`."""
        mailbox = self.by_recipient.get(recipient)
        return () if mailbox is None else mailbox.read(after, limit, self._state.config.fetch_bytes_max)

    def mailbox(self, recipient: str) -> Mailbox:
        """Return the recipient's mailbox, a new one if there is none."""
        mailbox = self.by_recipient.get(recipient)
        if mailbox is None:
            mailbox = self.by_recipient[recipient] = Mailbox()
        return mailbox

    # Changes

    def put(
        self, recipient: str, message: Message, holders: tuple[str, ...], seconds: float, now: float
    ) -> MailboxEntry:
        """Put a message into a mailbox, after all others that this node took in, for so many seconds: at most
        ``message_timeout``."""
        self._number += 1
        deadline = now + min(max(0.0, seconds), self._state.config.message_timeout)
        incoming = MailboxEntry(self._number, message, holders, deadline)
        self.mailbox(recipient).put(incoming)
        self._expiries.add(deadline, (recipient, message.id), now)
        return incoming

    def put_back(self, recipient: str, removed: list[MailboxEntry], now: float) -> None:
        """Put a removed message back in its place."""
        self.mailbox(recipient).put_back(removed)
        for incoming in removed:
            self._expiries.add(incoming.deadline, (recipient, incoming.message.id), now)

    def remove(self, recipient: str, message_id: str) -> MailboxEntry | None:
        """Remove a message from a mailbox and return it."""
        mailbox = self.by_recipient.get(recipient)
        return None if mailbox is None else mailbox.remove(message_id)

    def note_told(self, recipient: str, message_id: str, holder: str) -> None:
        """Note that a holder knows that this was acknowledged."""
        mailbox = self.by_recipient.get(recipient)
        holders = mailbox.acknowledged.get(message_id) if mailbox is not None else None
        if mailbox is not None and holders is not None and holder in holders:
            mailbox.acknowledged[message_id] = tuple(one for one in holders if one != holder)

    def give_up(self, recipient: str, now: float) -> list[MailboxEntry]:
        """Remove and return what waited here for a recipient that has another home. Its acknowledgements are remembered
        for a while."""
        mailbox = self.by_recipient[recipient]
        if not mailbox.acknowledged:
            del self.by_recipient[recipient]
        self.forget_later(recipient, now)
        return mailbox.pop_all()

    def drop(self, recipient: str, now: float) -> None:
        """Remove the mailbox of a recipient that is gone for good."""
        mailbox = self.by_recipient.pop(recipient, None)
        if mailbox is None:
            return
        writes: list[Write] = [Delete(Table.INCOMING, incoming.key) for incoming in mailbox.pending.values()]
        self._state.store(writes + self.forgotten_rows(recipient, mailbox.acknowledged), ignore_failure, now)

    def handle_expiry(self, now: float) -> None:
        """Remove messages that were not acknowledged in time."""
        writes: list[Write] = []
        for recipient, message_id in self._expiries.pop_due(now):
            mailbox = self.by_recipient.get(recipient)
            incoming = mailbox.pending.get(message_id) if mailbox is not None else None
            if mailbox is not None and incoming is not None and incoming.deadline <= now:
                mailbox.remove(message_id)
                writes.append(Delete(Table.INCOMING, incoming.key))
        if writes:
            self._state.store(writes, ignore_failure, now)

    def forget_later(self, instance_id: str, now: float) -> None:
        """Forget what an instance that is gone, or elsewhere, had here, once its messages have expired everywhere."""
        self._state.timers.set(Timer.FORGET_MAIL, now + self._state.config.message_timeout, instance_id)

    # On disk

    def row(self, recipient: str, incoming: MailboxEntry, holders: tuple[str, ...]) -> Put:
        """Return the row of a message held by these holders."""
        mail = _KeptMail(recipient, incoming.message, holders, self._state.age_at(incoming.deadline))
        return Put(Table.INCOMING, incoming.key, msgspec.msgpack.encode(mail))

    def ack_row(self, recipient: str, message_id: str, untold: tuple[str, ...]) -> Put:
        """Return the row of an acknowledged message unknown to these holders."""
        ack = _KeptAck(recipient, message_id, untold)
        return Put(Table.ACKNOWLEDGED, _ack_key(recipient, message_id), msgspec.msgpack.encode(ack))

    def forgotten_rows(self, recipient: str, message_ids: Iterable[str]) -> list[Write]:
        """Return what must be written to forget that these were acknowledged."""
        return [Delete(Table.ACKNOWLEDGED, _ack_key(recipient, message_id)) for message_id in message_ids]

    def rows(self) -> Iterator[Put]:
        """Return what a disk would contain of the mailboxes. Messages that this node holds itself are rows of the
        outbox."""
        for recipient, mailbox in self.by_recipient.items():
            for incoming in mailbox.pending.values():
                if holders := tuple(holder for holder in incoming.holders if holder != self._state.id):
                    yield self.row(recipient, incoming, holders)
            for message_id, untold in mailbox.acknowledged.items():
                yield self.ack_row(recipient, message_id, untold)

    def restore(self, table: Table, key: bytes, value: bytes, now: float) -> tuple[str, str, tuple[str, ...]] | None:
        """Restore one stored row: return its recipient, its message id and its holders, or None if it is not a mailbox
        row."""
        if table is Table.INCOMING:
            mail = msgspec.msgpack.decode(value, type=_KeptMail)
            self._number = int.from_bytes(key, "big") - 1
            self.put(mail.recipient, mail.message, mail.holders, self._state.seconds_until(mail.expires_at, now), now)
            return mail.recipient, mail.message.id, mail.holders
        if table is Table.ACKNOWLEDGED:
            ack = msgspec.msgpack.decode(value, type=_KeptAck)
            self.mailbox(ack.recipient).acknowledged[ack.message_id] = ack.holders
            return ack.recipient, ack.message_id, ack.holders
        return None


def _ack_key(recipient: str, message_id: str) -> bytes:
    return f"{message_id} {recipient}".encode()
