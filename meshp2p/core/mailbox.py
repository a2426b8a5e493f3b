"""What waits for one recipient at its home, and what it has acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from meshp2p.core.message import Message

__all__ = ["Incoming", "Mailbox"]


class Incoming:
    """One message in a mailbox. ``holders`` are the nodes that keep it until it is acknowledged; ``number`` orders what
    this node took in; ``deadline`` is the caller's clock."""

    __slots__ = ("deadline", "holders", "message", "number")

    def __init__(self, number: int, message: Message, holders: list[str], deadline: float) -> None:
        self.number = number
        self.message = message
        self.holders = holders
        self.deadline = deadline

    @property
    def key(self) -> bytes:
        return self.number.to_bytes(8, "big")


class Mailbox:
    """Messages in the order of their arrival, which is that of sending for each holder, until they are acknowledged;
    and the ids of those that were, so that they are not handed out again.

    Taking, reading the oldest and acknowledging cost the same however many wait.
    """

    __slots__ = ("acknowledged", "bytes", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, Incoming] = {}
        self.bytes = 0
        self.acknowledged: dict[str, list[str]] = {}
        """By message id, the holders that do not know yet. Oldest first."""

    def put(self, incoming: Incoming) -> None:
        self.pending[incoming.message.id] = incoming
        self.bytes += incoming.message.size

    def remove(self, message_id: str) -> Incoming | None:
        incoming = self.pending.pop(message_id, None)
        if incoming is not None:
            self.bytes -= incoming.message.size
        return incoming

    def put_back(self, incoming: list[Incoming]) -> None:
        """What was removed waits again, in its place."""
        for one in incoming:
            self.put(one)
        self.pending = dict(sorted(self.pending.items(), key=lambda entry: entry[1].number))

    def read(self, after: str, limit: int, bytes_max: int) -> tuple[Message, ...]:
        """Up to ``limit`` messages behind the one with the id ``after``, from the oldest where it does not wait here;
        beyond the first no more than ``bytes_max`` of them."""
        entries: Iterator[Incoming] = iter(self.pending.values())
        if after in self.pending:
            for incoming in entries:
                if incoming.message.id == after:
                    break
        messages: list[Message] = []
        size = 0
        for incoming in islice(entries, limit):
            size += incoming.message.size
            if messages and size > bytes_max:
                break
            messages.append(incoming.message)
        return tuple(messages)

    def forget(self, remembered_max: int) -> list[str]:
        """Forget the oldest acknowledged ids above the number, first those that every holder knows; which these
        were."""
        excess = len(self.acknowledged) - remembered_max
        if excess <= 0:
            return []
        forgotten = list(islice((id_ for id_, holders in self.acknowledged.items() if not holders), excess))
        if len(forgotten) < excess:
            rest = (id_ for id_, holders in self.acknowledged.items() if holders)
            forgotten += islice(rest, excess - len(forgotten))
        for message_id in forgotten:
            del self.acknowledged[message_id]
        return forgotten

    @property
    def is_empty(self) -> bool:
        return not self.pending and not self.acknowledged
