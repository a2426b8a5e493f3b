"""The state of one node that all parts of the machine share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Push
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Body, Datagram, Gossip, Ping
from meshp2p.core.directory.counters import Counters
from meshp2p.core.directory.gossip import GossipQueue, item_bytes
from meshp2p.core.directory.keeping import Keeping, KeptState, StoreHandler
from meshp2p.core.directory.life_signs import LifeSigns
from meshp2p.core.directory.local_health import LocalHealth
from meshp2p.core.directory.members import Members
from meshp2p.core.directory.patience import Patience
from meshp2p.core.directory.tags import Tags
from meshp2p.core.directory.timers import Timer, Timers
from meshp2p.core.effects import Call, CallFailed, Effect, Emit, Resolve, Send, Write
from meshp2p.core.events import (
    Event,
    InstanceChange,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceUpdated,
    MapChanged,
)
from meshp2p.core.randomness import Randomness
from meshp2p.core.record import (
    EPOCH_SKIP_MAX,
    Departed,
    Item,
    Record,
    Rumour,
    SignedRecord,
    SignedRumour,
    State,
    epoch_limit,
    tag_of,
)

__all__ = ["NodeState", "ReplyHandler", "Signer", "accusation_of"]

PACKET_OVERHEAD = 96
"""Bytes of a packet that are not available for gossip: the frame, the body, the headers of ages and lists."""

SEAL_BYTES = 24
"""Bytes that the frame of a sealed packet has more."""

AGE_BYTES = 12
AGES_PER_PACKET = 3  # signs of life of other instances: chosen, not measured


class Signer(Protocol):
    """Signs what a node of a secured mesh publishes."""

    def may_sign(self, instance_id: str, /) -> bool:
        """Return whether other nodes accept a record with this id and this node's signature."""

    def sign_record(self, record: Record, /) -> SignedRecord:
        """Sign a record of this node, or of an instance that it hosts, in place of an earlier signature."""

    def sign_rumour(self, rumour: Rumour, /) -> SignedRumour:
        """Sign what this node found."""


ReplyHandler = Callable[[CallReply | CallFailed, float], None]


