"""The counters of a node."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Counters", "MessageRefusal"]


class MessageRefusal(enum.StrEnum):
    """Why a message was not accepted. This closed set is used as a metric label."""

    UNKNOWN_TARGET = "unknown_target"
    NO_ROOM = "no_room"
    TOO_LARGE = "too_large"
    NOT_STORED = "not_stored"
    """It could not be written to disk."""


class Counters(msgspec.Struct):
    """How often things happened since the start."""

    probes: int = 0
    probes_failed: int = 0
    suspicions: int = 0
    deaths: int = 0
    refutations: int = 0
    syncs: int = 0
    syncs_failed: int = 0
    items_taken: int = 0
    items_stale: int = 0
    items_refused: int = 0
    """Claims that no correct node makes."""
    records_without_room: int = 0
    """Records of new members that were not listed, because the mesh is full."""
    leader_changes: int = 0
    pauses: int = 0
    rebuilds: int = 0
    """Inputs that raised because of a bug, after which the machine was rebuilt."""
    datagrams_unasked: int = 0
    """Acks and nacks that answer no ping of ours, and packets for another node."""
    messages_accepted: int = 0
    messages_refused: dict[MessageRefusal, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(MessageRefusal, 0)
    )
    """Messages that were not accepted."""
    messages_taken: int = 0
    """Copies put into mailboxes of this node."""
    messages_repeated: int = 0
    """Copies that arrived again."""
    copies_without_room: int = 0
    """Copies that a full mailbox of this node refused; their holders deliver them again later."""
    deliveries_delayed: int = 0
    """Times that delivery to one recipient pauses, because its home refused or could not store."""
    mail_calls_repeated: int = 0
    """Calls about messages that failed and are repeated after a pause."""
    copies_acknowledged: int = 0
    copies_expired: int = 0
    copies_undeliverable: int = 0
    map_syncs: int = 0
    """Comparisons of shared maps that were answered."""
    map_entries_taken: int = 0
    """Entries from other nodes that changed a shared map."""
    map_entries_refused: int = 0
    """Entries from other nodes that were refused: stamped too far ahead, or above the limits."""
