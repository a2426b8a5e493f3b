"""Calls to nodes by their ids: directly, and where that fails through another that may reach them."""

from __future__ import annotations

from collections.abc import Callable

from meshp2p.core.effects import CallFailed, Failure, Resolve
from meshp2p.core.messages import CallReply, Carry, ForwardFetch, Passed, Refused, Why
from meshp2p.core.state import NodeState, ReplyHandler

__all__ = ["Carrier"]

RELAYS = 2
"""How many others are asked, one after another, to call a node that cannot be called directly. Chosen, not measured."""

DETOUR_SECONDS = 10.0
"""How long a detour is taken before the direct way is tried first again. Chosen, not measured."""

CARRIES_MAX = 256
"""Calls under way on others' behalf; past it none is taken on. Chosen, not measured."""


class Carrier:
    """Calls others, and calls on others' behalf. A detour that worked is taken first for a while."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._detours: dict[str, tuple[str, float]] = {}
        self._carries = 0
        self.serve: Callable[[int, Passed, float], None] = _serve_nobody
        """Answers a call that was carried to this node itself."""

    def call(self, node_id: str, request: Passed, handler: ReplyHandler, timeout: float, now: float) -> None:
        """Call a node; ``handler(reply or failure, now)`` is run once, at once where it is not listed.

        It fails where neither it nor any of the others that were asked answers; a refused connection is believed.
        """
        state = self._state
        record = state.members.records.get(node_id)
        if record is None or not record.is_node:
            handler(CallFailed(Failure.UNREACHABLE, f"node {node_id!r} is not listed"), now)
            return
        ways: list[str] = [""]
        relay, until = self._detours.get(node_id, ("", 0.0))
        if relay and until > now and state.is_live(relay):
            ways = [relay, ""]
        self._try(node_id, ways, request, handler, timeout, now)

    def _try(
        self, node_id: str, ways: list[str], request: Passed, handler: ReplyHandler, timeout: float, now: float
    ) -> None:
        """Take the first of these ways: through the node named, or directly where none is; then the others."""
        state = self._state
        way, *rest = ways
        record = state.members.records.get(way or node_id)
        if record is None or not record.is_node:
            self._try_rest(node_id, rest, request, handler, timeout, now)
            return

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            is_detour_closed = bool(way) and isinstance(reply, Refused) and reply.why is Why.UNREACHABLE
            if not isinstance(reply, CallFailed) and not is_detour_closed:
                if way:
                    self._detours[node_id] = (way, now + DETOUR_SECONDS)
                elif self._detours:
                    self._detours.pop(node_id, None)
                handler(reply, now)
                return
            if way:
                self._detours.pop(node_id, None)
            elif isinstance(reply, CallFailed) and reply.failure is not Failure.REFUSED and not rest:
                more = state.choose_nodes(RELAYS, node_id)
                self._try_rest(node_id, more, request, handler, timeout, now)
                return
            self._try_rest(node_id, rest, request, handler, timeout, now)

        carried = Carry(node_id, request) if way else request
        state.call_node(record, carried, conclude, timeout * 2 if way else timeout)

    def _try_rest(
        self, node_id: str, ways: list[str], request: Passed, handler: ReplyHandler, timeout: float, now: float
    ) -> None:
        if ways and not self._state.is_leaving:
            self._try(node_id, ways, request, handler, timeout, now)
        else:
            handler(CallFailed(Failure.UNREACHABLE, f"node {node_id!r} was not reached, nor through others"), now)

    # On others' behalf

    def carry(self, ticket: int, request: Carry, now: float) -> None:
        """Call a node for another; the answer is resolved under ``ticket``."""
        state = self._state
        record = state.members.records.get(request.target)
        if request.target == state.id:
            self.serve(ticket, request.request, now)
            return
        # what waited in the sockets of a node that was stopped is too old to be passed on
        if record is None or not record.is_node or state.is_guarded or self._carries >= CARRIES_MAX:
            state.effects.append(Resolve(ticket, _unreachable(request.target)))
            return
        self._carries += 1

        def conclude(reply: CallReply | CallFailed, _now: float) -> None:
            self._carries -= 1
            answer = _unreachable(request.target) if isinstance(reply, CallFailed) else reply
            state.effects.append(Resolve(ticket, answer))

        timeout = state.config.forward_timeout
        if isinstance(request.request, ForwardFetch):
            timeout += request.request.wait
        state.call_node(record, request.request, conclude, timeout)


def _unreachable(node_id: str) -> Refused:
    return Refused(Why.UNREACHABLE, f"node {node_id!r} does not answer")


def _serve_nobody(_ticket: int, _request: Passed, _now: float) -> None:
    """Replaced by the machine."""
