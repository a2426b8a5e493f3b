"""A message that this node holds, with all its copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from meshp2p.core.calls import Parcel
from meshp2p.core.effects import Put, Table
from meshp2p.core.mail.copy_state import Copy
from meshp2p.core.message import CopyReceipt, CopyStatus, Message

__all__ = ["Outgoing"]


class Outgoing(msgspec.Struct, gc=False, eq=False):
    """One message and its copies, by recipient. ``number`` orders what this node holds; ``open`` counts the copies that
    are not final; ``size`` is that of the message with its payload; ``deadline`` is the caller's clock.

    Instances are kept by the ten thousand and are in no cycle, so the garbage collector does not visit them.
    """

    number: int
    message: Message
    copies: dict[str, Copy]
    deadline: float
    open: int
    size: int

    @classmethod
    def of(cls, number: int, message: Message, recipients: Iterable[str], deadline: float, wall_ms: int) -> Outgoing:
        """Return a message with a queued copy for each recipient."""
        copies = {recipient: Copy(wall_ms) for recipient in recipients}
        return cls(number, message, copies, deadline, len(copies), message.size)

    def restore(self, settled: Mapping[str, CopyStatus]) -> None:
        """Set the statuses of copies that were final before a restart."""
        for recipient, copy in self.copies.items():
            copy.status = settled.get(recipient, copy.status)
        self.open = len(self.pending)

    @property
    def key(self) -> bytes:
        """Its key on disk."""
        return self.number.to_bytes(8, "big")

    @property
    def pending(self) -> list[str]:
        """The recipients whose copies are not final."""
        return [recipient for recipient, copy in self.copies.items() if not copy.status.is_final]

    def receipts(self) -> tuple[CopyReceipt, ...]:
        """Return the status of each copy."""
        return tuple(
            CopyReceipt(recipient, copy.status, copy.reason, copy.changed_at) for recipient, copy in self.copies.items()
        )

    def parcel(self, recipients: Iterable[str], now: float) -> Parcel:
        """Return the message as it is sent to another node, for these recipients."""
        return Parcel(self.message, tuple(recipients), max(0.0, self.deadline - now))

    def drop_payload(self) -> None:
        """Drop the payload, because all copies are final and only the receipts are kept."""
        self.message = msgspec.structs.replace(self.message, payload=b"null")

    def settled_row(self, recipient: str) -> Put:
        """Return the row that marks one copy as final while others are not."""
        return Put(Table.SETTLED, self.key + recipient.encode(), self.copies[recipient].status.encode())