class NodeState:
    """The tables, queues and deadlines of one node, and the effects that its machine has not returned yet.

    The parts of the machine share it. They change the table only through
    :class:`~meshp2p.core.swim.membership.Membership`.
    """

    def __init__(
        self,
        own: Record,
        config: ProtocolConfig,
        random: Randomness,
        wall_ms: Callable[[], int],
        kept: KeptState,
        *,
        is_durable: bool = False,
        signer: Signer | None = None,
        tags: Tags | None = None,
    ) -> None:
        self.signer = signer
        self.own = own
        self.id: str = own.id
        self.tag: int = tag_of(own.id)
        self.config = config
        self.random = random
        self.wall_ms = wall_ms
        self.members: Members = Members(tags)
        overhead = PACKET_OVERHEAD + (0 if signer is None else SEAL_BYTES) + AGE_BYTES * AGES_PER_PACKET
        self.item_bytes_max: int = config.packet_bytes_max - overhead
        """The largest item that fits into a packet."""
        self.gossip: GossipQueue = GossipQueue(self.item_bytes_max)
        self.gossip_after: float = -math.inf
        """The earliest time of the next round of gossip."""
        self.life: LifeSigns = LifeSigns(self.members.tags)
        self.local_health: LocalHealth = LocalHealth(config.local_health_max)
        self.timers: Timers = Timers()
        self.counters: Counters = Counters()
        self.effects: list[Effect] = []
        self.changes: list[InstanceChange] = []
        """Changes of members that the other parts have not processed yet."""
        self.reach: dict[str, Address] = {}
        """The address at which a node answers, if it is not the first that it published: see
        :mod:`meshp2p.core.swim.paths`."""
        self.reached_at: float = -math.inf
        """When the last unsolicited packet or call of another node arrived."""
        self.heard_at: float = -math.inf
        """When anything from another node last arrived."""
        self.heard: dict[str, float] = {}
        """When a listed node itself was last heard, by its own packet or answer. Of many nodes, only those within the
        last ``confirmed_timeout`` are kept: what is older decides nothing."""
        self.silent: dict[str, None] = {}
        """The nodes under check that did not answer half of the check."""
        self.expelled: dict[tuple[bytes, str, int], None] = {}
        """The owners, ids and boots of expelled processes: see :meth:`~meshp2p.core.machine.Machine.expel`."""
        self.is_accepted: bool = False
        """Whether another node sent a datagram to this one. In a secured mesh only a node that lists this one can."""
        self.patience: Patience = Patience(config.patience_max)
        self.epoch_kept: int = kept.epoch
        self.leader_version: int = 0
        """Counts the changes of leader."""
        self.is_announced = False
        """Whether this node may announce itself: it knows that its id is unique."""
        self.is_settled = False
        """Whether this node's settle window is over, so that it may name a leader."""
        self.is_leaving = False
        self.is_guarded = False
        """Whether this node was suspended and has heard no other node since: see
        :mod:`meshp2p.core.swim.pause_guard`."""
        self._calls: dict[int, ReplyHandler] = {}
        self._call_count = 0
        self._unix_zero = -(1 << 62)
        """The greatest Unix time, in milliseconds, that was found for the driver's time 0."""
        self.age_zero: float = 0.0
        """The value of :meth:`age_at` at the driver's time 0, in seconds."""
        self.keeping: Keeping = Keeping(kept, self._ask, self.timers, is_durable=is_durable)

    def _ask(self, effect: Effect) -> None:
        self.effects.append(effect)

    def unix_ms_at(self, when: float, now: float) -> int:
        """Return a moment in Unix milliseconds.

        A later moment never gets an earlier value: a wall clock that is set back is ignored, one that ran ahead is
        followed, for example after a suspension.
        """
        self._unix_zero = max(self._unix_zero, self.wall_ms() - math.ceil(now * 1000))
        return self._unix_zero + int(when * 1000)

    def age_at(self, when: float) -> int:
        """Return the milliseconds from the creation of the node's directory to this time.

        Stored data uses it, since a wall clock may be changed, and the driver's clock restarts with each process.
        """
        return int((self.age_zero + when) * 1000)

    def seconds_until(self, age: int, now: float) -> float:
        """Return how long it is until :meth:`age_at` is ``age``; negative if that has passed."""
        return (age - self.age_at(now)) / 1000

    def resume(self, old: NodeState, now: float) -> None:
        """Take over the knowledge of the mesh, and the numbers of calls under way."""
        for departed in old.members.departed.values():
            self.members.depart(departed)
        for record in old.members.records.values():
            if record.id != self.id:
                self.life.assume(record.id, min(now, old.life[record.id] or now))
                self.put(msgspec.structs.replace(record, state=State.ALIVE))
        self.members.note_claim(old.members.top_claim)
        self.reach = {node_id: address for node_id, address in old.reach.items() if self.members.has_node(node_id)}
        self.epoch_kept = old.epoch_kept
        self.expelled = old.expelled
        self.is_accepted = old.is_accepted
        self.counters = old.counters
        self.counters.rebuilds += 1
        self.keeping.resume(old.keeping)
        self._call_count = old._call_count

    # Sending

    def answer(self, address: Address, to: int, body: Body, now: float, first: Item | None = None) -> None:
        """Send ``body`` to the source of a packet with the tag ``to``.

        Gossip is added only if that node is known to be there: a packet with a forged source must not cause a larger
        answer, and gossip sent to a stranger would count as sent.
        """
        record = self.members.records.get(self.members.id_of(to) or "")
        if record is not None and address in self.addresses_of(record):
            self.send(address, to, body, now, first)
        else:
            self.send_bare(address, to, body, first)

    def send_bare(self, address: Address, to: int, body: Body, first: Item | None = None) -> None:
        """Send ``body`` and ``first`` without gossip."""
        self.effects.append(Send(address, Datagram(body, () if first is None else (first,)), to))

    def send(self, address: Address, to: int, body: Body, now: float, first: Item | None = None) -> None:
        """Send ``body`` to the node with the tag ``to``, with as much gossip as fits. ``first`` goes first, because it
        concerns the receiver."""
        ages = self.life.pack(AGES_PER_PACKET, now)
        items: tuple[Item, ...] = ()
        if self.is_announced and len(self.gossip):
            budget = self.item_bytes_max - (0 if first is None else item_bytes(first))
            items = self.gossip.pop_items(budget, self.config.retransmits(len(self.members.nodes)))
        if first is not None:
            items = (first, *(item for item in items if item.id != first.id))
        self.effects.append(Send(address, Datagram(body, items, ages), to))

    def send_to_node(self, node_id: str, body: Body, now: float, *, is_everywhere: bool = False) -> None:
        """Send to a listed node; to all of its :meth:`ping_addresses` if ``is_everywhere``.

        The suspicion of a suspect goes first (Lifeguard §IV-C, buddy system).
        """
        record = self.members.records[node_id]
        accusation = accusation_of(record)
        for address in self.ping_addresses(record) if is_everywhere else (self.address_of(record),):
            self.send(address, tag_of(node_id), body, now, accusation)

    def has_room_for(self, record: Record) -> bool:
        """Return whether this record may be listed, in place of the one with its id if there is one."""
        return self.members.has_room_for(record, self.config.members_max, self.config.members_size_max)

    def tell(self, node_id: str, item: Item) -> None:
        """Send one item at once, in addition to gossip."""
        record = self.members.records[node_id]
        if item_bytes(item) <= self.item_bytes_max:
            self.send_bare(self.address_of(record), tag_of(node_id), Gossip(self.tag), item)
        else:
            self.call_node(record, Push(self.tag, (item,)), _ignore)

    def call(
        self,
        addresses: tuple[Address, ...],
        request: CallRequest,
        handler: ReplyHandler,
        timeout: float | None = None,
        node: Record | Departed | None = None,
        *,
        target: str = "",
    ) -> None:
        """Call the process at these addresses, which belong to ``node`` if given.

        ``handler(reply or failure, now)`` runs once. With a ``target``, the process passes the call on to that node.
        """
        self._call_count += 1
        self._calls[self._call_count] = handler
        node_id, boot = ("", 0) if node is None else (node.id, node.boot)
        timeout = timeout or self.config.call_timeout
        self.effects.append(Call(self._call_count, addresses, request, timeout, node_id, boot, target))

    def call_node(
        self, node: Record | Departed, request: CallRequest, handler: ReplyHandler, timeout: float | None = None
    ) -> None:
        """Call the process of this record, at all of its addresses."""
        self.call(self.addresses_of(node), request, handler, timeout, node)

    def pop_call(self, call_id: int) -> ReplyHandler | None:
        return self._calls.pop(call_id, None)

    # What is kept

    def store(self, writes: Iterable[Write], handler: StoreHandler, now: float) -> None:
        """See :meth:`~meshp2p.core.directory.keeping.Keeping.store`."""
        self.keeping.store(writes, handler, now)

    def resolve(self, ticket: int, reply: CallReply) -> None:
        """Answer the request with this ticket."""
        self.effects.append(Resolve(ticket, reply))

    def emit(self, event: Event | MapChanged) -> None:
        self.effects.append(Emit(event))

    def ping(self, sequence: int, target: int) -> Ping:
        """Return a ping for the node with the tag ``target``."""
        return Ping(sequence, self.tag, target, self.members.view, self.local_health.score)

    # Reads

    def address_of(self, record: Record) -> Address:
        return self.reach.get(record.id) or record.addresses[0]

    def ping_addresses(self, record: Record) -> tuple[Address, ...]:
        """Return the addresses at which a node may answer datagrams: where it answered, and the one it publishes, which
        it may have left without noticing."""
        return tuple(dict.fromkeys((self.address_of(record), record.addresses[0])))

    def addresses_of(self, record: Record | Departed) -> tuple[Address, ...]:
        """Return all addresses of a node, the one at which it answered first."""
        heard = self.reach.get(record.id)
        if heard is None:
            return record.addresses
        return (heard, *(address for address in record.addresses if address != heard))

    def choose_nodes(self, count: int, *without: str) -> list[str]:
        """Return up to ``count`` other listed nodes, in random order."""
        return self.members.nodes.draw(self.random, count, self.id, *without)

    def is_silent(self, node_id: str) -> bool:
        """Return whether a listed node is suspected, or did not answer half of a check."""
        return node_id in self.silent or self.members.records[node_id].state is State.SUSPECT

    def choose_listeners(self, count: int) -> list[str]:
        """Return up to ``count`` other listed nodes that are not silent, in random order; if all are silent, any.

        Otherwise most gossip on the small side of a partition would be sent to the other side and lost.
        """
        chosen = self.choose_nodes(count)
        if not any(map(self.is_silent, chosen)):
            return chosen
        heard = [node_id for node_id in self.members.nodes if node_id != self.id and not self.is_silent(node_id)]
        return self.random.sample(heard, min(count, len(heard))) or chosen

    def is_live(self, instance_id: str) -> bool:
        return instance_id in self.members.records

    def may_be_claimed(self, epoch: int) -> bool:
        """Return whether the epoch is plausible.

        It is up to the :func:`~meshp2p.core.record.epoch_limit` of now, or one claim above those that this node knows,
        in case its clock is behind.
        """
        known = max(self.members.top_claim[0], self.epoch_kept)
        return epoch <= max(epoch_limit(self.wall_ms()), known + EPOCH_SKIP_MAX)

    # Changes

    def put(self, record: Record) -> None:
        """List a live record, and note what that means for its id. A node whose id now is a hosted instance's has
        left."""
        held = self.members.records.get(record.id)
        if held is None:
            self.changes.append(InstanceJoined(record))
        elif held.is_node and not record.is_node:
            self.reach.pop(record.id, None)
            self.patience.forget_health(record.id)
            self.changes += (InstanceLeft(msgspec.structs.replace(held, state=State.LEFT)), InstanceJoined(record))
        else:
            if held.addresses != record.addresses or held.boot != record.boot:
                self.reach.pop(record.id, None)
            self.changes.append(InstanceRecovered(record) if held.state is State.SUSPECT else InstanceUpdated(record))
        self.members.put(record)

    # Gossip

    def find(self, instance_id: str, incarnation: int, state: State, *, is_refused: bool = False) -> Rumour:
        """Return a rumour of which this node is the author."""
        rumour = Rumour(instance_id, incarnation, state, self.id, is_refused)
        return rumour if self.signer is None else self.signer.sign_rumour(rumour)

    def forget_departed(self, now: float) -> None:
        """Forget the departed that are too old or too many, and the gossip about them."""
        config = self.config
        for instance_id in self.members.forget_departed(now, config.departed_retention, config.departed_max):
            self.gossip.discard(instance_id)

    def spread(self, item: Item, now: float, *, at_birth: bool = False, is_told: bool = False) -> None:
        """Gossip ``item``: at once, unless there was a round just before, then with every packet until it was sent
        often enough.

        ``at_birth`` tells a node of each arc at once, because this node is the item's only source. ``is_told``: all
        nodes are told so, and gossip only repairs that. In a secured mesh nobody believes a rumour that is not signed,
        so none is spread.
        """
        if self.signer is not None and isinstance(item, Rumour) and not isinstance(item, SignedRumour):
            return
        self.gossip.put(item)
        if at_birth and self.is_announced:
            is_told = True
            for arc in self.members.nodes.arcs(self.id, self.config.birth_fanout):
                self.tell(next((node_id for node_id in arc if not self.is_silent(node_id)), arc[0]), item)
        # two refusals are a verdict within milliseconds, so a refusal is gossiped only if there is none
        can_wait = is_told or (isinstance(item, Rumour) and item.state is State.SUSPECT and item.is_refused)
        due = now + self.config.gossip_interval / 4 if can_wait else now
        self.timers.set_earlier(Timer.GOSSIP, max(due, self.gossip_after))


def accusation_of(record: Record) -> Rumour | None:
    """Return the suspicion that a suspect is told of; None for a node that is not suspected.

    It names no accuser: another node that now has the suspect's address must not count it as a confirmation.
    """
    return Rumour(record.id, record.incarnation, State.SUSPECT) if record.state is State.SUSPECT else None


def _ignore(_reply: CallReply | CallFailed, _now: float) -> None:
    """Ignore the outcome of a Push: if it was lost, the views differ and a sync repairs that."""
