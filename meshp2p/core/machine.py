"""The whole protocol of one node as one plain object: what happened goes in, effects come out.

::

    datagrams, calls, replies, requests, time ──> Machine ──> effects (send, call, persist, emit, resolve)

    Machine      hands each input to the machine that it concerns, then lets all look at what changed
    ├── Swim     membership: who is there, who leads, what each instance is (meshp2p.core.swim)
    ├── Mail     durable messages (meshp2p.core.mail)
    └── Maps     replicated maps (meshp2p.core.maps)

All of them see the mesh through :class:`~meshp2p.core.directory.state.NodeState`.

A driver owns the machine alone, and calls it from one task. ``now`` is the driver's monotonic clock in seconds. Every
call returns effects, to be performed in their order, or raises and leaves the machine as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState, Signer
from meshp2p.core.directory.tags import Tags
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Effect, Emit, Table, WatchOpened
from meshp2p.core.events import InstanceJoined, LeadershipChanged
from meshp2p.core.mail.machine import Mail, MailRequest
from meshp2p.core.map_calls import MapPush, MapSync
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.maps.shared_maps import Maps
from meshp2p.core.randomness import Randomness
from meshp2p.core.record import BOOT_DICE_BITS, INCARNATION_MAX, Record, State
from meshp2p.core.requests import Deregister, Heartbeat, ReadInstance, Request, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.core.swim.machine import Swim
from meshp2p.core.validity import check_item
from meshp2p.core.view import View
from meshp2p.errors import MeshError, NodeClosed

__all__ = ["Machine"]


class Machine(View):
    """One node's protocol.

    ``profile`` is the data of its agent, ``addresses`` are those at which others reach it, the best first. ``wall_ms``
    returns Unix milliseconds, for times that people read and for the first incarnation. ``kept`` is the last state that
    was persisted under this id. ``lease_clock`` returns seconds of a clock that cannot be set and that also runs while
    the machine is suspended; leases use it. ``kept_messages`` are the rows that :class:`~meshp2p.core.effects.Store`
    wrote, in the order of keys; None if there is no disk: then messages are in memory only, and nothing waits for a
    write. ``age`` is that of the data directory in seconds. ``signer`` signs for a node of a secured mesh, whose driver
    verifies all claims. ``process`` exceeds that of earlier processes with this id (default: the time). Nodes of one
    process may share ``tags``.

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
        signer: Signer | None = None,
        process: int = 0,
        tags: Tags | None = None,
    ) -> None:
        kept, started_ms, has_disk = kept or KeptState(), wall_ms(), kept_messages is not None
        own = Record(
            **msgspec.structs.asdict(profile),
            incarnation=min(max(started_ms, kept.incarnation + 1), INCARNATION_MAX),
            state=State.ALIVE,
            home=profile.id,
            boot=(process or started_ms) << BOOT_DICE_BITS | random.randrange(0, 1 << BOOT_DICE_BITS),
            addresses=addresses,
            created_at=started_ms,
        )
        check_item(own)
        self._lease_clock = lease_clock
        self._age = age
        state = NodeState(own, config, random, wall_ms, kept, is_durable=has_disk, signer=signer, tags=tags)
        self._build(state, kept_messages)

    def _build(self, state: NodeState, kept_messages: Sequence[tuple[Table, bytes, bytes]] | None) -> None:
        self._state = state
        self._relay_selector = RelaySelector(state)
        self._swim = Swim(state, self._relay_selector, self._lease_clock)
        self._mail = Mail(state, self._relay_selector, self._swim.hosting, self._swim.syncer, kept_messages)
        self._maps = Maps(state)

    # Its life

    def start(self, now: float) -> list[Effect]:
        """Start. Call it once, before anything else."""
        self._state.age_zero = self._age - now
        self._swim.start(now)
        self._mail.start(now)
        return self._conclude(now)

    def rebuild(self, now: float) -> list[Effect]:
        """Start again under a greater incarnation, with the same records, messages and shared maps. The driver calls it
        after an input raised and left the parts half changed.

        Requests from before are never answered: replies to earlier calls are ignored, and earlier tickets are unknown.
        """
        old, swim, mail, maps = self._state, self._swim, self._mail, self._maps
        known, leader_id, candidates = old.members.records, self.leader_id, list(self.candidates())
        own = msgspec.structs.replace(old.own, incarnation=min(self._swim.ownership.next_incarnation, INCARNATION_MAX))
        kept = old.keeping.kept
        state = NodeState(
            own, old.config, old.random, old.wall_ms, kept, is_durable=old.keeping.is_durable, signer=old.signer
        )
        self._age = old.age_zero + now
        self._build(state, mail.rows())
        self._mail.resume(mail)
        state.resume(old, now)
        self._swim.watches.resume(swim.watches)
        self._maps.resume(maps, now)
        if leader_id is not None:
            state.emit(LeadershipChanged(None, leader_id, 0))
        for one in candidates:
            for source in one.sources:
                self._swim.syncer.offer(source, (one.address,), one.instance_id, now)
        if old.is_announced:
            self._swim.syncer.end_look_around()
        state.is_settled = old.is_settled
        effects = Machine.start(self, now)
        if old.is_leaving:
            effects += Machine.leave(self, now)
        return [effect for effect in effects if not _tells_of_joining(effect, known)]

    # What happened

    def receive(self, datagram: Datagram, source: Address, now: float) -> list[Effect]:
        """Process a packet that came from this address."""
        if datagram.body.sender == self._state.tag or self._swim.ownership.has_lost_id:
            return []
        self._note_contact(now)
        self._state.is_accepted = True
        self._swim.receive(datagram, source, now)
        return self._conclude(now)

    def _note_contact(self, now: float) -> None:
        """Note an unsolicited packet or call of another node."""
        self._swim.pause_guard.check_arrival(now)
        self._state.reached_at = now
        self._swim.contact.note_heard(now)

    def receive_call(self, request: CallRequest, now: float, ticket: int = 0) -> tuple[CallReply | None, list[Effect]]:
        """Process a call of another node. Return the reply, which is sent after the effects were performed. If it is
        None, it comes as ``Resolve(ticket, reply)``, among these effects or later ones."""
        self._note_contact(now)
        reply: CallReply | None = None
        if isinstance(request, MailRequest):
            self._mail.receive_call(ticket, request, now)
        elif isinstance(request, MapSync):
            reply = self._maps.receive_sync(request, now)
        elif isinstance(request, MapPush):
            reply = self._maps.receive_push(request, now)
        else:
            reply = self._swim.receive_call(ticket, request, now)
        return reply, self._conclude(now)

    def receive_stored(self, numbers: Sequence[int], failure: str | None, now: float) -> list[Effect]:
        """Receive the outcome of each :class:`~meshp2p.core.effects.Store` with one of these numbers, in their order:
        all writes were made, or none, for this reason.

        It concerns messages and changes no member, so unlike other inputs it does not check for a suspension.
        """
        for number in numbers:
            self._state.keeping.receive_stored(number, failure, now)
        return self._conclude(now)

    def receive_persisted(self, failure: str | None, now: float) -> list[Effect]:
        """Receive the outcome of a :class:`~meshp2p.core.effects.Persist`: stored, or the reason why not."""
        self._swim.pause_guard.check_arrival(now)
        is_new = self._state.keeping.receive_persisted(failure, now)
        self._swim.note_persisted(now, is_new=is_new)
        return self._conclude(now)

    def receive_reply(self, call_id: int, reply: CallReply | CallFailed, now: float) -> list[Effect]:
        """Receive the reply to a :class:`~meshp2p.core.effects.Call`, or its failure. An unknown ``call_id`` is
        ignored."""
        self._swim.pause_guard.check_arrival(now)
        if not isinstance(reply, CallFailed):
            self._swim.contact.note_heard(now)
        handler = self._state.pop_call(call_id)
        if handler is not None and not self._swim.ownership.has_lost_id:
            handler(reply, now)
            self._relay_selector.note_reply(reply, now)
        return self._conclude(now)

    def note_route(self, node_id: str, via: str, failure: str, now: float) -> list[Effect]:
        """Note that a call of the driver itself was answered by one of :meth:`routes` to this node; with a
        ``failure``, that all of them failed."""
        self._relay_selector.note_outcome(node_id, via, failure, now)
        return self._conclude(now)

    def receive_watch(self, watch_id: int, outcome: WatchOpened | CallFailed, now: float) -> list[Effect]:
        """Process a :class:`~meshp2p.core.effects.Watch` that was established, or ended. The driver must have passed
        on all datagrams that arrived before. An unknown ``watch_id`` is ignored."""
        self._swim.pause_guard.check_arrival(now)
        if not self._swim.ownership.has_lost_id:
            self._swim.watches.receive(watch_id, outcome, now)
            if isinstance(outcome, WatchOpened):
                self._relay_selector.note_direct(outcome.pong.id, now)
        return self._conclude(now)

    def handle_timeouts(self, now: float) -> list[Effect]:
        """Run the timers that are due. The driver must have passed on all datagrams that arrived before."""
        timers = self._state.timers
        if self._swim.ownership.has_lost_id:
            return []
        self._swim.pause_guard.check_clocks(now)
        while (due := timers.pop_due(now)) is not None:
            self._handle_timer(due[0], due[1], now)
        return self._conclude(now)

    def next_deadline(self) -> float:
        """Return when to call :meth:`handle_timeouts`, on the clock of ``now``; infinity if never."""
        return math.inf if self._swim.ownership.has_lost_id else self._swim.pause_guard.next_look

    def _handle_timer(self, timer: Timer, subject: str, now: float) -> None:
        match timer:
            case _ if timer < Timer.DELIVER:
                self._swim.handle_timer(timer, subject, now)
            case Timer.PERSIST | Timer.STORE:
                self._state.keeping.handle_retry(timer, now)
            case Timer.MAP_SYNC | Timer.MAP_TELL:
                self._maps.handle_timer(timer, subject, now)
            case _:
                self._mail.handle_timer(timer, subject, now)

    # What the agent asks

    def request(self, ticket: int, request: Request, now: float) -> list[Effect]:
        """Make a request that another node may have to answer; ``Resolve(ticket, reply)`` is among these effects or
        later ones.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused.
        """
        self._check_running()
        if isinstance(request, (Heartbeat, Deregister, ReadInstance)):
            self._swim.pause_guard.check_arrival(now)
            self._swim.request(ticket, request, now)
        else:
            self._mail.request(ticket, request, now)
        return self._conclude(now)

    def send(self, requests: dict[int, SendMessage], now: float) -> tuple[dict[int, MeshError], list[Effect]]:
        """Make these requests, by ticket, as :meth:`request` does, but write the messages together. Return the errors
        of those that are refused."""
        try:
            self._check_running()
            refused = self._mail.accepting.accept(requests, now)
        except NodeClosed as error:
            refused = dict.fromkeys(requests, error)
        return refused, self._conclude(now)

    def abandon(self, ticket: int) -> None:
        """Drop the answer to the request with this ticket. The request may have taken effect."""
        self._mail.reading.abandon(ticket)
        self._swim.abandon(ticket)
        self._swim.pause_guard.plan_look()

    def register(self, profile: Profile, now: float, owner: str = "") -> list[Effect]:
        """Host an instance that speaks only HTTP: see :meth:`~meshp2p.core.swim.hosting.Hosting.register`."""
        self._check_running()
        self._swim.pause_guard.check_arrival(now)
        self._swim.hosting.register(profile, now, owner)
        effects = self._conclude(now)
        self._swim.hosting.mark_seen(profile.id)
        return effects

    def report(self, status: str, metrics: str, now: float) -> list[Effect]:
        """Publish this node's own status and metrics (a JSON object as text), rate-limited.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused; then nothing changed.
        """
        self._check_running()
        self._swim.hosting.report(status, metrics, now)
        return self._conclude(now)

    def open_map(self, name: str, merge: Merge | None, now: float) -> tuple[ReplicatedMap, list[Effect]]:
        """Open the shared map with this name and return its replica, which is only for reading.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused; then nothing changed.
        """
        self._check_running()
        return self._maps.open(self._new_replica(name, merge), now), self._conclude(now)

    def _new_replica(self, name: str, merge: Merge | None) -> ReplicatedMap:
        return ReplicatedMap(name, merge)

    def write_map(self, name: str, key: str, value: bytes, now: float) -> list[Effect]:
        """Set a key of a shared map that was opened, or delete it if ``value`` is empty: see
        :meth:`~meshp2p.core.maps.shared_maps.Maps.write`.

        Raises :class:`~meshp2p.errors.LocalProtocolError` where it is refused; then nothing changed.
        """
        self._check_running()
        self._maps.write(name, key, value, now)
        return self._conclude(now)

    def offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None, now: float) -> list[Effect]:
        """Note addresses at which a source of discovery saw a peer."""
        self._swim.syncer.offer(source, addresses, instance_id, now)
        return self._conclude(now)

    def readdress(self, addresses: tuple[Address, ...], now: float, *, hostname: str | None = None) -> list[Effect]:
        """Publish other addresses of this node, the best first, and the host name of its machine.

        Nothing happens if they are unchanged, or if this node leaves.
        """
        state = self._state
        moved = msgspec.structs.replace(state.own, addresses=addresses, hostname=hostname or state.own.hostname)
        if moved != state.own and not state.is_leaving:
            has_moved = addresses != state.own.addresses
            self._swim.ownership.publish(moved, now)
            if has_moved:
                self._swim.syncer.note_move(now)
        return self._conclude(now)

    def expel(
        self, agents: Collection[tuple[bytes, str]], now: float, is_trusted: Callable[[str], bool] | None = None
    ) -> list[Effect]:
        """List these nodes as left, what they host as dead, and accept no more claims of their processes.

        Each is named by the owner of its record, empty in an open mesh, and its id: a node of another owner with that
        id stays. Another process of a node may join later, and a hosted instance may register elsewhere. This node
        itself is not expelled. It removes the instances that it hosts for callers that are not ``is_trusted``.
        """
        self._swim.membership.expel(agents, now)
        if is_trusted is not None:
            self._swim.hosting.dismiss(is_trusted, now)
        return self._conclude(now)

    def republish(self, now: float) -> list[Effect]:
        """Publish this node's record again, because its signer has new keys. Nothing happens if this node leaves."""
        if not self._state.is_leaving:
            self._swim.ownership.publish(self._state.own, now)
        return self._conclude(now)

    def leave(self, now: float) -> list[Effect]:
        """Leave the mesh: every node is told, and :attr:`has_left` says when enough of them confirmed."""
        if not self._state.is_leaving:
            self._state.is_leaving = True
            self._mail.leave(now)
            self._maps.leave(now)
            self._swim.leave()
        return self._conclude(now)

    def _check_running(self) -> None:
        if self._state.is_leaving or self._swim.ownership.has_lost_id:
            raise NodeClosed(f"node {self._state.id!r} has left the mesh: open a new one")

    # After every call

    def _conclude(self, now: float) -> list[Effect]:
        """Let the parts process changes until there are none, and return the effects."""
        state, swim = self._state, self._swim
        if swim.findings:
            swim.route_findings(now)
        if not state.is_announced:
            swim.syncer.announce_if_sure(now)
        while state.changes or not swim.election.is_current:
            changes, state.changes = state.changes, []
            for event in changes:
                state.emit(event)
                swim.notice(event, now)
                self._relay_selector.notice(event)
                self._mail.notice(event, now)
                self._maps.notice(event, now)
            if changes:
                swim.membership.suspicions.weigh_confirmers(now)
                swim.route_findings(now)
            swim.election.update(now)
        swim.pause_guard.plan_look()
        effects, state.effects = state.effects, []
        return effects


def _tells_of_joining(effect: Effect, known: Collection[str]) -> bool:
    """Return whether the effect tells that one of these instances joined."""
    return isinstance(effect, Emit) and isinstance(effect.event, InstanceJoined) and effect.event.id in known
