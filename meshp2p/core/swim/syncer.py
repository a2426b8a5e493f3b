"""Compares two views and repairs the difference (push-pull, by digest), and finds peers.

A sync is a call: the asker sends a digest of its view, the replier sends all that it holds in the buckets that differ,
and the asker then pushes what it holds there. Nodes join by a sync, healed partitions merge by it, and it repairs what
gossip lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from meshp2p.core.address import Address
from meshp2p.core.calls import ITEMS_PER_CALL_MAX, CallReply, Done, Push, Refused, SyncReply, SyncRequest, Why
from meshp2p.core.digest import is_digest
from meshp2p.core.directory.gossip import item_bytes
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.record import Item, Record, Rumour, State, is_usurped, tag_of
from meshp2p.core.swim.candidates import Candidates
from meshp2p.core.swim.dissemination import Dissemination
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.membership import Membership
from meshp2p.core.swim.ownership import Ownership
from meshp2p.core.swim.view_digest import bucket_digest, differing_buckets, items_in

__all__ = ["Syncer"]

DIALS_MAX = 16
"""The maximum number of candidates dialled at the same time. Chosen, not measured."""


class Syncer:
    """Decides when to sync and with which node; dials candidates; answers the syncs of others."""

    def __init__(
        self,
        state: NodeState,
        membership: Membership,
        ownership: Ownership,
        election: Election,
        dissemination: Dissemination,
    ) -> None:
        self._state = state
        self._dissemination = dissemination
        self._membership = membership
        self._ownership = ownership
        self._election = election
        self.candidates: Candidates = Candidates(state.config, state.random)
        self._dials = 0
        self._introductions = 0
        """How many of these dials carry this node's record, so that a node that answers lists this one."""
        self._is_syncing = False
        self._has_looked = False
        self._has_met_settled = False
        self._view = 0
        self._view_since = 0.0
        self._agreed_at = 0.0

    def start(self, now: float) -> None:
        self._agreed_at = self._view_since = now

    # When two views differ

    def compare(self, node_id: str, view: int, now: float) -> None:
        """Compare with the view that a listed node reported. If it differs for longer than gossip takes, sync with it.

        Gossip changes this node's view as it arrives: so if the view is stable and still differs, gossip will not
        repair the difference. Under constant change, ``5 x sync_grace`` without agreement with any node is enough.
        """
        state = self._state
        own = state.members.view
        if view == own:
            self._agreed_at = now
            return
        if own != self._view:
            self._view, self._view_since = own, now
        grace = state.config.sync_grace
        if now - self._view_since >= grace or now - self._agreed_at >= 5 * grace:
            self.sync_with(node_id, now)

    def sync_with(self, node_id: str, now: float) -> None:
        """Sync with a listed node, unless a sync is under way."""
        state = self._state
        record = state.members.records.get(node_id)
        if record is None or not record.is_node or self._is_syncing or not state.is_announced or state.is_leaving:
            return
        self._is_syncing = True
        self._agreed_at = now
        self._view_since = now

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            self._is_syncing = False
            self._handle_reply(reply, state.addresses_of(record), len(request.buckets) // 8, now)

        request = self._request()
        state.call_node(record, request, conclude)

    # Finding peers

    def offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None, now: float) -> None:
        """Try the addresses at which a source saw a peer, unless the peer is already listed."""
        if self._state.is_leaving:
            return
        self.candidates.offer(source, addresses, instance_id, now, nodes=len(self._state.members.nodes))
        self.set_dial_timer(now)

    def call_back(self, address: Address, instance_id: str, now: float) -> None:
        """Dial a dead node that sent from this address at once, whatever else is being dialled."""
        if self._state.is_leaving:
            return
        self.candidates.offer("packet", (address,), instance_id, now)
        if self.candidates.reserve(address, now):
            self._dial(address, now)

    def note_gone(self, node_id: str, now: float, *, has_left: bool) -> None:
        """Note that a node is no longer listed: its addresses are tried again, at once unless it left."""
        if has_left:
            self.candidates.postpone(node_id, now)
        else:
            self.candidates.expect(node_id, now)
        if len(self._state.members.nodes) < 2:
            self.candidates.note_alone(now)
        self.set_dial_timer(now)

    def note_move(self, now: float) -> None:
        """Note that this node's addresses changed: former ones may belong to others, and others may be reachable from
        here."""
        self.candidates.move(now)
        self.set_dial_timer(now)

    def handle_dial(self, now: float) -> None:
        """Dial every due candidate that is not known to be listed, all at the same time."""
        room = 0 if self._state.is_leaving else DIALS_MAX - self._dials
        for address in self.candidates.choose_due(now, room, without=self._is_needless):
            self._dial(address, now)
        self.set_dial_timer(now)

    def _is_needless(self, _address: Address, instance_id: str | None) -> bool:
        # our own id at another address is worth a call: another node may have it too
        return instance_id is not None and instance_id != self._state.id and self._state.is_live(instance_id)

    def _dial(self, address: Address, now: float) -> None:
        state = self._state
        self._dials += 1
        request = self._request()
        introduces = request.sender is not None
        self._introductions += introduces

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            self._dials -= 1
            self._introductions -= introduces
            if introduces and state.is_leaving and isinstance(reply, SyncReply):
                self._dissemination.say_farewell_to(reply.sender, (address,))
            found = reply.sender if isinstance(reply, SyncReply) else None
            is_own = found is not None and found.boot == state.own.boot
            is_alone = len(state.members.nodes) < 2
            found_id = found.id if found is not None else None
            self.candidates.conclude(address, found_id, now, is_own=is_own, is_alone=is_alone)
            self._handle_reply(reply, (address,), len(request.buckets) // 8, now)
            self.set_dial_timer(now)

        state.call((address,), request, conclude)

    def set_dial_timer(self, now: float) -> None:
        """Set the timer for the next due candidate. Call it after a candidate was offered or tried, or may have lost
        its peer."""
        if self._state.is_leaving:
            return
        due = self.candidates.next_dial(without=self._is_needless)
        if due is not None and self._dials < DIALS_MAX:
            self._state.timers.set(Timer.DIAL, max(now, due))  # one in the past would look like a pause

    # Both sides of the call

    def _request(self) -> SyncRequest:
        state = self._state
        own = state.own if state.is_announced else None
        return SyncRequest(bucket_digest(state.members), own, state.members.top_claim)

    def _handle_reply(
        self, reply: CallReply | CallFailed, addresses: tuple[Address, ...], buckets: int, now: float
    ) -> None:
        state = self._state
        if not isinstance(reply, SyncReply):
            self._note_refusal(reply, now)
            state.counters.syncs_failed += 1
            return
        if state.is_leaving or (reply.sender.id == state.id and reply.sender.boot == state.own.boot):
            return  # a node that leaves learns and tells nothing more; or we called ourselves
        state.counters.syncs += 1
        sender: Item = reply.sender
        if reply.is_leaving:
            sender = Rumour(sender.id, sender.incarnation, State.LEFT, sender.id)
        items = (item for item in reply.items if item.id != sender.id)
        self._membership.merge((sender, *items), now, by_sync=True)
        self._membership.note_claim(reply.claim)
        self.end_look_around()
        self._has_met_settled |= reply.is_settled
        self.announce_if_sure(now)
        if state.is_announced and reply.is_settled:
            self._election.settle()
        if reply.sender.id in state.members.records:
            state.life.note(reply.sender.id, now)
        theirs = {item.id: item for item in (reply.sender, *reply.items)}
        better = (item for item in self._held_in(reply.differing, buckets) if theirs.get(item.id) != item)
        self._push(addresses, reply.sender, better)

    def announce_if_sure(self, now: float) -> None:
        """Announce this node, once its settle window is over and no rival for its id is being asked."""
        state = self._state
        if state.is_announced or state.is_leaving or not self._ownership.is_kept:
            return
        if self._has_looked and not self._ownership.is_asking_rivals:
            state.is_announced = True
            if self._has_met_settled:
                self._election.settle()  # it met one before it knew whose its id is
            self._introduce(now)
            self._ownership.republish_hosted(now)

    def _introduce(self, now: float) -> None:
        """Tell the mesh of this node. In a secured mesh only nodes that list it can open its datagrams, so it calls a
        few nodes, which tell the others."""
        state = self._state
        if state.signer is None:
            state.spread(state.own, now, at_birth=True)
            return
        for node_id in state.choose_listeners(state.config.gossip_fanout):
            state.call_node(state.members.records[node_id], Push(state.tag, (state.own,)), self._note_refusal)
        state.spread(state.own, now)

    def _note_refusal(self, reply: CallReply | CallFailed, _now: float) -> None:
        if isinstance(reply, Refused) and reply.why is Why.NOT_OWNER:
            self._ownership.yield_id()

    @property
    def is_introducing(self) -> bool:
        """Whether a dial with this node's record is under way. A node that answers it lists this one."""
        return self._introductions > 0

    @property
    def has_met_all(self) -> bool:
        """Return whether a node answered, or is listed, at each address known to this process.

        If not, there may be members that this node has never heard of.
        """
        records = self._state.members.records
        listed = {address for record in records.values() for address in record.addresses}
        return all(
            candidate.is_own or candidate.successes or candidate.instance_id in records or candidate.address in listed
            for candidate in self.candidates
        )

    def end_look_around(self) -> None:
        """End the search for peers: this node met another, or none for a while."""
        self._has_looked = True

    def receive_push(self, push: Push, now: float) -> Done | Refused:
        self._membership.merge(push.items, now, by_sync=True)
        self.end_look_around()
        own = (item for item in push.items if isinstance(item, Record) and tag_of(item.id) == push.sender)
        return self._refuse_usurper(next(own, None)) or Done()

    def _refuse_usurper(self, record: Record | None) -> Refused | None:
        """Return the answer to a node that published this record with the id of another machine's node; None if it did
        not."""
        if record is None or not is_usurped(record, self._state.members.claim_of(record.id)):
            return None
        return Refused(Why.NOT_OWNER, "the id belongs to a node of another machine")

    def _push(self, addresses: tuple[Address, ...], node: Record, items: Iterable[Item]) -> None:
        """Send a node what it does not know, in one bounded call."""
        state = self._state
        bounded = tuple(self._bounded(items))
        if bounded:
            state.call(addresses, Push(state.tag, bounded), lambda _reply, _now: None, None, node)

    def receive_request(self, request: SyncRequest, now: float) -> SyncReply | Refused:
        state = self._state
        refused = self._refuse_usurper(request.sender)
        if refused is not None:
            return refused
        if not is_digest(request.buckets):
            return SyncReply(state.own, state.is_settled, (), (), is_leaving=state.is_leaving)
        differing = differing_buckets(state.members, request.buckets)
        items = tuple(self._bounded(self._held_in(differing, len(request.buckets) // 8)))
        claim = state.members.top_claim
        reply = SyncReply(state.own, state.is_settled, items, differing, claim, state.is_leaving)
        if request.sender is not None:
            self._membership.merge((request.sender,), now, by_sync=True)
        self._membership.note_claim(request.claim)
        return reply

    def _held_in(self, buckets: Iterable[int], of: int) -> list[Item]:
        """Return all that may be sent of these buckets, from a random place on, so that items that do not fit now may
        fit next time."""
        state = self._state
        items = [item for item in items_in(state.members, buckets, of) if state.is_announced or not self._is_own(item)]
        turn = state.random.randrange(0, len(items)) if items else 0
        return items[turn:] + items[:turn]

    def _is_own(self, item: Item) -> bool:
        """Return whether the claim is about this node, or about an instance that it hosts."""
        return item.id == self._state.id or (isinstance(item, Record) and item.home == self._state.id)

    def _bounded(self, items: Iterable[Item]) -> Iterator[Item]:
        budget = self._state.config.sync_bytes_max
        for item in islice(items, ITEMS_PER_CALL_MAX):
            budget -= item_bytes(item)
            if budget < 0:
                return
            yield item
