"""What agents say to one another, and what becomes of each recipient's copy of it."""

from __future__ import annotations

import enum
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.core.validity import check_id, check_short
from meshp2p.errors import ConfigError

__all__ = [
    "CUSTOM",
    "KINDS",
    "PAYLOAD_BYTES_MAX",
    "CopyReceipt",
    "CopyStatus",
    "IfAbsent",
    "Message",
    "check_if_absent",
]

CUSTOM: Final = "Custom"
"""The kind of a message whose sender names it: ``Message.name``."""

KINDS: Final = (
    "Query",
    "Response",
    "Notification",
    "TaskDelegation",
    "TaskResult",
    "GraphSync",
    CUSTOM,
)
"""All kinds there are: those of the contract. A client that finds another in its mailbox can read none of it."""

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""The largest payload, as JSON text. Chosen, not measured."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
Short = Annotated[str, msgspec.Meta(max_length=1024)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message, as it was accepted. Nothing of it changes on its way.

    ``id`` is a UUIDv7, strictly increasing at the node that accepted it and bearing 32 bits of that node's tag;
    ``target`` is absent for a broadcast. ``kind`` is one of :data:`KINDS`, ``name`` what a sender calls its own kind,
    empty for the others. ``payload`` is JSON text in UTF-8, byte for byte what was sent. ``created_at`` is in Unix
    milliseconds. ``is_error``: it answers with an error, and the payload is, where a node made it,
    ``{"error": {"type": ..., "message": ...}}``.
    """

    id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
    source: Id
    target: Id | None
    kind: Short
    name: Short
    payload: Annotated[bytes, msgspec.Meta(max_length=PAYLOAD_BYTES_MAX)]
    correlation_id: Short | None
    created_at: Milliseconds
    is_error: bool = False

    def check(self) -> None:
        """Raise :class:`ConfigError` where other nodes would refuse it: then it could never be delivered."""
        check_id(self.source)
        if self.target is not None:
            check_id(self.target)
        if self.kind not in KINDS or bool(self.name) > (self.kind == CUSTOM):
            raise ConfigError(
                f"kind = {self.kind[:40]!r}, name = {self.name[:40]!r}: expected one of {', '.join(KINDS)},"
                f" and a name for {CUSTOM!r} alone"
            )
        check_short("name", self.name)
        check_short("correlation_id", self.correlation_id or "")

    @property
    def size(self) -> int:
        """What it counts against limits, in bytes: its payload and 256 for the rest."""
        return len(self.payload) + 256


IfAbsent: TypeAlias = Literal["refuse", "queue"]
"""What becomes of a message for an instance that is not listed: it is refused, or kept if the mesh remembers that the
instance died."""


def check_if_absent(value: object) -> None:
    """Raise :class:`ConfigError` for what is no :data:`IfAbsent`."""
    if value not in get_args(IfAbsent):
        raise ConfigError(f"if_absent = {str(value)[:40]!r}: expected 'refuse' or 'queue'")


class CopyStatus(enum.StrEnum):
    """What became of one recipient's copy. The last three are final."""

    QUEUED = "queued"
    """The node that accepted it holds it, and the recipient's home does not yet."""
    DELIVERED = "delivered"
    """It is in the recipient's mailbox."""
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"

    @property
    def is_final(self) -> bool:
        """Whether it never changes from then on."""
        return self in _FINAL


_FINAL: Final = frozenset((CopyStatus.ACKNOWLEDGED, CopyStatus.EXPIRED, CopyStatus.UNDELIVERABLE))


class CopyReceipt(msgspec.Struct, frozen=True, array_like=True):
    """What became of one recipient's copy, since ``changed_at`` (Unix milliseconds). ``reason`` says why it is
    undeliverable, or what it waits for; empty where there is nothing to say."""

    recipient: Id
    status: CopyStatus
    reason: Short
    changed_at: Milliseconds
