"""Messages between simulated agents, as those see them: accepted messages, and reads of mailboxes."""

from __future__ import annotations

import msgspec

__all__ = ["MESSAGE_BYTES", "Letter", "MailboxRead"]

MESSAGE_BYTES = 256
"""The size that a message has besides its payload, as its limits are documented."""


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
    """A read of a mailbox at the host ``node``, in its process ``life``: after which message, and how many seconds it
    waits. ``number`` counts all reads."""

    number: int
    recipient: str
    node: str
    life: int
    asked_at: float
    after: str
    wait: float
