"""Shared maps, as one part of the machine: finding other nodes with a map, comparing replicas, spreading changes.

A change is sent at once to a few nodes that have the map, and each of them sends it to a few (rumour mongering, Demers
et al. 1987). Comparisons repair what that misses: by digest, with a node that is met or that returns, and now and then
with a random one. Only nodes that opened a map of the name take part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshp2p.core.calls import CallReply
from meshp2p.core.digest import is_digest
from meshp2p.core.directory.state import NodeState, ReplyHandler
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceChange, InstanceDied, InstanceJoined, InstanceLeft
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync, MapTaken
from meshp2p.core.map_entry import MapEntry
from meshp2p.core.maps.hybrid_clock import HybridClock
from meshp2p.core.maps.open_map import OpenMap
from meshp2p.core.maps.replicated_map import ReplicatedMap, bucket_of
from meshp2p.errors import InternalError, LimitExceeded, LocalProtocolError

__all__ = ["SYNC_INTERVAL", "Maps"]

SYNC_INTERVAL = 5.0
"""Seconds between two comparisons of a map with another node that has it. Changes are sent at once; comparisons repair
what was lost. Chosen, not measured."""

FANOUT = 3
"""How many nodes that have a map each node tells of a new change at once. Chosen, not measured."""

TELL_ROUNDS = 2
"""How often a node passes a change on. Chosen, not measured: with a fanout of 3, one round misses 6 of 100 nodes."""

PUSHES_MAX = 2
"""The maximum number of pushes to a node that are under way before it is told of another change. Otherwise a writer
would have a call under way for each write until a node that hangs is declared dead. Chosen, not measured."""

NEWS_MAX = 256
"""The maximum number of changes that are passed on one by one. Above it the replicas are compared sooner instead.
Chosen, not measured."""

HOLDERS_MAX = 32
"""The maximum number of nodes with the map that a reply names. Chosen, not measured."""


class Maps:
    """All shared maps of one node."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._maps: dict[str, OpenMap] = {}

    # What the agent does

    def open(self, replica: ReplicatedMap, now: float) -> ReplicatedMap:
        """Open a map with this empty replica, or return that of the open map with this name.

        Raises :class:`~meshp2p.errors.LimitExceeded` if too many are open, and
        :class:`~meshp2p.errors.LocalProtocolError` if it is open with another ``merge``.
        """
        state, name, merge = self._state, replica.name, replica.merge
        shared = self._maps.get(name)
        if shared is not None:
            if merge is not None and merge is not shared.replica.merge:
                raise LocalProtocolError(f"map {name!r} is open with another merge function")
            return shared.replica
        if len(self._maps) >= state.config.maps_max:
            raise LimitExceeded(f"map {name!r}: {len(self._maps)} are open, and maps_max = {state.config.maps_max}")
        shared = self._maps[name] = OpenMap(state, replica, HybridClock(state.tag))
        self._ask_next(shared, now)
        self._set_sync_timer(shared, now)
        return shared.replica

    def resume(self, old: Maps, now: float) -> None:
        """Continue with the replicas of the earlier machine, which the agent may hold, and ask all nodes for their maps
        again."""
        state = self._state
        for name, shared in old._maps.items():
            opened = self._maps[name] = OpenMap(state, shared.replica, shared.stamps)
            opened.news = dict(shared.news)
            state.timers.set(Timer.MAP_TELL, now, name)
            self._set_sync_timer(opened, now)

    def replica(self, name: str) -> ReplicatedMap | None:
        """Return the map with this name, if it is open."""
        shared = self._maps.get(name)
        return None if shared is None else shared.replica

    def write(self, name: str, key: str, value: bytes, now: float) -> None:
        """Set a key to a value, JSON text that has been checked, or delete it if the value is empty.

        Raises :class:`~meshp2p.errors.LimitExceeded`; then nothing changed.
        """
        shared = self._maps.get(name)
        if shared is None:
            raise InternalError(f"map {name!r} was never opened")
        held = shared.replica.entry(key)
        if not value and (held is None or held.is_deleted):
            return
        if value:
            shared.check_room(key, value)
        self._check_clocks(shared, now)
        if shared.write(key, value, now):
            self._tell(shared, (key,), now)

    def _check_clocks(self, shared: OpenMap, now: float) -> None:
        """Rewrite entries whose stamp is too far ahead, and spread them."""
        ahead = shared.restamp(now)
        if ahead:
            self._tell(shared, ahead, now)

    def handle_timer(self, timer: Timer, name: str, now: float) -> None:
        if timer is Timer.MAP_TELL:
            self._handle_tell(name, now)
        else:
            self._handle_sync(name, now)

    # Telling

    def _tell(self, shared: OpenMap, keys: Iterable[str], now: float) -> None:
        """Send these entries to other nodes soon, together with other news."""
        rounds = TELL_ROUNDS if len(shared.holders) > FANOUT else 1
        for key in keys:
            shared.news[key] = rounds
        if len(shared.news) > NEWS_MAX:
            shared.news.clear()
            self._sync_sooner(shared, now)
        elif shared.news:
            self._state.timers.set_earlier(Timer.MAP_TELL, now, shared.replica.name)

    def _handle_tell(self, name: str, now: float) -> None:
        """Send a round of news."""
        shared = self._maps[name]
        state = self._state
        holders = list(shared.holders)
        if len(holders) > FANOUT:
            holders = state.random.sample(holders, FANOUT)
        news = [entry for key in shared.news if (entry := shared.replica.entry(key)) is not None]
        entries = self._bounded(news)
        for entry in entries:
            shared.news[entry.key] -= 1
        # who comes later compares; what was forgotten is not to be told
        shared.news = {key: left for key, left in shared.news.items() if left and holders and shared.replica.entry(key)}
        for node_id in holders if entries else ():
            if shared.pushes.get(node_id, 0) < PUSHES_MAX or state.is_leaving:
                self._push(shared, node_id, entries, now)
            else:
                shared.behind[node_id] = None
        if shared.news:
            state.timers.set(Timer.MAP_TELL, now + state.config.gossip_interval, name)

    def _push(
        self,
        shared: OpenMap,
        node_id: str,
        entries: tuple[MapEntry, ...],
        now: float,
        then: Callable[[int, float], None] | None = None,
    ) -> None:
        """Push entries to a node. If it took them, call ``then(news, now)`` with the number of those that it did not
        know."""

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            shared.pushes[node_id] -= 1
            if not shared.pushes[node_id]:
                del shared.pushes[node_id]
            is_behind = node_id in shared.behind
            shared.behind.pop(node_id, None)
            if not isinstance(reply, MapTaken):
                self._note_silent(shared, node_id)
            elif not reply.has_map:
                self._note_none(shared, node_id)
            else:
                self._note_holder(shared, node_id, reply.clock_ms, now)
                if then is not None:
                    then(reply.news, now)
                if is_behind:
                    self._sync_with(shared, node_id, now)

        shared.pushes[node_id] = shared.pushes.get(node_id, 0) + 1
        push = MapPush(shared.replica.name, self._state.id, self._state.wall_ms(), entries)
        self._call(node_id, push, conclude, now)

    def receive_push(self, push: MapPush, now: float) -> MapTaken:
        shared = self._maps.get(push.name)
        if shared is None:
            return MapTaken(False)
        self._note_holder(shared, push.sender, push.clock_ms, now)
        changed = shared.merge(push.entries, now)
        self._tell(shared, changed, now)
        return MapTaken(True, self._state.wall_ms(), len(changed))

    # Comparing

    def _set_sync_timer(self, shared: OpenMap, now: float) -> None:
        state = self._state
        pause = SYNC_INTERVAL * (0.75 + 0.5 * state.random.random())
        state.timers.set(Timer.MAP_SYNC, now + pause, shared.replica.name)

    def _sync_sooner(self, shared: OpenMap, now: float) -> None:
        """Compare sooner, because a comparison changed much."""
        soon = now + SYNC_INTERVAL / 20
        self._state.timers.set_earlier(Timer.MAP_SYNC, soon, shared.replica.name)

    def _handle_sync(self, name: str, now: float) -> None:
        """Compare with another node, because it is time."""
        state = self._state
        shared = self._maps[name]
        self._set_sync_timer(shared, now)
        self._check_clocks(shared, now)
        retention_ms = int(state.config.map_deleted_retention * 1000)
        shared.replica.forget_deleted(shared.clock.read(now) - retention_ms)
        if shared.holders:
            holders = list(shared.holders)
            self._sync_with(shared, holders[state.random.randrange(0, len(holders))], now)
        shared.unasked.update(shared.silent)
        shared.silent.clear()
        self._ask_next(shared, now)

    def _ask_next(self, shared: OpenMap, now: float) -> None:
        """Ask nodes that were not asked yet whether they have the map, a few at a time."""
        for node_id in list(shared.unasked):
            if len(shared.syncing) >= FANOUT:
                return
            del shared.unasked[node_id]
            self._sync_with(shared, node_id, now)

    def _sync_with(self, shared: OpenMap, node_id: str, now: float, buckets: int = 1) -> None:
        """Compare with another node, unless that is under way: first by one hash, then by a suitable number of them."""
        state = self._state
        if node_id in shared.syncing or state.is_leaving or not state.members.has_node(node_id):
            return
        shared.syncing[node_id] = None
        replica = shared.replica

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            del shared.syncing[node_id]
            if not isinstance(reply, MapDifference):
                self._note_silent(shared, node_id)
            elif reply.has_map:
                self._handle_difference(shared, node_id, buckets, reply, now)
            else:
                self._note_none(shared, node_id)
            self._ask_next(shared, now)

        request = MapSync(replica.name, state.id, state.wall_ms(), replica.digest(buckets))
        self._call(node_id, request, conclude, now)

    def _handle_difference(self, shared: OpenMap, node_id: str, buckets: int, reply: MapDifference, now: float) -> None:
        state = self._state
        replica = shared.replica
        state.counters.map_syncs += 1
        self._note_holder(shared, node_id, reply.clock_ms, now)
        for other in reply.holders:
            if other != state.id and state.members.has_node(other):
                shared.holders[other] = None
        if not reply.differing:
            return
        finer = max(reply.buckets, replica.buckets)
        if not reply.is_complete and not reply.entries and buckets < finer:
            self._sync_with(shared, node_id, now, finer)
            return
        changed = shared.merge(reply.entries, now)
        if len(changed) <= NEWS_MAX:
            self._tell(shared, changed, now)
        if changed:
            self._sync_sooner(shared, now)
        # both begin with the same bucket, so that those which fit are equal afterwards
        first = bucket_of(reply.entries[0].key) if reply.entries else self._any_of(reply.differing)
        better = replica.better_than(reply.entries, reply.differing, buckets, first)
        pushed = self._bounded(better)
        is_complete = reply.is_complete and len(pushed) == len(better)

        def go_on(news: int, now: float) -> None:
            if not is_complete and (changed or news):  # without progress another round brings none either
                self._sync_with(shared, node_id, now, max(reply.buckets, replica.buckets))

        if pushed:
            self._push(shared, node_id, pushed, now, go_on)
        else:
            go_on(0, now)

    def receive_sync(self, request: MapSync, now: float) -> MapDifference:
        state = self._state
        shared = self._maps.get(request.name)
        if shared is None or not is_digest(request.digest):
            return MapDifference(False)
        self._note_holder(shared, request.sender, request.clock_ms, now)
        replica = shared.replica
        asked = len(request.digest) // 8
        differing = replica.differing(request.digest)
        entries: tuple[MapEntry, ...] = ()
        is_complete = not differing
        if differing and asked >= replica.buckets:
            held = replica.entries_in(differing, asked, self._any_of(differing))
            entries = self._bounded(held)
            is_complete = len(entries) == len(held)
        holders = [node_id for node_id in shared.holders if node_id != request.sender]
        if len(holders) > HOLDERS_MAX:
            holders = state.random.sample(holders, HOLDERS_MAX)
        return MapDifference(True, state.wall_ms(), replica.buckets, differing, entries, is_complete, tuple(holders))

    def _any_of(self, numbers: tuple[int, ...]) -> int:
        """Return the first bucket: a random one, so that entries that do not fit this time may fit the next."""
        return numbers[self._state.random.randrange(0, len(numbers))]

    def _bounded(self, entries: list[MapEntry]) -> tuple[MapEntry, ...]:
        """Return as many entries as one call carries, at least one."""
        budget = self._state.config.map_sync_bytes_max
        for count, entry in enumerate(entries):
            budget -= entry.size
            if budget < 0 and count:
                return tuple(entries[:count])
        return tuple(entries)

    # Who else has it

    def _call(self, node_id: str, request: MapSync | MapPush, conclude: ReplyHandler, now: float) -> None:
        state = self._state
        record = state.members.records.get(node_id)
        if record is None or not record.is_node:
            conclude(CallFailed(Failure.UNREACHABLE, f"node {node_id!r} is not listed"), now)
        else:
            state.call_node(record, request, conclude)

    def _note_holder(self, shared: OpenMap, node_id: str, clock_ms: int, now: float) -> None:
        if node_id != self._state.id and self._state.members.has_node(node_id):
            shared.holders[node_id] = None
            shared.clock.note(node_id, clock_ms, now)
            self._check_clocks(shared, now)

    def _note_none(self, shared: OpenMap, node_id: str) -> None:
        """Note that a node has not opened the map, or is gone."""
        shared.holders.pop(node_id, None)
        shared.clock.forget(node_id)

    def _note_silent(self, shared: OpenMap, node_id: str) -> None:
        """Note that a node did not answer. It is asked again with the next comparison."""
        if self._state.members.has_node(node_id):
            shared.silent[node_id] = None

    def notice(self, event: InstanceChange, now: float) -> None:
        """Ask a newly listed node, and forget one that is gone."""
        record = event.record
        if not self._maps or not record.is_node or record.id == self._state.id:
            return
        match event:
            case InstanceJoined():
                for shared in self._maps.values():
                    shared.unasked[record.id] = None
                    self._ask_next(shared, now)
            case InstanceDied() | InstanceLeft():
                for shared in self._maps.values():
                    self._note_none(shared, record.id)
                    shared.unasked.pop(record.id, None)
                    shared.silent.pop(record.id, None)
            case _:
                pass

    # Its end

    def leave(self, now: float) -> None:
        """Send the news that no node has yet."""
        for name, shared in self._maps.items():
            if shared.news:
                self._handle_tell(name, now)

    @property
    def is_telling(self) -> bool:
        return any(shared.pushes for shared in self._maps.values())
