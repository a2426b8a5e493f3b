"""Hosts for a benchmark: network namespaces on one router. The cable of a host can be cut silently.

Each host is a namespace with a ``/32`` address and a cable (veth) to a router, which is a namespace as well.

A cut is a routing rule of the router that discards packets from and to the host. It is silent: there is no ICMP, no
refusal, and no ARP failure, since the router still answers. The LAN is routed and not bridged, because that needs only
veth and routing rules of the kernel. It carries no multicast; ``switch`` has hosts that receive one another's. Packets
that are dropped by kind, chance or group are dropped by iptables of the router.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from simulations.namespaces import Namespace, NamespacesUnavailable, explaining, open_namespaces

__all__ = ["HOSTS_MAX", "NETWORK", "Host", "Lan", "add_host", "dropping", "open_hosts", "open_lan"]

NETWORK: Final = ipaddress.IPv4Network("10.77.0.0/16")
NUMBER_OF_FIRST: Final = 1
_ROUTER: Final = str(NETWORK[-2])
HOSTS_MAX: Final = 1024
"""Chosen, not measured."""


class Host:
    """A separate machine, as far as the network is concerned. It outlives its processes."""

    def __init__(self, number: int, namespace: Namespace) -> None:
        self.number = number
        self.address = str(NETWORK[NUMBER_OF_FIRST + number])
        self.namespace = namespace

    def command(self, *command: str) -> list[str]:
        """See :meth:`~simulations.namespaces.Namespace.command`."""
        return self.namespace.command(*command)

    def open_tap(self) -> socket.socket:
        """Open a socket that receives a copy of each IPv4 packet of this host, including those on its loopback."""
        return _open_tap(self.namespace)


class Lan:
    """The hosts and their router. Made by :func:`open_lan`."""

    def __init__(self, router: Namespace, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._router = router

    def cut(self, host: Host) -> None:
        """Discard all packets from and to this host, silently."""
        self._router.ip(*_rules("add", host))

    def mend(self, host: Host) -> None:
        self._router.ip(*_rules("del", host))

    def parted(self) -> contextlib.AbstractContextManager[None]:
        """Cut hosts with even numbers from those with odd numbers during the block.

        Raises :class:`~simulations.namespaces.NamespacesUnavailable` if iptables is missing.
        """
        even, odd = (f"0.0.0.{(NUMBER_OF_FIRST + side) % 2}/0.0.0.1" for side in (0, 1))
        return dropping(self._router, f"FORWARD -s {even} -d {odd}", f"FORWARD -s {odd} -d {even}")

    def lossy(self, share: float) -> contextlib.AbstractContextManager[None]:
        """Drop each UDP datagram with this probability during the block. Raises as :meth:`parted` does."""
        return dropping(self._router, f"FORWARD -p udp -m statistic --mode random --probability {share}")

    def open_tap(self) -> socket.socket:
        """Open a socket that receives a copy of each IPv4 packet that passes the router, once as it comes in
        (``PACKET_HOST``) and once as it goes out."""
        return _open_tap(self._router)


@contextlib.contextmanager
def dropping(namespace: Namespace, *rules: str) -> Iterator[None]:
    """Make iptables drop packets that match these rules (a chain, then matches). Raises
    :class:`~simulations.namespaces.NamespacesUnavailable`."""
    with contextlib.ExitStack() as held:
        for rule in rules:
            words = [*rule.split(), "-j", "DROP"]
            with explaining():
                namespace.run("iptables", "-w", "-A", *words)
            held.callback(namespace.run, "iptables", "-w", "-D", *words)
        yield


@contextlib.contextmanager
def open_lan(count: int) -> Iterator[Lan]:
    """Open this many hosts that reach one another.

    Raises :class:`~simulations.namespaces.NamespacesUnavailable` if this user or this machine may not; then nothing was
    made.
    """
    with open_hosts(count) as (router, namespaces):
        with explaining():
            router.set_option("net/ipv4/ip_forward", "1")
            router.ip("link set lo up", f"address add {_ROUTER}/32 dev lo")
            hosts = []
            for number, namespace in enumerate(namespaces):
                host = add_host(router, number, namespace, bits=32)
                namespace.ip(f"route add default via {_ROUTER} dev lan onlink")
                router.ip(f"route add {host.address}/32 dev host{number}")
                hosts.append(host)
        yield Lan(router, hosts)


@contextlib.contextmanager
def open_hosts(count: int) -> Iterator[tuple[Namespace, list[Namespace]]]:
    """Open a namespace for the middle, and one for each host. Raises
    :class:`~simulations.namespaces.NamespacesUnavailable`."""
    if not 1 <= count <= HOSTS_MAX:
        raise NamespacesUnavailable(f"{count} hosts: expected 1 to {HOSTS_MAX}")
    with open_namespaces(1 + count) as (middle, *namespaces):
        yield middle, namespaces


def add_host(middle: Namespace, number: int, namespace: Namespace, *, bits: int) -> Host:
    """Connect its cable, called ``host`` and its number in the namespace ``middle`` and ``lan`` in its own."""
    host = Host(number, namespace)
    cable = f"host{number}"
    middle.ip(f"link add {cable} type veth peer name lan netns {namespace.path}", f"link set {cable} up")
    broadcast = "" if bits == 32 else " broadcast +"
    namespace.ip("link set lo up", f"address add {host.address}/{bits}{broadcast} dev lan", "link set lan up")
    return host


def _rules(verb: str, host: Host) -> list[str]:
    return [f"rule {verb} {side} {host.address}/32 priority 100 blackhole" for side in ("from", "to")]


def _open_tap(namespace: Namespace) -> socket.socket:
    return namespace.open_socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
