"""The messages that this node holds until each recipient acknowledged its copy."""

from __future__ import annotations

import collections
from collections.abc import Iterable

import msgspec

from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.core.message import CopyStatus, Message, Receipt

__all__ = ["Copy", "Line", "Outbox", "Outgoing", "finished_row"]


class _Finished(msgspec.Struct, array_like=True):
    """What is on disk of a message that is held no longer. Its payload is not."""

    message: Message
    receipts: tuple[Receipt, ...]


class Copy:
    """One recipient's copy: what became of it, and when (Unix milliseconds). ``is_tried``: its home was called."""

    __slots__ = ("changed_at", "is_tried", "reason", "status")

    def __init__(self, changed_at: int) -> None:
        self.status: CopyStatus = CopyStatus.QUEUED
        self.changed_at: int = changed_at
        self.reason: str = ""
        self.is_tried: bool = False


class Outgoing:
    """One message and all its copies. ``number`` orders what this node holds; ``open`` counts the copies that are not
    final; ``deadline`` is the caller's clock."""

    __slots__ = ("copies", "deadline", "message", "number", "open", "size")

    def __init__(self, number: int, message: Message, recipients: Iterable[str], deadline: float, wall_ms: int) -> None:
        self.number: int = number
        self.message: Message = message
        self.copies: dict[str, Copy] = {recipient: Copy(wall_ms) for recipient in recipients}
        self.deadline: float = deadline
        self.open: int = len(self.copies)
        self.size: int = message.size

    @property
    def key(self) -> bytes:
        return self.number.to_bytes(8, "big")


