"""The messages that this node holds until each recipient acknowledged its copy.

A holder is a node that has a message in its outbox: the one that accepted it, or one that took it over from another
that left. Only holders deliver, and only they forget when the recipient has acknowledged.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator

import msgspec

from meshp2p.core.directory.deadlines import Deadlines
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.core.mail.copy_state import Copy, CopyEvent
from meshp2p.core.mail.line import RecipientQueue
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.message import CopyReceipt, CopyStatus, Message

__all__ = ["Outbox"]


class _Kept(msgspec.Struct, array_like=True):
    """A message in the outbox, as stored on disk. ``expires_at`` is by the clock of
    :meth:`~meshp2p.core.directory.state.NodeState.age_at`."""

    message: Message
    recipients: tuple[str, ...]
    expires_at: int


class _Finished(msgspec.Struct, array_like=True):
    """A message that is not held any more, as stored on disk, without its payload."""

    message: Message
    receipts: tuple[CopyReceipt, ...]


class Outbox:
    """All messages that this node holds. It changes copies and lines together and returns the writes for that; it
    makes no calls."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self.by_id: dict[str, Outgoing] = {}
        self.lines: dict[str, RecipientQueue] = {}
        """By recipient; none of them is empty."""
        self.copies: int = 0
        """How many copies are not final."""
        self.bytes: int = 0
        self.reserved: int = 0
        """How many copies of accepted messages are being written to disk, and are not held yet."""
        self._number = 0
        self._expiries = Deadlines(self._is_open, state.timers, Timer.EXPIRE_MESSAGES)
        self._finished: collections.deque[str] = collections.deque()
        self._from_others: dict[int, dict[str, None]] = {}
        """By the bits of the node that accepted them, the ids of messages that another node accepted."""

    # Questions

    def _is_open(self, message_id: str) -> bool:
        outgoing = self.by_id.get(message_id)
        return outgoing is not None and outgoing.open > 0

    def is_held(self, recipient: str, message_id: str) -> bool:
        """Return whether this copy is here and not final."""
        outgoing = self.by_id.get(message_id)
        copy = outgoing.copies.get(recipient) if outgoing is not None else None
        return copy is not None and not copy.status.is_final

    def held(self, copies: Iterable[tuple[str, str]]) -> list[tuple[str, Outgoing]]:
        """Return those of these copies, pairs of (recipient, message id), that are here and not final."""
        return [(to, self.by_id[id_]) for to, id_ in copies if self.is_held(to, id_)]

    def held_for(self, maker_bits: int) -> list[Outgoing]:
        """Return the messages with open copies that the node with these bits accepted, in order."""
        held = [self.by_id[id_] for id_ in self._from_others.get(maker_bits, ()) if self._is_open(id_)]
        return sorted(held, key=lambda outgoing: outgoing.number)

    def line(self, recipient: str) -> RecipientQueue:
        """Return the recipient's line, a new one if there is none. The caller must put a copy into it."""
        line = self.lines.get(recipient)
        if line is None:
            line = self.lines[recipient] = RecipientQueue()
        return line

    # Holding

    def create(
        self, message: Message, recipients: tuple[str, ...], seconds: float | None, changed_at: int, now: float
    ) -> Outgoing:
        """Return a message with the next number and a lifetime of so many seconds, at most ``message_timeout``. It is
        not held before :meth:`add`."""
        self._number += 1
        return Outgoing.of(self._number, message, recipients, self._deadline(seconds, now), changed_at)

    def _deadline(self, seconds: float | None, now: float) -> float:
        longest = self._state.config.message_timeout
        return now + (longest if seconds is None else min(max(0.0, seconds), longest))

    def add(self, outgoing: Outgoing, now: float) -> None:
        """Hold a message."""
        self.by_id[outgoing.message.id] = outgoing
        self.copies += outgoing.open
        self.bytes += outgoing.size
        for recipient in outgoing.pending:
            self.line(recipient).wait(outgoing)
        self._expiries.add(outgoing.deadline, outgoing.message.id, now)

    def take_over(self, outgoing: Outgoing, now: float) -> None:
        """Hold a message that another node may have accepted."""
        self.add(outgoing, now)
        self._note_maker(outgoing.message.id)

    def _note_maker(self, message_id: str) -> None:
        bits = node_bits_of(message_id)
        if bits is not None and bits != self._state.tag >> 32:
            self._from_others.setdefault(bits, {})[message_id] = None

    def extend(
        self, outgoing: Outgoing, message: Message, recipients: Iterable[str], seconds: float, now: float
    ) -> list[Write]:
        """Hold further copies of a message that is, or was, held. Return the writes in addition to :meth:`row`."""
        writes: list[Write] = []
        if not outgoing.open:  # of what was final only the receipts are on disk
            outgoing.deadline = self._deadline(seconds, now)
            writes.append(Delete(Table.RECEIPTS, outgoing.key))
            writes += map(outgoing.settled_row, outgoing.copies)
        self._reopen(outgoing, message)
        wall_ms = self._state.wall_ms()
        for recipient in recipients:
            outgoing.copies[recipient] = Copy(wall_ms)
            outgoing.open += 1
            self.copies += 1
            self.line(recipient).wait(outgoing)
        self._expiries.add(outgoing.deadline, outgoing.message.id, now)
        return writes

    def _reopen(self, outgoing: Outgoing, message: Message) -> None:
        """Hold its payload again, if all its copies were final."""
        if not outgoing.open:
            self.bytes += outgoing.size
            outgoing.message = message
            if message.id in self._finished:
                self._finished.remove(message.id)
            self._note_maker(message.id)

    def withdraw(self, outgoing: Outgoing, recipients: Iterable[str]) -> None:
        """Stop holding these copies: they could not be written, or another node holds them. They leave no receipt."""
        was_open = outgoing.open > 0
        for recipient in recipients:
            copy = outgoing.copies.pop(recipient, None)
            if copy is not None and not copy.status.is_final:
                self._close(outgoing, recipient)
        if outgoing.copies and was_open and not outgoing.open:
            self._finish(outgoing)
            self._forget_maker(outgoing.message.id)
        elif not outgoing.copies and self.by_id.pop(outgoing.message.id, None) is not None:
            self.bytes -= outgoing.size if was_open else 0
            self._forget_maker(outgoing.message.id)

    # What becomes of a copy

    def note_delivered(self, outgoing: Outgoing, recipient: str) -> None:
        """Note that the recipient's home has a copy."""
        line = self.lines.get(recipient)
        if line is not None and line.note_taken(outgoing):
            outgoing.copies[recipient].advance(CopyEvent.TAKEN, self._state.wall_ms())

    def settle(
        self,
        outgoing: Outgoing,
        recipient: str,
        event: CopyEvent,
        reason: str = "",
        forgotten: list[Outgoing] | None = None,
    ) -> list[Write]:
        """Make a copy final and return the writes for that. Nothing happens if it is not here, or is final. Messages
        whose receipts are now forgotten are added to ``forgotten``."""
        copy = outgoing.copies.get(recipient)
        if copy is None or copy.status.is_final:
            return []
        counters = self._state.counters
        counters.copies_acknowledged += event is CopyEvent.ACKNOWLEDGED
        counters.copies_expired += event is CopyEvent.EXPIRED
        counters.copies_undeliverable += event is CopyEvent.GIVEN_UP
        copy.advance(event, self._state.wall_ms(), reason)
        self._close(outgoing, recipient)
        if outgoing.open:
            return [outgoing.settled_row(recipient)]
        self._forget_maker(outgoing.message.id)
        forgot = self._finish(outgoing)
        if forgotten is not None:
            forgotten += forgot
        key = outgoing.key
        settled = [Delete(Table.SETTLED, key + other.encode()) for other in outgoing.copies if other != recipient]
        receipts = [Delete(Table.RECEIPTS, oldest.key) for oldest in forgot]
        return [Delete(Table.OUTGOING, key), *settled, self.row(outgoing), *receipts]

    def acknowledge(self, copies: Iterable[tuple[str, Outgoing]]) -> tuple[list[Write], list[Outgoing]]:
        """Make these copies, by recipient, acknowledged. Return the writes, and the messages whose receipts are now
        forgotten."""
        writes: list[Write] = []
        forgotten: list[Outgoing] = []
        for recipient, outgoing in copies:
            writes += self.settle(outgoing, recipient, CopyEvent.ACKNOWLEDGED, forgotten=forgotten)
        return writes, forgotten

    def reopen(
        self,
        copies: Iterable[tuple[str, Outgoing]],
        messages: Iterable[Message],
        forgotten: Iterable[Outgoing],
        now: float,
    ) -> None:
        """Undo :meth:`acknowledge`, because it could not be written. ``messages`` are those of the copies, with their
        payloads."""
        for oldest in reversed(list(forgotten)):
            if self.by_id.setdefault(oldest.message.id, oldest) is oldest and not oldest.open:
                self._finished.appendleft(oldest.message.id)
        for (recipient, outgoing), message in zip(copies, messages, strict=True):
            copy = outgoing.copies.get(recipient)
            if copy is None or copy.status is not CopyStatus.ACKNOWLEDGED:
                continue
            self.by_id[message.id] = outgoing  # its receipt may have been forgotten since
            self._state.counters.copies_acknowledged -= 1
            self._reopen(outgoing, message)
            copy.advance(CopyEvent.REOPENED, self._state.wall_ms())
            outgoing.open += 1
            self.copies += 1
            line, record = self.line(recipient), self._state.members.records.get(recipient)
            line.delivered[outgoing.number] = outgoing
            if line.home is None and record is not None:
                line.home = (record.home, record.boot)  # which has it
            self._expiries.add(outgoing.deadline, message.id, now)

    def _close(self, outgoing: Outgoing, recipient: str) -> None:
        outgoing.open -= 1
        self.copies -= 1
        line = self.lines[recipient]
        line.remove(outgoing)
        if not line:
            del self.lines[recipient]

    def _finish(self, outgoing: Outgoing) -> list[Outgoing]:
        """Keep only the receipts of a message whose copies are all final. Return the oldest messages above
        ``receipts_max``, which are forgotten."""
        self.bytes -= outgoing.size
        outgoing.drop_payload()
        self._finished.append(outgoing.message.id)
        forgotten: list[Outgoing] = []
        while len(self._finished) > self._state.config.receipts_max:
            oldest = self.by_id.get(self._finished.popleft())
            if oldest is not None and not oldest.open:
                del self.by_id[oldest.message.id]
                forgotten.append(oldest)
        return forgotten

    def _forget_maker(self, message_id: str) -> None:
        if not self._from_others:
            return
        bits = node_bits_of(message_id) or 0
        ids = self._from_others.get(bits, {})
        ids.pop(message_id, None)
        if not ids:
            self._from_others.pop(bits, None)

    def pop_expired(self, now: float) -> list[Outgoing]:
        """Remove and return the messages that have expired; some of them may be final."""
        due = [self.by_id[id_] for id_ in self._expiries.pop_due(now) if id_ in self.by_id]
        return [outgoing for outgoing in due if outgoing.deadline <= now]

    # On disk

    def row(self, outgoing: Outgoing) -> Put:
        """Return the row of a message."""
        if outgoing.open:
            kept = _Kept(outgoing.message, tuple(outgoing.copies), self._state.age_at(outgoing.deadline))
            return Put(Table.OUTGOING, outgoing.key, msgspec.msgpack.encode(kept))
        finished = _Finished(outgoing.message, outgoing.receipts())
        return Put(Table.RECEIPTS, outgoing.key, msgspec.msgpack.encode(finished))

    def rows(self) -> Iterator[Put]:
        """Return the rows that a disk would have of the outbox."""
        for outgoing in self.by_id.values():
            yield self.row(outgoing)
            for recipient, copy in outgoing.copies.items() if outgoing.open else ():
                if copy.status.is_final:
                    yield outgoing.settled_row(recipient)

    def restore(self, kept: list[tuple[Table, bytes, bytes]], now: float) -> None:
        """Restore what was held before a restart."""
        settled: dict[bytes, dict[str, CopyStatus]] = {}
        for table, key, value in kept:
            if table is Table.SETTLED:
                settled.setdefault(key[:8], {})[key[8:].decode()] = CopyStatus(value.decode())
        for table, key, value in kept:
            if table is Table.OUTGOING:
                self._restore_held(key, msgspec.msgpack.decode(value, type=_Kept), settled.get(key, {}), now)
            elif table is Table.RECEIPTS:
                self._restore_finished(key, msgspec.msgpack.decode(value, type=_Finished), now)
            if table in (Table.OUTGOING, Table.RECEIPTS):
                self._number = max(self._number, int.from_bytes(key, "big"))

    def _restore_held(self, key: bytes, kept: _Kept, settled: dict[str, CopyStatus], now: float) -> None:
        deadline = self._deadline(self._state.seconds_until(kept.expires_at, now), now)
        number, wall_ms = int.from_bytes(key, "big"), self._state.wall_ms()
        outgoing = Outgoing.of(number, kept.message, kept.recipients, deadline, wall_ms)
        outgoing.restore(settled)
        self.take_over(outgoing, now)

    def _restore_finished(self, key: bytes, kept: _Finished, now: float) -> None:
        if kept.message.id in self.by_id:
            return  # it was taken over again later
        outgoing = Outgoing.of(int.from_bytes(key, "big"), kept.message, (), now, 0)
        for receipt in kept.receipts:
            outgoing.copies[receipt.recipient] = Copy(receipt.changed_at, receipt.status, receipt.reason)
        self.by_id[kept.message.id] = outgoing
        self._finished.append(kept.message.id)

    def resume(self, old: Outbox) -> None:
        """Continue the numbers of an earlier outbox."""
        self._number = old._number
