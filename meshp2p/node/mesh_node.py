"""The node: what an agent embeds, and the composition of all the parts."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import trio

from meshp2p.core.address import Address, parse_address
from meshp2p.core.events import Event, IdConflictLost, LeaderChanged, MemberEvent, MemberJoined
from meshp2p.core.hosting import Profile
from meshp2p.core.instance import Instance, Leader
from meshp2p.core.machine import Machine
from meshp2p.core.messages import DeregisterReply, HeartbeatReply
from meshp2p.core.requests import Deregister, Heartbeat
from meshp2p.discovery.cache import CacheSource, KnownPeer, PeerCache
from meshp2p.discovery.seeds import SeedSource
from meshp2p.discovery.source import Sighting, Source
from meshp2p.errors import IdConflict, check
from meshp2p.http.app import make_app
from meshp2p.http.server import HttpServer
from meshp2p.net.calls import CallClient
from meshp2p.net.driver import Driver
from meshp2p.net.interfaces import advertised_addresses, list_interfaces
from meshp2p.net.sockets import Sockets, open_sockets
from meshp2p.node.config import DEFAULT_PORT, NodeConfig
from meshp2p.node.identity import Self, generate_instance_id
from meshp2p.node.subscriptions import Subscription, Subscriptions
from meshp2p.store.identity import Identity
from meshp2p.version import __version__
from meshp2p.wire.codec import Codec

__all__ = ["MeshNode", "open_node"]

_log = logging.getLogger("meshp2p.node")

_CACHE_INTERVAL = 30.0  # seconds between two writes of the peers that were met: chosen, not measured


class MeshNode:
    """A running node. Made by :func:`open_node`."""

    def __init__(
        self, config: NodeConfig, driver: Driver, subscriptions: Subscriptions, addresses: tuple[Address, ...]
    ) -> None:
        self.config = config
        self.addresses = addresses
        """Where others reach this node, best first."""
        self._driver = driver
        self._machine = driver.machine
        self._subscriptions = subscriptions
        self._started = trio.current_time()
        self._is_leaving = False

    def __repr__(self) -> str:
        return f"<MeshNode {self.id!r} of mesh {self.config.mesh!r} at {self.url}>"

    @property
    def id(self) -> str:
        return self._machine.id

    @property
    def url(self) -> str:
        """The base of this node's HTTP endpoints, for agents on this machine or, where it is bound to it, on the
        LAN."""
        return f"http://{self.addresses[0]}"

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self._started

    # What is so

    @property
    def leader(self) -> Leader | None:
        """Who leads; None while nobody does: the node has just begun, or its side of a partition has no quorum."""
        return self._machine.leader()

    def members(self) -> list[Instance]:
        """All live instances, this one among them, ordered by the bytes of their ids."""
        return self._machine.instances(trio.current_time())

    def member(self, instance_id: str) -> Instance | None:
        """The live instance of this id; None where there is none."""
        return self._machine.instance(instance_id, trio.current_time())

    def find(self, *, capability: str | None = None, profile: str | None = None) -> list[Instance]:
        """The live instances that have the capability and the profile, each where it is given."""
        return [
            instance
            for instance in self.members()
            if (capability is None or capability in instance.capabilities)
            and (profile is None or profile in instance.profiles)
        ]

    # What happens

    def events(self) -> Subscription:
        """What is so now, as ``MemberJoined`` and ``LeaderChanged``, then each change, with no gap.

        A reader that is slower than the mesh is told so by ``EventsLost``, and never slows the node. It ends when the
        node has left.
        """
        snapshot: list[Event] = [MemberJoined(record) for _, record in sorted(self._machine.records().items())]
        if self._machine.leader_id is not None:
            snapshot.append(LeaderChanged(self._machine.leader_id, None, self._machine.leader_epoch))
        return self._subscriptions.open(snapshot)

    async def wait_for_members(self, count: int) -> list[Instance]:
        """Wait until at least so many instances are live, this one among them, and return them.

        Raises :class:`~meshp2p.errors.NodeClosed` when the node leaves before. Put a ``trio.fail_after`` around it to
        wait no longer than that.
        """
        await self._subscriptions.wait_until(lambda: len(self._machine.records()) >= count)
        return self.members()

    async def wait_for_leader(self) -> Leader:
        """Wait until there is a leader, and return it. Raises :class:`~meshp2p.errors.NodeClosed` when the node leaves
        before."""
        await self._subscriptions.wait_until(lambda: self._machine.leader_id is not None)
        leader = self.leader
        check(leader is not None, "a leader was named and is not listed")
        return leader  # type: ignore[return-value]  # checked

    def set_status(self, status: str, metrics: dict[str, Any] | None = None) -> None:
        """Tell the mesh how this agent is doing. Rate-limited: of several in a second the last one is told."""
        text = "" if metrics is None else msgspec.json.encode(metrics).decode()
        self._driver.perform(self._machine.report(status, text, trio.current_time()))

    # What the HTTP endpoints ask: the Backend protocol

    def why_not_ready(self) -> str | None:
        """Why this node should not be asked now; None where it may be."""
        if self._is_leaving:
            return "the node is leaving"
        if not self._machine.is_settled:
            return "the node has just begun and looks for others"
        return None

    def register(self, profile: Profile) -> None:
        """Host an instance that speaks only HTTP.

        Raises :class:`~meshp2p.errors.InstanceConflict` and :class:`~meshp2p.errors.LimitExceeded`; then nothing
        changed.
        """
        self._driver.perform(self._machine.register(profile, trio.current_time()))

    async def heartbeat(self, instance_id: str, status: str, metrics: str) -> HeartbeatReply:
        """Take a heartbeat of any instance, wherever its home is."""
        reply = await self._driver.request(Heartbeat(instance_id, status, metrics))
        check(isinstance(reply, HeartbeatReply), f"a heartbeat was answered with {reply!r}")
        return reply  # type: ignore[return-value]  # checked

    async def deregister(self, instance_id: str) -> bool:
        """Take a hosted instance off the list; whether there was one. Raises
        :class:`~meshp2p.errors.InstanceConflict`."""
        reply = await self._driver.request(Deregister(instance_id))
        return isinstance(reply, DeregisterReply) and reply.was_found

    def answer_call(self, body: bytes) -> bytes:
        """Answer another node's call. Raises :class:`~meshp2p.errors.RemoteProtocolError`."""
        return self._driver.answer_call(body)

    # Its end

    async def leave(self) -> None:
        """Tell the mesh that this node goes, and wait until enough have heard, ``leave_timeout`` at the most.

        :func:`open_node` does it at the end of its block.
        """
        self._is_leaving = True
        with trio.CancelScope(shield=True):
            self._driver.perform(self._machine.leave(trio.current_time()))
            with trio.move_on_after(self._machine.config.leave_timeout):
                while not self._machine.has_left:
                    await self._driver.wait_for_reply()
        self._subscriptions.end()


