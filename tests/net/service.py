"""A node's side of peer connections, for tests: it answers, and can be told to wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Done, Pong
from meshp2p.core.directory.relay_selector import CallRoute
from meshp2p.errors import Refusal
from meshp2p.net.dials import Connect
from meshp2p.net.open_calls import IncomingCall, ServeCall
from meshp2p.net.peers import Peers
from meshp2p.net.port import Port, PortStats
from meshp2p.net.security import Security
from meshp2p.net.sockets import connect_tcp, open_sockets
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_frames import PeerHello

CODEC = Codec("default")


class Node:
    """A node that answers each call with Done, and each watch with a Pong. ``requests`` are what it was asked."""

    def __init__(
        self,
        name: str,
        boot: int,
        *,
        connect: Connect = connect_tcp,
        codec: Codec = CODEC,
        security: Security | None = None,
    ) -> None:
        self.name = name
        self.boot = boot
        self.requests: list[bytes] = []
        self.senders: list[bytes] = []
        self.refused: list[Refusal] = []
        self.left = trio.Event()
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.known: dict[str, Node] = {}
        self.address = Address("127.0.0.1", 0)
        self.peers = Peers(codec, PeerHello(name, boot), connect=connect, security=security)
        self.is_secured = security is not None
        self.port_stats = PortStats()
        self.noted: list[tuple[str, str, str]] = []
        self.queries: list[IncomingCall] = []
        self.knocked: list[Address] = []
        self.expelled: set[tuple[bytes, str]] = set()
        self.answer_query: Callable[[IncomingCall], Awaitable[None]] | None = None

    def answer_call(self, body: bytes, sender: bytes = b"") -> tuple[bytes | Awaitable[bytes], bool]:
        CODEC.decode_request_untrusted(body)
        self.requests.append(body)
        self.senders.append(sender)
        return (CODEC.encode(Done()) if self.may_answer.is_set() else self._answer_later()), False

    async def _answer_later(self) -> bytes:
        await self.may_answer.wait()
        return CODEC.encode(Done())

    async def answer_watch(self, body: bytes) -> bytes:
        CODEC.decode_request_untrusted(body)
        return CODEC.encode(Pong(self.name, self.boot, 0))

    async def wait_until_left(self) -> None:
        await self.left.wait()

    async def sleep_with_slack(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def count_refused(self, reason: Refusal) -> None:
        self.refused.append(reason)

    def first_route(self, node_id: str) -> CallRoute | None:
        return next(iter(self.routes(node_id)), None)

    def routes(self, node_id: str) -> list[CallRoute]:
        route = self.relay_route(node_id)
        if route is None:
            return []
        relays = [node for name, node in self.known.items() if name not in (node_id, self.name)]
        return [route, *(CallRoute(node.name, node.boot, (node.address,), node_id) for node in relays)]

    def note_route(self, node_id: str, via: str, failure: str) -> None:
        self.noted.append((node_id, via, failure))

    def relay_route(self, node_id: str) -> CallRoute | None:
        node = self.known.get(node_id)
        return None if node is None else CallRoute(node.name, node.boot, (node.address,))

    def knock(self, address: Address, node_id: str) -> None:
        self.knocked.append(address)

    def expel(self, agents: Collection[tuple[bytes, str]]) -> None:
        self.expelled.update(agents)

    def check_reply(self, reply: CallReply, replier: str) -> CallReply:
        return reply

    def is_usurper(self, node_id: str, machine: bytes) -> bool:
        return False

    async def serve_query(self, call: IncomingCall) -> None:
        self.queries.append(call)
        if self.answer_query is not None:
            await self.answer_query(call)

    @property
    def open_connections(self) -> int:
        return len(self.peers.connections)


@asynccontextmanager
async def running(*nodes: Node, serve: ServeCall | None = None) -> AsyncIterator[None]:
    """These nodes listen on loopback and know one another, until the block ends."""
    async with trio.open_nursery() as nursery:
        for node in nodes:
            sockets = open_sockets("127.0.0.1", 0, is_port_wished=True)
            sockets.datagrams.close()
            node.address = Address("127.0.0.1", sockets.port)
            node.known = {other.name: other for other in nodes}
            serve_tls = node.peers.serve_tls if node.is_secured else None
            port = Port(sockets.listener, node.peers.serve_stream, serve_tls)
            node.port_stats = port.stats
            await nursery.start(node.peers.run, node, node.serve_query)
            await nursery.start(port.run)
        yield
        nursery.cancel_scope.cancel()
