"""What a node tells its agent. Past tense."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from meshp2p.core.events import (
    ContactLost,
    ContactRestored,
    Event,
    IdConflictLost,
    InstanceDied,
    InstanceEvent,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceSuspected,
    InstanceUpdated,
    LeadershipChanged,
    PeerReachable,
    PeersCannotCall,
    PeerUnreachable,
    StorageFailed,
    StorageRecovered,
)
from meshp2p.core.view import View
from meshp2p.node.instance import Instance, instance_of

__all__ = [
    "EventsLost",
    "LeaderChanged",
    "MemberDied",
    "MemberEvent",
    "MemberJoined",
    "MemberLeft",
    "MemberRecovered",
    "MemberSuspected",
    "MemberUpdated",
    "NetworkProblemFound",
    "NodeEvent",
    "event_of",
]


class MemberEvent(msgspec.Struct, frozen=True):
    """Something happened to one member; ``instance`` is what was known of it last."""

    instance: Instance

    @property
    def id(self) -> str:
        """The member's id."""
        return self.instance.id


class MemberJoined(MemberEvent, frozen=True):
    """A member is listed that was not."""


class MemberUpdated(MemberEvent, frozen=True):
    """A member published something new about itself: its capabilities, status, metrics, address, home or epoch."""


class MemberSuspected(MemberEvent, frozen=True):
    """A node does not answer. It is still listed, and still leads if it led."""


class MemberRecovered(MemberEvent, frozen=True):
    """A suspected node refuted the suspicion."""


class MemberDied(MemberEvent, frozen=True):
    """A node is held to be dead, or a hosted instance had no heartbeat in time. It is no longer listed."""


class MemberLeft(MemberEvent, frozen=True):
    """A node left of its own will, or an instance was deregistered. It is no longer listed."""


class LeaderChanged(msgspec.Struct, frozen=True):
    """The leader is another one, or the same one with a new epoch, or there is none: then ``leader`` is None.

    There is none when the node has just begun, or its side of a partition is too small for the quorum. The leader's
    ``epoch`` is 0 until its claim has arrived. ``previous_id`` is the id of the leader before.
    """

    leader: Instance | None
    previous_id: str | None


class NetworkProblemFound(msgspec.Struct, frozen=True):
    """The node found nobody in its first seconds (``alone``), is not reached from other machines (``unreachable``), or
    has no answers by UDP (``no-udp``). ``reason`` is the likely cause, ``advice`` what to do next. Each is told
    once."""

    problem: Literal["alone", "unreachable", "no-udp"]
    reason: str
    advice: str


class EventsLost(msgspec.Struct, frozen=True):
    """This reader was too slow: so many events were dropped here. List the members to know what is so now."""

    count: int


NodeEvent: TypeAlias = (
    MemberEvent
    | LeaderChanged
    | StorageFailed
    | StorageRecovered
    | PeerUnreachable
    | PeerReachable
    | PeersCannotCall
    | ContactLost
    | ContactRestored
    | NetworkProblemFound
    | EventsLost
)

_MEMBER_EVENTS: Final[dict[type[InstanceEvent], type[MemberEvent]]] = {
    InstanceJoined: MemberJoined,
    InstanceUpdated: MemberUpdated,
    InstanceSuspected: MemberSuspected,
    InstanceRecovered: MemberRecovered,
    InstanceDied: MemberDied,
    InstanceLeft: MemberLeft,
}


def event_of(event: Event | NetworkProblemFound, machine: View, now: float) -> NodeEvent | None:
    """An event of the core, for agents; None for the loss of the id, which ends the node."""
    match event:
        case InstanceEvent():
            kind = _MEMBER_EVENTS[type(event)]
            return kind(instance_of(machine.show(event.record, now, event.heard)))
        case LeadershipChanged():
            record = machine.records().get(event.leader_id or "")
            if record is None:  # or it went meanwhile, and the next event says so
                return LeaderChanged(None, event.previous_id)
            led_since = record.epoch_since if event.epoch else None
            leader = msgspec.structs.replace(
                machine.show(record, now), is_leader=True, epoch=event.epoch, led_since=led_since
            )
            return LeaderChanged(instance_of(leader), event.previous_id)
        case IdConflictLost():
            return None
        case _:
            return event
