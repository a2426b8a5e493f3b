"""The route of a call to a node: directly, or through one relay that has a connection to it.

A node that cannot be dialled, because of NAT or a firewall, dials others itself. It keeps connections to the successors
that it watches, so those are the first relays to try. A relay never passes a call to another relay.

::

    directly ── fails ──> its first successors, or others ── all fail ──> no path: both sides are told, and the
                               │                                          caller tries again
                               answered: a detour, which is used first from now on; the direct route is
                               probed in parallel, and used again when it answers
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Pong, Probe, SyncReply
from meshp2p.core.datagrams import Unreached
from meshp2p.core.directory.dial_backs import UNREACHABLE_AFTER, DialBacks
from meshp2p.core.directory.state import NodeState, ReplyHandler
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import (
    InstanceChange,
    InstanceDied,
    InstanceLeft,
    PeerReachable,
    PeerUnreachable,
)
from meshp2p.core.record import Record, tag_of

__all__ = ["CallRoute", "RelaySelector"]

RELAYS_MAX = 2
"""How many relays are tried, one after another, for a node that cannot be called directly. Chosen, not measured."""

DIRECT_RETRY_MIN = 10.0
DIRECT_RETRY_MAX = 60.0
"""The longest time in seconds between two probes of the direct route during a detour; it doubles each time. Chosen, not
measured."""

DIRECT_FRESH = 5.0
"""For so many seconds after a direct answer of a node, no detour to it begins. Chosen, not measured."""

ASK_INTERVAL = 3.0
"""Seconds between two requests to one node to dial back, each with another relay. Chosen, not measured."""


class CallRoute(msgspec.Struct, frozen=True):
    """A route to a node: the node to call and, if that is a relay, the node to pass the call on to."""

    node_id: str
    boot: int
    addresses: tuple[Address, ...]
    target: str = ""

    @property
    def via(self) -> str:
        """The relay's id, empty for the direct route."""
        return self.node_id if self.target else ""


class _Detour:
    __slots__ = ("answered_at", "pause", "retry_at", "via")

    def __init__(self, via: str, now: float) -> None:
        self.via = via
        self.answered_at = now
        self.pause = DIRECT_RETRY_MIN
        self.retry_at = now + self.pause


class _DialRequest:
    """A node was asked to dial back, and to connect to this relay as well; ``relay`` is empty if there was none."""

    __slots__ = ("asked_at", "relay")

    def __init__(self, relay: str, now: float) -> None:
        self.relay = relay
        self.asked_at = now


