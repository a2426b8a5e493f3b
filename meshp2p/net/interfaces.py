"""The addresses of this machine that a node advertises."""

from __future__ import annotations

import fcntl
import ipaddress
import math
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from meshp2p.net.netlink import read_addresses

__all__ = [
    "ADVERTISED_MAX",
    "Interface",
    "InterfaceLister",
    "advertised_addresses",
    "list_interfaces",
    "why_no_network",
]

ADVERTISED_MAX = 8
"""The maximum number of advertised addresses. Chosen, not measured: every record that is gossiped carries them, and a
packet has room for 1,232 bytes."""

_CONTAINERS: Final = re.compile(
    r"""
    docker\d+ | docker_gwbridge | br-[0-9a-f]{12}      # Docker; the digits are the first of the network's id
    | podman\d+ | cni(-podman)?\d+ | nerdctl\d+
    | kube-(ipvs\d+|bridge|dummy-if) | flannel(-v6)?\.\d+ | cali[0-9a-f]{11} | cilium_(host|net|vxlan)
    | lxc(br\d+|[0-9a-f]{12}) | lxdbr\d+ | incusbr\d+
    | veth\w* | virbr\d+(-nic)? | vnet\d+ | vmnet\d+ | vboxnet\d+ | vethernet\s.*
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Names that container engines and hypervisors give to interfaces that lead only to their guests on this machine. The
patterns match whole names, because real LANs are called ``br-lan``, ``br-mgmt`` or ``docker-lab``. Every machine with
Docker has the same 172.17.0.1, so a peer that tries such an address reaches itself or a stranger."""

_GET_FLAGS: Final = 0x8913 if sys.platform.startswith("linux") else 0xC0206911  # SIOCGIFFLAGS
_UP, _BROADCAST, _LOOPBACK, _RUNNING = 0x1, 0x2, 0x8, 0x40
_MULTICAST: Final = 0x1000 if sys.platform.startswith("linux") else 0x8000


_REPORT_GROUPS: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR

UNREPORTED_SECONDS: Final = 30.0
"""How long a change is unknown at most if the system does not report it, as in some sandboxes. Chosen, not measured."""


class Interface(msgspec.Struct, frozen=True):
    """An interface of this machine, and the literal addresses, without scope, to which a socket can be bound now.

    ``prefixes`` are the lengths of their networks' prefixes, in the same order. ``index`` is the system's number of the
    interface, 0 if unknown. ``flags`` are those of ``up``, ``broadcast``, ``loopback``, ``running`` and ``multicast``
    that the system reports; empty if it reports none.
    """

    name: str
    addresses: tuple[str, ...]
    prefixes: tuple[int, ...] = ()
    index: int = 0
    flags: tuple[str, ...] = ()

    @property
    def is_down(self) -> bool:
        """Whether it is switched off."""
        return bool(self.flags) and "up" not in self.flags

    @property
    def has_carrier(self) -> bool:
        """Whether it can send packets: it is up, and its cable is plugged in or its radio has a station."""
        return not self.flags or {"up", "running"} <= {*self.flags}

    def broadcast_of(self, host: str) -> str | None:
        """Return the broadcast address of the network of one of ``addresses``, or None if it has none."""
        position = self.addresses.index(host)
        if ":" in host or position >= len(self.prefixes) or self.prefixes[position] > 30:
            return None
        network = ipaddress.ip_network(f"{host}/{self.prefixes[position]}", strict=False)
        return str(network.broadcast_address)


ListInterfaces = Callable[[], Iterable[Interface]]


def list_interfaces() -> tuple[Interface, ...]:
    """List the interfaces of this machine. Addresses that were never up or are not verified unique yet (IPv6) are left
    out, because no peer can reach them. So are link-local IPv6 addresses, which cannot be bound to without a scope.

    Raises ``OSError`` if the system does not answer.
    """
    found = []
    for name, index, addresses in _all_addresses():
        bindable = [(host, prefix) for host, prefix in addresses if _is_bindable(host)]
        hosts, prefixes = tuple(host for host, _ in bindable), tuple(prefix for _, prefix in bindable)
        found.append(Interface(name, hosts, prefixes, index, _flags_of(name)))
    return tuple(found)


def _all_addresses() -> Iterable[tuple[str, int, list[tuple[str, int]]]]:
    """Return the name and number of each interface that has addresses, and these with the lengths of their
    prefixes."""
    if sys.platform == "linux":
        names = dict(socket.if_nameindex())
        found: dict[int, list[tuple[str, int]]] = {}
        for index, host, prefix in read_addresses():
            found.setdefault(index, []).append((host, prefix))
        return [(names[index], index, addresses) for index, addresses in found.items() if index in names]
    import ifaddr  # noqa: PLC0415  # only where it is used

    return [
        (one.nice_name, one.index or 0, [(_host_of(ip.ip), ip.network_prefix) for ip in one.ips])
        for one in ifaddr.get_adapters()
    ]


class InterfaceLister:
    """Lists the interfaces again only if Linux reported that some changed (rtnetlink(7)), and every
    ``UNREPORTED_SECONDS``; each time if no reports can be had."""

    def __init__(self) -> None:
        self._listed: tuple[Interface, ...] = ()
        self._listed_at = -math.inf
        self._reports: socket.socket | None = None
        if sys.platform == "linux":
            try:
                self._reports = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
                self._reports.bind((0, _REPORT_GROUPS))
            except OSError:
                self.close()
                self._reports = None

    def list(self) -> tuple[Interface, ...]:
        """As :func:`list_interfaces`."""
        if self._reports is not None and time.monotonic() < self._listed_at + UNREPORTED_SECONDS:
            try:
                self._reports.recv(1)
            except BlockingIOError:
                return self._listed
            except OSError:
                pass  # some reports were lost
        self._listed_at = -math.inf
        self._listed = list_interfaces()
        self._listed_at = time.monotonic()
        return self._listed

    def close(self) -> None:
        if self._reports is not None:
            self._reports.close()


def advertised_addresses(bound_host: str, interfaces: ListInterfaces = list_interfaces) -> tuple[str, ...]:
    """Return the addresses at which others reach a socket that is bound to ``bound_host``, IPv4 first, at least one.

    A concrete address is advertised alone. For ``0.0.0.0`` (IPv4) and ``::`` (both families) the result has the best
    kind of address that the machine has, in this order: addresses of its networks; self-assigned IPv4 addresses
    (169.254/16); those of bridges to containers and virtual machines; those of interfaces without a carrier, so that a
    node whose only cable is unplugged for a moment does not move; loopback, if nothing is up. The order is fixed, and
    there are at most ``ADVERTISED_MAX`` addresses.

    Link-local IPv6 addresses are never included, because they need the reader's own interface number.
    """
    wildcard = {"0.0.0.0": (4,), "::": (4, 6)}.get(bound_host)
    if wildcard is None:
        return (bound_host,)
    best: dict[int, list[tuple[int, str, int, str]]] = {}
    for interface in interfaces():
        for host in interface.addresses:
            address = ipaddress.ip_address(host)
            rank = _rank(interface, address)
            if rank is not None and address.version in wildcard:
                best.setdefault(rank, []).append((address.version, interface.name, int(address), host))
    if not best:
        return ("127.0.0.1",) if wildcard == (4,) else ("127.0.0.1", "::1")
    ordered = (host for *_, host in sorted(best[min(best)]))
    return tuple(dict.fromkeys(ordered))[:ADVERTISED_MAX]


def why_no_network(interfaces: Iterable[Interface]) -> str:
    """Return why no other machine can be reached through these interfaces; empty if one may be reachable."""
    others = [interface for interface in interfaces if "loopback" not in interface.flags]
    if not others:
        return "this machine has no network interface but loopback"
    if not any(interface.has_carrier for interface in others):
        words = [f"{one.name} {'is down' if one.is_down else 'has no carrier'}" for one in others]
        return f"no network is up: {', '.join(words)}"
    if not any(_is_of_network(host) for one in others if one.has_carrier for host in one.addresses):
        return f"no interface has an address: {', '.join(one.name for one in others)}"
    return ""


def _is_of_network(host: str) -> bool:
    return not ipaddress.ip_address(host).is_loopback


def _rank(interface: Interface, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int | None:
    """Return the rank of an address for advertising: 0 is best, ``None`` means never."""
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return None
    if address.is_link_local and address.version == 6:
        return None
    if not interface.has_carrier:
        return 3
    if _CONTAINERS.fullmatch(interface.name):
        return 2
    return 1 if address.is_link_local else 0


def _host_of(ip: str | tuple[str, int, int]) -> str:
    return ip if isinstance(ip, str) else ip[0].partition("%")[0]


def _is_bindable(host: str) -> bool:
    if host.startswith("fe80:"):
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _flags_of(name: str) -> tuple[str, ...]:
    """Return an interface's flags as words; empty if the system does not report them."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            answer = fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack("16s240x", name.encode()[:15]))
    except OSError:
        return ()
    (bits,) = struct.unpack_from("@H", answer, 16)
    words = {"up": _UP, "broadcast": _BROADCAST, "loopback": _LOOPBACK, "running": _RUNNING, "multicast": _MULTICAST}
    return tuple(word for word, bit in words.items() if bits & bit)
