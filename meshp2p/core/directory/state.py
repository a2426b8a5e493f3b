"""What one node knows and is about to do: the ground on which all parts of the machine stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Push
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Body, Datagram, Gossip, Ping
from meshp2p.core.directory.gossip import GossipQueue, item_bytes
from meshp2p.core.directory.keeping import Keeping, KeptState, StoreHandler
from meshp2p.core.directory.life_signs import LifeSigns
from meshp2p.core.directory.local_health import LocalHealth
from meshp2p.core.directory.members import Members
from meshp2p.core.directory.patience import Patience
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
from meshp2p.core.record import EPOCH_SKIP_MAX, Departed, Item, Record, Rumour, State, epoch_limit, tag_of

__all__ = ["Counters", "NodeState", "Randomness", "ReplyHandler", "accusation_of"]

_T = TypeVar("_T")

PACKET_OVERHEAD = 96
"""Bytes of a packet that gossip may not fill: the frame and its seal, the body, the ages' and lists' headers."""

AGE_BYTES = 12


class Randomness(Protocol):
    """What the core draws: ``random.Random`` has it."""

    def random(self) -> float: ...
    def randrange(self, start: int, stop: int, /) -> int: ...
    def sample(self, population: list[_T], k: int, /) -> list[_T]: ...


class Counters(msgspec.Struct):
    """How often what happened, since the start."""

    probes: int = 0
    probes_failed: int = 0
    suspicions: int = 0
    deaths: int = 0
    refutations: int = 0
    syncs: int = 0
    syncs_failed: int = 0
    items_taken: int = 0
    items_stale: int = 0
    items_refused: int = 0
    """Claims that no node which follows the protocol makes."""
    pauses: int = 0
    rebuilds: int = 0
    """Inputs that raised, by a fault of ours, and after which the machine began anew."""
    datagrams_unasked: int = 0
    """Acks and nacks that answer nothing we sent, and packets for another node."""
    messages_accepted: int = 0
    messages_refused: int = 0
    """Not accepted: no such recipient, or no room."""
    messages_taken: int = 0
    """Copies put into mailboxes of this node's."""
    messages_repeated: int = 0
    """Copies that came again."""
    copies_acknowledged: int = 0
    copies_expired: int = 0
    copies_undeliverable: int = 0
    map_syncs: int = 0
    """Comparisons of shared maps that were answered."""
    map_entries_taken: int = 0
    """Others' entries of shared maps that changed something."""
    map_entries_refused: int = 0
    """Others' entries that were not taken: stamped too far ahead, or past the bounds."""


ReplyHandler = Callable[[CallReply | CallFailed, float], None]


