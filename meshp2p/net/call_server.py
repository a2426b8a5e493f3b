"""Serves the calls that other nodes open to this one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection
from typing import Final, Protocol

import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.directory.relay_selector import CallRoute
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.net.connections import Connections
from meshp2p.net.dials import Connect
from meshp2p.net.open_calls import ServeCall
from meshp2p.net.peer_connection import PeerConnection, ServedCall
from meshp2p.net.peer_query import Router
from meshp2p.net.security import Security
from meshp2p.wire.peer_events import CallArrived
from meshp2p.wire.peer_frames import CallKind, ResetReason

__all__ = ["DIAL_BACK_SECONDS", "UNREACHABLE_SECONDS", "CallServer", "PeerService"]

UNREACHABLE_SECONDS: Final = 5.0
"""How long a query is still served after its asker became unreachable. Chosen, not measured."""

DIAL_BACK_SECONDS: Final = 3.0
"""The timeout of a connection that another node asked for: TCP's second attempt fits. Chosen, not measured."""

_log = logging.getLogger("meshp2p.net")


class PeerService(Router, Protocol):
    """The parts of this node that calls of other nodes use."""

    def answer_call(self, body: bytes, sender: bytes, /) -> tuple[bytes | Awaitable[bytes], bool]:
        """Return the reply to a call, or an awaitable of it, and whether the call answered a request of this node's
        agent. In a secured mesh ``sender`` is the machine at the other end of the connection, empty for a call that it
        passed on. Raises :class:`RemoteProtocolError`."""

    async def answer_watch(self, body: bytes) -> bytes:
        """Return the first part of the reply to a watch. Raises :class:`RemoteProtocolError`."""

    async def wait_until_left(self) -> None:
        """Return when this node has left the mesh."""

    async def sleep_with_slack(self, seconds: float) -> None:
        """Sleep for about this long."""

    def count_refused(self, reason: Refusal) -> None:
        """Count refused data that was no message of this mesh."""

    def relay_route(self, node_id: str) -> CallRoute | None:
        """Return the direct route to a node, for a call that this node relays; None if it must not."""

    def knock(self, address: Address, node_id: str) -> None:
        """Send a node a datagram without content."""

    def check_reply(self, reply: CallReply, replier: str) -> CallReply:
        """Return the reply of a node without the claims that nobody may make. Raises :class:`RemoteProtocolError` if
        it is another node's reply."""

    def is_usurper(self, node_id: str, machine: bytes) -> bool:
        """Return whether the id is that of a node of another machine than this one."""

    def expel(self, agents: Collection[tuple[bytes, str]]) -> None:
        """Treat these instances, each a machine and an id, and what they host, as departed for ever."""


