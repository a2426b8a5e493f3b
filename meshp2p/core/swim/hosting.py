"""Instances that speak only HTTP, and the nodes that answer for them.

A hosted instance is a record of its home, gossiped like all others. A heartbeat or a deregistration that arrives at
another node is forwarded to the home. If the home does not answer, that node adopts the instance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from meshp2p.core.calls import (
    CallReply,
    CallRequest,
    DeregisterReply,
    ForwardDeregister,
    ForwardHeartbeat,
    HeartbeatReply,
    InstanceReply,
)
from meshp2p.core.directory.gossip import item_bytes
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceChange, InstanceDied, InstanceJoined, InstanceLeft, InstanceUpdated
from meshp2p.core.record import Record, State, unsigned
from meshp2p.core.requests import Deregister, Heartbeat
from meshp2p.core.swim.membership import Membership
from meshp2p.core.swim.ownership import Ownership
from meshp2p.core.validity import check_item, check_metrics, check_short
from meshp2p.errors import InstanceConflict, LimitExceeded

__all__ = ["Hosting", "Profile"]


class Profile(msgspec.Struct, frozen=True):
    """The data with which an agent registers."""

    id: str
    hostname: str
    port: int
    capabilities: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


class _Hosted:
    """The data of an instance that only its home has: its last report, when its record was last published, and which
    caller it belongs to."""

    __slots__ = ("owner", "published_at", "report", "seen")

    def __init__(self) -> None:
        self.owner = ""
        self.seen = (-1, -1)
        self.published_at = -math.inf
        self.report: tuple[str, str] | None = None


class Hosting:
    """The home's side of hosted instances, and the reports (status and metrics) of the node itself."""

    def __init__(self, state: NodeState, membership: Membership, ownership: Ownership) -> None:
        self._state = state
        self._membership = membership
        self._ownership = ownership
        self._hosted: dict[str, _Hosted] = {}
        self.reports: int = 0
        """Counts unpublished reports of this node's instances."""

    # Requests of agents

    def register(self, profile: Profile, now: float, owner: str = "") -> None:
        """Host an instance here, wherever it was hosted before. ``created_at`` and its claim to lead are kept. In a
        secured mesh it belongs to the caller ``owner`` then.

        Raises :class:`InstanceConflict` if the id belongs to a live node, :class:`~meshp2p.errors.LimitExceeded` if the
        record is too large or the greatest incarnation of the id was claimed, and
        :class:`~meshp2p.errors.ConfigError` if other nodes would refuse it. Then nothing changed.
        """
        state = self._state
        held = state.members.records.get(profile.id)
        if held is not None and held.is_node:
            raise InstanceConflict(
                f"instance {profile.id!r} is a live node that embeds meshp2p: register under another id"
            )
        registered = msgspec.structs.asdict(profile)
        if held is None:
            record = Record(
                **registered,
                incarnation=self._ownership.next_incarnation,
                state=State.ALIVE,
                home=state.id,
                boot=state.own.boot,
                addresses=(),
                created_at=state.wall_ms(),
            )
        else:
            record = msgspec.structs.replace(
                unsigned(held), **registered, home=state.id, boot=state.own.boot, addresses=()
            )
        check_item(record)
        size = item_bytes(record)
        if size > state.config.record_bytes_max:
            raise LimitExceeded(
                f"instance {profile.id!r}: the registration has {size} bytes,"
                f" at most {state.config.record_bytes_max} are allowed"
            )
        if held is not None and not state.has_room_for(record):
            raise LimitExceeded(f"instance {profile.id!r}: the list of instances has no room for a larger registration")
        is_news = held is None or record != unsigned(held) or self._ownership.is_exhausted(profile.id)
        if is_news and not self._ownership.publish(record, now):
            raise LimitExceeded(
                f"instance {profile.id!r}: its incarnation cannot grow any more: register under another id"
            )
        self._host(profile.id, now).owner = owner
        state.life.note(profile.id, now)

    def heartbeat(self, ticket: int, request: Heartbeat, now: float) -> None:
        """Process a heartbeat, here or at the home. Raises :class:`LimitExceeded` if its metrics are too large; then
        nothing changed."""
        state = self._state
        self._check_report(request.status, request.metrics)
        held = state.members.records.get(request.id)
        if held is None or held.home == state.id:
            reply = self.handle_heartbeat(request.id, request.status, request.metrics, now)
            if reply.is_acknowledged and not self.owner_of(request.id):
                self._hosted[request.id].owner = request.owner
            state.resolve(ticket, reply)
            return
        forwarded = ForwardHeartbeat(request.id, request.status, request.metrics)
        self._forward(ticket, held, forwarded, lambda now: self.heartbeat(ticket, request, now), now)

    def report(self, status: str, metrics: str, now: float) -> None:
        """Process a report of this node's own agent. Raises :class:`LimitExceeded`; then nothing changed."""
        self._check_report(status, metrics)
        self.handle_heartbeat(self._state.id, status, metrics, now)

    def _check_report(self, status: str, metrics: str) -> None:
        check_short("status", status)
        size_max = self._state.config.metrics_bytes_max
        if (size := len(metrics.encode(errors="replace"))) > size_max:
            raise LimitExceeded(f"metrics of {size} bytes: at most {size_max} are allowed")
        check_metrics(metrics)

    def deregister(self, ticket: int, request: Deregister, now: float) -> None:
        """Remove a hosted instance. Raises :class:`InstanceConflict` if the id belongs to a live node: a node leaves
        by closing."""
        state = self._state
        held = state.members.records.get(request.id)
        if held is not None and held.is_node:
            raise InstanceConflict(
                f"instance {request.id!r} is a live node that embeds meshp2p: close that node instead"
            )
        if held is None or held.home == state.id:
            state.resolve(ticket, self.handle_deregister(request.id, now))
            return
        self._forward(
            ticket, held, ForwardDeregister(request.id), lambda now: self.deregister(ticket, request, now), now
        )

    def _forward(
        self, ticket: int, held: Record, request: CallRequest, again: Callable[[float], None], now: float
    ) -> None:
        """Let the home answer. If it is gone, or does not answer in time, adopt the instance, so that an agent does not
        depend on one node."""
        state = self._state
        refusal: CallReply = HeartbeatReply(False, False)
        if isinstance(request, ForwardDeregister):
            refusal = DeregisterReply(False)

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            present = state.members.records.get(held.id)
            if not isinstance(reply, CallFailed):
                state.resolve(ticket, reply)
            elif present is None or present.home != held.home or self.adopt(held.id, now):
                again(now)
            else:
                state.resolve(ticket, refusal)

        home = state.members.records.get(held.home)
        if home is None or not home.is_node:
            conclude(CallFailed(Failure.UNREACHABLE, "its home is not listed"), now)
        else:
            state.call_node(home, request, conclude, state.config.forward_timeout)

    # The home

    def handle_heartbeat(self, instance_id: str, status: str, metrics: str, now: float) -> HeartbeatReply:
        """Process a heartbeat for an instance of this node, or for the node itself.

        It is not acknowledged for any other id, and for an instance of which no change can be published any more: then
        its agent registers again, and is told to use another id.
        """
        state = self._state
        held = state.members.records.get(instance_id)
        if held is None or held.home != state.id or len(metrics.encode()) > state.config.metrics_bytes_max:
            return HeartbeatReply(False, False)
        if instance_id != state.id and self._ownership.is_exhausted(instance_id):
            return HeartbeatReply(False, False)
        hosted = self._host(instance_id, now)
        state.life.note(instance_id, now)
        self._report(hosted, held, status, metrics, now)
        versions = (state.members.version, state.leader_version)
        should_sync = hosted.seen != versions
        hosted.seen = versions
        return HeartbeatReply(True, should_sync)

    def handle_deregister(self, instance_id: str, now: float) -> DeregisterReply:
        held = self._state.members.records.get(instance_id)
        if held is None or held.home != self._state.id or held.is_node:
            return DeregisterReply(False)
        self._drop(instance_id)
        farewell = self._state.find(instance_id, held.incarnation, State.LEFT)
        self._membership.become_departed(farewell, now, at_birth=True)
        return DeregisterReply(True)

    def dismiss(self, is_trusted: Callable[[str], bool], now: float) -> None:
        """Remove the instances of this node that belong to callers who are not trusted any more."""
        owners = {instance_id: hosted.owner for instance_id, hosted in self._hosted.items() if hosted.owner}
        for instance_id, owner in owners.items():
            if not is_trusted(owner):
                self.handle_deregister(instance_id, now)

    def present(self, instance_id: str) -> Record | None:
        """Return a listed instance, with its last report, published or not, if this node is its home. May be called
        from any thread."""
        record = self._state.members.records.get(instance_id)
        hosted = self._hosted.get(instance_id)
        report = None if hosted is None else hosted.report
        if record is None or report is None:
            return record
        return msgspec.structs.replace(record, status=report[0], metrics=report[1])

    def owner_of(self, instance_id: str) -> str:
        """Return the caller that an instance of this node belongs to, empty if there is none."""
        hosted = self._hosted.get(instance_id)
        return "" if hosted is None else hosted.owner

    def handle_lookup(self, instance_id: str, now: float) -> InstanceReply:
        """Answer another node that takes this one for the home of an instance."""
        state = self._state
        record = self.present(instance_id)
        if record is None:
            departed = state.members.departed.get(instance_id)
            return InstanceReply(None, is_home=departed is not None and departed.home == state.id)
        age = 0.0 if instance_id == state.id else state.life.age(instance_id, now)
        return InstanceReply(record, int(age * 1000), record.home == state.id, self.owner_of(instance_id))

    def mark_seen(self, instance_id: str) -> None:
        """Note that the agent was just told who is listed and who leads."""
        hosted = self._hosted.get(instance_id)
        if hosted is not None:
            hosted.seen = (self._state.members.version, self._state.leader_version)

    def _host(self, instance_id: str, now: float) -> _Hosted:
        """Answer for an instance from now on, or for another ``instance_timeout``."""
        state = self._state
        hosted = self._hosted.get(instance_id)
        if hosted is None:
            hosted = self._hosted[instance_id] = _Hosted()
        if instance_id != state.id:
            state.timers.set(Timer.EXPIRE, now + state.config.instance_timeout, instance_id)
        return hosted

    def _drop(self, instance_id: str) -> None:
        if self._hosted.pop(instance_id, None) is not None:
            self._state.timers.cancel(Timer.EXPIRE, instance_id)
            self._state.timers.cancel(Timer.PUBLISH, instance_id)

    def adopt(self, instance_id: str, now: float) -> bool:
        """Become the home of an instance whose home is gone. Return whether this node is its home now.

        It is not if it leaves, if its machine may not use the id, or if others' claims cannot be outbid.
        """
        state = self._state
        held = state.members.records.get(instance_id)
        if held is None or held.is_node or state.is_leaving:
            return False
        if held.home != state.id:
            if state.signer is not None and not state.signer.may_sign(instance_id):
                return False
            if not self._ownership.publish(held, now):
                return False
            self._host(instance_id, now)
        return True

    def _report(self, hosted: _Hosted, record: Record, status: str, metrics: str, now: float) -> None:
        """Publish an instance's report: at once, or as soon as the rate limit allows."""
        state = self._state
        hosted.report = None
        if (status, metrics) == (record.status, record.metrics):
            state.timers.cancel(Timer.PUBLISH, record.id)
            return
        is_status = status != record.status
        due = hosted.published_at + (state.config.status_interval if is_status else state.config.metrics_interval)
        if now < due:
            hosted.report = (status, metrics)
            self.reports += 1
            state.timers.set(Timer.PUBLISH, due, record.id)
            return
        hosted.published_at = now
        state.timers.cancel(Timer.PUBLISH, record.id)
        self._ownership.publish(msgspec.structs.replace(record, status=status, metrics=metrics), now)

    # Timers

    def handle_publish(self, instance_id: str, now: float) -> None:
        hosted, record = self._hosted.get(instance_id), self._state.members.records.get(instance_id)
        if hosted is not None and record is not None and hosted.report is not None:
            self._report(hosted, record, *hosted.report, now)

    def handle_expired(self, instance_id: str, now: float) -> None:
        """Remove a hosted instance that had no heartbeat for ``instance_timeout``."""
        held = self._state.members.records.get(instance_id)
        self._drop(instance_id)
        if held is not None and held.home == self._state.id:
            verdict = self._state.find(instance_id, held.incarnation, State.DEAD)
            self._membership.become_departed(verdict, now, at_birth=True)

    def handle_orphaned(self, instance_id: str, now: float) -> None:
        """Remove an instance whose home is gone and that no node adopted. All nodes do so by themselves, so it is not
        spread."""
        held = self._state.members.records.get(instance_id)
        if held is not None and not self._state.members.has_node(held.home):
            verdict = self._state.find(instance_id, held.incarnation, State.DEAD)
            self._membership.become_departed(verdict, now, is_spread=False)

    def restart_expiries(self, now: float) -> None:
        """Restart the timeouts of all instances that wait for a heartbeat or an adoption, because this node was
        suspended."""
        timers, timeout = self._state.timers, self._state.config.instance_timeout
        for instance_id in self._hosted:
            if instance_id != self._state.id:
                timers.set(Timer.EXPIRE, now + timeout, instance_id)
        for instance_id in self._state.members.records:
            if timers.is_set(Timer.ORPHAN, instance_id):
                timers.set(Timer.ORPHAN, now + timeout, instance_id)

    # Changes of members

    def notice(self, event: InstanceChange, now: float) -> None:
        """Process a change of a member: an instance may have lost its home, or got another."""
        state = self._state
        match event:
            case InstanceJoined() | InstanceUpdated():
                record = state.members.records.get(event.id)
                if record is None:
                    return  # it departed meanwhile
                if record.home != state.id:
                    self._drop(record.id)
                elif not record.is_node and record.id not in self._hosted:
                    self._host(record.id, now)
                if not state.members.has_node(record.home):
                    state.timers.set_earlier(Timer.ORPHAN, now + state.config.instance_timeout, record.id)
            case InstanceDied(record=record) | InstanceLeft(record=record):
                self._drop(record.id)
                if record.is_node:
                    for hosted in state.members.hosted_by(record.id):
                        state.timers.set(Timer.ORPHAN, now + state.config.instance_timeout, hosted.id)
            case _:
                pass