class Line:
    """The copies for one recipient that are not final, by number, in their order.

    ``home`` is the home and the boot of it to which the delivered ones were delivered. ``refusals`` counts how often in
    a row that home had no room, or said that the recipient is elsewhere; after each the line is blocked for a while.
    """

    __slots__ = ("delivered", "home", "is_blocked", "is_full", "refusals", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[int, Outgoing] = {}
        self.delivered: dict[int, Outgoing] = {}
        self.home: tuple[str, int] | None = None
        self.refusals: int = 0
        self.is_blocked: bool = False
        self.is_full: bool = False

    def wait(self, outgoing: Outgoing) -> None:
        """Its copy waits, in its place: what came before may have been written to disk later."""
        is_last = not self.waiting or next(reversed(self.waiting)) < outgoing.number
        self.waiting[outgoing.number] = outgoing
        if not is_last:
            self.waiting = dict(sorted(self.waiting.items()))

    def requeue(self) -> None:
        """What was delivered is to be delivered again: to another home, or to one that forgot it."""
        if self.delivered:
            self.waiting = dict(sorted({**self.delivered, **self.waiting}.items()))
            self.delivered = {}
        self.note_room()

    def note_room(self) -> None:
        """Its home takes messages, as far as is known."""
        self.is_blocked = self.is_full = False
        self.refusals = 0


class Outbox:
    """All that this node holds. It changes copies and lines together, says what is to be kept on disk for it, and knows
    neither homes nor calls."""

    def __init__(self, finished_max: int) -> None:
        self.by_id: dict[str, Outgoing] = {}
        self.lines: dict[str, Line] = {}
        self.copies: int = 0
        """How many copies are not final."""
        self.bytes: int = 0
        self._finished: collections.deque[str] = collections.deque()
        self._finished_max = finished_max

    def add(self, outgoing: Outgoing, settled: Iterable[tuple[str, CopyStatus]] = ()) -> None:
        """Hold a message. ``settled`` are copies that were final before a restart."""
        for recipient, status in settled:
            copy = outgoing.copies.get(recipient)
            if copy is not None and not copy.status.is_final:
                copy.status = status
                outgoing.open -= 1
        self.by_id[outgoing.message.id] = outgoing
        self.copies += outgoing.open
        self.bytes += outgoing.size
        for recipient, copy in outgoing.copies.items():
            if not copy.status.is_final:
                self.line(recipient).wait(outgoing)

    def extend(self, outgoing: Outgoing, message: Message, recipients: Iterable[str], wall_ms: int) -> None:
        """Hold further copies of a message that is held, or that was."""
        if not outgoing.open:
            self.bytes += outgoing.size
            outgoing.message = message
        for recipient in recipients:
            outgoing.copies[recipient] = Copy(wall_ms)
            outgoing.open += 1
            self.copies += 1
            self.line(recipient).wait(outgoing)

    def withdraw(self, outgoing: Outgoing, recipients: Iterable[str]) -> None:
        """Hold these copies no longer: they could not be kept. Nobody is told what became of them."""
        for recipient in recipients:
            copy = outgoing.copies.pop(recipient, None)
            if copy is None or copy.status.is_final:
                continue
            self._close(outgoing, recipient)
            if not outgoing.open and outgoing.copies:
                self._finish(outgoing)
            elif not outgoing.open:
                self.bytes -= outgoing.size
        if not outgoing.copies:
            self.by_id.pop(outgoing.message.id, None)

    def reopen(self, outgoing: Outgoing, message: Message, recipient: str, wall_ms: int) -> None:
        """A copy is not final after all, for that could not be kept: it is in the mailbox still."""
        if not outgoing.open:
            self.bytes += outgoing.size
            outgoing.message = message
        copy = outgoing.copies[recipient]
        copy.status, copy.changed_at = CopyStatus.DELIVERED, wall_ms
        outgoing.open += 1
        self.copies += 1
        self.line(recipient).delivered[outgoing.number] = outgoing

    def line(self, recipient: str) -> Line:
        line = self.lines.get(recipient)
        if line is None:
            line = self.lines[recipient] = Line()
        return line

    def note_delivered(self, outgoing: Outgoing, recipient: str, wall_ms: int) -> None:
        """The recipient's home has it."""
        line = self.lines.get(recipient)
        if line is not None and line.waiting.pop(outgoing.number, None) is not None:
            line.delivered[outgoing.number] = outgoing
            copy = outgoing.copies[recipient]
            copy.status, copy.changed_at, copy.reason = CopyStatus.DELIVERED, wall_ms, ""

    def settle(self, outgoing: Outgoing, recipient: str, status: CopyStatus, reason: str, wall_ms: int) -> list[Write]:
        """A copy is final; what is to be written for it. Nothing where it was."""
        copy = outgoing.copies.get(recipient)
        if copy is None or copy.status.is_final:
            return []
        copy.status, copy.changed_at, copy.reason = status, wall_ms, reason
        self._close(outgoing, recipient)
        key = outgoing.key
        if outgoing.open:
            return [Put(Table.SETTLED, key + recipient.encode(), status.encode())]
        receipts = self.receipts(outgoing.message.id)
        forgotten = self._finish(outgoing)
        settled = (Delete(Table.SETTLED, key + other.encode()) for other in outgoing.copies if other != recipient)
        return [Delete(Table.OUTGOING, key), *settled, finished_row(outgoing, receipts), *forgotten]

    def _close(self, outgoing: Outgoing, recipient: str) -> None:
        outgoing.open -= 1
        self.copies -= 1
        line = self.lines[recipient]
        line.waiting.pop(outgoing.number, None)
        line.delivered.pop(outgoing.number, None)
        if not line.waiting and not line.delivered:
            del self.lines[recipient]

    def restore_finished(self, key: bytes, value: bytes, now: float) -> None:
        """Know again what became of a message that is held no longer."""
        kept = msgspec.msgpack.decode(value, type=_Finished)
        if kept.message.id in self.by_id:
            return  # it was taken over again later
        recipients = [receipt.recipient for receipt in kept.receipts]
        outgoing = Outgoing(int.from_bytes(key, "big"), kept.message, recipients, now, 0)
        outgoing.open = 0
        for receipt in kept.receipts:
            copy = outgoing.copies[receipt.recipient]
            copy.status, copy.reason, copy.changed_at = receipt.status, receipt.reason, receipt.changed_at
        self.by_id[kept.message.id] = outgoing
        self._finished.append(kept.message.id)

    def _finish(self, outgoing: Outgoing) -> list[Write]:
        """Of a message whose copies are all final only the receipts are kept, of so many messages; what is to be
        written for those that are forgotten."""
        self.bytes -= outgoing.size
        outgoing.message = msgspec.structs.replace(outgoing.message, payload=b"null")
        self._finished.append(outgoing.message.id)
        forgotten: list[Write] = []
        while len(self._finished) > self._finished_max:
            oldest = self.by_id.get(self._finished.popleft())
            if oldest is not None and not oldest.open:
                del self.by_id[oldest.message.id]
                forgotten.append(Delete(Table.RECEIPTS, oldest.key))
        return forgotten

    def receipts(self, message_id: str) -> tuple[Receipt, ...]:
        """What became of each copy; empty where no such message is known."""
        outgoing = self.by_id.get(message_id)
        if outgoing is None:
            return ()
        return tuple(
            Receipt(recipient, copy.status, copy.reason, copy.changed_at) for recipient, copy in outgoing.copies.items()
        )


def finished_row(outgoing: Outgoing, receipts: tuple[Receipt, ...]) -> Put:
    """What is kept of a message whose copies are all final."""
    return Put(Table.RECEIPTS, outgoing.key, msgspec.msgpack.encode(_Finished(outgoing.message, receipts)))
