"""What one node is told by another, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.messages import CallReply, Parcel, Passed, Refused

__all__ = ["PeerQueue", "count_fitting", "wake_failed"]


class PeerQueue:
    """Calls to one node, one under way at a time: what comes up meanwhile goes with the next, so that batches grow with
    the load.

    ``make`` gives the next request, None where there is nothing to tell; ``conclude(request, reply, now)`` looks at
    what came of it, and may be told twice of what was told once. A call that failed, or was refused, is repeated after
    a pause that doubles. ``recovered`` is told when a call succeeds after one that failed: what was wrong may be over
    for others too.
    """

    def __init__(
        self,
        state: NodeState,
        carrier: Carrier,
        timer: Timer,
        node_id: str,
        make: Callable[[float], Passed | None],
        conclude: Callable[[Passed, CallReply | CallFailed, float], None],
        recovered: Callable[[float], None],
    ) -> None:
        self._state = state
        self._carrier = carrier
        self._timer = timer
        self._node_id = node_id
        self._make = make
        self._conclude = conclude
        self._recovered = recovered
        self._attempt = 0
        self._is_calling = False
        self.failures: int = 0

    def flush(self, now: float) -> None:
        """Tell what there is, unless a call is under way or a failed one is to be repeated later."""
        state = self._state
        if self._is_calling or not state.members.has_node(self._node_id):
            return
        if state.timers.is_set(self._timer, self._node_id):
            return
        request = self._make(now)
        if request is None:
            return
        self._is_calling = True
        self._attempt += 1
        attempt = self._attempt

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            is_latest = attempt == self._attempt
            has_recovered = False
            if is_latest:
                self._is_calling = False
                if isinstance(reply, CallFailed | Refused):
                    self.failures += 1
                    self.pause(now)
                else:
                    has_recovered = self.failures > 0
                    self.failures = 0
            self._conclude(request, reply, now)
            if is_latest:
                self.flush(now)
            if has_recovered:
                self._recovered(now)

        self._carrier.call(self._node_id, request, conclude, state.config.forward_timeout, now)

    def pause(self, now: float) -> None:
        """Wait before the next call: longer each time."""
        pause = self._state.config.delivery_pause(self.failures) * (0.75 + 0.5 * self._state.random.random())
        self._state.timers.set_earlier(self._timer, now + pause, self._node_id)

    def wake(self, now: float) -> None:
        """The node is there again, or another: call at once, also beside a call that may never end."""
        self.failures = 0
        self._is_calling = False
        self._state.timers.cancel(self._timer, self._node_id)
        self.flush(now)


def wake_failed(lanes: Iterable[PeerQueue], now: float) -> None:
    """Something is well again: try at once what was to be repeated later."""
    for lane in lanes:
        if lane.failures:
            lane.wake(now)


def count_fitting(parcels: Iterable[Parcel], bytes_max: int) -> int:
    """How many of the first of these one call carries: beyond the first no more than so many bytes."""
    size = count = 0
    for parcel in parcels:
        size += parcel.message.size + sum(map(len, parcel.recipients))
        if count and size > bytes_max:
            break
        count += 1
    return count