class NodeState:
    """The tables, queues and deadlines of one node, and the effects that its machine has not handed out yet.

    The parts of the machine share it and change the table through
    :class:`~meshp2p.core.swim.membership.Membership` alone.
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
    ) -> None:
        self.own = own
        self.id: str = own.id
        self.tag: int = tag_of(own.id)
        self.config = config
        self.random = random
        self.wall_ms = wall_ms
        self.members: Members = Members()
        self.item_bytes_max: int = config.packet_bytes_max - PACKET_OVERHEAD - AGE_BYTES * config.ages_per_packet
        """The largest item that fits into a packet."""
        self.gossip: GossipQueue = GossipQueue(self.item_bytes_max)
        self.gossip_after: float = -math.inf
        """When there may be a round of gossip again."""
        self.life: LifeSigns = LifeSigns()
        self.local_health: LocalHealth = LocalHealth(config.local_health_max)
        self.timers: Timers = Timers()
        self.counters: Counters = Counters()
        self.effects: list[Effect] = []
        self.changes: list[InstanceChange] = []
        """What happened to members and was not yet looked at by the parts that care."""
        self.reach: dict[str, Address] = {}
        """The address at which a node answers, if it is not the first that it published: see
        :mod:`meshp2p.core.swim.paths`."""
        self.reached_at: float = -math.inf
        """When a packet or call of another last came that this node did not ask for."""
        self.heard_at: float = -math.inf
        """When anything of another node's last arrived."""
        self.heard: dict[str, float] = {}
        """When a listed node itself was last heard, by a packet or an answer of its own."""
        self.silent: dict[str, None] = {}
        """The nodes that are checked, and did not answer half of the check."""
        self.patience: Patience = Patience(config.patience_max)
        self.epoch_kept: int = kept.epoch
        self.leader_version: int = 0
        """Counts the changes of leader."""
        self.is_announced = False
        """Whether this node may tell others of itself: it knows that its id is its own."""
        self.is_settled = False
        """Whether this node has looked around for long enough to name a leader."""
        self.is_leaving = False
        self.is_guarded = False
        """Whether this node was stopped and has heard nobody since: see :mod:`meshp2p.core.swim.pause_guard`."""
        self._calls: dict[int, ReplyHandler] = {}
        self._call_count = 0
        self._unix_zero = -(1 << 62)
        """The greatest Unix time, in milliseconds, that the driver's time 0 was found to be."""
        self.age_zero: float = 0.0
        """What the clock of :meth:`age_at` shows at the driver's time 0, in seconds."""
        self.keeping: Keeping = Keeping(kept, self._ask, self.timers, is_durable=is_durable)

    def _ask(self, effect: Effect) -> None:
        self.effects.append(effect)

    def unix_ms_at(self, when: float, now: float) -> int:
        """What a moment was in Unix milliseconds. A later moment is never shown as an earlier one: a wall clock that is
        set back is not followed, one that ran ahead is, as after the machine slept."""
        self._unix_zero = max(self._unix_zero, self.wall_ms() - math.ceil(now * 1000))
        return self._unix_zero + int(when * 1000)

    def age_at(self, when: float) -> int:
        """The milliseconds that will have passed at this time since the node's directory was made: what is kept bears
        this, for a wall clock may be set, and the driver's clock begins anew with each process."""
        return int((self.age_zero + when) * 1000)

    def seconds_until(self, age: int, now: float) -> float:
        """How long it is until :meth:`age_at` is ``age``; negative if that is over."""
        return (age - self.age_at(now)) / 1000

    def resume(self, old: NodeState, now: float) -> None:
        """Take up what is known of the mesh, and the numbers under which something was asked."""
        for departed in old.members.departed.values():
            self.members.depart(departed)
        for record in old.members.records.values():
            if record.id != self.id:
                self.life.assume(record.id, min(now, old.life[record.id] or now))
                self.put(msgspec.structs.replace(record, state=State.ALIVE))
        self.members.note_claim(old.members.top_claim)
        self.reach = {node_id: address for node_id, address in old.reach.items() if self.members.has_node(node_id)}
        self.epoch_kept = old.epoch_kept
        self.counters = old.counters
        self.counters.rebuilds += 1
        self.keeping.resume(old.keeping)
        self._call_count = old._call_count

    # What leaves the node

    def answer(self, address: Address, to: int, body: Body, now: float, first: Item | None = None) -> None:
        """Send ``body`` to where a packet came from that bears the tag ``to``. Gossip goes with it only if that node is
        known to be there: a packet with a forged source must draw no more bytes than it has, and gossip that a stranger
        gets would count as told."""
        record = self.members.records.get(self.members.id_of(to) or "")
        if record is not None and address in self.addresses_of(record):
            self.send(address, body, now, first)
        else:
            self.send_bare(address, body, first)

    def send_bare(self, address: Address, body: Body, first: Item | None = None) -> None:
        """Send ``body`` and ``first`` without gossip."""
        self.effects.append(Send(address, Datagram(body, () if first is None else (first,))))

    def send(self, address: Address, body: Body, now: float, first: Item | None = None) -> None:
        """Send ``body`` with whatever gossip fits; ``first`` goes ahead of it, for whom it concerns."""
        config = self.config
        ages = self.life.pack(config.ages_per_packet, now)
        items: tuple[Item, ...] = ()
        if self.is_announced and len(self.gossip):
            budget = self.item_bytes_max - (0 if first is None else item_bytes(first))
            items = self.gossip.pop_items(budget, config.retransmits(len(self.members.nodes)))
        if first is not None:
            items = (first, *(item for item in items if item.id != first.id))
        self.effects.append(Send(address, Datagram(body, items, ages)))

    def send_to_node(self, node_id: str, body: Body, now: float, *, is_everywhere: bool = False) -> None:
        """Send to a listed node, to all of its :meth:`ping_addresses` if ``is_everywhere``. A suspect is told first
        that it is suspected (Lifeguard §IV-C, buddy system)."""
        record = self.members.records[node_id]
        accusation = accusation_of(record)
        for address in self.ping_addresses(record) if is_everywhere else (self.address_of(record),):
            self.send(address, body, now, accusation)

    def has_room_for(self, record: Record) -> bool:
        """Whether this record may be listed, in place of the one of its id if there is one."""
        return self.members.has_room_for(record, self.config.members_max, self.config.members_size_max)

    def tell(self, node_id: str, item: Item) -> None:
        """Send one item at once, beside the gossip that goes round."""
        record = self.members.records[node_id]
        if item_bytes(item) <= self.item_bytes_max:
            self.send_bare(self.address_of(record), Gossip(self.tag), item)
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
        """Call whoever answers at these addresses, which are ``node``'s if it is given; ``handler(reply or failure,
        now)`` is run once. With a ``target`` they are to pass the call on to that node."""
        self._call_count += 1
        self._calls[self._call_count] = handler
        node_id, boot = ("", 0) if node is None else (node.id, node.boot)
        timeout = timeout or self.config.call_timeout
        self.effects.append(Call(self._call_count, addresses, request, timeout, node_id, boot, target))

    def call_node(
        self, node: Record | Departed, request: CallRequest, handler: ReplyHandler, timeout: float | None = None
    ) -> None:
        """Call the process that this record is of, at all of its addresses."""
        self.call(self.addresses_of(node), request, handler, timeout, node)

    def pop_call(self, call_id: int) -> ReplyHandler | None:
        return self._calls.pop(call_id, None)

    # What is kept

    def store(self, writes: Iterable[Write], handler: StoreHandler, now: float) -> None:
        """See :meth:`~meshp2p.core.directory.keeping.Keeping.store`."""
        self.keeping.store(writes, handler, now)

    def resolve(self, ticket: int, reply: CallReply) -> None:
        """Answer what was asked under this ticket."""
        self.effects.append(Resolve(ticket, reply))

    def emit(self, event: Event | MapChanged) -> None:
        self.effects.append(Emit(event))

    def ping(self, sequence: int, target: int) -> Ping:
        """A ping of this node's for the node with the tag ``target``."""
        return Ping(sequence, self.tag, target, self.members.view, self.local_health.score)

    # What is asked of the tables

    def address_of(self, record: Record) -> Address:
        return self.reach.get(record.id) or record.addresses[0]

    def ping_addresses(self, record: Record) -> tuple[Address, ...]:
        """Where a node may answer datagrams: where it answered, and where it says that it is, which may be an address
        that it left without noticing."""
        return tuple(dict.fromkeys((self.address_of(record), record.addresses[0])))

    def addresses_of(self, record: Record | Departed) -> tuple[Address, ...]:
        """All addresses at which a node may be reached, the one at which it answered first."""
        heard = self.reach.get(record.id)
        if heard is None:
            return record.addresses
        return (heard, *(address for address in record.addresses if address != heard))

    def choose_nodes(self, count: int, *without: str) -> list[str]:
        """Up to ``count`` other listed nodes, in an order drawn at random."""
        return self.members.nodes.draw(self.random, count, self.id, *without)

    def is_silent(self, node_id: str) -> bool:
        """Whether a listed node is suspected, or did not answer half of a check."""
        return node_id in self.silent or self.members.records[node_id].state is State.SUSPECT

    def choose_listeners(self, count: int) -> list[str]:
        """Up to ``count`` other listed nodes that are not silent, in an order drawn at random; if all are silent, any.
        On a small side of a cut most gossip would else be sent to the other side, and be lost."""
        chosen = self.choose_nodes(count)
        if not any(map(self.is_silent, chosen)):
            return chosen
        heard = [node_id for node_id in self.members.nodes if node_id != self.id and not self.is_silent(node_id)]
        return self.random.sample(heard, min(count, len(heard))) or chosen

    def is_live(self, instance_id: str) -> bool:
        return instance_id in self.members.records

    def may_be_claimed(self, epoch: int) -> bool:
        """Whether leaders can have come so far: to the :func:`~meshp2p.core.record.epoch_limit` of now, or one claim
        further than this node knows, also if its clock is behind."""
        known = max(self.members.top_claim[0], self.epoch_kept)
        return epoch <= max(epoch_limit(self.wall_ms()), known + EPOCH_SKIP_MAX)

    # What changes

    def put(self, record: Record) -> None:
        """List a live record, and note what that means for its id. A node whose id is a hosted instance's from now on
        has left."""
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

    # What is to be told, and no longer

    def forget_departed(self, now: float) -> None:
        """Forget those of the departed whose time is up or who are too many, and what was still to be told of them."""
        config = self.config
        for instance_id in self.members.forget_departed(now, config.departed_retention, config.departed_max):
            self.gossip.discard(instance_id)

    def spread(self, item: Item, now: float, *, at_birth: bool = False) -> None:
        """Tell the mesh of ``item``: at once, unless there was a round just before, then again with every packet until
        it was told often enough.

        ``at_birth`` tells more nodes at once: this node is the item's only source.
        """
        self.gossip.put(item)
        due = now
        if at_birth and self.is_announced:
            for node_id in self.choose_listeners(self.config.birth_fanout):
                self.tell(node_id, item)
            due += self.config.gossip_interval  # those who were told begin their rounds at once
        self.timers.set_earlier(Timer.GOSSIP, max(due, self.gossip_after))


def accusation_of(record: Record) -> Rumour | None:
    """The suspicion that a suspect is told of; None for a node that is not suspected. It names no accuser: another node
    that has the suspect's address by now must not count it as a finding."""
    return Rumour(record.id, record.incarnation, State.SUSPECT) if record.state is State.SUSPECT else None


def _ignore(_reply: CallReply | CallFailed, _now: float) -> None:
    """What was told by TCP needs no answer: where it was lost, the views differ and a sync mends it."""
