"""All connections of a node to other nodes, and the calls on them.

A connection carries calls of both sides, whoever opened it. A call takes the connection that there is; if there is none
it dials. Of two connections to one process one is kept: the newer one, or, if both were opened just now, the one that
the lower id dialled. The other is retired: its calls go on to their end, and watches move over.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import trio

from meshp2p.core.address import Address
from meshp2p.core.carrier import Route
from meshp2p.core.effects import Call, CallFailed, Failure, Watch, WatchOpened
from meshp2p.core.messages import CallReply, Pong
from meshp2p.errors import ConnectionLost, Refusal, RemoteProtocolError, Unreachable, check
from meshp2p.net.open_calls import OutgoingCall, ServeCall
from meshp2p.net.peer_connection import AskedCall, CallBroken, PeerConnection, ServedCall
from meshp2p.net.relays import Relays
from meshp2p.net.sockets import connect_tcp
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_frames import CallKind, PeerHello, ResetReason
from meshp2p.wire.peer_protocol import Budget, CallArrived, HelloArrived, PeerEvent, PeerProtocol

__all__ = ["Connect", "PeerService", "PeerStats", "Peers", "open_stranger"]

IDLE_SECONDS: Final = 60.0
"""A connection without a call is closed after so long. Chosen, not measured."""

HELLO_SECONDS: Final = 10.0
"""How long the other side of a new connection may take to say who it is. Chosen, not measured."""

GOODBYE_SECONDS: Final = 5.0
"""How long a goodbye may stay without an answer. Chosen, not measured."""

YOUNG_SECONDS: Final = 5.0
"""Of two connections of which the older one is younger than this, both sides dialled at once. Chosen, not measured."""

ATTEMPT_SECONDS: Final = 1.0
"""How long a query waits for a connection on one route while there are others. Chosen, not measured."""

UNREACHABLE_SECONDS: Final = 5.0
"""How long a query is served though its asker cannot be reached. Chosen, not measured."""

ACCEPTED_MAX: Final = 256
"""Connections that others dialled; one more takes the place of another. Chosen, not measured."""

DIALLED_MAX: Final = 64
"""Connections without a call that this node dialled; past it the one that was used longest ago is retired. Chosen, not
measured."""

BUFFERED_BYTES_MAX: Final = 64 << 20
"""Bytes of calls that are buffered for all connections together. Chosen, not measured."""

_SWEEP_SECONDS: Final = 1.0

_log = logging.getLogger("meshp2p.net")

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]


class PeerService(Protocol):
    """The node, as others' calls find it."""

    def answer_call(self, body: bytes) -> bytes | Awaitable[bytes]:
        """The reply to a call, or what to await for it. Raises :class:`RemoteProtocolError`."""

    async def answer_watch(self, body: bytes) -> bytes:
        """What the reply to a watch begins with. Raises :class:`RemoteProtocolError`."""

    async def wait_until_left(self) -> None:
        """Return when this node has left the mesh."""

    def count_refused(self, reason: Refusal) -> None:
        """Something that was no message of this mesh was refused."""

    def routes(self, node_id: str) -> list[Route]:
        """The ways to a listed node, the one to take first ahead; empty if it is not listed."""

    def note_route(self, node_id: str, via: str, failure: str) -> None:
        """A query was answered on this route; or, with a ``failure``, none of them led there."""

    def relay_route(self, node_id: str) -> Route | None:
        """The direct way to a node, for a call that this node is to pass on; None if it should not."""


class PeerStats:
    """Levels and counters since the start."""

    def __init__(self) -> None:
        self.accepted: int = 0
        self.dialled: int = 0


