"""The whole protocol of one node as one plain object: what happened goes in, effects come out.

::

    datagrams, calls, replies, requests, time ──> Machine ──> effects (send, call, persist, emit, resolve)

    Machine            takes what happened, hands it to the part it concerns, then looks at what changed
    ├── Prober         who does not answer: pings, indirect pings, accusations
    ├── Paths          whether a node is where its packets come from
    ├── Watches        who crashed: connections that break when a process dies
    ├── Confirmer      checking at once who is suspect, or whose watch connection broke
    ├── RollCall       checking many at once, after a probe that met silence on all ways
    ├── Contact        whether anybody is heard at all
    ├── Membership     what becomes of each claim: listed, suspect, departed
    ├── Ownership      what this node alone may say: publishing, refuting, rivals for its id
    ├── Dissemination  telling: rounds of gossip, the farewell
    ├── Syncer         comparing views, dialling candidates
    ├── ConvergenceCheck  asking somebody whether all was heard, once the mesh is quiet
    ├── Departures     calling the dead, forgetting the departed
    ├── Mail           durable messages: see :mod:`meshp2p.core.mail.machine`
    ├── Maps           shared maps: who has them, comparing, telling changes
    ├── Lookups        reading one instance through to its home
    ├── Hosting        instances that speak only HTTP: heartbeats, expiry, adoption
    ├── PauseGuard     being careful after this node itself was stopped
    └── Election       who leads, under a quorum with a LeadershipLease

A driver owns the machine alone, and calls it from one task. ``now`` is the driver's monotonic clock in seconds. Every
call returns effects, to be performed in their order, or raises and leaves the machine as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import assert_never

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.directory.state import NodeState, Randomness
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Effect, Emit, Resolve, Table, WatchOpened
from meshp2p.core.events import LeaderChanged, MemberChange, MemberDied, MemberJoined, MemberLeft
from meshp2p.core.mail.machine import Mail
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.maps.shared_maps import Maps
from meshp2p.core.messages import (
    Ack,
    Acknowledged,
    AskInstance,
    Body,
    CallReply,
    CallRequest,
    Datagram,
    Deliver,
    Deposit,
    Done,
    ForwardAcknowledge,
    ForwardDeregister,
    ForwardFetch,
    ForwardHeartbeat,
    ForwardStatus,
    Gossip,
    LeaseAsk,
    LeaseRelease,
    LeaseReply,
    MapPush,
    MapSync,
    Nack,
    Ping,
    PingRequest,
    Pong,
    Probe,
    Push,
    SyncRequest,
    Unreached,
)
from meshp2p.core.record import INCARNATION_MAX, Record, State
from meshp2p.core.requests import (
    Acknowledge,
    AskStatus,
    Deregister,
    Fetch,
    Heartbeat,
    ReadInstance,
    Request,
    SendMessage,
)
from meshp2p.core.swim.confirmer import Confirmer
from meshp2p.core.swim.contact import Contact
from meshp2p.core.swim.convergence_check import ConvergenceCheck
from meshp2p.core.swim.departures import Departures
from meshp2p.core.swim.dissemination import Dissemination
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.hosting import Hosting, Profile
from meshp2p.core.swim.lease import LeadershipLease
from meshp2p.core.swim.lookups import Lookups
from meshp2p.core.swim.membership import Membership
from meshp2p.core.swim.ownership import Ownership
from meshp2p.core.swim.paths import Paths
from meshp2p.core.swim.pause_guard import PauseGuard
from meshp2p.core.swim.prober import Prober
from meshp2p.core.swim.roll_call import RollCall
from meshp2p.core.swim.syncer import Syncer
from meshp2p.core.swim.watches import Watches
from meshp2p.core.validity import check_item
from meshp2p.core.view import View
from meshp2p.errors import NodeClosed

__all__ = ["Machine"]


class Machine(View):
    """One node's protocol.

    ``profile`` is what its agent says of itself, ``addresses`` are where others reach it, best first. ``wall_ms`` gives
    Unix milliseconds, for times that people read and for the first incarnation; ``kept`` is what was persisted last
    under this id. ``lease_clock`` gives seconds that pass also while this machine is suspended and that nobody sets:
    leases are measured by it. ``kept_messages`` is what :class:`~meshp2p.core.effects.Store` kept, in the order of
    keys, absent where there is no disk: then messages are in memory alone, and nothing waits for what is to be kept.
    ``age`` is how many seconds passed between the making of that disk's directory and now.
    Raises :class:`~meshp2p.errors.ConfigError` if others would refuse the node's record.
    """

    def __init__(
        self,
        profile: Profile,
        addresses: tuple[Address, ...],
        config: ProtocolConfig,
        random: Randomness,
        wall_ms: Callable[[], int],
        kept: KeptState | None = None,
        kept_messages: Sequence[tuple[Table, bytes, bytes]] | None = None,
        *,
        lease_clock: Callable[[], float],
        age: float = 0.0,
    ) -> None:
        kept = kept or KeptState()
        started_ms = wall_ms()
        own = Record(
            id=profile.id,
            incarnation=min(max(started_ms, kept.incarnation + 1), INCARNATION_MAX),
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
        check_item(own)
        self._lease_clock = lease_clock
        self._age = age
        self._build(NodeState(own, config, random, wall_ms, kept, is_durable=kept_messages is not None), kept_messages)

    def _build(self, state: NodeState, kept_messages: Sequence[tuple[Table, bytes, bytes]] | None) -> None:
        self._state = state
        self._ownership = Ownership(self._state)
        self._membership = Membership(self._state, self._ownership)
        self._prober = Prober(self._state, self._membership)
        self._paths = Paths(state, self._prober)
        self._carrier = Carrier(state)
        self._lease = LeadershipLease(state, self._carrier, self._lease_clock) if state.config.quorum else None
        self._election = Election(self._state, self._ownership, self._lease)
        self._hosting = Hosting(self._state, self._membership, self._ownership)
        self._lookups = Lookups(self._state, self._hosting)
        self._syncer = Syncer(self._state, self._membership, self._ownership, self._election)
        self._pause_guard = PauseGuard(
            self._state, self._membership, self._prober, self._hosting, self._syncer, self._election
        )
        self._prober.on_round = self._pause_guard.note_round
        self._prober.on_view = self._syncer.compare
        self._mail = Mail(self._state, self._carrier, self._hosting, self._syncer, kept_messages)
        self._confirmer = Confirmer(self._state, self._membership, self._prober)
        self._roll_call = RollCall(self._state, self._confirmer)
        self._prober.on_silence = lambda relays, now: self._roll_call.begin(now, relays)
        self._confirmer.on_answer = self._roll_call.note_answer
        self._contact = Contact(self._state, self._election, self._roll_call)
        self._convergence = ConvergenceCheck(self._state, self._prober, self._syncer)
        self._prober.on_ack = self._take_ack
        self._membership.on_suspicion = self._confirmer.notice
        self._membership.on_doubt = self._confirmer.doubt
        self._watches = Watches(self._state, self._confirmer)
        self._maps = Maps(self._state)
        self._dissemination = Dissemination(self._state)
        self._departures = Departures(self._state)
        self._early_syncs: dict[int, SyncRequest] = {}
        """Those that are answered when what the answer tells of this node is on disk."""

    # Its life

    def start(self, now: float) -> list[Effect]:
        """Begin. To be called once, before anything else."""
        self._state.age_zero = self._age - now
        self._ownership.publish(self._state.own, now)
        self._prober.start(now)
        self._election.start(now)
        self._syncer.start(now)
        self._pause_guard.start(now)
        self._mail.start(now)
        return self._conclude(now)

    def rebuild(self, now: float) -> list[Effect]:
        """Begin anew under a greater incarnation, with the records, messages and shared maps that are held: for whoever
        drives this machine, after an input raised and left the parts half changed.

        What was asked before is never answered: replies to earlier calls are ignored, and of tickets nothing is known.
        """
        old, mail, maps, watches = self._state, self._mail, self._maps, self._watches
        known, leader_id, candidates = old.members.records, self.leader_id, list(self.candidates())
        own = msgspec.structs.replace(old.own, incarnation=min(self._ownership.next_incarnation, INCARNATION_MAX))
        kept = old.keeping.kept
        state = NodeState(own, old.config, old.random, old.wall_ms, kept, is_durable=old.keeping.is_durable)
        self._age = old.age_zero + now
        self._build(state, mail.rows())
        self._mail.resume(mail)
        state.resume(old, now)
        self._watches.resume(watches)
        self._maps.resume(maps, now)
        if leader_id is not None:
            state.emit(LeaderChanged(None, leader_id, 0))
        for one in candidates:
            for source in one.sources:
                self._syncer.offer(source, (one.address,), one.instance_id, now)
        if old.is_announced:
            self._syncer.end_look_around()
        state.is_settled = old.is_settled
        effects = Machine.start(self, now)
        if old.is_leaving:
            effects += Machine.leave(self, now)
        return [effect for effect in effects if not _tells_of_joining(effect, known)]

    # What happened

    def receive(self, datagram: Datagram, source: Address, now: float) -> list[Effect]:
        """A packet came from this address."""
        state = self._state
        body = datagram.body
        if body.sender == state.tag or self._ownership.has_lost_id:
            return []
        self._pause_guard.check_arrival(now)
        state.reached_at = now
        self._contact.note_heard(now)
        sender = state.members.id_of(body.sender)
        was_listed = sender is not None and state.is_live(sender)
        if datagram.items:
            self._membership.take_all(datagram.items, now)
            sender = state.members.id_of(body.sender)  # its own record may have been among them
        is_fresh = not state.is_guarded  # what waited while this node was stopped is older than it looks
        if datagram.ages and is_fresh:
            state.life.unpack(datagram.ages, now)
        record = state.members.records.get(sender) if sender is not None else None
        if record is None:
            self._receive_unlisted(body, sender, source, now)
        else:
            if is_fresh:
                state.life.note_listed(body.sender, now)
                state.heard[record.id] = now
            # an ack may have been passed on: then its source is the relay
            if record.addresses and not isinstance(body, Ack):
                self._paths.hear(record, source, now)
        self._receive_body(body, sender, source, now)
        if record is not None and isinstance(body, (Ping, Ack)):
            state.patience.note_health(record.id, body.local_health)
            if was_listed:
                self._syncer.compare(record.id, body.view, now)
            else:
                self._syncer.sync_with(record.id, now)
        return self._conclude(now)

    def _receive_body(self, body: Body, sender: str | None, source: Address, now: float) -> None:
        match body:
            case Ping():
                self._prober.receive_ping(body, source, now)
            case Ack():
                if not self._paths.receive_ack(body, sender, source):
                    self._prober.receive_ack(body, sender, now)
            case Nack():
                self._prober.receive_nack(body)
            case PingRequest():
                self._prober.receive_ping_request(body, source, now)
            case Gossip():
                pass
            case Unreached(target=target):
                if target == self._state.tag and sender is not None and self._state.members.has_node(sender):
                    self._carrier.note_called_in_vain(sender, now)
            case _:
                assert_never(body)

    def _receive_unlisted(self, body: Body, sender: str | None, source: Address, now: float) -> None:
        """A node speaks that is not listed: one that is held dead is told so and can refute, an unknown one is asked
        who it is."""
        state = self._state
        departed = state.members.departed.get(sender) if sender is not None else None
        if departed is None:
            self._syncer.offer("packet", (source,), None, now)
        elif not isinstance(body, Gossip):
            state.answer(source, body.sender, Gossip(state.tag), now, first=departed.as_rumour())
            if departed.state is State.DEAD:
                self._syncer.call_back(source, departed.id, now)

    def _take_ack(self, message: Ack, sender: str | None, now: float) -> bool:
        is_awaited = self._confirmer.receive_ack(message.sequence, sender, now)
        if not is_awaited and sender is not None:
            self._roll_call.note_answer(sender, now)
        return is_awaited or self._convergence.receive_ack(message, sender, now)

    def receive_call(self, request: CallRequest, now: float, ticket: int = 0) -> tuple[CallReply | None, list[Effect]]:
        """Another node calls; the reply is to be sent back once the effects were performed. Where it is None it comes
        as ``Resolve(ticket, reply)``, among these effects or later ones."""
        state = self._state
        self._pause_guard.check_arrival(now)
        state.reached_at = now
        self._contact.note_heard(now)
        reply: CallReply | None = None
        match request:
            case Probe():
                reply = Pong(state.id, state.own.boot, state.members.view)
            case SyncRequest():
                if self._ownership.is_kept:
                    reply = self._syncer.receive_request(request, now)
                else:
                    self._early_syncs[ticket] = request
            case Push():
                reply = self._syncer.receive_push(request, now)
            case ForwardHeartbeat(id=instance_id, status=status, metrics=metrics):
                reply = self._hosting.take_heartbeat(instance_id, status, metrics, now)
            case AskInstance(id=instance_id):
                reply = self._hosting.take_question(instance_id, now)
            case ForwardDeregister(id=instance_id):
                reply = self._hosting.take_deregister(instance_id, now)
            case Deposit() | Deliver() | Acknowledged():
                self._mail.receive_call(ticket, request, now)
            case ForwardFetch() | ForwardAcknowledge() | ForwardStatus():
                self._mail.receive_call(ticket, request, now)
            case LeaseAsk():
                reply = LeaseReply(is_granted=False) if self._lease is None else self._lease.take_ask(request, now)
            case LeaseRelease():
                reply = Done() if self._lease is None else self._lease.take_release(request)
            case MapSync():
                reply = self._maps.receive_sync(request, now)
            case MapPush():
                reply = self._maps.receive_push(request, now)
            case _:
                assert_never(request)
        return reply, self._conclude(now)

    def receive_stored(self, number: int, failure: str | None, now: float) -> list[Effect]:
        """The writes of a :class:`~meshp2p.core.effects.Store` were made, or none of them was, for this reason."""
        self._state.keeping.receive_stored(number, failure, now)
        return self._conclude(now)

    def receive_persisted(self, failure: str | None, now: float) -> list[Effect]:
        """What a :class:`~meshp2p.core.effects.Persist` asked for is on disk, or is not for this reason."""
        if self._state.keeping.receive_persisted(failure, now) and not self._ownership.has_lost_id:
            self._ownership.publish_kept(now)
        if self._early_syncs and self._ownership.is_kept:
            early, self._early_syncs = self._early_syncs, {}
            for ticket, request in early.items():
                self._state.effects.append(Resolve(ticket, self._syncer.receive_request(request, now)))
        return self._conclude(now)

    def receive_reply(self, call_id: int, reply: CallReply | CallFailed, now: float) -> list[Effect]:
        """The reply to a :class:`~meshp2p.core.effects.Call`, or that there was none. An unknown ``call_id`` is
        ignored."""
        self._pause_guard.check_arrival(now)
        if not isinstance(reply, CallFailed):
            self._contact.note_heard(now)
        handler = self._state.take_call(call_id)
        if handler is not None and not self._ownership.has_lost_id:
            handler(reply, now)
        return self._conclude(now)

    def note_route(self, node_id: str, via: str, failure: str, now: float) -> list[Effect]:
        """A call of the driver's own went to this node on one of :meth:`routes`, and was answered; or, with a
        ``failure``, all of them failed."""
        if failure:
            self._carrier.note_failed(node_id, failure, now)
        else:
            self._carrier.note_answered(node_id, via, now)
        return self._conclude(now)

    def receive_watch(self, watch_id: int, outcome: WatchOpened | CallFailed, now: float) -> list[Effect]:
        """A :class:`~meshp2p.core.effects.Watch` stands, or is over. All datagrams that have arrived are to be received
        before. An unknown ``watch_id`` is ignored."""
        self._pause_guard.check_arrival(now)
        if not self._ownership.has_lost_id:
            self._watches.receive(watch_id, outcome, now)
        return self._conclude(now)

    def handle_timeouts(self, now: float) -> list[Effect]:
        """Time has come to :meth:`next_deadline`. All datagrams that have arrived are to be received before."""
        timers = self._state.timers
        if self._ownership.has_lost_id:
            return []
        self._pause_guard.check_clocks(now)
        while (due := timers.pop_due(now)) is not None:
            self._handle_timer(due[0], due[1], now)
        return self._conclude(now)

    def next_deadline(self) -> float:
        """When :meth:`handle_timeouts` is to be called, on the clock of ``now``; infinity where nothing is awaited."""
        if self._ownership.has_lost_id:
            return math.inf
        return self._pause_guard.next_look()

    def _handle_timer(self, timer: Timer, subject: str, now: float) -> None:  # noqa: C901  # one line for each
        match timer:
            case Timer.PROBE:
                self._prober.handle_period(now)
            case Timer.PROBE_DIRECT:
                self._prober.handle_no_answer(now)
            case Timer.RELAY:
                self._prober.handle_relay_no_answer(int(subject), now)
            case Timer.GOSSIP:
                self._dissemination.handle_round(now)
            case Timer.SUSPICION:
                self._membership.end_suspicion_period(subject, now)
            case Timer.LAST_WORD:
                self._membership.give_last_word(subject, now)
            case Timer.CALL_DEAD:
                self._departures.handle_call(now)
            case Timer.FORGET:
                self._departures.handle_forget(now)
            case Timer.DIAL:
                self._syncer.handle_dial(now)
            case Timer.SETTLE:
                self._settle(now)
            case Timer.EXPIRE:
                self._hosting.handle_expired(subject, now)
            case Timer.ORPHAN:
                self._hosting.handle_orphaned(subject, now)
            case Timer.WATCH:
                self._watches.handle_look(now)
            case Timer.ROLL_CALL:
                self._roll_call.handle_wave(now)
            case Timer.CONTACT:
                self._contact.handle_look(now)
            case Timer.LOOK:
                self._convergence.handle_look(now)
            case Timer.PATH:
                self._paths.handle_end(subject)
            case Timer.LOOKUP:
                self._lookups.handle_over(subject)
            case Timer.CHECK:
                self._confirmer.handle_check(subject, now)
            case Timer.PUBLISH:
                self._hosting.handle_publish(subject, now)
            case Timer.PERSIST | Timer.STORE:
                self._state.keeping.handle_retry(timer, now)
            case Timer.LEASE | Timer.LEASE_ENDS:
                self._election.handle_lease(timer, subject, now)
            case Timer.MAP_SYNC | Timer.MAP_TELL:
                self._maps.handle_timer(timer, subject, now)
            case _:
                self._mail.handle_timer(timer, subject, now)

    def _settle(self, now: float) -> None:
        self._syncer.end_look_around()
        if not self._contact.is_checking:
            self._election.settle()
        if not self._election.is_settled:
            self._election.look_again(now)  # it is guarded, or hears nobody

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
            case ReadInstance(id=instance_id):
                self._lookups.ask(ticket, instance_id, now)
            case SendMessage() | Fetch() | Acknowledge() | AskStatus():
                self._mail.request(ticket, request, now)
            case _:
                assert_never(request)
        return self._conclude(now)

    def abandon(self, ticket: int) -> None:
        """Nobody waits any more for the answer to what was asked under this ticket. It may have taken effect."""
        self._mail.reading.abandon(ticket)
        self._early_syncs.pop(ticket, None)
        self._lookups.abandon(ticket)

    def register(self, profile: Profile, now: float) -> list[Effect]:
        """Host an instance that speaks only HTTP: see :meth:`~meshp2p.core.swim.hosting.Hosting.register`."""
        self._check_running()
        self._hosting.register(profile, now)
        effects = self._conclude(now)
        self._hosting.mark_seen(profile.id)
        return effects

    def report(self, status: str, metrics: str, now: float) -> list[Effect]:
        """Publish this node's own status and metrics (a JSON object as text), rate-limited.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused; then nothing changed.
        """
        self._check_running()
        self._hosting.report(status, metrics, now)
        return self._conclude(now)

    def open_map(self, name: str, merge: Merge | None, now: float) -> tuple[ReplicatedMap, list[Effect]]:
        """Take part in the shared map of this name; its replica, to be read.

        See :meth:`~meshp2p.core.maps.shared_maps.Maps.open`.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused; then nothing changed.
        """
        self._check_running()
        return self._maps.open(name, merge, now), self._conclude(now)

    def write_map(self, name: str, key: str, value: bytes, now: float) -> list[Effect]:
        """Set a key of a shared map that was opened, or delete it where ``value`` is empty: see
        :meth:`~meshp2p.core.maps.shared_maps.Maps.write`.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused; then nothing changed.
        """
        self._check_running()
        self._maps.write(name, key, value, now)
        return self._conclude(now)

    def offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None, now: float) -> list[Effect]:
        """A source of discovery saw that a peer may be at these addresses."""
        self._syncer.offer(source, addresses, instance_id, now)
        return self._conclude(now)

    def readdress(self, addresses: tuple[Address, ...], now: float, *, hostname: str | None = None) -> list[Effect]:
        """Others reach this node at these addresses from now on, best first, and its machine has this name: publish
        that.

        Nothing happens where they are what they were, and once it leaves.
        """
        state = self._state
        moved = msgspec.structs.replace(state.own, addresses=addresses, hostname=hostname or state.own.hostname)
        if moved != state.own and not state.is_leaving:
            has_moved = addresses != state.own.addresses
            self._ownership.publish(moved, now)
            if has_moved:
                self._syncer.note_move(now)
        return self._conclude(now)

    def leave(self, now: float) -> list[Effect]:
        """Leave the mesh of one's own will: everybody is told, and :attr:`has_left` says when enough have heard."""
        if not self._state.is_leaving:
            self._state.is_leaving = True
            self._mail.leave(now)
            self._maps.leave(now)
            self._dissemination.say_farewell()
            self._watches.close()
        return self._conclude(now)

    @property
    def has_left(self) -> bool:
        """Whether it leaves and enough have heard so."""
        is_busy = self._dissemination.is_saying_farewell or self._mail.handover.is_handing_over or self._maps.is_telling
        return self._state.is_leaving and not is_busy

    def _check_running(self) -> None:
        if self._state.is_leaving or self._ownership.has_lost_id:
            raise NodeClosed(f"node {self._state.id!r} has left the mesh: open a new one")

    # After every call

    def _conclude(self, now: float) -> list[Effect]:
        """Let the parts look at what changed, until nothing does, and hand out the effects."""
        state = self._state
        if not state.is_announced:
            self._syncer.announce_if_sure(now)
        while state.changes or not self._election.is_current:
            changes, state.changes = state.changes, []
            for event in changes:
                state.emit(event)
                self._notice(event, now)
            if changes:
                self._membership.weigh_confirmers(now)
            self._election.update(now)
            self._hosting.leader_version = self._election.version
        effects, state.effects = state.effects, []
        return effects

    def _notice(self, event: MemberChange, now: float) -> None:
        self._membership.notice(event)
        self._hosting.notice(event, now)
        self._carrier.notice(event)
        self._mail.notice(event, now)
        self._watches.notice(event, now)
        self._convergence.notice(event, now)
        self._contact.notice(event, now)
        self._maps.notice(event, now)
        match event:
            case MemberDied(record=record) | MemberLeft(record=record):
                self._prober.forget(record.id)
                self._paths.forget(record.id)
                if record.is_node:
                    self._syncer.note_gone(record.id, now, has_left=isinstance(event, MemberLeft))
                    if isinstance(event, MemberDied):
                        self._election.note_death(now)
            case _:
                pass


def _tells_of_joining(effect: Effect, known: Collection[str]) -> bool:
    """Whether it tells that one of these has joined."""
    return isinstance(effect, Emit) and isinstance(effect.event, MemberJoined) and effect.event.id in known
