"""Hosts that hear one another's multicast: network namespaces on one bridge, as on a switch that knows no better."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from simulations.benchmarks.hosts import NETWORK, Host, add_host, dropping, open_hosts
from simulations.namespaces import explaining

__all__ = ["Switch", "open_switch"]

_IPV6: Final = Path("/proc/sys/net/ipv6")


class Switch:
    """The hosts. Made by :func:`open_switch`."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts

    @contextlib.contextmanager
    def without_multicast(self) -> Iterator[None]:
        """While the block lasts, no host sends or hears multicast; broadcast passes.

        Raises :class:`~simulations.namespaces.NamespacesUnavailable` where there is no iptables.
        """
        with contextlib.ExitStack() as blocked:
            for host in self.hosts:
                blocked.enter_context(dropping(host.namespace, "INPUT -d 224.0.0.0/4", "OUTPUT -d 224.0.0.0/4"))
            yield


@contextlib.contextmanager
def open_switch(count: int) -> Iterator[Switch]:
    """So many hosts in one network. Raises :class:`~simulations.namespaces.NamespacesUnavailable`, where the kernel
    has no bridge among other things."""
    with open_hosts(count) as (middle, namespaces):
        with explaining():
            middle.ip("link add bridge type bridge mcast_snooping 0", "link set bridge up")
            hosts = []
            for number, namespace in enumerate(namespaces):
                if _IPV6.exists():
                    for which in ("all", "default"):  # else its IPv6 address is of no use for a second or two
                        namespace.set_option(f"net/ipv6/conf/{which}/accept_dad", "0")
                hosts.append(add_host(middle, number, namespace, bits=NETWORK.prefixlen))
                middle.ip(f"link set host{number} master bridge")
                namespace.ip("route add default dev lan")  # by which multicast goes that names no interface
            _introduce(hosts)
        yield Switch(hosts)


def _introduce(hosts: Sequence[Host]) -> None:
    """Tell each host the hardware address of each other. What they find out by themselves goes into one table of the
    kernel, for all namespaces together, that is full at 1,024: 33 hosts that all speak with one another fill it."""
    for host in hosts:
        own = [f"link set lan address {_hardware_address(host)}"]
        others = [
            f"neighbour replace {other.address} lladdr {_hardware_address(other)} dev lan nud permanent"
            for other in hosts
            if other is not host
        ]
        host.namespace.ip(*own, *others)


def _hardware_address(host: Host) -> str:
    return f"02:00:00:00:{host.number >> 8:02x}:{host.number & 0xFF:02x}"