@contextlib.asynccontextmanager
async def open_node(config: NodeConfig | None = None, **options: Any) -> AsyncIterator[MeshNode]:
    """Join a mesh: run a node for as long as the block does, and leave properly at its end.

    ``options`` are the fields of :class:`NodeConfig`. The block begins when the node serves and its id is known to be
    its own, which takes until it met a peer, or ``settle_timeout`` where there is none.

    Raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is started, and
    :class:`~meshp2p.errors.IdConflict`, at any time, where another live node holds this id for longer.
    """
    chosen = NodeConfig.of(config, **options)
    own = Self(chosen)
    try:
        while True:
            runner = _Runner(chosen, own)
            try:
                async with runner.run() as node:
                    yield node
                return
            except _IdIsTaken:
                _log.warning("the id %r is another live node's as well: taking a new one", own.identity.id)
                own.become(Identity(generate_instance_id(chosen.hostname), is_generated=True))
    finally:
        own.close()


class _IdIsTaken(Exception):
    """The id that was made once is another's too, and nobody was told of this node yet."""


class _Runner:
    """Puts a node together, runs it, and takes it apart."""

    def __init__(self, config: NodeConfig, own: Self) -> None:
        self._config = config
        self._own = own
        self._subscriptions = Subscriptions()
        self._lost_id: IdConflictLost | None = None
        self._scope = trio.CancelScope()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[MeshNode]:
        config = self._config
        sockets = _bind(config)
        hosts = advertised_addresses(sockets.host)
        addresses = tuple(Address(host, sockets.port) for host in hosts)
        codec = Codec(config.mesh)
        machine = Machine(
            Profile(
                self._own.identity.id,
                config.hostname or socket.gethostname(),
                sockets.port,
                config.capabilities,
                config.profiles,
            ),
            addresses,
            config.protocol,
            random.SystemRandom(),
            _wall_ms,
            self._own.identity.kept,
        )
        failure: Exception | None = None
        has_begun = False
        async with CallClient(codec) as caller, trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            keep = self._own.keep if self._own.can_keep else None
            driver = Driver(machine, codec, sockets.datagrams, caller, self._emit, keep)
            node = MeshNode(config, driver, self._subscriptions, addresses)
            server = HttpServer(
                make_app(node, __version__, _allowed_hosts(sockets.host, config.hostname), config.allow_origins),
                config.limits,
                server_header=f"meshp2p/{__version__}",
            )
            served = trio.Event()
            try:
                await nursery.start(driver.run)
                await nursery.start(_serve, server, sockets.listener, served)
                for source in await self._sources(node, hosts):
                    nursery.start_soon(source.run, self._offer_to(driver))
                if config.data_dir is not None:
                    nursery.start_soon(self._keep_peers, node, PeerCache(config.data_dir / "peers.json"))
                await self._subscriptions.wait_until(lambda: machine.is_announced or machine.has_lost_id)
                has_begun = not machine.has_lost_id
                if has_begun:
                    yield node
            except Exception as error:  # noqa: BLE001  # raised again below, not wrapped into a group
                failure = error
            finally:
                if not machine.has_lost_id:
                    await node.leave()
                self._subscriptions.end()
                server.shut_down()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + config.limits.grace_seconds):
                    await served.wait()
                nursery.cancel_scope.cancel()
        sockets.datagrams.close()
        if failure is not None:
            raise failure
        if self._lost_id is not None:
            if not has_begun and self._own.identity.is_generated:
                raise _IdIsTaken
            raise IdConflict(
                f"id {self._lost_id.id!r} is held by another live node, at {self._lost_id.address}, for longer:"
                " choose another id, or stop that node"
            )

    def _emit(self, event: Event) -> None:
        match event:
            case IdConflictLost():
                self._lost_id = event
                self._scope.cancel()
            case LeaderChanged():
                _log.info("leader is now %s (epoch %d), was %s", event.leader_id, event.epoch, event.previous_id)
            case MemberEvent():
                _log.info("%s: %s", type(event).__name__, event.id)
        self._subscriptions.put(event)

    @staticmethod
    def _offer_to(driver: Driver) -> Callable[[Sighting], None]:
        def offer(sighting: Sighting) -> None:
            machine = driver.machine
            now = trio.current_time()
            driver.perform(machine.offer(sighting.source, sighting.addresses, sighting.instance_id, now))

        return offer

    async def _sources(self, node: MeshNode, hosts: Sequence[str]) -> list[Source]:
        config = self._config
        sources: list[Source] = []
        if config.join:
            sources.append(SeedSource([parse_address(seed, DEFAULT_PORT) for seed in config.join]))
        if config.mdns:
            from meshp2p.discovery.mdns import MdnsSource, multicast_interfaces  # noqa: PLC0415  # only where it is used

            port = node.addresses[0].port
            sources.append(MdnsSource(node.id, config.mesh, port, hosts, multicast_interfaces(hosts)))
        if config.data_dir is not None:
            sources.append(CacheSource(await PeerCache(config.data_dir / "peers.json").load()))
        return sources

    @staticmethod
    async def _keep_peers(node: MeshNode, cache: PeerCache) -> None:
        """Write down who was met, so that the next start finds them."""
        while True:
            await trio.sleep(_CACHE_INTERVAL)
            await cache.save(
                KnownPeer(member.id, (member.address,))
                for member in node.members()
                if member.address is not None and member.id != node.id
            )


async def _serve(
    server: HttpServer,
    listener: trio.SocketListener,
    served: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the server ends, which it does within its grace time, and say so."""
    try:
        await server.serve([listener], task_status=task_status)
    finally:
        served.set()


def _bind(config: NodeConfig) -> Sockets:
    host = config.bound_host
    port = DEFAULT_PORT if config.port is None else config.port
    is_wished = config.port is not None
    if config.host is None and host == "::" and not socket.has_ipv6:
        host = "0.0.0.0"
    return open_sockets(host, port, is_port_wished=is_wished)


def _allowed_hosts(bound_host: str, hostname: str | None) -> Callable[[], frozenset[str]]:
    """The names and addresses under which this node may be called: what it is bound to, and this machine's names."""
    names = {socket.gethostname(), f"{socket.gethostname()}.local", hostname or "localhost"}
    if ipaddress.ip_address(bound_host).is_unspecified:
        hosts = {host for interface in list_interfaces() for host in interface.addresses}
    else:
        hosts = {bound_host}
    allowed = frozenset(name.lower() for name in names | hosts)
    return lambda: allowed


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
