"""The copies in the outbox for one recipient."""

from __future__ import annotations

import msgspec

from meshp2p.core.mail.outgoing import Outgoing

__all__ = ["RecipientQueue"]


class RecipientQueue(msgspec.Struct):
    """The copies for one recipient that are not final, by number, in order.

    ``waiting`` are to be delivered; ``delivered`` are at ``home``, the recipient's home and its boot. ``refusals``
    counts how often in a row that home had no room, or said that the recipient is elsewhere; after each the line is
    blocked for a while.
    """

    waiting: dict[int, Outgoing] = {}
    delivered: dict[int, Outgoing] = {}
    home: tuple[str, int] | None = None
    refusals: int = 0
    is_blocked: bool = False
    is_full: bool = False

    def __bool__(self) -> bool:
        return bool(self.waiting or self.delivered)

    def wait(self, outgoing: Outgoing) -> None:
        """Queue a copy in the order of numbers: an earlier message may have been written to disk later."""
        is_last = not self.waiting or next(reversed(self.waiting)) < outgoing.number
        self.waiting[outgoing.number] = outgoing
        if not is_last:
            self.waiting = dict(sorted(self.waiting.items()))

    def note_taken(self, outgoing: Outgoing) -> bool:
        """Note that the home has the copy. Return whether it was waiting."""
        if self.waiting.pop(outgoing.number, None) is None:
            return False
        self.delivered[outgoing.number] = outgoing
        return True

    def remove(self, outgoing: Outgoing) -> None:
        self.waiting.pop(outgoing.number, None)
        self.delivered.pop(outgoing.number, None)

    def requeue(self) -> None:
        """Deliver again what was delivered: to another home, or to one that lost it."""
        if self.delivered:
            self.waiting = dict(sorted({**self.delivered, **self.waiting}.items()))
            self.delivered = {}
        self.note_room()

    def note_room(self) -> None:
        """Note that the home does not refuse messages any more."""
        self.is_blocked = self.is_full = False
        self.refusals = 0