class RelaySelector:
    """Chooses the route for each call, and remembers which ones worked."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._detours: dict[str, _Detour] = {}
        self._failing: dict[str, float] = {}
        self._unreachable: dict[str, str] = {}
        self._answered_at: dict[str, float] = {}
        """When a listed node last answered directly, if no direct call to it failed since."""
        self._failed_at: dict[str, float] = {}
        """When a direct call to a node last failed, for those that answered none since."""
        self._requests: dict[str, _DialRequest] = {}
        self._tables: tuple[dict[str, Any], ...] = (
            self._detours,
            self._failing,
            self._unreachable,
            self._answered_at,
            self._failed_at,
            self._requests,
        )
        self.dial_backs: DialBacks = DialBacks(state)

    def call(self, node_id: str, request: CallRequest, handler: ReplyHandler, timeout: float, now: float) -> None:
        """Call a node. ``handler(reply or failure, now)`` runs once; at once if the node is not listed.

        The call fails if neither the node nor any of the tried relays answers.
        """
        if self._record(node_id) is None:
            handler(CallFailed(Failure.UNREACHABLE, f"node {node_id!r} is not listed"), now)
            return
        via = self._detour_of(node_id, now)
        asked = self._requests.get(node_id)
        if not via and asked is not None and asked.relay in self._answered_at:
            via = asked.relay  # the node may be connected to it by now
        self._try(node_id, [via, ""] if via else [""], request, handler, timeout, now)

    def _try(
        self, node_id: str, ways: list[str], request: CallRequest, handler: ReplyHandler, timeout: float, now: float
    ) -> None:
        """Try the first of these routes, through the named node or directly; then the others."""
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
            self._note_way_failed(node_id, way, reply, tried_at, now)
            others = rest
            if not way and not rest:
                if not self._usable_successors(node_id, now):
                    self._ask_to_dial(node_id, now)
                others = self._relays(node_id, now)
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
        handler(
            CallFailed(
                Failure.UNREACHABLE, f"node {node_id!r} cannot be reached, directly or through other nodes: {reason}"
            ),
            now,
        )

    def _note_way_failed(self, node_id: str, way: str, reply: CallFailed, tried_at: float, now: float) -> None:
        """Note that a call by this route, which began at ``tried_at``, got no answer.

        If a later call got one since, the route is open.
        """
        if way and reply.failure is Failure.TIMEOUT:
            self._note_direct_failed(way, tried_at, now)  # a relay that lives answers that it has no path
        if self._has_answered_since(node_id, tried_at):
            return
        if not way:
            self._note_direct_failed(node_id, tried_at, now)
        elif node_id in self._detours and self._detours[node_id].via == way:
            del self._detours[node_id]

    def _note_direct_failed(self, node_id: str, tried_at: float, now: float) -> None:
        if self._direct_at(node_id) <= tried_at and self._state.is_live(node_id):
            self._answered_at.pop(node_id, None)
            self._failed_at[node_id] = now

    def _direct_at(self, node_id: str) -> float:
        """Return when this node last answered a call that went to it directly."""
        return self._answered_at.get(node_id, -math.inf)

    def _has_answered_since(self, node_id: str, tried_at: float) -> bool:
        """Return whether the node answered a call by any route after this time."""
        detour = self._detours.get(node_id)
        through = -math.inf if detour is None else detour.answered_at
        return max(through, self._direct_at(node_id)) > tried_at

    # Routes

    def routes(self, node_id: str, now: float) -> list[CallRoute]:
        """Return the routes to a node, the preferred one first; empty if it is not listed.

        The caller reports the outcome to :meth:`note_answered` and :meth:`note_failed`.
        """
        if self._record(node_id) is None:
            return []
        via = self._detour_of(node_id, now)
        ways = [via, ""] if via else [""]
        ways += [relay for relay in self._relays(node_id, now) if relay != via]
        return [route for way in ways if (route := self._route(node_id, way)) is not None]

    def first_route(self, node_id: str, now: float) -> CallRoute | None:
        """Return the first of :meth:`routes`, without choosing relays for the others; None if the node is not
        listed."""
        return None if self._record(node_id) is None else self._route(node_id, self._detour_of(node_id, now))

    def _route(self, node_id: str, way: str) -> CallRoute | None:
        record = self._record(way or node_id)
        if record is None:
            return None
        return CallRoute(record.id, record.boot, self._state.addresses_of(record), node_id if way else "")

    def _relays(self, node_id: str, now: float) -> list[str]:
        """Return nodes that may have a connection to this node: those it watches.

        While it cannot be reached, one other node is added, a different one each time: between two sides of a partition
        there may be a path through a single node.
        """
        state = self._state
        successors = self._usable_successors(node_id, now)
        asked = self._requests.get(node_id)
        if asked is not None and state.is_live(asked.relay):
            return list(dict.fromkeys((asked.relay, *successors)))
        others = state.choose_nodes(RELAYS_MAX, node_id, *successors)
        return [*successors, *others][:RELAYS_MAX]

    def _usable_successors(self, node_id: str, now: float) -> list[str]:
        """Return the nodes that this node watches, without those that could not be called just now."""
        state = self._state
        successors = islice(state.members.nodes.successors(node_id), min(state.config.watches, RELAYS_MAX))
        since = now - DIRECT_RETRY_MIN
        return [relay for relay in successors if relay != state.id and self._failed_at.get(relay, -math.inf) < since]

    def _ask_to_dial(self, node_id: str, now: float) -> None:
        """Ask a node to open connections to this node and to a relay. The relay is one that answered this node
        directly, another each time: the target may not reach it. Nodes with which this one has a connection for a watch
        come last: they answer on that connection, and may accept no other."""
        state = self._state
        asked = self._requests.get(node_id)
        record = self._record(node_id)
        if record is None or state.is_guarded or (asked is not None and now - asked.asked_at < ASK_INTERVAL):
            return
        tried = node_id if asked is None else asked.relay
        answered = [relay for relay in self._answered_at if relay not in (node_id, tried)]
        nodes, watches = state.members.nodes, state.config.watches
        watched = {*islice(nodes.successors(state.id), watches), *islice(nodes.predecessors(state.id), watches)}
        answered = [relay for relay in answered if relay not in watched] or answered
        relays = state.random.sample(answered, 1) if answered else state.choose_nodes(1, node_id, tried)
        relay = relays[0] if relays else ""
        self._requests[node_id] = _DialRequest(relay, now)
        tag = tag_of(node_id)
        unreached = Unreached(state.tag, tag, tag_of(relay) if relay else 0)
        state.send(state.address_of(record), tag, unreached, now)

    def _detour_of(self, node_id: str, now: float) -> str:
        """Return the relay through which calls to this node go now, empty if they go directly."""
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

    # Outcomes

    def note_answered(self, node_id: str, via: str, now: float) -> None:
        """Note that a node answered on this route; ``via`` is the relay's id, empty for the direct route."""
        if not via:
            self._detours.pop(node_id, None)
            self.note_direct(node_id, now)
        elif now - self._direct_at(node_id) < DIRECT_FRESH:
            pass  # it began before the direct route was found to be open again
        elif node_id not in self._detours or self._detours[node_id].via != via:
            self._detours[node_id] = _Detour(via, now)
        else:
            self._detours[node_id].answered_at = now
        self._failing.pop(node_id, None)
        self._requests.pop(node_id, None)
        if self._unreachable.pop(node_id, None) is not None:
            self._state.emit(PeerReachable(node_id))

    def note_outcome(self, node_id: str, via: str, failure: str, now: float) -> None:
        """Note that a node answered on this route; with a ``failure``, that all routes to it failed."""
        if failure:
            self.note_failed(node_id, failure, now)
        else:
            self.note_answered(node_id, via, now)

    def note_reply(self, reply: CallReply | CallFailed, now: float) -> None:
        """Note the node that sent a reply directly, if the reply says so."""
        if isinstance(reply, Pong):
            self.note_direct(reply.id, now)
        elif isinstance(reply, SyncReply):
            self.note_direct(reply.sender.id, now)

    def note_direct(self, node_id: str, now: float) -> None:
        """Note that a node answered something that went to it directly, or that a watch of it stands."""
        if self._state.is_live(node_id):
            self._answered_at[node_id] = now
            self._failed_at.pop(node_id, None)

    def note_failed(self, node_id: str, reason: str, now: float) -> None:
        """Note that all routes to a node failed. If it is alive and this lasts, both sides are told."""
        self._detours.pop(node_id, None)
        self._answered_at.pop(node_id, None)
        if self._record(node_id) is None or self._state.is_guarded or self._state.is_leaving:
            return
        self._ask_to_dial(node_id, now)
        began = self._failing.setdefault(node_id, now)
        if now - began >= UNREACHABLE_AFTER and node_id not in self._unreachable:
            self._unreachable[node_id] = reason
            self._state.emit(PeerUnreachable(node_id, reason))

    def why_unreachable(self, node_id: str) -> str:
        """Return why calls to a live node do not arrive, empty if they do."""
        return self._unreachable.get(node_id, "")

    @property
    def unreachable(self) -> dict[str, str]:
        """The live nodes without a path to them, and why."""
        return dict(self._unreachable)

    @property
    def detours(self) -> dict[str, str]:
        """The nodes that are called through a relay, and the relay of each."""
        return {node_id: detour.via for node_id, detour in self._detours.items()}

    def notice(self, event: InstanceChange) -> None:
        """Forget nodes that are gone."""
        if isinstance(event, InstanceDied | InstanceLeft):
            node_id = event.record.id
            for table in self._tables:
                table.pop(node_id, None)
            self.dial_backs.forget(node_id)

    def _record(self, node_id: str) -> Record | None:
        record = self._state.members.records.get(node_id)
        return record if record is not None and record.is_node else None
