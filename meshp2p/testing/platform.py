"""The platform of a node on the virtual LAN."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from typing import Final

import trio

from meshp2p.core.address import Address, parse_endpoint
from meshp2p.core.randomness import Randomness
from meshp2p.discovery.beacon import BeaconSource
from meshp2p.discovery.cache import CacheSource, KnownPeer
from meshp2p.discovery.endpoints import Endpoints, Link
from meshp2p.discovery.seeds import SeedSource
from meshp2p.discovery.source import Source
from meshp2p.errors import StartError
from meshp2p.net.peers import Peers
from meshp2p.net.security import Security
from meshp2p.node.config import DEFAULT_PORT, NodeConfig
from meshp2p.node.platform import Bound, Disk, Surroundings
from meshp2p.testing.air import VirtualAir
from meshp2p.testing.datagrams import VirtualDatagrams
from meshp2p.testing.disk import OpenDisk
from meshp2p.testing.host import LanHost
from meshp2p.testing.lan import Lan
from meshp2p.testing.multicast import MulticastSource
from meshp2p.testing.process import Process
from meshp2p.testing.streams import VirtualListener, connect
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_frames import PeerHello

__all__ = ["Listeners", "VirtualPlatform"]

EPOCH_MS: Final = 1_767_225_600_000
"""The initial time of the wall clocks of a virtual mesh: 2026-01-01T00:00:00Z."""


class Listeners:
    """The listeners on the LAN's multicast addresses, of mDNS and of beacons."""

    def __init__(self) -> None:
        self.mdns: dict[MulticastSource, None] = {}
        self.beacon: dict[VirtualAir, None] = {}


class VirtualPlatform:
    """The platform of one node: a host of the LAN, and its process that is alive when this is created.

    ``host`` and ``insecure_lan`` of the node's configuration are ignored: a virtual node is bound to its host's one
    address.
    """

    def __init__(self, lan: Lan, listeners: Listeners, host: LanHost, process: Process, seed: object) -> None:
        self._lan = lan
        self._listeners = listeners
        self._host = host
        self._process = process
        host.platforms += 1
        self.random: Randomness = random.Random(f"node {host.platforms} of {host.name} of {seed}")
        self._beacon_random = random.Random(f"beacon {host.platforms} of {host.name} of {seed}")

    @property
    def hostname(self) -> str:
        return self._host.name

    def wall_ms(self) -> int:
        return EPOCH_MS + int((self._lan.log.now + self._host.wall_skew) * 1000)

    def lease_clock(self) -> float:
        return self._lan.log.now

    def choose_mesh(self, config: NodeConfig) -> NodeConfig:
        return NodeConfig.of(config, mesh=config.mesh_name)

    async def count_secured(self, config: NodeConfig) -> int:
        await trio.lowlevel.checkpoint()
        return 0

    def bind(self, config: NodeConfig) -> Bound:
        host, process = self._host, self._process
        if process.is_dead:
            raise StartError(f"host {host.name!r} was killed: restart it first")
        port = DEFAULT_PORT if config.port is None else config.port
        if port in host.udp or port in host.tcp:
            if config.port is not None:
                raise StartError(
                    f"port {port} of {host.ip} is in use: choose another, or 0 for any that is free"
                ) from OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            port = 0
        if port == 0:
            port = host.allocate_port()
        address = Address(host.ip, port)
        datagrams = VirtualDatagrams(self._lan, process, address, Codec(config.mesh_name))
        listener = VirtualListener(self._lan, process, address)
        host.udp[port], host.tcp[port] = datagrams, listener
        process.at_death[datagrams.close] = None
        process.at_death[listener.close] = None
        return Bound(datagrams, listener, host.ip, port)

    async def look_around(self, config: NodeConfig, bound: Bound) -> Surroundings:
        await trio.lowlevel.checkpoint()
        await self._process.wait_until_running()
        ip, name = self._host.ip, self._host.name
        names = (ip, name, f"{name}.local", config.hostname or "localhost", *config.allow_hosts)
        place = Endpoints((Address(ip, bound.port),), (Link("virtual", ip, 1, None),))
        return Surroundings(place, frozenset(each.lower() for each in names), config.hostname or name)

    def why_no_network(self) -> str:
        return ""

    def open_security(self, config: NodeConfig, instance_id: str) -> None:
        return None  # meshes on a virtual network are open

    def make_peers(self, codec: Codec, own: PeerHello, security: Security | None) -> Peers:
        lan, process = self._lan, self._process
        # no outcome reaches a suspended process, not even a timeout
        return Peers(
            codec,
            own,
            connect=lambda address: connect(lan, process, address.host, address.port),
            gate=process.wait_until_running,
            security=security,
        )

    def open_disk(self, config: NodeConfig) -> Disk | None:
        if config.data_dir is None:
            return None
        directory = str(config.data_dir)
        return OpenDisk(self._host.disk(directory), self._process, directory)

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
            seeds = [parse_endpoint(seed) for seed in config.join]
            sources.append(SeedSource(seeds, resolve=self._resolve, company=company))
        if config.mdns:
            sources.append(
                MulticastSource(
                    self._lan,
                    self._listeners.mdns,
                    self._host,
                    self._process,
                    config.mesh_name,
                    instance_id,
                    place.addresses,
                )
            )
        if config.has_beacon:
            sources.append(
                BeaconSource(
                    instance_id, Codec(config.mesh_name), place, company, self._beacon_random, open_air=self._open_air
                )
            )
        if peers:
            sources.append(CacheSource(peers))
        return sources

    def _open_air(self, _links: Sequence[Link]) -> VirtualAir:
        return VirtualAir(self._lan, self._listeners.beacon, self._host, self._process)

    async def _resolve(self, seed: Address) -> Sequence[Address]:
        await self._process.wait_until_running()
        return await self._lan.resolve(seed, self._host)
