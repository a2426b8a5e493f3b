"""Messages between agents, and the status of each recipient's copy."""

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
"""All kinds of the contract. A client that finds another kind in its mailbox can read none of the mailbox."""

PAYLOAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""The largest payload, as JSON text. Chosen, not measured."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
Short = Annotated[str, msgspec.Meta(max_length=1024)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """A message, as it was accepted. It never changes on its way.

    ``id`` is a UUIDv7, strictly increasing at the node that accepted it, with 32 bits of that node's tag. ``target`` is
    None for a broadcast. ``kind`` is one of :data:`KINDS`; ``name`` is a sender's own kind, empty for the others.
    ``payload`` is JSON text in UTF-8, byte for byte as sent. ``created_at`` is in Unix milliseconds. ``is_error`` marks
    an answer that is an error; if a node made it, the payload is ``{"error": {"type": ..., "message": ...}}``.
    ``trace`` is the sender's trace context, for its recipient: see :mod:`meshp2p.node.tracing`.
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
    trace: Short | None = None

    def check(self) -> None:
        """Raise :class:`ConfigError` if other nodes would refuse the message, so that it could never be delivered."""
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
        check_short("trace", self.trace or "")

    @property
    def size(self) -> int:
        """The size that counts against limits, in bytes: the payload plus 256."""
        return len(self.payload) + 256


IfAbsent: TypeAlias = Literal["refuse", "queue"]
"""What to do with a message for an unlisted instance: refuse it, or keep it if the mesh remembers that the instance
died."""


def check_if_absent(value: object) -> None:
    """Raise :class:`ConfigError` if the value is no :data:`IfAbsent`."""
    if value not in get_args(IfAbsent):
        raise ConfigError(f"if_absent = {str(value)[:40]!r}: expected 'refuse' or 'queue'")


class CopyStatus(enum.StrEnum):
    """The status of one recipient's copy. The last three are final."""

    QUEUED = "queued"
    """The accepting node holds it, and the recipient's home does not have it yet."""
    DELIVERED = "delivered"
    """It is in the recipient's mailbox."""
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"

    @property
    def is_final(self) -> bool:
        """Whether this status never changes any more."""
        return self in _FINAL


_FINAL: Final = frozenset((CopyStatus.ACKNOWLEDGED, CopyStatus.EXPIRED, CopyStatus.UNDELIVERABLE))


class CopyReceipt(msgspec.Struct, frozen=True, array_like=True):
    """The status of one recipient's copy, since ``changed_at`` (Unix milliseconds).

    ``reason`` says why it is undeliverable or what it waits for; empty if there is nothing to say.
    """

    recipient: Id
    status: CopyStatus
    reason: Short
    changed_at: Milliseconds