class _Dial:
    """One attempt to connect to one address, for all who need it."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.waiting = 0
        self.done = trio.Event()
        self.outcome: PeerConnection | CallFailed = CallFailed(Failure.UNREACHABLE, "cancelled")


class Peers:
    """The connections of one node: ``own`` is what it says of itself. ``connect`` stands for the network. No outcome is
    handed out before ``gate()`` returns: the virtual network stops processes with it.

    :meth:`run` must be running for anything to happen.
    """

    def __init__(
        self,
        codec: Codec,
        own: PeerHello,
        *,
        connect: Connect = connect_tcp,
        gate: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.stats: PeerStats = PeerStats()
        self._codec = codec
        self._own = own
        self._connect = connect
        self._gate = gate
        self._budget = Budget(BUFFERED_BYTES_MAX)
        self._connections: dict[PeerConnection, None] = {}
        self._dials: dict[Address, _Dial] = {}
        self.service: PeerService | None = None
        self._serve_query: ServeCall | None = None
        self._nursery: trio.Nursery | None = None
        self._relays = Relays(self._find_for_relay, self._start)

    def __repr__(self) -> str:
        return f"<Peers of {self._own.id!r}: {list(self._connections)}>"

    @property
    def connections(self) -> list[PeerConnection]:
        """Those that are open, the oldest first."""
        return list(self._connections)

    async def run(
        self,
        service: PeerService | None,
        serve_query: ServeCall | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Dial, accept and serve until cancelled; then all connections are cut."""
        self.service, self._serve_query = service, serve_query
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                while True:
                    await trio.sleep(_SWEEP_SECONDS)
                    self._sweep()
        finally:
            self._nursery = None

    async def serve_stream(self, stream: trio.abc.Stream, host: str) -> None:
        """Take an accepted connection of ``host``."""
        if self._nursery is None or not self._make_room(host):
            await trio.aclose_forcefully(stream)
            return
        protocol = PeerProtocol(self._codec.tag, self._own, is_dialler=False, budget=self._budget)
        connection = PeerConnection(stream, protocol, host, None)
        self.stats.accepted += 1
        self._nursery.start_soon(self._run, connection)

    async def _run(self, connection: PeerConnection) -> None:
        self._connections[connection] = None
        try:
            await connection.run(self._on_event)
        finally:
            self._connections.pop(connection, None)
            self._relays.release(connection)
            if connection.refusal is not None and self.service is not None:
                self.service.count_refused(connection.refusal.reason)
            self._release_served(connection)

    # Calls of this node

    async def call(self, call: Call) -> CallReply | CallFailed:
        """Perform a call. Never raises but for cancellation."""
        outcome = await self._call(call)
        if self._gate is not None:
            await self._gate()
        return outcome

    async def _call(self, call: Call) -> CallReply | CallFailed:
        body = self._codec.encode(call.request)
        connection: PeerConnection | CallFailed | None = None
        opened_at = trio.current_time()
        with trio.move_on_after(call.timeout):
            for _ in range(3):
                connection = await self.find(call.node_id, call.boot, call.addresses)
                if isinstance(connection, CallFailed):
                    return connection
                opened_at = trio.current_time()
                was_used = connection.has_been_used
                asked = connection.open_call(CallKind.MESSAGE, body, seconds=call.timeout, target=call.target)
                try:
                    reply = await asked.receive()
                    return self._codec.decode_reply_untrusted(reply or b"")
                except RemoteProtocolError as error:
                    return CallFailed(Failure.UNREACHABLE, f"{connection.host}: {error}")
                except CallBroken as broken:
                    # what nodes ask of one another may be asked twice
                    is_stale = broken.reset is None and was_used
                    if broken.reset is not ResetReason.NOT_TAKEN and not is_stale:
                        return CallFailed(Failure.UNREACHABLE, f"{connection.host}: {broken}")
                finally:
                    asked.close()
        if isinstance(connection, PeerConnection):
            connection.note_silence(opened_at)
        where = ", ".join(map(str, call.addresses)) or call.node_id
        return CallFailed(Failure.TIMEOUT, f"{where}: no answer in {call.timeout:g} s")

    async def watch(self, watch: Watch, opened: Callable[[WatchOpened], None]) -> CallFailed:
        """Hold a connection to a node until it breaks, and say why it did, or why none stood in time. ``opened`` is
        told when one stands.

        Never raises but for cancellation, which ends the watch.
        """
        outcome = await self._watch(watch, opened)
        if self._gate is not None:
            await self._gate()
        return outcome

    async def _watch(self, watch: Watch, opened: Callable[[WatchOpened], None]) -> CallFailed:
        body = self._codec.encode(watch.request)
        pong: Pong | None = None
        while True:
            with trio.move_on_after(watch.timeout) as waiting:
                connection = await self.find(watch.node_id, watch.boot, watch.addresses)
                if isinstance(connection, CallFailed):
                    return connection
                asked = connection.open_call(CallKind.WATCH, body)
                try:
                    reply = self._codec.decode_reply_untrusted(await asked.receive() or b"")
                    if not isinstance(reply, Pong) or (pong and (reply.id, reply.boot) != (pong.id, pong.boot)):
                        return CallFailed(Failure.UNREACHABLE, f"{connection.host}: another node is there")
                    waiting.deadline = float("inf")
                    if pong is None:
                        pong = reply
                        opened(WatchOpened(_listening(connection, watch.addresses), pong))
                    if await _ended_or_retired(asked):
                        return CallFailed(Failure.UNREACHABLE, f"{connection.host}: it ended the watch")
                except RemoteProtocolError as error:
                    return CallFailed(Failure.UNREACHABLE, f"{connection.host}: {error}")
                except CallBroken as broken:
                    if broken.reset is not ResetReason.NOT_TAKEN:
                        return CallFailed(Failure.UNREACHABLE, f"{connection.host}: {broken}")
                finally:
                    asked.close()
            if waiting.cancelled_caught:
                where = ", ".join(map(str, watch.addresses))
                return CallFailed(Failure.TIMEOUT, f"{where}: no watch in {watch.timeout:g} s")

    @contextlib.asynccontextmanager
    async def open_call(self, node_id: str, body: bytes, deadline: float) -> AsyncIterator[OutgoingCall]:
        """See :class:`~meshp2p.net.open_calls.CallOpener`."""
        query = _Query(self, node_id, body, deadline)
        await query.open()
        try:
            yield query
        finally:
            query.close()

    # Which connection

    def find_open(self, node_id: str, boot: int, addresses: tuple[Address, ...] = ()) -> PeerConnection | None:
        """The connection to this process that a call may be opened on: the best one that there is."""
        found: PeerConnection | None = None
        for connection in self._connections:
            if connection.is_usable:
                peer = connection.peer
                if node_id and peer is not None and peer.id == node_id and (not boot or peer.boot == boot):
                    found = connection  # the newest
                elif found is None and connection.address in addresses and peer is not None:
                    found = connection
        return found

    async def find(self, node_id: str, boot: int, addresses: tuple[Address, ...]) -> PeerConnection | CallFailed:
        """A connection to this node: the one there is, or a new one. Whoever answers at an address gets the calls that
        were meant for it; they say themselves whom they concern."""
        connection = self.find_open(node_id, boot, addresses)
        if connection is not None:
            return connection
        if not addresses:
            return CallFailed(Failure.UNREACHABLE, f"node {node_id!r} has no address")
        if len(addresses) == 1:
            return self._survivor(await self._dial(addresses[0]))
        outcomes: list[PeerConnection | CallFailed] = []
        async with trio.open_nursery() as nursery:

            async def try_one(address: Address) -> None:
                outcome = await self._dial(address)
                outcomes.append(outcome)
                if isinstance(outcome, PeerConnection):
                    nursery.cancel_scope.cancel()

            for address in addresses:
                nursery.start_soon(try_one, address)
        failures = [outcome for outcome in outcomes if isinstance(outcome, CallFailed)]
        opened = next((outcome for outcome in outcomes if isinstance(outcome, PeerConnection)), None)
        return self._survivor(opened or _worst(failures))

    def _survivor(self, dialled: PeerConnection | CallFailed) -> PeerConnection | CallFailed:
        """What was dialled, or the connection in favour of which it was retired meanwhile."""
        if isinstance(dialled, CallFailed) or dialled.is_usable:
            return dialled
        peer = dialled.peer
        other = None if peer is None or not peer.id else self.find_open(peer.id, peer.boot)
        return other or CallFailed(Failure.UNREACHABLE, f"{dialled.address}: {dialled.why_closed or 'it is closing'}")

    async def _dial(self, address: Address) -> PeerConnection | CallFailed:
        if self._nursery is None:
            return CallFailed(Failure.UNREACHABLE, "this node is closed")
        dial = self._dials.get(address)
        if dial is None or dial.scope.cancel_called:
            dial = self._dials[address] = _Dial()
            self._nursery.start_soon(self._perform_dial, address, dial)
        dial.waiting += 1
        try:
            await dial.done.wait()
        finally:
            dial.waiting -= 1
            if not dial.waiting:
                dial.scope.cancel()
        return dial.outcome

    async def _perform_dial(self, address: Address, dial: _Dial) -> None:
        try:
            with dial.scope:
                dial.outcome = await self._open(address)
        finally:
            if self._dials.get(address) is dial:
                del self._dials[address]
            dial.done.set()

    async def _open(self, address: Address) -> PeerConnection | CallFailed:
        """A new connection, once the other side has said who it is."""
        try:
            stream = await self._connect(address)
        except (OSError, ValueError) as error:  # ValueError: a host that is none
            is_refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
            return CallFailed(Failure.REFUSED if is_refused else Failure.UNREACHABLE, f"{address}: {error}")
        protocol = PeerProtocol(self._codec.tag, self._own, is_dialler=True, budget=self._budget)
        connection = PeerConnection(stream, protocol, address.host, address)
        if self._nursery is None:
            await trio.aclose_forcefully(stream)
            return CallFailed(Failure.UNREACHABLE, "this node is closed")
        self.stats.dialled += 1
        self._nursery.start_soon(self._run, connection)
        try:
            await connection.has_hello.wait()
        except trio.Cancelled:
            connection.close("nobody waits for it any more")
            raise
        if connection.peer is None:
            return CallFailed(Failure.UNREACHABLE, f"{address}: {connection.why_closed}")
        return connection

    # What others ask

    def _on_event(self, connection: PeerConnection, event: PeerEvent) -> None:
        match event:
            case HelloArrived():
                self._choose_one(connection)
            case CallArrived():
                self._answer(connection, event)
            case _:
                self._relays.take(connection, event)

    def _answer(self, connection: PeerConnection, arrived: CallArrived) -> None:
        """Answer a call, at once if that can be: then it costs no task."""
        service = self.service
        if service is None or self._nursery is None:
            connection.reset(arrived.call, ResetReason.REFUSED, "this is no node")
            return
        waiting: Awaitable[bytes] | None = None
        if arrived.kind is CallKind.MESSAGE:
            try:
                reply = service.answer_call(arrived.body)
            except RemoteProtocolError as error:
                connection.reset(arrived.call, ResetReason.REFUSED, str(error))
                return
            except Exception as error:  # noqa: BLE001  # one call does not end the others
                _log.error("serving a call failed: please report it", exc_info=error)
                connection.reset(arrived.call, ResetReason.FAILED, "internal error")
                return
            if isinstance(reply, bytes):
                connection.protocol.send_part(arrived.call, reply, is_last=True)
                connection.flush()
                return
            waiting = reply
        served = connection.served[arrived.call] = ServedCall(connection, arrived)
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
                    case CallKind.QUERY:
                        if self._serve_query is None:
                            raise RemoteProtocolError(Refusal.BAD_VALUE, "this node takes no queries")
                        served.scope.deadline = served.deadline
                        await self._serve_query(served)
                        connection.protocol.end_reply(served.id)
                reset = None
            except RemoteProtocolError as error:
                reset, message = ResetReason.REFUSED, str(error)
            except Exception as error:  # noqa: BLE001  # one call does not end the others
                _log.error("serving a call failed: please report it", exc_info=error)
                reset, message = ResetReason.FAILED, "internal error"
        connection.finish(served, reset, message)

    def _release_served(self, connection: PeerConnection) -> None:
        """The connection is over: nobody waits for what is served on it. A query may go on for a while: its asker may
        be there again."""
        served, connection.served = connection.served, {}
        for call in served.values():
            if call.kind is CallKind.QUERY and self._nursery is not None:
                self._nursery.start_soon(self._await_asker, call)
            else:
                call.scope.cancel()

    async def _await_asker(self, call: ServedCall) -> None:
        peer = call.connection.peer
        await trio.sleep(UNREACHABLE_SECONDS)
        if peer is None or self.find_open(peer.id, peer.boot) is None:
            call.scope.cancel()

    # Calls that are passed on

    async def _find_for_relay(self, node_id: str) -> PeerConnection | None:
        """A connection to the target of a call that is passed on; None if there is none and none can be made."""
        route = None if self.service is None else self.service.relay_route(node_id)
        if route is None:
            return None
        found = await self.find(route.node_id, route.boot, route.addresses)
        return found if isinstance(found, PeerConnection) and found.peer and found.peer.id == node_id else None

    def _start(self, function: Callable[..., Awaitable[None]], *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(function, *arguments)

    # Which connections are kept

    def _choose_one(self, newer: PeerConnection) -> None:
        """Retire whichever of two connections to one process is to go. Both sides decide alike, or retire both."""
        peer, own = newer.peer, self._own
        if peer is None or not peer.id or peer.id == own.id:
            return
        for older in list(self._connections):
            if older is newer or older.peer != peer or older.is_retired or older.is_closed:
                continue
            both_dialled = (older.address is None) != (newer.address is None)
            is_young = older.opened_at + YOUNG_SECONDS > newer.opened_at
            if not is_young or not older.is_usable:
                older.retire()
            elif both_dialled:
                own_is_lower = own.id.encode() < peer.id.encode()
                loser = older if (older.address is not None) != own_is_lower else newer
                loser.retire()
            elif newer.address is not None:
                newer.retire()

    def _make_room(self, host: str) -> bool:
        """Whether one more connection from this machine may be served. If there are too many, one of the machine that
        has most is cut, an idle one first, so that no stranger keeps others out."""
        accepted = [connection for connection in self._connections if connection.address is None]
        if len(accepted) < ACCEPTED_MAX:
            return True
        counts = collections.Counter(connection.host for connection in accepted)
        crowd, most = counts.most_common(1)[0]
        if most <= counts[host] + 1:
            return False
        crowded = [connection for connection in accepted if connection.host == crowd]
        idle = next((connection for connection in crowded if not connection.protocol.calls), crowded[0])
        idle.close("another machine needs its place")
        self._connections.pop(idle, None)
        return True

    def _sweep(self) -> None:
        """Close what nobody uses."""
        now = trio.current_time()
        idle: list[PeerConnection] = []
        for connection in list(self._connections):
            if connection.protocol.calls:
                connection.used_at = now
                continue
            if connection.peer is None and connection.opened_at + HELLO_SECONDS <= now:
                connection.close("it did not say who it is")
            elif connection.is_retired and connection.used_at + GOODBYE_SECONDS <= now:
                connection.close("it did not answer a goodbye")
            elif not connection.is_retired and connection.used_at + IDLE_SECONDS <= now:
                connection.used_at = now
                connection.retire()
            elif connection.address is not None and not connection.is_retired:
                idle.append(connection)
        for connection in sorted(idle, key=lambda one: one.used_at)[: max(0, len(idle) - DIALLED_MAX)]:
            connection.used_at = now
            connection.retire()


class _Query:
    """A query on its way: over the first route that leads to the node. One that turns out to lead nowhere, before the
    node has seen the query, is left for the next."""

    def __init__(self, peers: Peers, node_id: str, body: bytes, deadline: float) -> None:
        self._peers = peers
        self._node_id = node_id
        self._body = body
        self._deadline = deadline
        self._asked: AskedCall | None = None
        self._route: Route | None = None
        self._routes: list[Route] | None = None
        self._reason = "it is not listed"
        self._is_answered = False

    async def open(self) -> None:
        """Open the query on the next route. Raises :class:`Unreachable` if there is none."""
        self.close()
        service = self._peers.service
        if self._routes is None:
            self._routes = [] if service is None else service.routes(self._node_id)
        while self._routes:
            route = self._route = self._routes.pop(0)
            # a packet that a firewall drops has no answer: the other routes need some of the time
            attempt = min(self._deadline, trio.current_time() + ATTEMPT_SECONDS) if self._routes else self._deadline
            with trio.CancelScope(deadline=attempt) as waiting:
                found = await self._peers.find(route.node_id, route.boot, route.addresses)
                if isinstance(found, PeerConnection):
                    seconds = min(max(0.001, self._deadline - trio.current_time()), 1e9)
                    self._asked = found.open_call(CallKind.QUERY, self._body, seconds=seconds, target=route.target)
                    return
                self._reason = found.reason
            if waiting.cancelled_caught:
                self._reason = f"{route.node_id!r} did not answer"
        if service is not None:
            service.note_route(self._node_id, "", self._reason)
        raise Unreachable(f"node {self._node_id!r} is not reached, nor through others: {self._reason}")

    async def receive_part(self) -> bytes | None:
        with trio.CancelScope(deadline=self._deadline):
            while True:
                check(self._asked is not None, "a query is open while it is read")
                try:
                    part = await self._asked.receive()  # type: ignore[union-attr]  # checked
                except CallBroken as broken:
                    if not broken.is_unseen:
                        raise ConnectionLost(f"node {self._node_id!r}: {broken}") from broken
                    if broken.reset is ResetReason.NOT_TAKEN and self._route is not None and self._routes is not None:
                        self._routes.insert(0, self._route)  # on another connection
                    self._reason = str(broken)
                    await self.open()
                    continue
                if not self._is_answered:
                    self._is_answered = True
                    if self._peers.service is not None and self._route is not None:
                        self._peers.service.note_route(self._node_id, self._route.via, "")
                return part
        raise ConnectionLost(f"node {self._node_id!r}: the deadline of the call has passed")

    def close(self) -> None:
        if self._asked is not None:
            self._asked.close()


async def _ended_or_retired(asked: AskedCall) -> bool:
    """Wait until the reply has ended, then True, or its connection was retired. Raises :class:`CallBroken`."""
    has_ended = False
    broken: CallBroken | None = None
    async with trio.open_nursery() as nursery:

        async def await_end() -> None:
            nonlocal has_ended, broken
            try:
                while await asked.receive() is not None:
                    pass
                has_ended = True
            except CallBroken as error:
                broken = error
            nursery.cancel_scope.cancel()

        nursery.start_soon(await_end)
        await asked.connection.retired.wait()
        await trio.lowlevel.checkpoint()  # a connection that broke is retired as well
        nursery.cancel_scope.cancel()
    if broken is not None:
        raise broken
    return has_ended


def _listening(connection: PeerConnection, addresses: tuple[Address, ...]) -> Address | None:
    """At which of these addresses the other side of a connection listens; None if that cannot be told."""
    if connection.address is not None:
        return connection.address
    return next((address for address in addresses if address.host == connection.host), None)


def _worst(failures: list[CallFailed]) -> CallFailed:
    """Of several addresses: refused only if all refused."""
    return next((failed for failed in failures if failed.failure is not Failure.REFUSED), failures[0])


@contextlib.asynccontextmanager
async def open_stranger(codec: Codec, connect: Connect = connect_tcp) -> AsyncIterator[Peers]:
    """Calls to nodes, for who is none."""
    peers = Peers(codec, PeerHello("", 0), connect=connect)
    async with trio.open_nursery() as nursery:
        await nursery.start(peers.run, None)
        try:
            yield peers
        finally:
            nursery.cancel_scope.cancel()
