"""What happened in a node's view of the mesh. Past tense. A member is any instance: a node, or one that a node
hosts."""

from __future__ import annotations

import msgspec

from meshp2p.core.record import Record

__all__ = [
    "ContactLost",
    "ContactRestored",
    "Event",
    "IdConflictLost",
    "InstanceChange",
    "InstanceDied",
    "InstanceEvent",
    "InstanceJoined",
    "InstanceLeft",
    "InstanceRecovered",
    "InstanceSuspected",
    "InstanceUpdated",
    "LeadershipChanged",
    "MapChanged",
    "PeerReachable",
    "PeerUnreachable",
    "PeersCannotCall",
    "StorageFailed",
    "StorageRecovered",
]


class InstanceEvent(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Something happened to one instance; ``record`` is what was known of it last, and ``heard`` the time of its last
    sign of life, on the caller's clock, if it is no longer listed."""

    record: Record
    heard: float | None = None

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.record.id


class InstanceJoined(InstanceEvent, frozen=True):
    """A member is listed that was not."""


class InstanceUpdated(InstanceEvent, frozen=True):
    """A member published something new about itself: its capabilities, status, metrics, address, home or epoch."""


class InstanceSuspected(InstanceEvent, frozen=True):
    """A node does not answer. It is still listed, and still leads if it led."""


class InstanceRecovered(InstanceEvent, frozen=True):
    """A suspected node refuted the suspicion."""


class InstanceDied(InstanceEvent, frozen=True):
    """A node is held to be dead, or a hosted instance had no heartbeat in time. It is no longer listed."""


class InstanceLeft(InstanceEvent, frozen=True):
    """A node left of its own will, or an instance was deregistered. It is no longer listed."""


class LeadershipChanged(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The leader is another, or there is none: the node has just begun, or its side is too small for the quorum.

    Also told where it is the same and claimed a new epoch. The epoch is 0 until the leader's claim has arrived.
    """

    leader_id: str | None
    previous_id: str | None
    epoch: int


class IdConflictLost(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Another live process, at ``address``, holds this node's id, and has held it for longer. Where ``address`` is
    empty others hold a claim about the id that cannot be outbid. The machine has stopped."""

    id: str
    address: str


class MapChanged(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """A key of the shared map ``name`` has another value, JSON text, or none any more: then it is empty."""

    name: str
    key: str
    value: bytes


InstanceChange = InstanceJoined | InstanceUpdated | InstanceSuspected | InstanceRecovered | InstanceDied | InstanceLeft


class PeerUnreachable(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Calls to a live node fail, directly and through others: a firewall or NAT is in the way on both sides. Messages
    for it wait. ``reason`` is how the last call failed."""

    id: str
    reason: str


class PeerReachable(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Calls to a node arrive again that did not."""

    id: str


class PeersCannotCall(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The node ``id`` says that its calls do not arrive here, directly or through others. Open this node's TCP port in
    the firewall, or let this node dial out."""

    id: str


class StorageFailed(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The disk of this node keeps nothing now, for this reason: messages are refused, and no new claim to lead is made.
    What was accepted before is as it was."""

    reason: str


class StorageRecovered(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The disk of this node takes what is to be kept again."""


class ContactLost(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """This node lists others and has heard none of them for so many ``seconds``: its network may be cut. It checks them
    all, and names no leader meanwhile."""

    seconds: float


class ContactRestored(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Another node is heard again, after :class:`ContactLost`."""


Event = (
    InstanceChange
    | LeadershipChanged
    | IdConflictLost
    | StorageFailed
    | StorageRecovered
    | PeerUnreachable
    | PeerReachable
    | PeersCannotCall
    | ContactLost
    | ContactRestored
)
