"""A query to a node over one of its routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from meshp2p.core.address import Address
from meshp2p.core.directory.relay_selector import CallRoute
from meshp2p.core.effects import CallFailed
from meshp2p.errors import ConnectionLost, Unreachable, check
from meshp2p.net.open_calls import CallBroken
from meshp2p.net.peer_connection import AskedCall, PeerConnection
from meshp2p.wire.peer_frames import CallKind, ResetReason

__all__ = ["FindConnection", "PeerQuery", "Router"]

ATTEMPT_SECONDS: Final = 1.0
"""How long a query waits for a connection on one route while there are others. Chosen, not measured."""


class Router(Protocol):
    """The router of queries."""

    def routes(self, node_id: str) -> list[CallRoute]:
        """Return the routes to a listed node, the preferred one first; empty if it is not listed."""

    def first_route(self, node_id: str) -> CallRoute | None:
        """Return the first of :meth:`routes`; None if the node is not listed."""

    def note_route(self, node_id: str, via: str, failure: str) -> None:
        """Note that a query was answered on this route; with a ``failure``, that all routes failed."""


FindOpen = Callable[[str, int, tuple[Address, ...]], PeerConnection | None]
FindConnection = Callable[[str, int, tuple[Address, ...]], Awaitable[PeerConnection | CallFailed]]


class PeerQuery:
    """A query over the first route that leads to the node. If a route fails before the node has seen the query, the
    next one is used.

    Most queries use an open connection. Then no other route is chosen, and the router is not told.
    """

    def __init__(
        self,
        router: Router | None,
        find_open: FindOpen,
        find: FindConnection,
        node_id: str,
        body: bytes,
        deadline: float,
    ) -> None:
        self._router = router
        self._find_open = find_open
        self._find = find
        self._node_id = node_id
        self._body = body
        self._deadline = deadline
        self._asked: AskedCall | None = None
        self._route: CallRoute | None = None
        self._routes: list[CallRoute] | None = None
        self._reason = "it is not listed"
        self._is_answered = False

    async def open(self) -> None:
        """Open the query on the next route. Raises :class:`Unreachable` if there is none."""
        router = self._router
        if self._asked is None and router is not None and (route := router.first_route(self._node_id)) is not None:
            opened = self._find_open(route.node_id, route.boot, route.addresses)
            if opened is not None:
                self._ask(opened, route)
                return
        self.close()
        if self._routes is None:
            self._routes = [] if router is None else router.routes(self._node_id)
        while self._routes:
            route = self._route = self._routes.pop(0)
            # a packet that a firewall drops has no answer: the other routes need some of the time
            attempt = min(self._deadline, trio.current_time() + ATTEMPT_SECONDS) if self._routes else self._deadline
            with trio.CancelScope(deadline=attempt) as waiting:
                found = await self._find(route.node_id, route.boot, route.addresses)
                if isinstance(found, PeerConnection):
                    self._ask(found, route)
                    return
                self._reason = found.reason
            if waiting.cancelled_caught:
                self._reason = f"{route.node_id!r} did not answer"
        if router is not None:
            router.note_route(self._node_id, "", self._reason)
        raise Unreachable(f"node {self._node_id!r} could not be reached, directly or through a relay: {self._reason}")

    def _ask(self, connection: PeerConnection, route: CallRoute) -> None:
        seconds = min(max(0.001, self._deadline - trio.current_time()), 1e9)
        self._asked = connection.open_call(CallKind.QUERY, self._body, seconds=seconds, target=route.target)

    async def receive_part(self) -> bytes | None:
        if self._asked is not None and self._asked.is_ready:  # it needs no deadline
            return await self._receive_part(self._asked)
        with trio.CancelScope(deadline=self._deadline):
            while True:
                check(self._asked is not None, "a query is open while it is read")
                try:
                    return await self._receive_part(self._asked)  # type: ignore[arg-type]  # checked
                except CallBroken as broken:
                    if not broken.is_unseen:
                        raise ConnectionLost(f"node {self._node_id!r}: {broken}") from broken
                    if broken.reset is ResetReason.NOT_TAKEN and self._route is not None and self._routes is not None:
                        self._routes.insert(0, self._route)  # on another connection
                    self._reason = str(broken)
                    await self.open()
        raise ConnectionLost(f"node {self._node_id!r}: the deadline of the call has passed")

    async def _receive_part(self, asked: AskedCall) -> bytes | None:
        part = await asked.receive()
        if not self._is_answered:
            self._is_answered = True
            if self._router is not None and self._route is not None:  # it looked for a route
                self._router.note_route(self._node_id, self._route.via, "")
        return part

    def close(self) -> None:
        if self._asked is not None:
            self._asked.close()
