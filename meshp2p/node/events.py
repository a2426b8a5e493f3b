"""The events that a node reports to its agent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from meshp2p.core.events import (
    ContactLost,
    ContactRestored,
    Event,
    Evidence,
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
from meshp2p.core.instance import ListedInstance
from meshp2p.core.view import View
from meshp2p.node.instance import Instance, instance_of
from meshp2p.wire.event_contract import EVIDENCE_TEXTS

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
    "event_log",
    "event_of",
    "event_text",
]


class MemberEvent(msgspec.Struct, frozen=True):
    """The base of events about one member. ``instance`` is what was last known of it."""

    instance: Instance

    @property
    def id(self) -> str:
        """The member's id."""
        return self.instance.id


class MemberJoined(MemberEvent, frozen=True):
    """A member is newly listed."""


class MemberUpdated(MemberEvent, frozen=True):
    """A member published a change of its capabilities, status, metrics, address, home or epoch."""


class MemberSuspected(MemberEvent, frozen=True):
    """A node does not answer. It is still listed, and still leads if it led.

    ``by`` is the node that found it, None if that is not known. ``evidence`` is ``silent``, or ``refused`` if its host
    refused the connection: then its process is gone.
    """

    by: str | None = None
    evidence: Evidence = "silent"


class MemberRecovered(MemberEvent, frozen=True):
    """A suspected node refuted the suspicion."""


class MemberDied(MemberEvent, frozen=True):
    """A node was declared dead, or a hosted instance had no heartbeat in time. It is no longer listed.

    ``by`` is the node that found it, None if that is not known. ``evidence`` is as for :class:`MemberSuspected`; for a
    hosted instance it is ``no_heartbeat``, or ``home_lost`` if its home is gone and no other node adopted it.
    """

    by: str | None = None
    evidence: Evidence = "silent"


class MemberLeft(MemberEvent, frozen=True):
    """A node left, or an instance was deregistered. It is no longer listed."""


class LeaderChanged(msgspec.Struct, frozen=True):
    """The leader changed, or claimed a new epoch. ``leader`` is None if there is none.

    There is none when the node has just started, or if its side of a partition is too small for the quorum. The
    leader's ``epoch`` is 0 until its claim has arrived. ``previous_id`` is the id of the leader before.
    """

    leader: Instance | None
    previous_id: str | None


class NetworkProblemFound(msgspec.Struct, frozen=True):
    """The node found a problem with its network. Each problem is reported once.

    ``alone``: no other node was found in the first seconds. ``unreachable``: other machines cannot reach this node.
    ``no-udp``: pings get no answer. ``reason`` is the likely cause, ``advice`` what to do.
    """

    problem: Literal["alone", "unreachable", "no-udp"]
    reason: str
    advice: str


class EventsLost(msgspec.Struct, frozen=True):
    """This reader was too slow, so this many events were dropped, or an unknown number if it is 0. List the members to
    get the current state."""

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

event_log: Final = logging.getLogger("meshp2p.node.events")
"""Where a node logs its events. ``meshp2p up`` disables it if it prints their text."""

_MEMBER_EVENTS: Final[dict[type[InstanceEvent], type[MemberEvent]]] = {
    InstanceJoined: MemberJoined,
    InstanceUpdated: MemberUpdated,
    InstanceRecovered: MemberRecovered,
    InstanceLeft: MemberLeft,
}


def event_of(
    event: Event | NetworkProblemFound,
    machine: View,
    now: float,
    show: Callable[[ListedInstance], Any] = instance_of,
) -> NodeEvent | None:
    """Convert an event of the core for agents, with instances as ``show`` makes them; None for the loss of the id,
    which ends the node."""
    match event:
        case InstanceEvent():
            instance = show(machine.show(event.record, now, event.heard))
            match event:
                case InstanceSuspected(by=by, evidence=evidence):
                    return MemberSuspected(instance, by or None, evidence)
                case InstanceDied(by=by, evidence=evidence):
                    return MemberDied(instance, by or None, evidence)
            return _MEMBER_EVENTS[type(event)](instance)
        case LeadershipChanged():
            record = machine.records().get(event.leader_id or "")
            if record is None:  # or it went meanwhile, and the next event says so
                return LeaderChanged(None, event.previous_id)
            led_since = record.epoch_since if event.epoch else None
            leader = msgspec.structs.replace(
                machine.show(record, now), is_leader=True, epoch=event.epoch, led_since=led_since
            )
            return LeaderChanged(show(leader), event.previous_id)
        case IdConflictLost():
            return None
        case _:
            return event


def event_text(event: NodeEvent) -> str:
    """Describe an event in one line."""
    match event:
        case LeaderChanged(leader=leader):
            epoch = f" (epoch {leader.epoch})" if leader is not None and leader.epoch else ""
            return "no leader" if leader is None else f"leader is {leader.id}{epoch}"
        case MemberSuspected(by=by, evidence=evidence) | MemberDied(by=by, evidence=evidence):
            name = type(event).__name__.removeprefix("Member").lower()
            return f"{name} {event.id} ({EVIDENCE_TEXTS[evidence]}{'' if by is None else f', found by {by}'})"
        case MemberEvent():
            return f"{type(event).__name__.removeprefix('Member').lower()} {event.id}"
        case NetworkProblemFound(reason=reason, advice=advice):
            return f"{reason}; {advice}"
        case EventsLost(count=count):
            if not count:
                return "events may have been missed while the connection was lost"
            return f"{count} events were lost, because they were read too slowly"
        case StorageFailed(reason=reason):
            return f"nothing is kept on disk now, and messages are refused: {reason}"
        case StorageRecovered():
            return "the disk can be written again"
        case PeerUnreachable(id=node_id, reason=reason):
            return f"no path to {node_id}, directly or through other nodes; messages for it wait: {reason}"
        case PeerReachable(id=node_id):
            return f"calls to {node_id} succeed again"
        case PeersCannotCall(id=node_id):
            return f"calls from {node_id} do not arrive here: open this node's TCP port in the firewall"
        case ContactLost(seconds=seconds):
            return f"no other node was heard for {seconds:.1f} s: the network may be cut"
        case ContactRestored():
            return "other nodes are heard again"
