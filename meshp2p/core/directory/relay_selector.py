"""Which way a call to a node goes: directly, or through one relay that has a connection to it.

A node that cannot be dialled, behind NAT or a firewall that admits nothing, dials others itself. It keeps connections
to the successors that it watches, so those are asked first to pass a call on. A relay never hands a call to another.

::

    directly ── fails ──> its first successors, or others ── all fail ──> no path: both sides are told, and who called
                                   │                                      tries again
                               answered: a detour, which is taken first from now on; beside it the direct way is
                               probed, and taken again when it answers
"""

from __future__ import annotations

import math
from itertools import islice

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Pong, Probe
from meshp2p.core.datagrams import Unreached
from meshp2p.core.directory.state import NodeState, ReplyHandler
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import MemberChange, MemberDied, MemberLeft, PeerReachable, PeersCannotCall, PeerUnreachable
from meshp2p.core.record import Record, tag_of

__all__ = ["CallRoute", "RelaySelector"]

RELAYS_MAX = 2
"""How many relays are asked, one after another, to call a node that cannot be called directly. Chosen, not measured."""

DIRECT_RETRY_MIN = 10.0
DIRECT_RETRY_MAX = 60.0
"""Seconds between two probes of the direct way while a detour is taken: doubled each time. Chosen, not measured."""

DIRECT_FRESH = 5.0
"""For so many seconds after a node answered directly no detour to it begins. Chosen, not measured."""

UNREACHABLE_AFTER = 5.0
"""Calls to a live node that failed for so many seconds say that there is no path to it. Less would take a node that has
just crashed for one. Chosen, not measured."""


TOLD_AGAIN_AFTER = 300.0
"""Seconds until it is told again that a node's calls do not arrive here. Chosen, not measured."""


class CallRoute(msgspec.Struct, frozen=True):
    """One way to a node: whom to call, and, if that is a relay, whom it is to pass the call on to."""

    node_id: str
    boot: int
    addresses: tuple[Address, ...]
    target: str = ""

    @property
    def via(self) -> str:
        """The relay's id, empty for the direct way."""
        return self.node_id if self.target else ""


class _Detour:
    __slots__ = ("answered_at", "pause", "retry_at", "via")

    def __init__(self, via: str, now: float) -> None:
        self.via = via
        self.answered_at = now
        self.pause = DIRECT_RETRY_MIN
        self.retry_at = now + self.pause


