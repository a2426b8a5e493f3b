"""What ``meshp2p doctor`` looks at: this machine, its networks, and who is seen through each source of discovery."""

from __future__ import annotations

import errno
import ipaddress
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import trio

from meshp2p.cli.doctor_members import call_members
from meshp2p.core.address import Address, parse_address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Call
from meshp2p.core.messages import Pong, Probe
from meshp2p.core.swim.candidates import Candidates, SourceStats
from meshp2p.discovery.beacon import callable_at
from meshp2p.discovery.beacon_sockets import (
    BEACON_GROUP,
    BEACON_GROUP_IPV6,
    BEACON_PORT,
    join_group,
    open_listener,
    open_sender,
)
from meshp2p.discovery.cache import PeerCache
from meshp2p.discovery.mdns import browse_once, multicast_interfaces
from meshp2p.discovery.place import Link, Place
from meshp2p.discovery.seeds import resolve
from meshp2p.errors import Refusal, RemoteProtocolError, StartError
from meshp2p.net.interfaces import Interface, list_interfaces
from meshp2p.net.peers import open_stranger
from meshp2p.net.sockets import open_sockets
from meshp2p.node.config import DEFAULT_PORT, NodeConfig, is_loopback
from meshp2p.node.platform import find_place
from meshp2p.wire.beacon import BEACON_BYTES_MAX, Answer, Question
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import FRAME_BYTES

__all__ = ["Check", "Examination", "SeenNode"]

CLOCK_MIN: Final = 1_767_225_600
"""The first second of 2026: a clock that shows less was never set."""
CALL_TIMEOUT: Final = 2.0
NO_CARRIER: Final = "it has no carrier: plug in its cable, or join its network"
IS_OK, IS_WARNING, IS_BROKEN = "ok", "warning", "broken"

