"""The JSON of the events of ``GET /events``. ``type`` is also the name of the event in the stream."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

from meshp2p.core.events import Evidence
from meshp2p.wire.contract import InstanceDetail, LeaderResponse, Timestamp

__all__ = [
    "EVENT_TYPES",
    "EVIDENCE_TEXTS",
    "HEARTBEAT_SECONDS",
    "ContactLostEvent",
    "ContactRestoredEvent",
    "EventsLostEvent",
    "LeaderChangedEvent",
    "MemberDiedEvent",
    "MemberJoinedEvent",
    "MemberLeftEvent",
    "MemberRecoveredEvent",
    "MemberSuspectedEvent",
    "MemberUpdatedEvent",
    "MeshEvent",
    "NetworkProblemFoundEvent",
    "PeerReachableEvent",
    "PeerUnreachableEvent",
    "PeersCannotCallEvent",
    "SnapshotEvent",
    "StorageFailedEvent",
    "StorageRecoveredEvent",
    "StreamedEvent",
]

HEARTBEAT_SECONDS = 15.0
"""The pause between comments in a stream without events. Chosen, not measured: proxies close a connection that is
silent for 30 to 60 s."""

EVIDENCE_TEXTS: Final[dict[Evidence, str]] = {
    "silent": "it did not answer",
    "refused": "its process is gone",
    "no_heartbeat": "it sent no heartbeat",
    "home_lost": "its home is gone",
}
"""What people read of each kind of evidence: in events, in the verdict, and on the live page."""


def _type_of(class_name: str) -> str:
    """Return the type of a class: ``member_died`` for ``MemberDiedEvent``."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", class_name.removesuffix("Event")).lower()


class MeshEvent(msgspec.Struct, tag_field="type", tag=_type_of):
    """The base of all events. ``at`` is when the node found it: RFC 3339 in UTC."""

    at: Timestamp


class SnapshotEvent(MeshEvent):
    """All that the node knows now: the first event, and again whenever events were lost. Forget what you knew."""

    members: list[InstanceDetail]
    leader: LeaderResponse


class MemberJoinedEvent(MeshEvent):
    """A member is newly listed."""

    instance: InstanceDetail


class MemberUpdatedEvent(MeshEvent):
    """A member published a change of its capabilities, status, metrics, address, home or epoch."""

    instance: InstanceDetail


class MemberSuspectedEvent(MeshEvent):
    """A node does not answer. It is still listed, and still leads if it led. ``by`` is the node that found it, null if
    that is not known; ``evidence`` is ``silent`` or ``refused``."""

    instance: InstanceDetail
    by: str | None
    evidence: Evidence


class MemberRecoveredEvent(MeshEvent):
    """A suspected node refuted the suspicion."""

    instance: InstanceDetail


class MemberDiedEvent(MeshEvent):
    """A member was declared dead. It is no longer listed. ``by`` is the node that found it, null if that is not known;
    ``evidence`` for a hosted instance is ``no_heartbeat`` or ``home_lost``."""

    instance: InstanceDetail
    by: str | None
    evidence: Evidence


class MemberLeftEvent(MeshEvent):
    """A node left, or an instance was deregistered. It is no longer listed."""

    instance: InstanceDetail


class LeaderChangedEvent(MeshEvent):
    """The leader changed, or claimed a new epoch. ``leader`` is null if there is none."""

    leader: InstanceDetail | None
    previous_id: str | None


class StorageFailedEvent(MeshEvent):
    """The node's disk stores nothing now. It refuses messages."""

    reason: str


class StorageRecoveredEvent(MeshEvent):
    """The node's disk works again."""


class PeerUnreachableEvent(MeshEvent):
    """Calls of this node to another live node fail, directly and through others. Messages for it wait."""

    id: str
    reason: str


class PeerReachableEvent(MeshEvent):
    """Calls to that node succeed again."""

    id: str


class PeersCannotCallEvent(MeshEvent):
    """The node ``id`` reports that its calls do not arrive here."""

    id: str


class ContactLostEvent(MeshEvent):
    """The node lists others and has received nothing from them for ``seconds``."""

    seconds: float


class ContactRestoredEvent(MeshEvent):
    """The node received something from another node again."""


class NetworkProblemFoundEvent(MeshEvent):
    """The node found a problem with its network: the likely cause, and what to do."""

    problem: Literal["alone", "unreachable", "no-udp"]
    reason: str
    advice: str


class EventsLostEvent(MeshEvent):
    """This reader was too slow, or came back too late: it missed ``count`` events, an unknown number if that is 0. A
    snapshot follows."""

    count: Annotated[int, msgspec.Meta(ge=0)]


StreamedEvent: TypeAlias = (
    SnapshotEvent
    | MemberJoinedEvent
    | MemberUpdatedEvent
    | MemberSuspectedEvent
    | MemberRecoveredEvent
    | MemberDiedEvent
    | MemberLeftEvent
    | LeaderChangedEvent
    | StorageFailedEvent
    | StorageRecoveredEvent
    | PeerUnreachableEvent
    | PeerReachableEvent
    | PeersCannotCallEvent
    | ContactLostEvent
    | ContactRestoredEvent
    | NetworkProblemFoundEvent
    | EventsLostEvent
)

EVENT_TYPES: Final = tuple(str(shape.__struct_config__.tag) for shape in get_args(StreamedEvent))
"""The ``type`` of each event that this version knows."""
