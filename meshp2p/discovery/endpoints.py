"""The addresses at which a node can be called, and the links on which it looks for peers."""

from __future__ import annotations

import ipaddress

import msgspec

from meshp2p.core.address import Address

__all__ = ["Endpoints", "Link", "is_callable"]


class Link(msgspec.Struct, frozen=True):
    """One address of this machine on one of its networks. Packets to that network are sent through it.

    ``host`` is a literal address without scope. ``index`` is the number of the interface, 0 if unknown. ``broadcast``
    is the network's broadcast address, None if it has none (IPv6, point to point).
    """

    interface: str
    host: str
    index: int
    broadcast: str | None

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return f"{self.host} ({self.interface})"


class Endpoints(msgspec.Struct, frozen=True):
    """``addresses`` are those at which other nodes call this node, the best first, at least one. ``links`` are those of
    their networks, and that of IPv4 loopback if there is one: it connects the nodes of one machine, whatever the
    network does."""

    addresses: tuple[Address, ...]
    links: tuple[Link, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(address.host for address in self.addresses)


def is_callable(host: str, *, may_be_loopback: bool) -> bool:
    """Return whether a node may be called at this literal address from an untrusted source.

    Unspecified, multicast and broadcast addresses, IPv4 addresses in IPv6, and link-local IPv6 addresses (their scope
    is missing) are refused, and loopback addresses unless they are allowed.
    """
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return may_be_loopback
    if isinstance(address, ipaddress.IPv6Address) and (address.is_link_local or address.ipv4_mapped):
        return False
    is_broadcast = address.version == 4 and address.is_reserved
    return not (address.is_unspecified or address.is_multicast or is_broadcast)
