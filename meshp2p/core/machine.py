"""The whole protocol of one node as one plain object: what happened goes in, effects come out.

::

    datagrams, calls, replies, requests, time ──> Machine ──> effects (send, call, persist, emit, resolve)

    Machine          takes what happened, hands it to the part it concerns, then lets hosting and election look at what
    changed ├── Prober       who does not answer: pings, indirect pings, accusations ├── Membership   what becomes of
    each claim: listed, suspect, departed ├── Ownership    what this node alone may say: publishing, refuting, rivals
    for its id ├── Hosting      instances that speak only HTTP: heartbeats, expiry, adoption ├── Syncer       comparing
    views, dialling candidates └── Election     who leads

A driver owns the machine alone, and calls it from one task. ``now`` is the driver's monotonic clock in seconds. Every
call returns effects, to be performed in their order, or raises and leaves the machine as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

from meshp2p.core.address import Address
from meshp2p.core.candidates import Candidate
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import CallFailed, Effect
from meshp2p.core.election import Election
from meshp2p.core.events import MemberChange, MemberDied, MemberJoined, MemberLeft
from meshp2p.core.hosting import Hosting, Profile
from meshp2p.core.instance import Instance, Leader
from meshp2p.core.membership import Membership
from meshp2p.core.messages import (
    Ack,
    CallReply,
    CallRequest,
    Datagram,
    ForwardDeregister,
    ForwardHeartbeat,
    Gossip,
    Nack,
    Ping,
    PingRequest,
    Pong,
    Probe,
    Push,
    SyncRequest,
)
from meshp2p.core.ownership import Ownership
from meshp2p.core.prober import Prober
from meshp2p.core.record import Record, Rumour, State, tag_of
from meshp2p.core.requests import Deregister, Heartbeat, Request
from meshp2p.core.state import Counters, KeptState, NodeState, Randomness
from meshp2p.core.syncer import Syncer
from meshp2p.core.timers import Timer
from meshp2p.errors import NodeClosed

__all__ = ["Machine"]


class Machine:
    """One node's protocol.

    ``profile`` is what its agent says of itself, ``addresses`` are where others reach it, best first. ``wall_ms`` gives
    Unix milliseconds, for times that people read and for the first incarnation; ``kept`` is what was persisted last
    under this id.
    """

    def __init__(
        self,
        profile: Profile,
        addresses: tuple[Address, ...],
        config: ProtocolConfig,
        random: Randomness,
        wall_ms: Callable[[], int],
        kept: KeptState | None = None,
    ) -> None:
        kept = kept or KeptState()
        started_ms = wall_ms()
        own = Record(
            id=profile.id,
            incarnation=max(started_ms, kept.incarnation + 1),
            state=State.ALIVE,
            home=profile.id,
            boot=(started_ms << 16) | random.randrange(0, 1 << 16),
            addresses=addresses,
            hostname=profile.hostname,
            port=profile.port,
            capabilities=profile.capabilities,
            profiles=profile.profiles,
            created_at=started_ms,
        )
        self._state = NodeState(own, config, random, wall_ms, kept)
        self._ownership = Ownership(self._state)
        self._membership = Membership(self._state, self._ownership)
        self._prober = Prober(self._state, self._membership)
        self._election = Election(self._state, self._ownership)
        self._hosting = Hosting(self._state, self._membership, self._ownership)
        self._syncer = Syncer(self._state, self._membership, self._ownership, self._election)
        self._farewells = 0

    def __repr__(self) -> str:
        members = self._state.members
        return (
            f"<Machine {self._state.id} inc={self._state.own.incarnation} nodes={len(members.nodes)}"
            f" instances={len(members)} departed={len(members.departed)} leader={self.leader_id}"
            f" epoch={self.leader_epoch} view={members.view:016x}>"
        )

    # What happened

    def start(self, now: float) -> list[Effect]:
        """Begin. To be called once, before anything else."""
        self._ownership.publish(self._state.own, now)
        self._prober.start(now)
        self._election.start(now)
        self._syncer.start(now)
        return self._conclude(now)

    def receive(self, datagram: Datagram, source: Address, now: float) -> list[Effect]:
        """A packet came from this address."""
        state = self._state
        body = datagram.body
        sender = state.members.id_of(body.sender)
        was_listed = sender is not None and state.is_live(sender)
        if body.sender == state.tag:
            return []
        if datagram.items:
            self._membership.take_all(datagram.items, now)
        if datagram.ages:
            state.life.unpack(datagram.ages, state.members.id_of, now)
        record = state.members.records.get(sender) if sender is not None else None
        if record is None:
            self._receive_unlisted(body, sender, source, now)
        else:
            state.life.note(record.id, now)
            if record.addresses and state.address_of(record) != source:
                state.reach[record.id] = source
        match body:
            case Ping():
                self._prober.receive_ping(body, source, now)
            case Ack():
                self._prober.receive_ack(body, sender, now)
            case Nack():
                self._prober.receive_nack(body)
            case PingRequest():
                self._prober.receive_ping_request(body, source, now)
            case Gossip():
                pass
            case _:
                assert_never(body)
        if record is not None and isinstance(body, (Ping, Ack)):
            if was_listed:
                self._syncer.compare(record.id, body.view, now)
            else:
                self._syncer.sync_with(record.id, now)
        return self._conclude(now)

    def _receive_unlisted(
        self, body: Ping | Ack | Nack | PingRequest | Gossip, sender: str | None, source: Address, now: float
    ) -> None:
        """A node speaks that is not listed: one that is held dead is told so and can refute, an unknown one is asked
        who it is."""
        state = self._state
        departed = state.members.departed.get(sender) if sender is not None else None
        if departed is None:
            self._syncer.offer("packet", (source,), None, now)
        elif not isinstance(body, Gossip):
            state.send(source, Gossip(state.tag), now, first=departed.as_rumour())

    def receive_call(self, request: CallRequest, now: float) -> tuple[CallReply, list[Effect]]:
        """Another node calls; the reply is to be sent back once the effects were performed."""
        state = self._state
        reply: CallReply
        match request:
            case Probe():
                reply = Pong(state.id, state.own.boot)
            case SyncRequest():
                reply = self._syncer.receive_request(request, now)
            case Push():
                reply = self._syncer.receive_push(request, now)
            case ForwardHeartbeat(id=instance_id, status=status, metrics=metrics):
                reply = self._hosting.take_heartbeat(instance_id, status, metrics, now)
            case ForwardDeregister(id=instance_id):
                reply = self._hosting.take_deregister(instance_id, now)
            case _:
                assert_never(request)
        return reply, self._conclude(now)

    def receive_reply(self, call_id: int, reply: CallReply | CallFailed, now: float) -> list[Effect]:
        """The reply to a :class:`~meshp2p.core.effects.Call`, or that there was none. An unknown ``call_id`` is
        ignored."""
        handler = self._state.take_call(call_id)
        if handler is not None:
            handler(reply, now)
        return self._conclude(now)

    def handle_timeouts(self, now: float) -> list[Effect]:
        """Time has come to :meth:`next_deadline`. All datagrams that have arrived are to be received before."""
        timers = self._state.timers
        while (due := timers.pop_due(now)) is not None:
            self._handle_timer(due[0], due[1], now)
        return self._conclude(now)

    def next_deadline(self) -> float:
        """When :meth:`handle_timeouts` is to be called, on the clock of ``now``; infinity where nothing is awaited."""
        return self._state.timers.next_deadline()

    def _handle_timer(self, timer: Timer, subject: str, now: float) -> None:
        match timer:
            case Timer.PROBE:
                self._prober.handle_period(now)
            case Timer.PROBE_DIRECT:
                self._prober.handle_no_answer(now)
            case Timer.RELAY:
                self._prober.handle_relay_no_answer(int(subject), now)
            case Timer.GOSSIP:
                self._gossip(now)
            case Timer.SUSPICION:
                self._membership.end_suspicion_period(subject, now)
            case Timer.CALL_DEAD:
                self._call_dead(now)
            case Timer.FORGET:
                self._forget(now)
            case Timer.DIAL:
                self._syncer.handle_dial(now)
            case Timer.SETTLE:
                self._syncer.end_look_around()
                self._election.settle()
            case Timer.EXPIRE:
                self._hosting.handle_expired(subject, now)
            case Timer.ORPHAN:
                self._hosting.handle_orphaned(subject, now)
            case Timer.PUBLISH:
                self._hosting.handle_publish(subject, now)
            case _:
                assert_never(timer)

    # What the agent asks

    def request(self, ticket: int, request: Request, now: float) -> list[Effect]:
        """Ask for something that another node may have to answer; ``Resolve(ticket, reply)`` is among these effects or
        later ones.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused.
        """
        self._check_running()
        match request:
            case Heartbeat():
                self._hosting.heartbeat(ticket, request, now)
            case Deregister():
                self._hosting.deregister(ticket, request, now)
            case _:
                assert_never(request)
        return self._conclude(now)

    def register(self, profile: Profile, now: float) -> list[Effect]:
        """Host an instance that speaks only HTTP: see :meth:`~meshp2p.core.hosting.Hosting.register`."""
        self._check_running()
        self._hosting.register(profile, now)
        effects = self._conclude(now)
        self._hosting.mark_seen(profile.id)
        return effects

    def report(self, status: str, metrics: str, now: float) -> list[Effect]:
        """Publish this node's own status and metrics (a JSON object as text), rate-limited."""
        self._check_running()
        self._hosting.take_heartbeat(self._state.id, status, metrics, now)
        return self._conclude(now)

    def offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None, now: float) -> list[Effect]:
        """A source of discovery saw that a peer may be at these addresses."""
        if not self._state.is_leaving:
            self._syncer.offer(source, addresses, instance_id, now)
        return self._conclude(now)

    def leave(self, now: float) -> list[Effect]:
        """Leave the mesh of one's own will: everybody is told, and :attr:`has_left` says when enough have heard."""
        state = self._state
        if state.is_leaving:
            return []
        state.is_leaving = True
        farewell = Rumour(state.id, state.own.incarnation, State.LEFT, state.id)
        others = state.choose_nodes(len(state.members.nodes))
        if state.is_announced:
            for node_id in others:
                state.tell(node_id, farewell)
            for node_id in others[: state.config.gossip_fanout]:
                self._farewells += 1
                addresses = state.addresses_of(state.members.records[node_id])
                push = Push(state.tag, (farewell,))
                state.call(addresses, push, self._conclude_farewell, state.config.leave_timeout or None)
        return self._conclude(now)

    def _conclude_farewell(self, _reply: CallReply | CallFailed, _now: float) -> None:
        self._farewells -= 1

    @property
    def has_left(self) -> bool:
        return self._state.is_leaving and self._farewells == 0

    def _check_running(self) -> None:
        if self._state.is_leaving or self._ownership.has_lost_id:
            raise NodeClosed(f"node {self._state.id!r} has left the mesh: open a new one")

    # What is asked of its view

    @property
    def id(self) -> str:
        return self._state.id

    @property
    def own(self) -> Record:
        """This node's own record, as published last."""
        return self._state.own

    @property
    def config(self) -> ProtocolConfig:
        return self._state.config

    @property
    def counters(self) -> Counters:
        return self._state.counters

    @property
    def leader_id(self) -> str | None:
        return self._election.leader_id

    @property
    def leader_epoch(self) -> int:
        return self._election.epoch

    @property
    def is_settled(self) -> bool:
        """Whether the node has been in the mesh for long enough to name a leader."""
        return self._election.is_settled and self._state.is_announced

    @property
    def is_announced(self) -> bool:
        """Whether the node knows that its id is its own, as far as anybody it met knows, and told others of itself."""
        return self._state.is_announced

    @property
    def has_lost_id(self) -> bool:
        return self._ownership.has_lost_id

    @property
    def local_health(self) -> int:
        return self._state.local_health.score

    @property
    def view(self) -> int:
        """The hash of all live records: equal where two nodes agree."""
        return self._state.members.view

    def records(self) -> dict[str, Record]:
        """The live records by id, in no order: a view that changes with the machine, not to be changed."""
        return self._state.members.records

    def node_count(self) -> int:
        return len(self._state.members.nodes)

    def candidates(self) -> Iterator[Candidate]:
        return iter(self._syncer.candidates)

    def instance(self, instance_id: str, now: float) -> Instance | None:
        """A live instance as this node knows it; None where there is none of this id."""
        record = self._state.members.records.get(instance_id)
        return None if record is None else self._show(record, now)

    def instances(self, now: float) -> list[Instance]:
        """All live instances, ordered by the bytes of their ids."""
        return [self._show(record, now) for _, record in sorted(self._state.members.records.items(), key=_by_id_bytes)]

    def leader(self) -> Leader | None:
        """Who leads; None while nobody does."""
        record = self._state.members.records.get(self.leader_id or "")
        return None if record is None else Leader(record.id, record.epoch, record.epoch_since, record.id == self.id)

    def _show(self, record: Record, now: float) -> Instance:
        state = self._state
        heard = state.life[record.id]
        age = 0.0 if record.id == state.id or heard is None else max(0.0, now - heard)
        return Instance(
            id=record.id,
            hostname=record.hostname,
            port=record.port,
            capabilities=record.capabilities,
            profiles=record.profiles,
            state=record.state,
            home=record.home,
            address=state.address_of(record) if record.addresses else None,
            incarnation=record.incarnation,
            is_leader=record.id == self.leader_id,
            status=record.status,
            metrics=record.metrics,
            created_at=record.created_at,
            last_heartbeat=state.wall_ms() - int(age * 1000),
        )

    # What falls due and is nobody else's

    def _gossip(self, now: float) -> None:
        """A round of gossip: tell a few nodes what there is to tell (SWIM §4.1)."""
        state = self._state
        if not len(state.gossip) or not state.is_announced:
            return
        nodes = state.choose_nodes(state.config.gossip_fanout)
        if not nodes:
            return
        oversize = state.gossip.take_oversize(state.config.sync_bytes_max, item_bytes_max=state.item_bytes_max)
        for node_id in nodes:
            for item in oversize:
                state.tell(node_id, item)
            if len(state.gossip):
                state.send_to_node(node_id, Gossip(state.tag), now)
        state.timers.set(Timer.GOSSIP, now + state.config.gossip_interval)

    def _call_dead(self, now: float) -> None:
        """Call a dead node, it may live beyond a partition: with a probability of dead / all, the least called first.

        It is told that it is held dead, so that it refutes at once.
        """
        state = self._state
        dead = state.members.callable_dead()
        if not dead or state.is_leaving:
            return
        state.timers.set(Timer.CALL_DEAD, now + state.config.dead_call_interval)
        if state.random.random() * (len(dead) + len(state.members.nodes)) >= len(dead):
            return
        first, *rest = state.random.sample(dead, min(2, len(dead)))
        target = min([first, *rest], key=lambda departed: departed.calls)
        target.calls += 1
        address = target.addresses[target.calls % len(target.addresses)]
        ping = Ping(0, state.tag, tag_of(target.id), state.members.view)
        state.send(address, ping, now, first=target.as_rumour())

    def _forget(self, now: float) -> None:
        state = self._state
        retention = state.config.departed_retention
        state.members.forget_departed(now - retention, state.config.departed_max)
        oldest = next(iter(state.members.departed.values()), None)
        if oldest is not None:
            state.timers.set(Timer.FORGET, oldest.since + retention)

    def _conclude(self, now: float) -> list[Effect]:
        """Let the parts look at what changed, until nothing does, and hand out the effects."""
        state = self._state
        if not state.is_announced:
            self._syncer.announce_if_sure(now)
        while True:
            changes, state.changes = state.changes, []
            for event in changes:
                state.emit(event)
                self._notice(event, now)
            self._election.update(now)
            if not state.changes:
                break
        effects, state.effects = state.effects, []
        return effects

    def _notice(self, event: MemberChange, now: float) -> None:
        self._hosting.notice(event, self._election.version, now)
        match event:
            case MemberJoined(record=record) if record.is_node:
                self._prober.add_target(record.id)
            case MemberDied(record=record) | MemberLeft(record=record) if record.is_node:
                self._prober.forget(record.id)
                self._syncer.set_dial_timer()
                if isinstance(event, MemberDied):
                    self._election.note_death(now)
            case _:
                pass


def _by_id_bytes(entry: tuple[str, Record]) -> bytes:
    return entry[0].encode()
