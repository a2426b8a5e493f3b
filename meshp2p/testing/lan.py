"""The virtual LAN: its hosts, what passes between them, and how long it takes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Datagram
from meshp2p.errors import ConfigError, RemoteProtocolError
from meshp2p.testing.courier import Courier
from meshp2p.testing.host import LanHost, UdpPort
from meshp2p.testing.log import Log
from meshp2p.virtual.corruption import mangle
from meshp2p.virtual.faults import Faulty, Kind
from meshp2p.virtual.impairments import Flight
from meshp2p.virtual.links import LinkOptions, Links
from meshp2p.virtual.trace import What

__all__ = ["Lan"]

_LOOPBACK_SECONDS: Final = 0.00005  # chosen, not measured
_HOSTS_MAX: Final = 250 * 250
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Lan:
    """All hosts, and the faults of the network between them. Traffic between two ports of one host has no faults.

    ``fired`` counts the affected packets by the name of the fault.
    """

    def __init__(self, courier: Courier, log: Log, link: LinkOptions, seed: object) -> None:
        self.courier = courier
        self.log = log
        self.hosts: dict[str, LanHost] = {}
        self._hosts_by_ip: dict[str, LanHost] = {}
        self._former: dict[str, LanHost] = {}
        """Former hosts by addresses that are not used any more: packets from there may still arrive."""
        self._links = Links(link, random.Random(f"network of {seed}"))
        self._fault_count = 0
        self.fired: dict[str, int] = self._links.fired

    # Hosts

    def add_host(self, name: str) -> LanHost:
        """Add a machine at the next free address. Raises :class:`ConfigError`."""
        host = LanHost(name, self._next_ip())
        self.hosts[name] = self._hosts_by_ip[host.ip] = host
        return host

    def readdress(self, host: LanHost) -> None:
        """Give a machine the next free address; its old address is unused from now on.

        Its sockets are bound to all of its addresses, and connections stay open.
        """
        ip = self._next_ip()
        self._former[host.ip] = self._hosts_by_ip.pop(host.ip)
        host.ip = ip
        self._hosts_by_ip[ip] = host
        for port, datagrams in host.udp.items():
            datagrams.address = Address(ip, port)
        for port, listener in host.tcp.items():
            listener.address = Address(ip, port)

    def _next_ip(self) -> str:
        number = len(self._hosts_by_ip) + len(self._former)
        if number >= _HOSTS_MAX:
            raise ConfigError(f"a virtual LAN has at most {number} hosts")
        return f"10.0.{number // 250}.{number % 250 + 1}"

    def host_at(self, place: str, seen_from: LanHost) -> LanHost | None:
        """Return the host with this address or name, ``localhost`` included."""
        if place in _LOOPBACK:
            return seen_from
        return self._hosts_by_ip.get(place) or self.hosts.get(place.removesuffix(".local"))

    async def resolve(self, seed: Address, seen_from: LanHost) -> tuple[Address, ...]:
        """Return the address of a host name or address. Raises ``OSError`` if there is none."""
        host = self.host_at(seed.host, seen_from)
        if host is not None:
            return (Address(host.ip, seed.port),)
        if seed.host.replace(".", "").isdigit():
            return (seed,)
        raise OSError(f"the virtual network has no host {seed.host!r}")

    # Faults

    def add_fault(self, fault: Faulty) -> int:
        """Start a fault of the network. Returns the argument for :meth:`end_fault`. Raises :class:`ConfigError` for a
        fault of another kind."""
        self._fault_count += 1
        if not self._links.begin(self._fault_count, fault):
            raise ConfigError(
                f"{type(fault).__name__} is not a fault of the network:"
                " use kill(), pause(), clock_step() or forget_writes()"
            )
        return self._fault_count

    def end_fault(self, number: int) -> bool:
        """End a fault. Return whether it was active."""
        return self._links.end(number)

    def end_all_faults(self) -> int:
        """End all faults. Return how many were active."""
        return self._links.end_all()

    # Traffic

    def leg(self, sender: LanHost, receiver: LanHost, kind: Kind, packet_bytes: int = 0) -> Flight | None:
        """Return one leg of a packet that is sent now, with its delay; None, or ``dropped``, if it does not arrive."""
        flight = Flight(sender.name, receiver.name, self.log.now, kind, lambda: packet_bytes)
        if not sender.is_on:
            return None
        if sender is receiver:
            flight.delay = _LOOPBACK_SECONDS
            return flight
        self._links.carry(flight)
        if not flight.dropped:
            flight.delay += self._links.draw_delay()
        return flight

    def tcp_delay(self, sender: LanHost, receiver: LanHost) -> float | None:
        """Return how long a segment takes; None if it, or its acknowledgement, does not pass now."""
        if not receiver.is_on:
            return None
        forth = self.leg(sender, receiver, Kind.TCP)
        if forth is None or forth.dropped:
            return None
        if sender is not receiver and self._links.objection(receiver.name, sender.name, Kind.TCP, forth.now):
            return None
        return forth.delay

    # Datagrams

    def send(self, socket: UdpPort, target: Address, data: bytes) -> None:
        """Send one datagram."""
        sender = self.hosts[socket.process.host_name]
        receiver = self.host_at(target.host, sender)
        log, peer = self.log, target.host if receiver is None else receiver.name
        log.mark(sender.name, "udp", peer, data)
        cause = log.packet(sender.name, What.SEND, peer, _decode(socket, data)) if log.keeps_packets else 0
        flight = None if receiver is None else self.leg(sender, receiver, Kind.UDP, len(data))
        if receiver is None or flight is None:
            log.packet(peer, What.DROP, sender.name, "nobody is there", cause)
            return
        if flight.dropped:
            log.packet(peer, What.DROP, sender.name, flight.dropped, cause)
            return
        if flight.is_corrupted:
            data = mangle(data, self._links.random)
        when = trio.current_time() + flight.delay
        for later in (0.0, *flight.copies):
            self.courier.at(when + later, self._arrive, receiver, target.port, data, socket.address, cause)

    def _arrive(self, receiver: LanHost, port: int, data: bytes, source: Address, cause: int) -> None:
        socket = receiver.udp.get(port)
        log = self.log
        sender = (self._hosts_by_ip.get(source.host) or self._former[source.host]).name
        if not receiver.is_on or socket is None:
            log.packet(receiver.name, What.DROP, sender, "nobody is there", cause)
        elif not socket.enqueue(data, source):
            log.packet(receiver.name, What.DROP, sender, "the socket's buffer is full", cause)
        else:
            log.packet(receiver.name, What.RECEIVE, sender, None, cause)

    def close_datagrams(self, socket: UdpPort) -> None:
        """Close a socket: nothing arrives there any more."""
        host = self.hosts[socket.process.host_name]
        if host.udp.get(socket.address.port) is socket:
            del host.udp[socket.address.port]
        socket.process.at_death.pop(socket.close, None)

    # Multicast

    def multicast(
        self, sender: LanHost, receiver: LanHost, action: Callable[[], None], kind: Kind = Kind.MULTICAST
    ) -> None:
        """Run ``action()`` when a packet of the sender's, multicast or the answer to one, reaches this receiver, if it
        does."""
        flight = self.leg(sender, receiver, kind)
        if flight is not None and not flight.dropped:
            self.courier.at(trio.current_time() + flight.delay, self._reach, receiver, action)

    def _reach(self, receiver: LanHost, action: Callable[[], None]) -> None:
        if receiver.is_on:
            action()


def _decode(socket: UdpPort, data: bytes) -> Datagram | bytes:
    """Decode a datagram for the trace."""
    try:
        return socket.codec.decode_datagram_untrusted(data)
    except RemoteProtocolError:
        return data