Take = Callable[[bytes, Address], None]


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``state`` is ``ok``, ``warning`` or ``broken``; ``hint`` is what to do about it."""

    name: str
    state: str
    text: str
    hint: str = ""


class SeenNode(msgspec.Struct):
    """A node of the mesh that some source told of, or that answered."""

    id: str | None
    addresses: list[str]
    sources: list[str]
    is_reachable: bool = False


class Examination:
    """One run of all checks, for a node with this configuration. ``seconds`` is how long it listens."""

    def __init__(self, config: NodeConfig, seconds: float) -> None:
        self._config = config
        self._seconds = seconds
        self._codec = Codec(config.mesh)
        self._table = Candidates(ProtocolConfig(), random.SystemRandom())
        self._other_tags: set[bytes] = set()
        self._other_names: set[str] = set()
        self._links: tuple[Link, ...] = ()
        self.checks: list[Check] = []
        self.nodes: list[SeenNode] = []

    async def run(self) -> None:
        """Look at everything. Raises nothing that the machine or the network does."""
        self._check_configuration()
        interfaces = self._check_interfaces()
        place = find_place("::" if self._config.host is None else self._config.bound_host, self._port, interfaces)
        self._links = place.links
        self._check_port()
        self._check_clock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_by_beacon)
            nursery.start_soon(self._look_by_mdns, place)
            for seed in self._config.join:
                nursery.start_soon(self._look_by_seed, parse_address(seed, DEFAULT_PORT))
            nursery.start_soon(self._look_into_cache)
        await self._call_all()
        await self._call_members()

    @property
    def sources(self) -> dict[str, SourceStats]:
        """What each source is worth."""
        return self._table.statistics()

    @property
    def other_meshes(self) -> int:
        """How many meshes of other names were noticed, at least."""
        return max(len(self._other_names), len(self._other_tags))

    @property
    def reachable(self) -> int:
        return sum(node.is_reachable for node in self.nodes)

    @property
    def broken(self) -> list[Check]:
        return [check for check in self.checks if check.state == IS_BROKEN]

    def _note(self, name: str, state: str, text: str, hint: str = "") -> None:
        self.checks.append(Check(name, state, text, hint if state != IS_OK else ""))

    # This machine

    @property
    def _port(self) -> int:
        return DEFAULT_PORT if self._config.port is None else self._config.port

    def _check_configuration(self) -> None:
        config = self._config
        port = (
            f"port {config.port}"
            if config.port
            else f"port {DEFAULT_PORT} or any"
            if config.port is None
            else "any port"
        )
        seeds = f"joins {', '.join(config.join)}" if config.join else "no seeds"
        text = f"mesh {config.mesh!r}, bound to {config.bound_host}, {port}, {seeds}"
        self._note("configuration", IS_OK, text)
        if is_loopback(config.bound_host):
            hint = "give it --host, or --insecure-lan for all addresses"
            self._note("configuration", IS_WARNING, "such a node is seen on this machine alone", hint)
        if not config.mdns and not config.has_beacon:
            hint = "leave mdns on, or name a node with --join HOST:PORT"
            self._note("configuration", IS_WARNING, "such a node looks for nobody but its seeds", hint)

    def _check_interfaces(self) -> tuple[Interface, ...]:
        try:
            interfaces = list_interfaces()
        except OSError as error:
            self._note("interfaces", IS_BROKEN, f"they cannot be listed: {error}")
            return ()
        hosts: list[str] = []
        for interface in interfaces:
            addresses = ", ".join(interface.addresses) or "no address that a socket can be bound to"
            hosts += interface.addresses if interface.has_carrier else ()
            text = f"{interface.name}: {addresses} ({', '.join(interface.flags)})"
            hint = f"it is down: ip link set {interface.name} up" if interface.is_down else NO_CARRIER
            self._note("interface", IS_OK if interface.has_carrier else IS_WARNING, text, hint)
        if "127.0.0.1" not in hosts:
            self._note("loopback", IS_BROKEN, "no interface that is up has 127.0.0.1", "ip link set lo up")
        if all(ipaddress.ip_address(host).is_loopback for host in hosts):
            self._note("network", IS_WARNING, "no network is up: only this machine can be reached", "plug it in")
        return interfaces

    def _check_port(self) -> None:
        try:
            sockets = open_sockets(self._config.bound_host, self._port, is_port_wished=True)
        except StartError as error:
            hint = "another node of this machine may have it: leave --port out, and any free one is taken"
            self._note("port", IS_WARNING if self._config.port is None else IS_BROKEN, str(error), hint)
            return
        sockets.datagrams.close()
        sockets.listener.socket.close()
        self._note("port", IS_OK, f"UDP and TCP port {sockets.port} of {sockets.host} can be bound")

    def _check_clock(self) -> None:
        shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        is_set = time.time() >= CLOCK_MIN
        self._note("clock", IS_OK if is_set else IS_WARNING, f"it shows {shown}", "set it: ids and times come from it")

    # The beacon, which is also the test of multicast and broadcast

    async def _look_by_beacon(self) -> None:
        asked: dict[int, tuple[Link, str]] = {}
        heard: set[int] = set()
        answered: set[int] = set()

        def take(data: bytes, source: Address) -> None:
            try:
                message = self._codec.decode_beacon_untrusted(data)
            except RemoteProtocolError as error:
                if error.reason is Refusal.OTHER_MESH:
                    self._other_tags.add(data[4:FRAME_BYTES])
                return
            if message.number in asked:
                (answered if isinstance(message, Answer) else heard).add(message.number)
            if message.id and (isinstance(message, Question) or message.number in asked):
                self._offer("beacon", callable_at(message, source), message.id)

        refused: dict[tuple[Link, str], OSError] = {}
        with trio.move_on_after(self._seconds):
            async with trio.open_nursery() as nursery:
                listeners = {}
                for is_ipv6 in sorted({link.is_ipv6 for link in self._links}):
                    listener = self._open_listener(is_ipv6=is_ipv6)
                    if listener is not None:
                        listeners[is_ipv6] = listener
                        nursery.start_soon(_read, listener, take)
                for _ in range(2):
                    for link in self._links:
                        self._ask(link, listeners.get(link.is_ipv6), asked, refused, nursery, take)
                    await trio.sleep(self._seconds / 3)
                await trio.sleep_forever()
        for link in self._links:
            self._judge(link, {place for n, place in asked.items() if n in heard}, refused)

    def _open_listener(self, *, is_ipv6: bool) -> socket.socket | None:
        version = "IPv6" if is_ipv6 else "IPv4"
        try:
            listener = open_listener(is_ipv6=is_ipv6)
        except OSError as error:
            self._note(f"beacon port {version}", IS_BROKEN, f"UDP {BEACON_PORT}: {error}", "which program has it?")
            return None
        self._note(f"beacon port {version}", IS_OK, f"UDP {BEACON_PORT} can be listened to")
        return listener

    def _ask(
        self,
        link: Link,
        listener: socket.socket | None,
        asked: dict[int, tuple[Link, str]],
        refused: dict[tuple[Link, str], OSError],
        nursery: trio.Nursery,
        take: Take,
    ) -> None:
        """Ask on one link by multicast and by broadcast, each with a number of its own: so one sees which passes."""
        for kind, host in _ways(link):
            try:
                if listener is not None:
                    join_group(listener, link)
                sender = open_sender(link)
                nursery.start_soon(_read, sender, take)
                number = secrets.randbits(64)
                asked[number] = (link, kind)
                sender.sendto(self._codec.encode(Question(number, 0)), (host, BEACON_PORT))
            except OSError as error:
                refused[link, kind] = error

    def _judge(self, link: Link, heard: set[tuple[Link, str]], refused: dict[tuple[Link, str], OSError]) -> None:
        ways = [kind for kind, _ in _ways(link)]
        works = [kind for kind in ways if (link, kind) in heard]
        failed = [f"{kind}: {refused.get((link, kind)) or 'sent, not heard'}" for kind in ways if kind not in works]
        if not failed:
            self._note("link", IS_OK, f"{link}: {' and '.join(ways)} pass")
            return
        is_forbidden = any(error.errno in (errno.EPERM, errno.EACCES) for error in refused.values())
        hint = f"{'a' if is_forbidden else 'perhaps a'} firewall of this machine: allow UDP {BEACON_PORT} and 5353"
        text = f"{link}: " + "; ".join([*failed, *(f"{kind} passes" for kind in works)])
        self._note("link", IS_WARNING if works else IS_BROKEN, text, hint)

    # The other sources

    async def _look_by_mdns(self, place: Place) -> None:
        try:
            seen = await browse_once(None, self._seconds, multicast_interfaces(place.hosts))
        except StartError as error:
            self._note("mdns", IS_WARNING, str(error), "the beacon and --join do without it")
            return
        for advertisement in seen:
            if advertisement.mesh == self._config.mesh:
                self._offer("mdns", advertisement.addresses, advertisement.instance_id)
            else:
                self._other_names.add(advertisement.mesh)
        self._note("mdns", IS_OK, "multicast DNS can be used")

    async def _look_by_seed(self, seed: Address) -> None:
        try:
            with trio.fail_after(self._seconds):
                addresses = await resolve(seed)
        except (OSError, ValueError, trio.TooSlowError) as error:
            self._note("seed", IS_BROKEN, f"{seed}: the name has no address: {error}", "is it spelled right?")
            return
        self._offer("seed", addresses, None)
        async with open_stranger(self._codec) as peers:
            reply = await peers.call(Call(0, tuple(addresses), Probe(0), CALL_TIMEOUT))
        if isinstance(reply, Pong):
            self._note("seed", IS_OK, f"{seed}: node {reply.id} answers")
        else:
            hint = "is the node up, of this mesh, and its TCP port open in the firewall there?"
            self._note("seed", IS_BROKEN, f"{seed}: {getattr(reply, 'reason', reply)}", hint)

    async def _look_into_cache(self) -> None:
        if self._config.data_dir is not None:
            for peer in await PeerCache(Path(self._config.data_dir) / "peers.json").load():
                self._offer("cache", peer.addresses, peer.instance_id)

    def _offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None) -> None:
        self._table.offer(source, addresses, instance_id, trio.current_time())

    # Who answers

    async def _call_all(self) -> None:
        by_id: dict[str, SeenNode] = {}
        now = trio.current_time()
        due = self._table.take_due(now, 64, without=lambda _address, _id: False)
        told = {candidate.address: candidate for candidate in self._table}

        async def call(address: Address) -> None:
            reply = await peers.call(Call(0, (address,), Probe(0), CALL_TIMEOUT))
            answered = reply.id if isinstance(reply, Pong) else None
            self._table.conclude(address, answered, now)
            name = answered or told[address].instance_id or str(address)
            node = by_id.setdefault(name, SeenNode(answered or told[address].instance_id, [], []))
            node.addresses.append(str(address))
            node.sources = sorted({*node.sources, *told[address].sources})
            node.is_reachable = node.is_reachable or answered is not None

        async with open_stranger(self._codec) as peers, trio.open_nursery() as nursery:
            for address in due:
                nursery.start_soon(call, address)
        self.nodes = [by_id[name] for name in sorted(by_id)]
        for node in self.nodes:
            if not node.is_reachable and node.id is not None:
                hint = "open its UDP and TCP port in the firewall of its machine"
                text = f"{node.id} is seen by {', '.join(node.sources)}; at {', '.join(node.addresses)} nobody answers"
                self._note("node", IS_WARNING if node.sources == ["cache"] else IS_BROKEN, text, hint)

    async def _call_members(self) -> None:
        """Who is a member and was seen through no source: whether it can be called."""
        reachable = {node.id: node.addresses[0] for node in self.nodes if node.is_reachable and node.id is not None}
        for member in await call_members(self._codec, reachable):
            addresses = [str(address) for address in member.addresses]
            self.nodes = [node for node in self.nodes if node.id != member.id]
            self.nodes.append(SeenNode(member.id, addresses, ["mesh"], member.answers and member.via is None))
            where = f"{member.id} is a member, and does not answer at {', '.join(addresses)}"
            if member.answers and member.via is not None:
                text = f"{where}; {member.via} passes calls on to it, so it receives messages"
                self._note("member", IS_WARNING, text, "a firewall or NAT hides it: open its TCP port, or leave it so")
            elif not member.answers:
                text = f"{where}; {member.via} has no path to it either: it receives no messages from here"
                self._note("member", IS_BROKEN, text, "open its TCP port in the firewall of its machine")


def _ways(link: Link) -> Iterator[tuple[str, str]]:
    yield "multicast", BEACON_GROUP_IPV6 if link.is_ipv6 else BEACON_GROUP
    if link.broadcast is not None:
        yield "broadcast", link.broadcast


async def _read(opened: socket.socket, take: Take) -> None:
    with opened:
        while True:
            await trio.lowlevel.wait_readable(opened)
            try:
                data, source = opened.recvfrom(BEACON_BYTES_MAX + 1)
            except OSError:
                continue
            take(data, Address(str(source[0]).partition("%")[0], int(source[1])))