class CallServer:
    """Serves each call in ``nursery``: a query by ``serve_query``, others by ``service``. ``connect`` connects to an
    address. ``security`` is that of a secured mesh."""

    def __init__(
        self,
        service: PeerService | None,
        serve_query: ServeCall | None,
        connections: Connections,
        connect: Connect,
        nursery: trio.Nursery,
        security: Security | None = None,
    ) -> None:
        self._service = service
        self._serve_query = serve_query
        self._connections = connections
        self._connect = connect
        self._nursery = nursery
        self._security = security

    def answer(self, connection: PeerConnection, arrived: CallArrived) -> None:
        """Answer a call: at once if the reply is known, without a task; otherwise in a task."""
        service = self._service
        if service is None:
            connection.reset(arrived.call, ResetReason.REFUSED, "this is no node")
            return
        if connection.why_barred:
            connection.reset(arrived.call, ResetReason.REFUSED, connection.why_barred)
            return
        waiting: Awaitable[bytes] | None = None
        if arrived.kind is CallKind.MESSAGE:
            try:
                verified = connection.verified
                sender = b"" if verified is None or arrived.source else verified.machine
                reply, has_woken_agent = service.answer_call(arrived.body, sender)
            except RemoteProtocolError as error:
                connection.reset(arrived.call, ResetReason.REFUSED, str(error))
                return
            except Exception as error:  # noqa: BLE001  # one call does not end the others
                _log.error("serving a call failed: please report it", exc_info=error)
                connection.reset(arrived.call, ResetReason.FAILED, "internal error")
                return
            if isinstance(reply, bytes):
                connection.protocol.send_part(arrived.call, reply, is_last=True)  # sent with what else was answered
                connection.gives_way |= has_woken_agent
                return
            waiting = reply
        served = connection.served[arrived.call] = ServedCall(connection, arrived)
        if served.kind is CallKind.QUERY:
            served.scope.deadline = served.deadline
        self._nursery.start_soon(self._serve, served, service, waiting)

    async def _serve(self, served: ServedCall, service: PeerService, waiting: Awaitable[bytes] | None) -> None:
        connection = served.connection
        reset: ResetReason | None = ResetReason.CANCELLED
        message = ""
        with served.scope:
            try:
                match served.kind:
                    case CallKind.MESSAGE:
                        if waiting is not None:
                            connection.protocol.send_part(served.id, await waiting, is_last=True)
                    case CallKind.WATCH:
                        connection.protocol.send_part(served.id, await service.answer_watch(served.body))
                        connection.flush()
                        await service.wait_until_left()
                        connection.protocol.end_reply(served.id)
                    case CallKind.DIAL_BACK:
                        reply = (await self._dial_back(served, service)).encode()
                        connection.protocol.send_part(served.id, reply, is_last=True)
                    case CallKind.TRUST:
                        connection.protocol.send_part(served.id, await self._update_trust(served), is_last=True)
                    case CallKind.QUERY:
                        if self._serve_query is None:
                            raise RemoteProtocolError(Refusal.BAD_VALUE, "this node takes no queries")
                        await self._serve_query(served)
                        if not served.has_ended:
                            connection.protocol.end_reply(served.id)
                reset = None
            except RemoteProtocolError as error:
                reset, message = ResetReason.REFUSED, str(error)
            except Exception as error:  # noqa: BLE001  # one call does not end the others
                _log.error("serving a call failed: please report it", exc_info=error)
                reset, message = ResetReason.FAILED, "internal error"
        connection.finish(served, reset, message)

    async def _dial_back(self, served: ServedCall, service: PeerService) -> str:
        """Connect to the asker's own address only, so that nobody can reach other machines through this node."""
        connection, port = served.connection, int.from_bytes(served.body, "big")
        asker = connection.peer.id if connection.peer else ""
        if len(served.body) != 2 or port == 0 or served.source != asker:
            raise RemoteProtocolError(Refusal.BAD_VALUE, "a dial-back names a port, and is not passed on")
        address = Address(connection.host, port)
        service.knock(address, asker)
        with trio.move_on_after(DIAL_BACK_SECONDS):
            try:
                await trio.aclose_forcefully(await self._connect(address))
            except (OSError, ValueError) as error:
                return f"{address}: {error}"
            return ""
        return f"{address}: no answer in {DIAL_BACK_SECONDS:g} s"

    async def _update_trust(self, served: ServedCall) -> bytes:
        if self._security is None or served.source != (served.connection.peer.id if served.connection.peer else ""):
            raise RemoteProtocolError(Refusal.BAD_VALUE, "trust maps are of secured meshes, and are not passed on")
        return await self._security.trust.answer(served.connection, served.body)

    def release(self, connection: PeerConnection) -> None:
        """Cancel the calls of a connection that is over. A query continues for ``UNREACHABLE_SECONDS``, because its
        asker may connect again."""
        served, connection.served = connection.served, {}
        for call in served.values():
            if call.kind is CallKind.QUERY:
                self._nursery.start_soon(self._await_asker, call)
            else:
                call.scope.cancel()

    async def _await_asker(self, call: ServedCall) -> None:
        peer = call.connection.peer
        await trio.sleep_until(max(trio.current_time(), call.connection.heard_at + UNREACHABLE_SECONDS))
        if peer is None or self._connections.find(peer.id, peer.boot) is None:
            call.scope.cancel()
