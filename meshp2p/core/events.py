"""Events in a node's view of the mesh. A member is any instance: a node, or a hosted one."""

from __future__ import annotations

from typing import Literal

import msgspec

from meshp2p.core.record import Record

__all__ = [
    "ContactLost",
    "ContactRestored",
    "Event",
    "Evidence",
    "Grounds",
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


Evidence = Literal["silent", "refused", "no_heartbeat", "home_lost"]
"""Why a member is suspected or declared dead: it did not answer; its host refused the connection, so its process is
gone; a hosted instance sent no heartbeat in time; or its home is gone, and no other node adopted it."""


class Grounds(msgspec.Struct, frozen=True):
    """What the node that emits a verdict on another node weighed, at that moment.

    ``ping`` is the sequence number of the ping that got no answer, if the node found that itself; ``is_check`` if that
    was a check of a single node, and no regular probe. ``accusers`` and ``refused`` are the nodes that found the
    suspect unresponsive, and those that its host refused or whose view holds it dead. ``since`` and ``deadline`` limit
    the suspicion, on the caller's clock. ``patience`` is the factor by which the suspicion was extended,
    and ``local_health`` the score of the node that emits the event; 0 is healthy.
    """

    accusers: tuple[str, ...]
    refused: tuple[str, ...]
    since: float
    deadline: float
    patience: float
    local_health: int
    ping: int = 0
    is_check: bool = False


class InstanceEvent(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The base of events about one instance.

    ``record`` is the last known record, and ``heard`` the time of the last sign of life, on the caller's clock, if the
    instance is no longer listed.
    """

    record: Record
    heard: float | None = None

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.record.id


class InstanceJoined(InstanceEvent, frozen=True):
    """An instance is newly listed."""


class InstanceUpdated(InstanceEvent, frozen=True):
    """An instance published a change of its capabilities, status, metrics, address, home or epoch."""


class InstanceSuspected(InstanceEvent, frozen=True):
    """A node does not answer. It is still listed, and still leads if it led. ``by`` is the node that found it, empty if
    that is not known."""

    by: str = ""
    evidence: Evidence = "silent"
    grounds: Grounds | None = None


class InstanceRecovered(InstanceEvent, frozen=True):
    """A suspected node refuted the suspicion."""


class InstanceDied(InstanceEvent, frozen=True):
    """A node was declared dead, or a hosted instance had no heartbeat in time. It is no longer listed. ``by`` is the
    node that found it, empty if that is not known. ``grounds`` is None if the node that emits the event heard it."""

    by: str = ""
    evidence: Evidence = "silent"
    grounds: Grounds | None = None


class InstanceLeft(InstanceEvent, frozen=True):
    """A node left or was revoked, or an instance was deregistered. It is no longer listed."""

    is_revoked: bool = False


class LeadershipChanged(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The leader changed, or there is none: the node has just started, or its side is too small for the quorum.

    Also emitted if the same leader claimed a new epoch. The epoch is 0 until the leader's claim has arrived.
    """

    leader_id: str | None
    previous_id: str | None
    epoch: int


class IdConflictLost(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Another live process, at ``address``, has this node's id, and has had it for longer. The machine has stopped.

    If ``address`` is empty, other nodes hold a claim about the id that cannot be outbid. ``is_owned`` means that the id
    belongs to another machine of the secured mesh.
    """

    id: str
    address: str
    is_owned: bool = False


class MapChanged(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """A key of the shared map ``name`` has a new value, as JSON text. The text is empty if the key was deleted."""

    name: str
    key: str
    value: bytes


InstanceChange = InstanceJoined | InstanceUpdated | InstanceSuspected | InstanceRecovered | InstanceDied | InstanceLeft


class PeerUnreachable(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Calls to a live node fail, directly and through relays, because a firewall or NAT blocks both sides.

    Messages for it wait. ``reason`` is how the last call failed.
    """

    id: str
    reason: str


class PeerReachable(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """Calls to a node that was unreachable succeed again."""

    id: str


class PeersCannotCall(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """The node ``id`` reports that its calls do not arrive here, directly or through relays.

    Open this node's TCP port in the firewall, or let this node connect outward.
    """

    id: str


class StorageFailed(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """This node's disk stores nothing now, for the given reason. Messages are refused, and the node claims no new
    epoch.

    What was accepted before is unchanged.
    """

    reason: str


class StorageRecovered(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """This node's disk works again."""


class ContactLost(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """This node lists others and has received nothing from them for ``seconds``: its network may be down.

    It checks all of them and names no leader meanwhile.
    """

    seconds: float


class ContactRestored(msgspec.Struct, frozen=True, tag_field="event", tag=str):
    """This node received something from another node again, after :class:`ContactLost`."""


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