class RelaySelector:
    """Chooses the way for each call, and remembers which worked."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._detours: dict[str, _Detour] = {}
        self._failing: dict[str, float] = {}
        self._unreachable: dict[str, str] = {}
        self._told_at: dict[str, float] = {}
        self._direct_at: dict[str, float] = {}

    def call(self, node_id: str, request: CallRequest, handler: ReplyHandler, timeout: float, now: float) -> None:
        """Call a node; ``handler(reply or failure, now)`` is run once, at once if it is not listed.

        It fails if neither it nor any of the relays that were asked answers.
        """
        if self._record(node_id) is None:
            handler(CallFailed(Failure.UNREACHABLE, f"node {node_id!r} is not listed"), now)
            return
        via = self._detour_of(node_id, now)
        self._try(node_id, [via, ""] if via else [""], request, handler, timeout, now)

    def _try(
        self, node_id: str, ways: list[str], request: CallRequest, handler: ReplyHandler, timeout: float, now: float
    ) -> None:
        """Take the first of these ways: through the node named, or directly if none is; then the others."""
        state = self._state
        tried_at = now
        way, *rest = ways
        record = self._record(way or node_id)
        if record is None:
            self._try_rest(node_id, rest, request, handler, timeout, "it is not listed any more", now, tried_at)
            return

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if not isinstance(reply, CallFailed):
                self.note_answered(node_id, way, now)
                handler(reply, now)
                return
            self._note_way_failed(node_id, way, tried_at)
            others = rest if way or rest else self._relays(node_id)
            self._try_rest(node_id, others, request, handler, timeout, reply.reason, now, tried_at)

        if way:
            state.call(state.addresses_of(record), request, conclude, timeout * 2, record, target=node_id)
        else:
            state.call_node(record, request, conclude, timeout)

    def _try_rest(
        self,
        node_id: str,
        ways: list[str],
        request: CallRequest,
        handler: ReplyHandler,
        timeout: float,
        reason: str,
        now: float,
        tried_at: float,
    ) -> None:
        if ways and not self._state.is_leaving:
            self._try(node_id, ways, request, handler, timeout, now)
            return
        if not self._has_answered_since(node_id, tried_at):
            self.note_failed(node_id, reason, now)
        handler(CallFailed(Failure.UNREACHABLE, f"node {node_id!r} was not reached, nor through others: {reason}"), now)

    def _note_way_failed(self, node_id: str, way: str, tried_at: float) -> None:
        """A call by this way, which began at ``tried_at``, had no answer. A later call may have had one since: then the
        way is open."""
        if self._has_answered_since(node_id, tried_at):
            return
        if not way:
            self._direct_at.pop(node_id, None)
        elif node_id in self._detours and self._detours[node_id].via == way:
            del self._detours[node_id]

    def _has_answered_since(self, node_id: str, tried_at: float) -> bool:
        """Whether the node answered a call by any way after this time."""
        detour = self._detours.get(node_id)
        through = -math.inf if detour is None else detour.answered_at
        return max(through, self._direct_at.get(node_id, -math.inf)) > tried_at

    # Ways

    def routes(self, node_id: str, now: float) -> list[CallRoute]:
        """The ways to a node, the one to take first ahead; empty if it is not listed. What came of them is to be told
        to :meth:`note_answered` and :meth:`note_failed`."""
        if self._record(node_id) is None:
            return []
        via = self._detour_of(node_id, now)
        ways = [via, ""] if via else [""]
        ways += [relay for relay in self._relays(node_id) if relay != via]
        return [route for way in ways if (route := self._route(node_id, way)) is not None]

    def first_route(self, node_id: str, now: float) -> CallRoute | None:
        """The first of :meth:`routes`, without choosing relays for the others; None if it is not listed."""
        return None if self._record(node_id) is None else self._route(node_id, self._detour_of(node_id, now))

    def _route(self, node_id: str, way: str) -> CallRoute | None:
        record = self._record(way or node_id)
        if record is None:
            return None
        return CallRoute(record.id, record.boot, self._state.addresses_of(record), node_id if way else "")

    def _relays(self, node_id: str) -> list[str]:
        """Who may have a connection to this node: those it watches. While it is not reached, somebody else as well,
        another each time: between two sides of a cut there may be a way through one node alone."""
        state = self._state
        successors = islice(state.members.nodes.successors(node_id), state.config.watches)
        watched = [relay for relay in successors if relay != state.id]
        others = state.choose_nodes(RELAYS_MAX, node_id, *watched)
        return [*watched, *others][: RELAYS_MAX + (node_id in self._failing)]

    def _detour_of(self, node_id: str, now: float) -> str:
        """The relay through which calls to this node go now, empty if they go directly."""
        detour = self._detours.get(node_id)
        if detour is None or not self._state.is_live(detour.via):
            self._detours.pop(node_id, None)
            return ""
        record = self._record(node_id)
        if now >= detour.retry_at and record is not None:
            detour.pause = min(2 * detour.pause, DIRECT_RETRY_MAX)
            detour.retry_at = now + detour.pause

            def conclude(reply: CallReply | CallFailed, now: float) -> None:
                if isinstance(reply, Pong) and reply.id == node_id:
                    self.note_answered(node_id, "", now)

            self._state.call_node(record, Probe(tag_of(node_id)), conclude)
        return detour.via

    # What came of it

    def note_answered(self, node_id: str, via: str, now: float) -> None:
        """A node answered on this way; ``via`` is the relay's id, empty for the direct way."""
        if not via:
            self._detours.pop(node_id, None)
            self._direct_at[node_id] = now
        elif now - self._direct_at.get(node_id, -math.inf) < DIRECT_FRESH:
            pass  # it was begun before the direct way was found to be open again
        elif node_id not in self._detours or self._detours[node_id].via != via:
            self._detours[node_id] = _Detour(via, now)
        else:
            self._detours[node_id].answered_at = now
        self._failing.pop(node_id, None)
        if self._unreachable.pop(node_id, None) is not None:
            self._state.emit(PeerReachable(node_id))

    def note_failed(self, node_id: str, reason: str, now: float) -> None:
        """All ways to a node failed. If it is alive and that lasts, both sides are told."""
        self._detours.pop(node_id, None)
        self._direct_at.pop(node_id, None)
        record = self._record(node_id)
        if record is None or self._state.is_guarded or self._state.is_leaving:
            return
        began = self._failing.setdefault(node_id, now)
        if now - began < UNREACHABLE_AFTER:
            return
        self._state.send(self._state.address_of(record), Unreached(self._state.tag, tag_of(node_id)), now)
        if node_id not in self._unreachable:
            self._unreachable[node_id] = reason
            self._state.emit(PeerUnreachable(node_id, reason))

    def note_called_in_vain(self, node_id: str, now: float) -> None:
        """A node says that its calls do not arrive here. It says so again and again; that is told once in a while."""
        if now >= self._told_at.get(node_id, now):
            self._told_at[node_id] = now + TOLD_AGAIN_AFTER
            self._state.emit(PeersCannotCall(node_id))

    def why_unreachable(self, node_id: str) -> str:
        """Why calls to a live node do not arrive, empty if they do."""
        return self._unreachable.get(node_id, "")

    @property
    def unreachable(self) -> dict[str, str]:
        """The live nodes to which there is no path, and why."""
        return dict(self._unreachable)

    @property
    def detours(self) -> dict[str, str]:
        """The nodes that are called through a relay, and through which."""
        return {node_id: detour.via for node_id, detour in self._detours.items()}

    def notice(self, event: MemberChange) -> None:
        """Whoever is gone is no longer waited for."""
        if isinstance(event, MemberDied | MemberLeft):
            self._detours.pop(event.record.id, None)
            self._failing.pop(event.record.id, None)
            self._unreachable.pop(event.record.id, None)
            self._told_at.pop(event.record.id, None)
            self._direct_at.pop(event.record.id, None)

    def _record(self, node_id: str) -> Record | None:
        record = self._state.members.records.get(node_id)
        return record if record is not None and record.is_node else None
