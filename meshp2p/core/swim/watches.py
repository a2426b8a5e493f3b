"""Watch connections: when a process dies, its kernel closes its connections.

Each node keeps one to each of its two successors in the order of ids, so each is watched by its two predecessors, and
the number of connections does not grow with the mesh. Nothing is sent on them; detecting silence is the prober's task.
A broken watch is no verdict but a reason to check at once (:mod:`meshp2p.core.swim.confirmer`).
"""

from __future__ import annotations

from itertools import islice

from meshp2p.core.address import Address
from meshp2p.core.calls import Probe
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure, Unwatch, Watch, WatchOpened
from meshp2p.core.events import InstanceChange, InstanceJoined
from meshp2p.core.record import tag_of
from meshp2p.core.swim.confirmer import Confirmer

__all__ = ["Watches"]

WATCH_SETTLE = 0.5
"""Seconds from a change of the mesh until a node chooses its watches anew. Too low opens connections that the next
join closes; too high leaves a new node unwatched. Chosen, not measured."""

RETRY_MIN = 0.5
RETRY_MAX = 10.0
"""The longest time in seconds before a failed watch is retried; it doubles each time. Chosen, not measured."""

STEADY = 30.0
"""A watch that held for so many seconds starts with the shortest interval again. Chosen, not measured."""


class _ProcessWatch:
    """The watch of one process; it is under way if ``watch_id`` is not 0. ``address`` is where it listens, if known."""

    __slots__ = ("address", "boot", "failures", "is_standing", "opened_at", "retry_at", "watch_id")

    def __init__(self, boot: int) -> None:
        self.watch_id = 0
        self.boot = boot
        self.is_standing = False
        self.address: Address | None = None
        self.opened_at = 0.0
        self.retry_at = 0.0
        self.failures = 0


class Watches:
    """Chooses which nodes to watch, and has lost ones checked."""

    def __init__(self, state: NodeState, confirmer: Confirmer) -> None:
        self._state = state
        self._confirmer = confirmer
        self._watches: dict[str, _ProcessWatch] = {}
        self._count = 0

    def resume(self, old: Watches) -> None:
        """Give up the watches of the earlier machine, and reuse none of their numbers."""
        self._count = old._count
        for watch in old._watches.values():
            if watch.watch_id:
                self._state.effects.append(Unwatch(watch.watch_id))

    @property
    def watched(self) -> list[str]:
        """The nodes that are watched by an established connection."""
        return [node_id for node_id, watch in self._watches.items() if watch.is_standing]

    # Choosing whom to watch

    def notice(self, event: InstanceChange, now: float) -> None:
        """Process a change of the mesh: choose again soon, or at once if a watched node is gone or is another
        process."""
        records, watch = self._state.members.records, self._watches.get(event.id)
        if isinstance(event, InstanceJoined) and event.record.is_node:
            self._state.timers.set_earlier(Timer.WATCH, now + WATCH_SETTLE)
        elif watch is not None and (event.id not in records or records[event.id].boot != watch.boot):
            self._state.timers.set_earlier(Timer.WATCH, now)

    def handle_look(self, now: float) -> None:
        """Watch the nodes that this node should watch, and no others."""
        state = self._state
        if state.is_leaving:
            return
        records = state.members.records
        successors = state.members.nodes.successors(state.id)
        chosen = list(islice(successors, state.config.watches)) if state.is_announced else []
        for node_id in list(self._watches):
            watch = self._watches[node_id]
            if node_id not in chosen or records[node_id].boot != watch.boot:
                self._close(watch)
                del self._watches[node_id]
        for node_id in chosen:
            watch = self._watches.setdefault(node_id, _ProcessWatch(records[node_id].boot))
            if not watch.watch_id and watch.retry_at <= now:
                self._open(node_id, watch)
        waiting = [watch.retry_at for watch in self._watches.values() if not watch.watch_id]
        if not state.is_announced:
            waiting.append(now + RETRY_MIN)
        if waiting:
            state.timers.set(Timer.WATCH, min(waiting))

    def close(self) -> None:
        """Stop watching, because this node leaves."""
        for watch in self._watches.values():
            self._close(watch)
        self._watches.clear()

    # One watch

    def receive(self, watch_id: int, outcome: WatchOpened | CallFailed, now: float) -> None:
        """Process a watch that was established, or ended: it broke, or could not be opened."""
        found = next((item for item in self._watches.items() if item[1].watch_id == watch_id), None)
        if found is None:
            return
        node_id, watch = found
        if isinstance(outcome, WatchOpened):
            if outcome.pong.id == node_id and outcome.pong.boot == watch.boot:
                watch.is_standing = True
                watch.address = outcome.address
                watch.opened_at = now
                self._state.life.note_listed(tag_of(node_id), now)
            else:  # another process has its port, or its record is on its way
                self._close(watch)
                self._await_retry(watch, now)
            return
        was_standing = watch.is_standing
        watch.watch_id = 0
        watch.is_standing = False
        self._await_retry(watch, now)
        record = self._state.members.records.get(node_id)
        if record is None or record.boot != watch.boot:
            return
        if was_standing:
            self._confirmer.check(node_id, now, () if watch.address is None else (watch.address,))
        elif outcome.failure is Failure.REFUSED:
            self._confirmer.check(node_id, now)

    def _open(self, node_id: str, watch: _ProcessWatch) -> None:
        state = self._state
        self._count += 1
        watch.watch_id = self._count
        record = state.members.records[node_id]
        addresses, timeout = state.addresses_of(record), state.config.call_timeout
        state.effects.append(Watch(watch.watch_id, addresses, Probe(tag_of(node_id)), timeout, node_id, record.boot))

    def _close(self, watch: _ProcessWatch) -> None:
        if watch.watch_id:
            self._state.effects.append(Unwatch(watch.watch_id))
        watch.watch_id = 0
        watch.is_standing = False

    def _await_retry(self, watch: _ProcessWatch, now: float) -> None:
        if watch.opened_at and now - watch.opened_at >= STEADY:
            watch.failures = 0
        watch.opened_at = 0.0
        pause = min(RETRY_MAX, RETRY_MIN * 2**watch.failures)
        watch.failures += 1
        watch.retry_at = now + pause * (0.75 + 0.5 * self._state.random.random())
        self._state.timers.set_earlier(Timer.WATCH, watch.retry_at)
