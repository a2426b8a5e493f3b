"""Membership: the router between the parts of :mod:`meshp2p.core.swim`.

::

    Prober            detects nodes that do not answer: pings, indirect pings, accusations
    Paths             checks whether a node is where its packets come from
    Watches           detects crashes: connections that break when a process dies
    Confirmer         checks suspects and nodes whose watch connection broke
    RollCall          checks many nodes at once, after a probe without any answer
    Contact           notices when nothing is received at all
    Membership        processes each claim: listed, suspect, departed
    Ownership         publishes and refutes for this node; finds rivals for its id
    Dissemination     rounds of gossip, the farewell
    Syncer            compares views, dials candidates
    ConvergenceCheck  compares views once the mesh is quiet
    Departures        calls dead nodes, forgets departed instances
    Hosting           instances that speak only HTTP: heartbeats, expiry, adoption
    Lookups           asks the home of an instance
    PauseGuard        is careful after this process was suspended
    Election          names the leader; under a quorum with a LeadershipLease

Each part is constructed with the parts that it uses. What a part finds for those above it is a :mod:`finding
<meshp2p.core.swim.findings>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from meshp2p.core.address import Address
from meshp2p.core.calls import (
    AskInstance,
    CallReply,
    Done,
    ForwardDeregister,
    ForwardHeartbeat,
    LeaseAsk,
    LeaseRelease,
    LeaseReply,
    Pong,
    Probe,
    Push,
    SyncRequest,
)
from meshp2p.core.datagrams import Ack, Body, Datagram, Gossip, Nack, Ping, PingRequest, Unreached
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import InstanceChange, InstanceDied, InstanceLeft
from meshp2p.core.record import State
from meshp2p.core.requests import Deregister, Heartbeat, ReadInstance
from meshp2p.core.swim.confirmer import Confirmer
from meshp2p.core.swim.contact import Contact
from meshp2p.core.swim.convergence_check import ConvergenceCheck
from meshp2p.core.swim.departures import Departures
from meshp2p.core.swim.dissemination import Dissemination
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.findings import CheckAnswered, Doubted, Findings, ProbeAnswered, Suspected, ViewHeard
from meshp2p.core.swim.hosting import Hosting
from meshp2p.core.swim.lease import LeadershipLease
from meshp2p.core.swim.lookups import Lookups
from meshp2p.core.swim.membership import Membership
from meshp2p.core.swim.ownership import Ownership
from meshp2p.core.swim.paths import PathValidator
from meshp2p.core.swim.pause_guard import PauseGuard
from meshp2p.core.swim.prober import Prober
from meshp2p.core.swim.roll_call import RollCall
from meshp2p.core.swim.syncer import Syncer
from meshp2p.core.swim.watches import Watches
from meshp2p.errors import InternalError

__all__ = ["Swim", "SwimRequest"]

SwimRequest = Probe | SyncRequest | Push | ForwardHeartbeat | AskInstance | ForwardDeregister | LeaseAsk | LeaseRelease
"""The calls of other nodes that concern membership."""


class Swim:
    """Passes each packet, call, timer and change of a member to the parts it concerns."""

    def __init__(self, state: NodeState, relay_selector: RelaySelector, lease_clock: Callable[[], float]) -> None:
        self._state = state
        self._relay_selector = relay_selector
        self.findings: Findings = []
        self.ownership: Ownership = Ownership(state)
        self.membership: Membership = Membership(state, self.ownership, self.findings)
        self.prober: Prober = Prober(state, self.membership, self.findings)
        self.paths: PathValidator = PathValidator(state, self.prober)
        self.lease: LeadershipLease | None = (
            LeadershipLease(state, relay_selector, lease_clock) if state.config.quorum else None
        )
        self.election: Election = Election(state, self.ownership, self.lease)
        self.hosting: Hosting = Hosting(state, self.membership, self.ownership)
        self.lookups: Lookups = Lookups(state, self.hosting)
        self.dissemination: Dissemination = Dissemination(state)
        self.syncer: Syncer = Syncer(state, self.membership, self.ownership, self.election, self.dissemination)
        self.pause_guard: PauseGuard = PauseGuard(
            state, self.membership, self.prober, self.hosting, self.syncer, self.election
        )
        self.confirmer: Confirmer = Confirmer(state, self.membership, self.prober, self.findings)
        self.roll_call: RollCall = RollCall(state, self.confirmer)
        self.contact: Contact = Contact(state, self.election, self.roll_call)
        self.convergence: ConvergenceCheck = ConvergenceCheck(state, self.prober, self.syncer)
        self.watches: Watches = Watches(state, self.confirmer)
        self.departures: Departures = Departures(state, self.syncer.call_back)
        self._early_syncs: dict[int, SyncRequest] = {}
        """Syncs that are answered once this node's own numbers in the answer are on disk."""

    # Start and end

    def start(self, now: float) -> None:
        self.ownership.publish(self._state.own, now)
        self.prober.start(now)
        self.election.start(now)
        self.syncer.start(now)
        self.pause_guard.start(now)

    def leave(self) -> None:
        self.dissemination.say_farewell()
        self.watches.close()

    @property
    def is_telling(self) -> bool:
        """Whether a node that lists this one, or is about to, has not confirmed that this one leaves."""
        return self.dissemination.is_saying_farewell or self.syncer.is_introducing

    def abandon(self, ticket: int) -> None:
        """Drop the request with this ticket."""
        self._early_syncs.pop(ticket, None)
        self.lookups.abandon(ticket)

    # Inputs

    def receive(self, datagram: Datagram, source: Address, now: float) -> None:
        """Process a packet that came from this address."""
        state, body = self._state, datagram.body
        sender = state.members.id_of(body.sender)
        record = state.members.records.get(sender or "")
        was_listed = record is not None
        if datagram.items:
            # a round of gossip carries ages, what is told does not
            told_by = body.sender if isinstance(body, Gossip) and not datagram.ages else 0
            self.membership.merge(datagram.items, now, told_by=told_by)
            self.route_findings(now)
            sender = state.members.id_of(body.sender)  # its own record may have been among them
            record = state.members.records.get(sender or "")
        is_fresh = not state.is_guarded  # packets that waited while this process was suspended are older than they look
        if datagram.ages and is_fresh:
            state.life.unpack(datagram.ages, now)
        if record is None:
            self._receive_unlisted(body, sender, source, now)
        else:
            if is_fresh:
                state.life.note_listed(body.sender, now)
                state.heard[record.id] = now
            # an ack may have been relayed: then its source is the relay
            if record.addresses and not isinstance(body, Ack):
                self.paths.hear(record, source, now)
        self._receive_body(body, sender, source, now)
        if self.findings:
            self.route_findings(now)
        if record is not None and isinstance(body, (Ping, Ack)):
            state.patience.note_health(record.id, body.local_health)
            if was_listed:
                self.syncer.compare(record.id, body.view, now)
            else:
                self.syncer.sync_with(record.id, now)

    def _receive_body(self, body: Body, sender: str | None, source: Address, now: float) -> None:
        match body:
            case Ping():
                self.prober.receive_ping(body, source, now)
            case Ack():
                self._receive_ack(body, sender, source, now)
            case Nack():
                self.prober.receive_nack(body)
            case PingRequest():
                self.prober.receive_ping_request(body, source, now)
            case Gossip():
                pass
            case Unreached(target=target, relay=relay):
                members = self._state.members
                if target == self._state.tag and sender is not None and members.has_node(sender):
                    self._relay_selector.dial_backs.note_request(sender, members.id_of(relay), now)
            case _:
                assert_never(body)

    def _receive_ack(self, message: Ack, sender: str | None, source: Address, now: float) -> None:
        """Pass an ack to the part that asked for it; at most one did."""
        if self.paths.receive_ack(message, sender, source) or self.prober.receive_ack(message, sender, now):
            return
        if self.confirmer.receive_ack(message.sequence, sender):
            return
        if sender is not None:
            self.roll_call.note_answer(sender, now)
        if not self.convergence.receive_ack(message, sender, now):
            self._state.counters.datagrams_unasked += 1

    def _receive_unlisted(self, body: Body, sender: str | None, source: Address, now: float) -> None:
        """Process a packet of an unlisted node: a dead one is told so and can refute, an unknown one is asked for its
        identity."""
        state = self._state
        departed = state.members.departed.get(sender) if sender is not None else None
        if departed is None:
            self.syncer.offer("packet", (source,), None, now)
        elif not isinstance(body, Gossip):
            state.answer(source, body.sender, Gossip(state.tag), now, first=departed.as_rumour())
            if departed.state is State.DEAD:
                self.syncer.call_back(source, departed.id, now)

    def receive_call(self, ticket: int, request: SwimRequest, now: float) -> CallReply | None:
        """Process a call and return the reply. If that is None, the reply is resolved under ``ticket`` later."""
        state = self._state
        match request:
            case Probe():
                return Pong(state.id, state.own.boot, state.members.view)
            case SyncRequest():
                if self.ownership.is_kept:
                    return self.syncer.receive_request(request, now)
                self._early_syncs[ticket] = request
                return None
            case Push():
                return self.syncer.receive_push(request, now)
            case ForwardHeartbeat(id=instance_id, status=status, metrics=metrics):
                return self.hosting.handle_heartbeat(instance_id, status, metrics, now)
            case AskInstance(id=instance_id):
                return self.hosting.handle_lookup(instance_id, now)
            case ForwardDeregister(id=instance_id):
                return self.hosting.handle_deregister(instance_id, now)
            case LeaseAsk():
                return LeaseReply(is_granted=False) if self.lease is None else self.lease.handle_ask(request, now)
            case LeaseRelease():
                return Done() if self.lease is None else self.lease.handle_release(request)
            case _:
                assert_never(request)

    def note_persisted(self, now: float, *, is_new: bool) -> None:
        """Note that this node's own numbers are on disk, or not."""
        if is_new and not self.ownership.has_lost_id:
            self.ownership.publish_kept(now)
        if self._early_syncs and self.ownership.is_kept:
            early, self._early_syncs = self._early_syncs, {}
            for ticket, request in early.items():
                self._state.resolve(ticket, self.syncer.receive_request(request, now))

    def request(self, ticket: int, request: Heartbeat | Deregister | ReadInstance, now: float) -> None:
        """Process a request of an agent. Raises :class:`~meshp2p.errors.LocalProtocolError` if it is refused."""
        match request:
            case Heartbeat():
                self.hosting.heartbeat(ticket, request, now)
            case Deregister():
                self.hosting.deregister(ticket, request, now)
            case ReadInstance(id=instance_id):
                self.lookups.ask(ticket, instance_id, now)
            case _:
                assert_never(request)

    def handle_timer(self, timer: Timer, subject: str, now: float) -> None:  # noqa: C901  # one line for each
        match timer:
            case Timer.PROBE:
                self._handle_probe(now)
            case Timer.CONTACT:
                self.contact.handle_look(now)
            case Timer.PROBE_DIRECT:
                self.prober.handle_no_answer(now)
            case Timer.RELAY:
                self.prober.handle_relay_no_answer(int(subject), now)
            case Timer.GOSSIP:
                self.dissemination.handle_round(now)
            case Timer.SUSPICION:
                self.membership.end_suspicion_period(subject, now)
            case Timer.LAST_WORD:
                self.membership.give_last_word(subject, now)
            case Timer.CALL_DEAD:
                self.departures.handle_call(now)
            case Timer.FORGET:
                self.departures.handle_forget(now)
            case Timer.DIAL:
                self.syncer.handle_dial(now)
            case Timer.SETTLE:
                self._settle(now)
            case Timer.EXPIRE:
                self.hosting.handle_expired(subject, now)
            case Timer.ORPHAN:
                self.hosting.handle_orphaned(subject, now)
            case Timer.WATCH:
                self.watches.handle_look(now)
            case Timer.ROLL_CALL:
                self.roll_call.handle_wave(now)
            case Timer.LOOK:
                self.convergence.handle_look(now)
            case Timer.PATH:
                self.paths.handle_end(subject)
            case Timer.LOOKUP:
                self.lookups.handle_over(subject)
            case Timer.CHECK:
                self.confirmer.handle_check(subject, now)
            case Timer.PUBLISH:
                self.hosting.handle_publish(subject, now)
            case Timer.LEASE | Timer.LEASE_ENDS:
                self.election.handle_lease(timer, subject, now)
            case _:
                raise InternalError(f"no part handles timer {timer!r}")
        if self.findings:
            self.route_findings(now)

    def _handle_probe(self, now: float) -> None:
        """End a protocol period and begin the next."""
        failed = self.prober.end_round()
        if failed is not None:
            self.pause_guard.note_round(None, now)
            self.membership.accuse(failed.target, now, failed.sequence)
            self.route_findings(now)
            if not failed.has_relays:
                self._state.local_health.change(+1)
            elif failed.owing:
                self.roll_call.begin(now, failed.owing.values())
        if not self.prober.begin_round(now):
            self.pause_guard.note_round(None, now)

    def _settle(self, now: float) -> None:
        self.syncer.end_look_around()
        self.election.settle()
        if not self._state.is_settled:
            self.election.look_again(now)  # it is guarded, or has no contact

    def notice(self, event: InstanceChange, now: float) -> None:
        """Process a member that joined, changed, or is gone."""
        self.membership.notice(event)
        self.hosting.notice(event, now)
        self.watches.notice(event, now)
        self.convergence.notice(event, now)
        self.contact.notice(event, now)
        self.departures.notice(event, now)
        match event:
            case InstanceDied(record=record) | InstanceLeft(record=record):
                self.prober.forget(record.id)
                self.paths.forget(record.id)
                if record.is_node:
                    self.syncer.note_gone(record.id, now, has_left=isinstance(event, InstanceLeft))
                    if isinstance(event, InstanceDied):
                        self.election.note_death(now)
            case _:
                pass

    def route_findings(self, now: float) -> None:
        """Pass each finding to the part it concerns."""
        while self.findings:
            finding = self.findings.pop(0)
            match finding:
                case ProbeAnswered(node_id=node_id):
                    self.pause_guard.note_round(node_id, now)
                case ViewHeard(node_id=node_id, view=view):
                    self.syncer.compare(node_id, view, now)
                case Suspected(rumour=rumour):
                    self.confirmer.notice(rumour, now)
                case Doubted(node_id=node_id):
                    self.confirmer.doubt(node_id, now)
                case CheckAnswered(node_id=node_id):
                    self.roll_call.note_answer(node_id, now)
                case _:
                    assert_never(finding)
