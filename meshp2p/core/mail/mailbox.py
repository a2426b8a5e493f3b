"""What waits for one recipient at its home, and what it has acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile, islice, takewhile

from meshp2p.core.message import Message

__all__ = ["Incoming", "Mailbox"]


class Incoming:
    """One message in a mailbox. ``holders`` are the nodes that keep it until it is acknowledged; ``number`` orders what
    this node took in; ``deadline`` is the caller's clock."""

    __slots__ = ("deadline", "holders", "message", "number")

    def __init__(self, number: int, message: Message, holders: list[str], deadline: float) -> None:
        self.number: int = number
        self.message: Message = message
        self.holders: list[str] = holders
        self.deadline: float = deadline

    @property
    def key(self) -> bytes:
        return self.number.to_bytes(8, "big")


class Mailbox:
    """Messages in the order of their arrival, which is that of sending for each holder, until they are acknowledged;
    and the ids of those that were, so that they are not handed out again.

    Taking, reading the oldest and acknowledging cost the same however many wait.
    """

    __slots__ = ("_places", "acknowledged", "bytes", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, Incoming] = {}
        self.bytes: int = 0
        self.acknowledged: dict[str, list[str]] = {}
        """By message id, the holders that do not know yet. Oldest first."""
        self._places: dict[str, int] = {}

    def put(self, incoming: Incoming) -> None:
        self.pending[incoming.message.id] = incoming
        self.bytes += incoming.message.size

    def acknowledge(self, incoming: Incoming, untold: list[str]) -> None:
        """It was removed because its recipient acknowledged it; these holders do not know yet."""
        self.acknowledged[incoming.message.id] = untold
        self._places[incoming.message.id] = incoming.number

    def acknowledge_early(self, message_id: str, untold: list[str]) -> None:
        """It was read elsewhere, and did not come here yet; these may deliver it still."""
        self.acknowledged[message_id] = untold

    def knows(self, message_id: str) -> bool:
        """Whether it waits here, or was acknowledged and that is remembered."""
        return message_id in self.pending or message_id in self.acknowledged

    def remove(self, message_id: str) -> Incoming | None:
        incoming = self.pending.pop(message_id, None)
        if incoming is not None:
            self.bytes -= incoming.message.size
        return incoming

    def put_back(self, incoming: list[Incoming]) -> None:
        """What was removed waits again, in its place."""
        for one in incoming:
            self.acknowledged.pop(one.message.id, None)
            self._places.pop(one.message.id, None)
            self.put(one)
        self.pending = dict(sorted(self.pending.items(), key=lambda entry: entry[1].number))

    def read(self, after: str, limit: int, bytes_max: int) -> tuple[Message, ...]:
        """Up to ``limit`` messages behind the one with the id ``after``, whether that is acknowledged or not; from the
        oldest where it is not known. Beyond the first no more than ``bytes_max`` of them."""
        messages: list[Message] = []
        size = 0
        for incoming in islice(self._behind(after), limit):
            size += incoming.message.size
            if messages and size > bytes_max:
                break
            messages.append(incoming.message)
        return tuple(messages)

    def _behind(self, after: str) -> Iterator[Incoming]:
        """What waits behind this message. It is looked for from the nearer end: whoever reads on is near the newest."""
        present = self.pending.get(after)
        place = present.number if present is not None else self._places.get(after)
        if not self.pending or place is None:
            return iter(self.pending.values())
        oldest, newest = next(iter(self.pending.values())).number, next(reversed(self.pending.values())).number
        if place - oldest < newest - place:
            return dropwhile(lambda incoming: incoming.number <= place, self.pending.values())
        behind = list(takewhile(lambda incoming: incoming.number > place, reversed(self.pending.values())))
        return reversed(behind)

    def forget(self, remembered_max: int) -> dict[str, list[str]]:
        """Forget the oldest acknowledged ids above the number, first those that every holder knows; which these
        were, and who does not know."""
        excess = len(self.acknowledged) - remembered_max
        if excess <= 0:
            return {}
        forgotten = list(islice((id_ for id_, holders in self.acknowledged.items() if not holders), excess))
        if len(forgotten) < excess:
            rest = (id_ for id_, holders in self.acknowledged.items() if holders)
            forgotten += islice(rest, excess - len(forgotten))
        for message_id in forgotten:
            self._places.pop(message_id, None)
        return {message_id: self.acknowledged.pop(message_id) for message_id in forgotten}
