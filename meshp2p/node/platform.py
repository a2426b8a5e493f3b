"""The platform of a node: sockets, a clock for people, randomness, a disk, first peers.

:class:`SystemPlatform` is this machine. :mod:`meshp2p.testing` has a virtual network in one process. Everything above
is the same code.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from meshp2p.core.address import Address, parse_endpoint
from meshp2p.core.effects import Table, Write
from meshp2p.core.randomness import Randomness
from meshp2p.discovery.beacon import BeaconSource
from meshp2p.discovery.cache import CacheSource, KnownPeer, PeerCache
from meshp2p.discovery.endpoints import Endpoints, Link
from meshp2p.discovery.seeds import SeedSource
from meshp2p.discovery.source import Source
from meshp2p.errors import StoreError
from meshp2p.net.driver_parts import Datagrams
from meshp2p.net.interfaces import Interface, InterfaceLister, advertised_addresses, list_interfaces, why_no_network
from meshp2p.net.peers import Peers
from meshp2p.net.port import Listener
from meshp2p.net.security import Security
from meshp2p.net.sockets import open_sockets
from meshp2p.node.config import DEFAULT_PORT, NodeConfig, is_loopback
from meshp2p.node.secured_meshes import choose_mesh, count_secured, find_credential
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.identity import Identity, IdentityStore
from meshp2p.store.message_writer import MessageWriter
from meshp2p.store.messages import Durability, MessageStore
from meshp2p.store.recordings import RecordingFiles
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_frames import PeerHello

__all__ = [
    "Bound",
    "Disk",
    "Platform",
    "Surroundings",
    "SystemPlatform",
    "find_place",
]


class Bound:
    """A node's two sockets, and the host and port that they are bound to. ``lister`` lists the interfaces of this
    machine; a virtual node has none."""

    def __init__(
        self, datagrams: Datagrams, listener: Listener, host: str, port: int, lister: InterfaceLister | None = None
    ) -> None:
        self.datagrams = datagrams
        self.listener = listener
        self.host = host
        self.port = port
        self.lister = lister

    async def close(self) -> None:
        self.datagrams.close()
        if self.lister is not None:
            self.lister.close()
        await trio.aclose_forcefully(self.listener)


class Surroundings(msgspec.Struct, frozen=True):
    """The networks of the machine, as far as they concern a node now. ``allowed_hosts`` are the names and addresses, in
    lower case, under which the node may be called."""

    place: Endpoints
    allowed_hosts: frozenset[str]
    hostname: str
    """The name that the registry is to show."""


class Disk(Protocol):
    """The disk of a node: its identity, known peers, and messages."""

    def load_identity(self) -> Identity | None:
        """Return the stored identity. Raises :class:`~meshp2p.errors.StoreError` if it cannot be read."""

    async def save_identity(self, identity: Identity) -> None:
        """Store the identity. When this returns, it is on disk. Raises :class:`~meshp2p.errors.StoreError`."""

    async def load_peers(self) -> tuple[KnownPeer, ...]: ...
    async def save_peers(self, peers: tuple[KnownPeer, ...]) -> None:
        """Call it regularly, even without new peers: it also stores the time that has passed."""

    def load_messages(self) -> list[tuple[Table, bytes, bytes]]:
        """Return what was stored and not deleted, table by table and in the order of keys. Call it before the first
        :meth:`store`. Raises :class:`~meshp2p.errors.StoreError` if the stored messages cannot be read."""

    def store(self, batches: Sequence[tuple[Write, ...]]) -> Awaitable[None] | None:
        """Make all these writes, in their order, or none: then it raises :class:`~meshp2p.errors.StoreError`. They are
        on disk when this returns None, or when its result was awaited. Cancel-safe: then it is unknown whether they
        are."""

    async def save_recording(self, name: str, data: bytes) -> None:
        """Write a recording, and remove the oldest. Names are in the order of time. Raises
        :class:`~meshp2p.errors.StoreError`."""

    @property
    def age(self) -> float:
        """How many seconds ago the disk was first used, by elapsed time. Read it after :meth:`load_messages`."""

    @property
    def loss(self) -> str | None:
        """A description of the messages that are missing since the last end; None if none are. Read it after
        :meth:`load_messages`."""

    def close(self) -> None:
        """Finish pending writes, and release the disk to other nodes."""


class Platform(Protocol):
    """The world of one node."""

    @property
    def hostname(self) -> str: ...
    @property
    def random(self) -> Randomness: ...

    def wall_ms(self) -> int:
        """Return Unix milliseconds."""

    def lease_clock(self) -> float:
        """Return the seconds of a clock that cannot be set and that also runs while the machine is suspended."""

    def choose_mesh(self, config: NodeConfig) -> NodeConfig:
        """Return the configuration with the name of a mesh. Raises :class:`~meshp2p.errors.ConfigError` and
        :class:`~meshp2p.errors.StoreError`."""

    async def count_secured(self, config: NodeConfig) -> int:
        """Return how many nodes are seen of secured meshes of this name that this machine is not in."""

    def bind(self, config: NodeConfig) -> Bound:
        """Open the node's sockets. Raises :class:`~meshp2p.errors.StartError`."""

    async def look_around(self, config: NodeConfig, bound: Bound) -> Surroundings:
        """Return the current addresses and networks. Raises ``OSError`` if they cannot be listed."""

    def why_no_network(self) -> str:
        """Return why no other machine can be reached at all; empty if one may be."""

    def open_security(self, config: NodeConfig, instance_id: str) -> Security | None:
        """Return the TLS identity of a node of a secured mesh, or None if the mesh of that name is open. Raises
        :class:`~meshp2p.errors.StartError` and :class:`~meshp2p.errors.StoreError`."""

    def make_peers(self, codec: Codec, own: PeerHello, security: Security | None) -> Peers:
        """Return the node's connections to others, none yet."""

    def open_disk(self, config: NodeConfig) -> Disk | None:
        """Open the disk of the node; None if it keeps nothing. Raises :class:`~meshp2p.errors.StartError`."""

    def sources(
        self,
        config: NodeConfig,
        instance_id: str,
        place: Endpoints,
        peers: tuple[KnownPeer, ...],
        company: Callable[[], int],
    ) -> list[Source]:
        """Return the sources of peers. ``company()`` is how many other nodes it lists."""


