"""Messages between simulated agents, as those see them: what was accepted, and how a mailbox is read."""

from __future__ import annotations

import msgspec

__all__ = ["MESSAGE_BYTES", "Letter", "MailboxRead"]

MESSAGE_BYTES = 256
"""What a message counts beside its payload, by the documentation of its limits."""


class Letter(msgspec.Struct):
    """A message that the host ``node``, in its process ``life``, accepted."""

    id: str
    source: str
    node: str
    life: int
    accepted_at: float
    payload: bytes
    recipients: tuple[str, ...]


class MailboxRead(msgspec.Struct, frozen=True):
    """That a recipient asked the host ``node``, in its process ``life``, for its mail: behind which message, and how
    many seconds it would wait. ``number`` counts all of them."""

    number: int
    recipient: str
    node: str
    life: int
    asked_at: float
    after: str
    wait: float
