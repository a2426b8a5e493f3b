"""The waiting and the acknowledged messages of one recipient, at its home."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain, dropwhile, islice, takewhile
from typing import Final

import msgspec

from meshp2p.core.message import Message

__all__ = ["Mailbox", "MailboxEntry"]

PASSED_MAX: Final = 4096
"""How many acknowledged ids are sent to the next home. Chosen, not measured."""


class MailboxEntry(msgspec.Struct, gc=False, eq=False):
    """One message in a mailbox. ``holders`` are the nodes that hold it until it is acknowledged; ``number`` orders what
    this node took in; ``deadline`` is the caller's clock."""

    number: int
    message: Message
    holders: tuple[str, ...]
    deadline: float
    is_lost: bool = False

    @property
    def key(self) -> bytes:
        return self.number.to_bytes(8, "big")


class Mailbox:
    """Unacknowledged messages in the order of their arrival, which is that of sending for each holder, and the ids of
    acknowledged ones, so that they are not delivered again.

    Taking, reading the oldest and acknowledging take constant time however many wait.
    """

    __slots__ = ("_passing", "_places", "_withheld", "acknowledged", "bytes", "pending")

    def __init__(self) -> None:
        self.pending: dict[str, MailboxEntry] = {}
        self.bytes: int = 0
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        """By message id, the holders that do not know yet. Oldest first."""
        self._places: dict[str, int] = {}
        self._passing: dict[str, None] = {}
        self._withheld: set[str] = set()

    def put(self, incoming: MailboxEntry) -> None:
        self.pending[incoming.message.id] = incoming
        self.bytes += incoming.message.size

    def acknowledge(self, message_id: str, untold: tuple[str, ...]) -> MailboxEntry | None:
        """Remember that the recipient acknowledged it, and that these holders do not know yet.

        Returns the removed entry; None if it was read elsewhere and not delivered here yet.
        """
        incoming = self.remove(message_id)
        self.acknowledged[message_id] = untold
        if incoming is not None:
            self._places[message_id] = incoming.number
        return incoming

    def note_stored(self, message_ids: Iterable[str]) -> None:
        """Note that these acknowledgements are stored and will not be reverted: the next home must know of them."""
        self._passing.update(dict.fromkeys(id_ for id_ in message_ids if id_ in self.acknowledged))
        while len(self._passing) > PASSED_MAX:
            del self._passing[next(iter(self._passing))]

    def knows(self, message_id: str) -> bool:
        """Return whether it waits here, or is remembered as acknowledged."""
        return message_id in self.pending or message_id in self.acknowledged

    def remove(self, message_id: str) -> MailboxEntry | None:
        incoming = self.pending.pop(message_id, None)
        if incoming is not None:
            self.bytes -= incoming.message.size
            self._withheld.discard(message_id)
        return incoming

    def withhold(self, entries: Iterable[MailboxEntry]) -> None:
        """Hand these out no more, though they wait here: another home took their acknowledgement."""
        self._withheld.update(incoming.message.id for incoming in entries)

    def pop_all(self) -> list[MailboxEntry]:
        """Remove and return all that waits, in order."""
        waiting, self.pending, self.bytes = list(self.pending.values()), {}, 0
        self._withheld.clear()
        return waiting

    def pop_passing(self) -> list[str]:
        """Return the latest ids whose acknowledgements were stored since the last call: the next home may still have
        these messages, from when it was the home before."""
        passing, self._passing = list(self._passing), {}
        return passing

    def revert(self, acknowledged: AbstractSet[str], forgotten: dict[str, tuple[str, ...]]) -> None:
        """Undo :meth:`acknowledge` and :meth:`forget`: removed messages wait again, in their places."""
        for message_id in acknowledged:
            self.acknowledged.pop(message_id, None)
            self._places.pop(message_id, None)
        known = self.pending.keys() | acknowledged  # what an earlier change acknowledged may be reverted already
        remembered = {message_id: holders for message_id, holders in forgotten.items() if message_id not in known}
        if remembered:
            self.acknowledged = {**remembered, **self.acknowledged}

    def put_back(self, removed: Iterable[MailboxEntry]) -> None:
        """Restore a removed message at its place."""
        for incoming in removed:
            self.put(incoming)
        self.pending = dict(sorted(self.pending.items(), key=lambda entry: entry[1].number))

    def read(self, after: str, limit: int, bytes_max: int) -> tuple[Message, ...]:
        """Return up to ``limit`` messages after the one with the id ``after``, whether that is acknowledged or not;
        from the oldest if it is unknown.

        Beyond the first, they have at most ``bytes_max``.
        """
        messages: list[Message] = []
        size = 0
        behind = self._behind(after)
        if self._withheld:
            behind = (incoming for incoming in behind if incoming.message.id not in self._withheld)
        for incoming in islice(behind, limit):
            size += incoming.message.size
            if messages and size > bytes_max:
                break
            messages.append(incoming.message)
        return tuple(messages)

    def _behind(self, after: str) -> Iterator[MailboxEntry]:
        """Return what waits after this message. The search begins at the nearer end: most reads continue near the
        newest."""
        present = self.pending.get(after)
        place = present.number if present is not None else self._places.get(after)
        if not self.pending or place is None:
            return iter(self.pending.values())
        oldest, newest = next(iter(self.pending.values())).number, next(reversed(self.pending.values())).number
        if place - oldest < newest - place:
            return dropwhile(lambda incoming: incoming.number <= place, self.pending.values())
        behind = list(takewhile(lambda incoming: incoming.number > place, reversed(self.pending.values())))
        return reversed(behind)

    def choose_forgotten(self, added: dict[str, tuple[str, ...]], remembered_max: int) -> dict[str, tuple[str, ...]]:
        """Return the oldest acknowledged ids above the limit, once these are added, and the holders that do not know of
        them; ids that every holder knows come first."""
        excess = len(self.acknowledged) + len(added) - remembered_max
        if excess <= 0:
            return {}

        def remembered() -> Iterator[tuple[str, tuple[str, ...]]]:
            return chain(self.acknowledged.items(), added.items())

        forgotten = dict(islice((each for each in remembered() if not each[1]), excess))
        forgotten.update(islice((each for each in remembered() if each[1]), excess - len(forgotten)))
        return forgotten

    def forget(self, message_id: str) -> None:
        """Forget that this was acknowledged."""
        self._places.pop(message_id, None)
        self._passing.pop(message_id, None)
        del self.acknowledged[message_id]