class SystemPlatform:
    """This machine."""

    def __init__(self) -> None:
        self.random: Randomness = random.Random(os.urandom(32))

    @property
    def hostname(self) -> str:
        return os.fsencode(socket.gethostname()).decode("utf-8", "backslashreplace")

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def lease_clock(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def choose_mesh(self, config: NodeConfig) -> NodeConfig:
        return choose_mesh(config)

    async def count_secured(self, config: NodeConfig) -> int:
        await trio.lowlevel.checkpoint()
        return await count_secured(config.mesh_name) if config.mdns and find_credential(config) is None else 0

    def bind(self, config: NodeConfig) -> Bound:
        port = DEFAULT_PORT if config.port is None else config.port
        sockets = open_sockets(config.bound_host, port, is_port_wished=config.port is not None)
        return Bound(sockets.datagrams, sockets.listener, sockets.host, sockets.port, InterfaceLister())

    async def look_around(self, config: NodeConfig, bound: Bound) -> Surroundings:
        await trio.lowlevel.checkpoint()
        interfaces = list_interfaces() if bound.lister is None else bound.lister.list()
        place = find_place(bound.host, bound.port, interfaces)
        name = self.hostname
        names = {name, f"{name}.local", config.hostname or "localhost", *place.hosts, *config.allow_hosts}
        if bound.host in ("::", "0.0.0.0"):
            names |= {host for interface in interfaces for host in interface.addresses}
        return Surroundings(place, frozenset(name.lower() for name in names), config.hostname or name)

    def why_no_network(self) -> str:
        try:
            return why_no_network(list_interfaces())
        except OSError as error:
            return f"the interfaces of this machine cannot be listed: {error}"

    def open_security(self, config: NodeConfig, instance_id: str) -> Security | None:
        credential = find_credential(config)
        if credential is None:
            return None
        from meshp2p.node.security import open_security  # noqa: PLC0415  # only where it is used

        return open_security(credential, instance_id, config.hostname or self.hostname)

    def make_peers(self, codec: Codec, own: PeerHello, security: Security | None) -> Peers:
        return Peers(codec, own, security=security)

    def open_disk(self, config: NodeConfig) -> Disk | None:
        return None if config.data_dir is None else _DirectoryDisk(config.data_dir, config.durability)

    def sources(
        self,
        config: NodeConfig,
        instance_id: str,
        place: Endpoints,
        peers: tuple[KnownPeer, ...],
        company: Callable[[], int],
    ) -> list[Source]:
        sources: list[Source] = []
        if config.join:
            sources.append(SeedSource([parse_endpoint(seed) for seed in config.join], company=company))
        if config.has_beacon:
            sources.append(BeaconSource(instance_id, Codec(config.mesh_name), place, company, self.random))
        if config.mdns:
            from meshp2p.discovery.mdns import MdnsSource, multicast_interfaces  # noqa: PLC0415  # only where it is used

            port = place.addresses[0].port
            sources.append(
                MdnsSource(instance_id, config.mesh_name, port, place.hosts, multicast_interfaces(place.hosts))
            )
        if peers:
            sources.append(CacheSource(peers))
        return sources


def find_place(bound_host: str, port: int, interfaces: Sequence[Interface]) -> Endpoints:
    """Return the addresses and links of a node whose sockets are bound to this host and port, on a machine with these
    interfaces."""
    hosts = advertised_addresses(bound_host, lambda: interfaces)
    links = [
        Link(interface.name, host, interface.index, interface.broadcast_of(host))
        for interface in interfaces
        for host in interface.addresses
        if host == "127.0.0.1" or (host in hosts and not is_loopback(host))
    ]
    return Endpoints(tuple(Address(host, port) for host in hosts), tuple(links))


class _DirectoryDisk:
    """A directory of this machine."""

    def __init__(self, directory: Path, durability: Durability) -> None:
        with contextlib.ExitStack() as opened:
            self._directory = DataDirectory(directory)
            opened.callback(self._directory.close)
            self._identity = IdentityStore(self._directory)
            self._messages = MessageStore(directory / "messages.sqlite3", durability)
            self._thread = DiskThread()
            opened.pop_all()
        self._writer = MessageWriter(self._directory, self._messages, self._thread, durability)
        self._peers = PeerCache(directory / "peers.json", self._thread.run)
        self._recordings = RecordingFiles(self._directory)

    def load_identity(self) -> Identity | None:
        return self._identity.load()

    async def save_identity(self, identity: Identity) -> None:
        await self._thread.run(lambda: self._identity.save(identity))

    async def load_peers(self) -> tuple[KnownPeer, ...]:
        return await self._peers.load()

    async def save_peers(self, peers: tuple[KnownPeer, ...]) -> None:
        await self._peers.save(peers)
        with contextlib.suppress(StoreError):  # it is told with what cannot be kept
            if (storing := self.store([])) is not None:
                await storing

    async def save_recording(self, name: str, data: bytes) -> None:
        await self._thread.run(lambda: self._recordings.save(name, data))

    def load_messages(self) -> list[tuple[Table, bytes, bytes]]:
        return self._writer.load()

    @property
    def age(self) -> float:
        return self._messages.age

    @property
    def loss(self) -> str | None:
        missing = self._writer.missing
        if not missing:
            return None
        return (
            f"the last {missing} writes of messages are missing on disk: messages that were accepted then may be lost,"
            " and what was acknowledged then may be handed out again"
        )

    def store(self, batches: Sequence[tuple[Write, ...]]) -> Awaitable[None] | None:
        return self._writer.write(batches)

    def close(self) -> None:
        self._thread.close()
        self._writer.close()
        self._messages.close()
        self._directory.close()  # last: it holds the lock
