"""All connections of a node to other nodes, and the calls on them.

A connection carries calls of both sides, whichever side opened it. A call uses an open connection, or dials a new one.
Of two connections to one process one is kept: the newer one or, if both were opened just now, the one that the lower id
dialled. The other is retired: its calls continue to their end, and watches move to the kept one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.effects import Call, CallFailed, Failure, Watch, WatchOpened
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.net.call_server import DIAL_BACK_SECONDS, CallServer, PeerService
from meshp2p.net.connections import Connections
from meshp2p.net.dials import Connect, Dialer
from meshp2p.net.driver_parts import Conclude
from meshp2p.net.node_calls import NodeCalls
from meshp2p.net.open_calls import CallBroken, OutgoingCall, ServeCall
from meshp2p.net.peer_connection import PeerConnection
from meshp2p.net.peer_query import PeerQuery
from meshp2p.net.peer_watch import hold_watch
from meshp2p.net.relays import Relays
from meshp2p.net.secure_stream import CallerStream, VerifiedStream
from meshp2p.net.security import Security
from meshp2p.net.sockets import connect_tcp
from meshp2p.net.strangers import Strangers
from meshp2p.wire.call_bytes import Budget
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_events import CallArrived, HelloArrived, PeerEvent
from meshp2p.wire.peer_frames import CallKind, PeerHello
from meshp2p.wire.peer_protocol import PeerProtocol

__all__ = ["PeerStats", "Peers", "open_stranger"]

BUFFERED_BYTES_MAX: Final = 64 << 20
"""How many bytes of calls are buffered for all connections together. Chosen, not measured."""

RELAY_SECONDS: Final = 2.0
"""How long connecting to the target of a relayed call may take before the asker is told that there is no path. Chosen,
not measured."""

HANDSHAKES_MAX: Final = 64
"""How many accepted connections may be in their TLS handshake. Chosen, not measured."""

CALLERS_MAX: Final = 64
"""How many hosts are remembered. Chosen, not measured: they only tell whether another machine connected to this one."""

_SWEEP_SECONDS: Final = 1.0

_log = logging.getLogger("meshp2p.net")


class PeerStats:
    """Levels and counters since the start."""

    def __init__(self) -> None:
        self.accepted: int = 0
        self.crowded_out: int = 0
        """Connections that were closed at once, because there was no room for them."""
        self.callers: set[str] = set()
        """The hosts of accepted connections, at most ``CALLERS_MAX``."""
        self.dialled: int = 0
        self.rivals: dict[tuple[str, str], float] = {}
        """When a process last named an id that belongs to another: by the id and the host, the latest ``CALLERS_MAX``,
        the last one last."""


class Peers:
    """The connections of one node: ``own`` is what it says of itself. ``connect`` stands for the network. With
    ``security`` every connection is to a node that was verified. No outcome is handed out before ``gate()`` returns:
    the virtual network stops processes with it.

    :meth:`run` must be running for anything to happen.
    """

    def __init__(
        self,
        codec: Codec,
        own: PeerHello,
        *,
        connect: Connect = connect_tcp,
        gate: Callable[[], Awaitable[None]] | None = None,
        security: Security | None = None,
    ) -> None:
        self.stats: PeerStats = PeerStats()
        self._codec = codec
        self._own = own
        self._gate = gate
        self.budget: Budget = Budget(BUFFERED_BYTES_MAX)
        self._connections = Connections(own, self._may_answer)
        self._connect_plain = connect
        self._security = security
        self._handshakes = Strangers()
        self._dials = Dialer(self._connect, self._begin, self._start)
        self._service: PeerService | None = None
        self._server: CallServer | None = None
        self._nursery: trio.Nursery | None = None
        self._relays = Relays(self._find_for_relay, self._start)
        self._calls = NodeCalls(codec, self._connections.find, self.find, self._decode_reply_untrusted)

    def __repr__(self) -> str:
        return f"<Peers of {self._own.id!r}: {list(self._connections)}>"

    @property
    def connections(self) -> list[PeerConnection]:
        """The open connections, the oldest first."""
        return list(self._connections)

    async def run(
        self,
        service: PeerService | None,
        serve_query: ServeCall | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Dial, accept and serve until cancelled; then all connections are cut."""
        self._service = service
        try:
            async with trio.open_nursery() as self._nursery:
                self._server = CallServer(
                    service, serve_query, self._connections, self._connect, self._nursery, self._security
                )
                if self._security is not None and service is not None:
                    self._nursery.start_soon(
                        self._security.trust.run, self._connections, service.expel, self._relays.release
                    )
                self._nursery.start_soon(self._calls.run)
                task_status.started()
                while True:
                    await (trio.sleep if service is None else service.sleep_with_slack)(_SWEEP_SECONDS)
                    if self._gate is not None:
                        await self._gate()
                    self._connections.sweep()
                    if self._security is not None:
                        self._security.trust.look(self._connections)
        finally:
            self._nursery = self._server = None

    async def serve_stream(self, stream: trio.abc.Stream, host: str) -> None:
        """Take an accepted connection of ``host``."""
        if self._nursery is None or not self._connections.make_room(host):
            self.stats.crowded_out += 1
            await trio.aclose_forcefully(stream)
            return
        protocol = PeerProtocol(self._codec.tag, self._own, is_dialler=False, budget=self.budget)
        connection = PeerConnection(stream, protocol, host, None)
        self.stats.accepted += 1
        if len(self.stats.callers) < CALLERS_MAX:
            self.stats.callers.add(host)
        self._nursery.start_soon(self._run, connection)

    async def serve_tls(self, stream: trio.abc.Stream, host: str) -> trio.abc.Stream | None:
        """Serve an accepted connection that begins with TLS, once the other side is verified; return it if it carries
        HTTP. If ``HANDSHAKES_MAX`` are not verified yet, the oldest of the host that has the most is closed."""
        if self._security is None:
            await trio.aclose_forcefully(stream)
            return None
        verified: VerifiedStream | CallerStream | None = None
        with self._handshakes.open(host, HANDSHAKES_MAX) as waiting:
            try:
                verified = await self._security.accept(stream, host)
            except (RemoteProtocolError, OSError) as error:
                self._count_refused(error, host)
        if waiting.cancelled_caught:
            self._count_refused(TimeoutError("others needed its place"), host)
        if isinstance(verified, VerifiedStream):
            await self.serve_stream(verified, host)
            return None
        return verified

    async def _connect(self, address: Address) -> trio.abc.Stream:
        """Connect to a node. Raises the errors of ``connect``."""
        stream = await self._connect_plain(address)
        if self._security is None:
            return stream
        try:
            return await self._security.dial(stream)
        except RemoteProtocolError as error:
            self._count_refused(error, str(address))
            raise ConnectionError(str(error)) from error

    def _count_refused(self, error: Exception, host: str) -> None:
        reason = error.reason if isinstance(error, RemoteProtocolError) else Refusal.UNTRUSTED
        _log.debug("refused %s: %s", host, error)
        if self._service is not None:
            self._service.count_refused(reason)

    async def _run(self, connection: PeerConnection) -> None:
        self._connections.add(connection)
        try:
            await connection.run(self._on_event)
        except Exception as error:  # noqa: BLE001  # one connection does not end the others
            _log.error("a connection failed: please report it", exc_info=error)
        finally:
            self._connections.remove(connection)
            self._relays.release(connection)
            if connection.refusal is not None and self._service is not None:
                self._service.count_refused(connection.refusal.reason)
            if self._server is not None:
                self._server.release(connection)

    # Calls of this node

    async def call(self, call: Call) -> CallReply | CallFailed:
        """Perform a call. Raises only ``trio.Cancelled``."""
        outcome = await self._calls.call(call)
        if self._gate is not None:
            await self._gate()
        return outcome

    def begin(self, call: Call, conclude: Conclude) -> bool:
        """See :class:`~meshp2p.net.driver_parts.Caller`."""
        if self._gate is None:
            return self._calls.begin(call, conclude)
        return self._calls.begin(call, lambda outcome: self._start(self._conclude, outcome, conclude))

    async def _conclude(self, outcome: CallReply | CallFailed | Call, conclude: Conclude) -> None:
        if self._gate is not None:
            await self._gate()
        conclude(outcome)

    def _decode_reply_untrusted(self, connection: PeerConnection, reply: bytes | None, target: str = "") -> CallReply:
        """Read the reply of the node at the other end, or of the ``target`` to which it passed the call on. Raises
        :class:`RemoteProtocolError`."""
        decoded = self._codec.decode_reply_untrusted(reply or b"")
        if self._service is None or connection.verified is None:
            return decoded
        return self._service.check_reply(decoded, target or connection.verified.instance_id)

    async def watch(self, watch: Watch, opened: Callable[[WatchOpened], None]) -> CallFailed:
        """Hold a connection to a node until it breaks. Return why it broke, or why none could be opened in time.
        ``opened`` is called when it is open.

        Raises only ``trio.Cancelled``, which ends the watch.
        """
        body = self._codec.encode(watch.request)
        outcome = await hold_watch(watch, body, opened, self.find, self._decode_reply_untrusted)
        if self._gate is not None:
            await self._gate()
        return outcome

    @contextlib.asynccontextmanager
    async def open_call(self, node_id: str, body: bytes, deadline: float) -> AsyncIterator[OutgoingCall]:
        """See :class:`~meshp2p.net.open_calls.CallOpener`."""
        query = PeerQuery(self._service, self._connections.find, self.find, node_id, body, deadline)
        await query.open()
        try:
            yield query
        finally:
            query.close()

    async def ask_dial_back(self, node_id: str, boot: int, addresses: tuple[Address, ...], port: int) -> str | None:
        """Ask a node to connect to this port of this machine, at the address that the node sees, and to send a datagram
        there. Return an empty text if it could connect, else the reason; None if it could not be asked."""
        with trio.move_on_after(2 * DIAL_BACK_SECONDS):
            connection = await self.find(node_id, boot, addresses)
            if isinstance(connection, CallFailed):
                return None
            body = port.to_bytes(2, "big")
            asked = connection.open_call(CallKind.DIAL_BACK, body, seconds=2 * DIAL_BACK_SECONDS)
            try:
                return (await asked.receive() or b"").decode(errors="replace")
            except CallBroken:
                return None
            finally:
                asked.close()
        return None

    # Which connection

    async def find(self, node_id: str, boot: int, addresses: tuple[Address, ...]) -> PeerConnection | CallFailed:
        """Return an open or new connection to this node. The node that answers at an address gets the calls for that
        address; a call itself says which instance it concerns."""
        connection = self._connections.find(node_id, boot, addresses)
        if connection is not None:
            return connection
        if not addresses:
            return CallFailed(Failure.UNREACHABLE, f"node {node_id!r} has no address")
        dialled = await self._dials.dial(addresses)
        if isinstance(dialled, PeerConnection) and not self._may_answer(dialled, node_id):
            return CallFailed(Failure.UNREACHABLE, f"{dialled.address}: another node is there")
        if isinstance(dialled, CallFailed) or dialled.is_usable:
            return dialled
        peer = dialled.peer  # it was retired meanwhile, in favour of another
        other = None if peer is None or not peer.id else self._connections.find(peer.id, peer.boot)
        return other or CallFailed(Failure.UNREACHABLE, f"{dialled.address}: {dialled.why_closed or 'it is closing'}")

    def _may_answer(self, connection: PeerConnection, node_id: str) -> bool:
        """Whether calls for this node may go to the other end of a connection: in an open mesh to whoever is at its
        address, in a secured one only to the node itself."""
        verified = connection.verified
        if verified is None or not node_id:
            return True
        is_usurper = self._service is not None and self._service.is_usurper(node_id, verified.machine)
        return verified.instance_id == node_id and not is_usurper

    def _begin(self, stream: trio.abc.Stream, address: Address) -> PeerConnection | None:
        """Run a connection that was dialled."""
        protocol = PeerProtocol(self._codec.tag, self._own, is_dialler=True, budget=self.budget)
        connection = PeerConnection(stream, protocol, address.host, address)
        self.stats.dialled += 1
        return connection if self._start(self._run, connection) else None

    # What others ask

    def _on_event(self, connection: PeerConnection, event: PeerEvent) -> None:
        match event:
            case HelloArrived():
                self._note_rival(connection)
                self._connections.choose(connection)
            case CallArrived():
                if self._server is not None:
                    self._server.answer(connection, event)
            case _:
                self._relays.handle_event(connection, event)

    def _note_rival(self, connection: PeerConnection) -> None:
        peer, verified, own = connection.peer, connection.verified, self._own
        if peer is None or self._service is None:
            return
        is_rival = peer.id == own.id and peer.boot != own.boot
        if verified is not None and self._service.is_usurper(peer.id, verified.machine):
            is_rival = True
        if is_rival:
            rivals, key = self.stats.rivals, (peer.id, connection.host)
            rivals.pop(key, None)
            rivals[key] = trio.current_time()
            if len(rivals) > CALLERS_MAX:
                del rivals[next(iter(rivals))]

    # Calls that are passed on

    async def _find_for_relay(self, node_id: str) -> PeerConnection | None:
        """Return a connection to the target of a relayed call; None if there is none in time."""
        route = None if self._service is None else self._service.relay_route(node_id)
        if route is None:
            return None
        with trio.move_on_after(RELAY_SECONDS):
            found = await self.find(route.node_id, route.boot, route.addresses)
            if isinstance(found, PeerConnection) and found.peer and found.peer.id == node_id:
                return found
        return None

    def _start(self, function: Callable[..., Awaitable[None]], *arguments: object) -> bool:
        """Run this in a task. Return whether that was possible; it is not after the end."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(function, *arguments)
        return True


@contextlib.asynccontextmanager
async def open_stranger(codec: Codec) -> AsyncIterator[Peers]:
    """Calls to nodes from a process that is no node."""
    peers = Peers(codec, PeerHello("", 0))
    async with trio.open_nursery() as nursery:
        await nursery.start(peers.run, None)
        try:
            yield peers
        finally:
            nursery.cancel_scope.cancel()
