"""The records that only this node may publish: its own and those of the instances that it hosts.

Only the owner raises an incarnation. It does so to publish a change, and to refute claims of others about its
incarnation (SWIM §4.2).
"""

from __future__ import annotations

import math

import msgspec

from meshp2p.core.calls import CallReply, Pong, Probe
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.directory.gossip import item_bytes
from meshp2p.core.directory.state import NodeState
from meshp2p.core.effects import CallFailed, Send
from meshp2p.core.events import IdConflictLost
from meshp2p.core.record import INCARNATION_MAX, Departed, Item, Record, Rumour, State, is_usurped, supersedes, tag_of
from meshp2p.errors import LimitExceeded

__all__ = ["Ownership"]

RIVALS_MAX = 8
"""How many processes are asked at the same time whether they have this node's id. Chosen, not measured."""

UNREACHED_PAUSE_MIN, UNREACHED_PAUSE_MAX = 5.0, 60.0
"""Seconds before a node refutes its own death again that nobody reached since it last did; doubled each time. Chosen,
not measured."""


class Ownership:
    """Publishes, refutes, and finds out which process has this node's id if another one claims it."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._held_back: Record | None = None
        self._published_max = 0
        self._rivals_asked: set[int] = set()
        self._contradicted: dict[str, Item] = {}
        self._returned_at = -math.inf
        self._returns_unreached = 0
        self._is_away = False
        self.has_lost_id: bool = False

    # Publishing

    def publish(self, record: Record, now: float, *, at_birth: bool = True) -> bool:
        """List a record as this process's, with a greater incarnation than any held about its id, and tell the mesh: at
        once if ``at_birth``, else only by gossip.

        The record gets this node as its home and this process's boot. If the numbers of this node's own record are not
        on disk, it is published when they are. Return False if no incarnation up to ``INCARNATION_MAX`` is left: then
        the table is unchanged, and this node has lost its id if the record is its own. Raises :class:`LimitExceeded` if
        no more instances, or not this one, may be listed; then nothing changed.
        """
        state = self._state
        held = state.members.claim_of(record.id)
        incarnation = record.incarnation
        if held is not None:
            incarnation = max(incarnation, held.incarnation + 1)
        if incarnation > INCARNATION_MAX:
            if record.id == state.id:
                self._lose_id("")
            return False
        record = msgspec.structs.replace(
            record, incarnation=incarnation, state=State.ALIVE, home=state.id, boot=state.own.boot
        )
        if state.signer is not None:
            record = state.signer.sign_record(record)
        if not isinstance(held, Record) and not state.has_room_for(record):
            raise LimitExceeded(
                f"instance {record.id!r}: {len(state.members)} instances of {state.members.size} characters are listed,"
                " and there is no room for more"
            )
        if record.id == state.id:
            if not state.keeping.keep(incarnation, record.epoch) and state.is_announced:
                self._held_back = record
                return True
            self._held_back = None
            state.own = record
        self._published_max = max(self._published_max, incarnation)
        if record.epoch and state.may_be_claimed(record.epoch):
            state.epoch_kept = max(state.epoch_kept, record.epoch)
            state.members.note_claim((record.epoch, record.id))
        state.life.assume(record.id, now)
        state.put(record)
        state.spread(record, now, at_birth=at_birth)
        return True

    def republish_hosted(self, now: float) -> None:
        """Publish the instances that an earlier process of this node hosted as this process's. Call it once this node
        is announced.

        A new node lists such records as it receives them: the id may belong to another process, whose instances it must
        not claim. Deliveries wait until a record and its home have the same boot.
        """
        for record in self._state.members.hosted_by(self._state.id):
            if record.boot != self._state.own.boot:
                self.publish(record, now, at_birth=False)

    def is_exhausted(self, instance_id: str) -> bool:
        """Return whether the greatest incarnation of this id was claimed, so that nothing greater can be published."""
        held = self._state.members.claim_of(instance_id)
        return held is not None and held.incarnation >= INCARNATION_MAX

    @property
    def next_incarnation(self) -> int:
        """Return an incarnation for a new instance of this node, greater than all that this process has published."""
        return self._published_max + 1

    @property
    def is_kept(self) -> bool:
        """Return whether the numbers that this node would publish of itself are on disk."""
        return self._state.keeping.has_kept(self._state.own.incarnation, self._state.own.epoch)

    def publish_kept(self, now: float) -> None:
        """Publish what waited for the numbers that are on disk now."""
        held_back, self._held_back = self._held_back, None
        if held_back is not None and not self._state.is_leaving:
            self.publish(held_back, now)
        self.refute(now)

    # Claims of others

    def answer(self, item: Item, now: float) -> bool:
        """Answer a claim about this node, or about an instance that it hosts. Return whether it was one; then it must
        not be accepted.

        What must be refuted is noted for :meth:`refute`.
        """
        state = self._state
        held = state.members.records.get(item.id)
        if item.id == state.id:
            if isinstance(item, Record) and is_usurped(item, state.own):
                if not state.is_announced:
                    self._lose_id(str(item.addresses[0]) if item.addresses else "", is_owned=True)
            elif isinstance(item, Record) and item.boot != state.own.boot and item.is_node:
                # the mesh remembers what an earlier process claimed, even if this one lost its state
                if state.may_be_claimed(item.epoch):
                    state.epoch_kept = max(state.epoch_kept, item.epoch)
                self._ask_rival(item, now)
            elif not state.is_leaving and _contradicts(item, state.own):
                self._note_contradiction(item)
            return True
        if held is None or held.home != state.id:
            # a record of an earlier process of ours: the agent may still send heartbeats, so host it again
            if (
                isinstance(item, Record)
                and item.home == state.id
                and item.is_live
                and state.is_announced
                and not state.is_leaving
            ):
                known = held or state.members.departed.get(item.id)
                has_room = state.has_room_for(item)
                if has_room and (known is None or supersedes(item, known)):
                    self.publish(msgspec.structs.replace(item, incarnation=item.incarnation + 1), now, at_birth=False)
                return True
            return False
        if isinstance(item, Record) and item.home != state.id:
            return False  # another node adopted it
        if item.state is State.LEFT or state.is_leaving:
            return False  # it was deregistered elsewhere while this node was unreachable
        if item.incarnation >= INCARNATION_MAX:
            return False  # it cannot be outbid
        if _contradicts(item, held):
            self._note_contradiction(item)
        return True

    def _note_contradiction(self, item: Item) -> None:
        noted = self._contradicted.get(item.id)
        if noted is None or supersedes(item, noted):
            self._contradicted[item.id] = item

    def refute(self, now: float) -> None:
        """Outbid what was noted, once per id however often it was claimed, so that one packet gets one answer."""
        state = self._state
        contradicted, self._contradicted = self._contradicted, {}
        for item in contradicted.values():
            record = state.members.records.get(item.id)
            if record is None or record.home != state.id or not _contradicts(item, record):
                continue
            incarnation = max(record.incarnation, item.incarnation) + 1
            if record.id == state.id and not state.keeping.keep(incarnation, record.epoch):
                self._contradicted[item.id] = item  # refuted when it is on disk
                continue
            if record.id == state.id and item.state is State.DEAD and not self._may_return(now):
                continue
            state.counters.refutations += 1
            if record.id == state.id and item.state is not State.ALIVE:
                state.local_health.change(+1)
            self.publish(msgspec.structs.replace(record, incarnation=incarnation), now)
            if record.id == state.id and item.state is State.DEAD:
                self._tell_dead()

    def _tell_dead(self) -> None:
        """Tell nodes that are dead here that they are, and that this one lives: a partition has healed."""
        state = self._state
        dead = state.members.callable_dead()
        own = (state.own,) if item_bytes(state.own) <= state.item_bytes_max // 2 else ()
        for departed in state.random.sample(dead, min(state.config.birth_fanout, len(dead))):
            datagram = Datagram(Gossip(state.tag), (departed.as_rumour(), *own))
            state.effects.append(Send(departed.addresses[0], datagram, tag_of(departed.id)))

    def _may_return(self, now: float) -> bool:
        """Return whether to refute this node's own death now.

        A node that can call others but cannot be reached, for example behind a firewall, would be declared dead again
        at once, and lead in between. It returns less and less often; the next sync tells it again that it is held dead.
        """
        pause = min(UNREACHED_PAUSE_MAX, UNREACHED_PAUSE_MIN * 2.0**self._returns_unreached)
        is_unreached = self._state.reached_at <= self._returned_at
        self._is_away = is_unreached and now < self._returned_at + pause
        if not self._is_away:
            self._returns_unreached = min(self._returns_unreached + 1, 16) if is_unreached else 0
            self._returned_at = now
        return not self._is_away

    @property
    def is_away(self) -> bool:
        """Whether this node is held dead, could not be reached, and waits before it returns."""
        return self._is_away and self._state.reached_at <= self._returned_at

    # Another process with this node's id

    def _ask_rival(self, rival: Record, now: float) -> None:
        """Find out whether the process that published this record of our id still runs."""
        state = self._state
        if rival.boot in self._rivals_asked or len(self._rivals_asked) >= RIVALS_MAX or state.is_leaving:
            return
        if state.is_announced and not supersedes(rival, state.own):
            return  # if it lives, it will hear of us and ask
        self._rivals_asked.add(rival.boot)

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            self._rivals_asked.discard(rival.boot)
            if state.is_leaving:
                return
            lives = isinstance(reply, Pong) and reply.id == state.id and reply.boot == rival.boot
            if lives and rival.boot < state.own.boot:
                self._lose_id(str(rival.addresses[0]))
            else:  # it is gone, or it is the newer one and will learn of us
                self.publish(
                    msgspec.structs.replace(state.own, incarnation=max(state.own.incarnation, rival.incarnation) + 1),
                    now,
                )

        state.call(rival.addresses, Probe(state.tag), conclude, state.config.call_timeout / 2)

    def yield_id(self) -> None:
        """Lose the id to another machine, because another node says that it belongs to that, and none lists this
        one."""
        if not self._state.is_accepted:
            self._lose_id("", is_owned=True)

    def _lose_id(self, address: str, *, is_owned: bool = False) -> None:
        if not self.has_lost_id:
            self.has_lost_id = True
            self._state.is_leaving = True
            self._state.emit(IdConflictLost(self._state.id, address, is_owned))

    @property
    def is_asking_rivals(self) -> bool:
        return bool(self._rivals_asked)


def _contradicts(item: Item | Departed, own: Record) -> bool:
    """Return whether others hold a claim that would prevail over what the owner published."""
    if isinstance(item, Rumour):
        return item.incarnation >= own.incarnation
    return item != own and supersedes(item, own)
