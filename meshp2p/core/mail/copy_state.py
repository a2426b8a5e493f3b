"""The states of one recipient's copy of a message, as a table of transitions.

::

    queued ──> delivered ──┬──> acknowledged
       └───────────────────┼──> expired
                           └──> undeliverable

A final copy changes in one case only: if its acknowledgement could not be written to disk, it is delivered again.
Whether a delivered copy must be sent again because the home changed is not part of its state: see
:class:`~meshp2p.core.mail.line.RecipientQueue`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from meshp2p.core.message import CopyStatus
from meshp2p.errors import InternalError

__all__ = ["TRANSITIONS", "Copy", "CopyEvent"]


class CopyEvent(enum.StrEnum):
    """An event in the life of a copy."""

    TAKEN = "taken"
    """The recipient's home put it into the mailbox."""
    ACKNOWLEDGED = "acknowledged"
    """The recipient acknowledged it, here or at another node."""
    EXPIRED = "expired"
    """It was not acknowledged in time."""
    GIVEN_UP = "given up"
    """The recipient is gone for good."""
    REOPENED = "reopened"
    """Its acknowledgement could not be written to disk."""


_SETTLED: Final = {
    CopyEvent.ACKNOWLEDGED: CopyStatus.ACKNOWLEDGED,
    CopyEvent.EXPIRED: CopyStatus.EXPIRED,
    CopyEvent.GIVEN_UP: CopyStatus.UNDELIVERABLE,
}

TRANSITIONS: Final[Mapping[CopyStatus, Mapping[CopyEvent, CopyStatus]]] = {
    CopyStatus.QUEUED: {CopyEvent.TAKEN: CopyStatus.DELIVERED, **_SETTLED},
    CopyStatus.DELIVERED: {CopyEvent.TAKEN: CopyStatus.DELIVERED, **_SETTLED},
    CopyStatus.ACKNOWLEDGED: {CopyEvent.REOPENED: CopyStatus.DELIVERED},
    CopyStatus.EXPIRED: {},
    CopyStatus.UNDELIVERABLE: {},
}
"""For each status, the possible events and the status after each."""


class Copy(msgspec.Struct, gc=False, eq=False):
    """One recipient's copy: its status, since when (Unix milliseconds) and why. ``is_tried``: its home was called."""

    changed_at: int
    status: CopyStatus = CopyStatus.QUEUED
    reason: str = ""
    is_tried: bool = False

    def advance(self, event: CopyEvent, wall_ms: int, reason: str = "") -> None:
        """Change the status by the table. Raises :class:`InternalError` if the event is not allowed now; then nothing
        changed."""
        following = TRANSITIONS[self.status].get(event)
        if following is None:
            raise InternalError(f"a copy that is {self.status} cannot be {event}")
        self.status, self.changed_at, self.reason = following, wall_ms, reason
