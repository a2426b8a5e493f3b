"""Calls to other nodes, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

import msgspec

from meshp2p.core.calls import CallReply, Parcel, Passed, Refused
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed

__all__ = ["PeerQueues", "count_fitting"]


_Request = TypeVar("_Request", bound=Passed)


class PeerCaller(Protocol[_Request]):
    """Makes the requests of :class:`PeerQueues`, and receives their outcomes."""

    def next_request(self, node_id: str, now: float, /) -> _Request | None:
        """Return the next request to a node; None if there is nothing to send."""

    def conclude(
        self, node_id: str, request: _Request, reply: CallReply | CallFailed, now: float, /, *, is_latest: bool
    ) -> None:
        """Note the outcome of a request. Without ``is_latest``, a later one sent the same again."""


class _Queue(msgspec.Struct):
    attempt: int = 0
    failures: int = 0
    is_calling: bool = False


class PeerQueues(msgspec.Struct, Generic[_Request], eq=False):
    """Calls to other nodes, one under way at a time for each. What comes up meanwhile goes with the next, so batches
    grow with the load.

    A call that failed, or was refused, is repeated after a pause that doubles and ends with ``timer``. If a call
    succeeds after one that failed, other nodes whose calls failed are called at once, since the problem may be over for
    them too.
    """

    _state: NodeState
    _relay_selector: RelaySelector
    _timer: Timer
    _caller: PeerCaller[_Request]
    _queues: dict[str, _Queue] = {}

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._queues

    def is_failing(self, node_id: str) -> bool:
        """Return whether the last call to this node failed."""
        return node_id in self._queues and self._queues[node_id].failures > 0

    def flush(self, node_id: str, now: float) -> None:
        """Send the next request, unless one is under way or a failed one waits for its retry."""
        state = self._state
        queue = self._queues.get(node_id)
        if queue is None:
            queue = self._queues[node_id] = _Queue()
        if queue.is_calling or not state.members.has_node(node_id) or state.timers.is_set(self._timer, node_id):
            return
        request = self._caller.next_request(node_id, now)
        if request is None:
            return
        queue.is_calling = True
        queue.attempt += 1
        attempt = queue.attempt

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            is_latest = attempt == queue.attempt
            has_recovered = False
            if is_latest:
                queue.is_calling = False
                if isinstance(reply, CallFailed | Refused):
                    queue.failures += 1
                    state.counters.mail_calls_repeated += 1
                    pause = state.config.delivery_pause(queue.failures) * (0.75 + 0.5 * state.random.random())
                    state.timers.set_earlier(self._timer, now + pause, node_id)
                else:
                    has_recovered = queue.failures > 0
                    queue.failures = 0
            self._caller.conclude(node_id, request, reply, now, is_latest=is_latest)
            if is_latest:
                self.flush(node_id, now)
            if has_recovered:
                self.wake_failing(now)

        self._relay_selector.call(node_id, request, conclude, state.config.forward_timeout, now)

    def wake(self, node_id: str, now: float) -> None:
        """Call a node that is reachable again at once, even if an earlier call is still under way."""
        if (queue := self._queues.get(node_id)) is not None:
            queue.failures = 0
            queue.is_calling = False
        self._state.timers.cancel(self._timer, node_id)
        self.flush(node_id, now)

    def wake_failing(self, now: float) -> None:
        """Repeat all failed calls at once."""
        for node_id, queue in list(self._queues.items()):
            if queue.failures:
                self.wake(node_id, now)

    def forget(self, node_id: str) -> None:
        """Forget a node that is gone for good."""
        self._queues.pop(node_id, None)


def count_fitting(parcels: Iterable[Parcel], bytes_max: int) -> int:
    """Return how many of the first of these fit into one call: beyond the first, at most so many bytes."""
    size = count = 0
    for parcel in parcels:
        size += parcel.message.size + sum(map(len, parcel.recipients))
        if count and size > bytes_max:
            break
        count += 1
    return count
