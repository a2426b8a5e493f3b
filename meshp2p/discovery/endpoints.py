"""Where a node is: the addresses at which others call it, and the links through which it looks for them."""

from __future__ import annotations

import ipaddress

import msgspec

from meshp2p.core.address import Address

__all__ = ["Endpoints", "Link", "is_callable"]


class Link(msgspec.Struct, frozen=True):
    """One address of this machine on one of its networks, through which packets to all of that network go.

    ``host`` is a literal address without scope; ``index`` is the interface's number, 0 where it is not known;
    ``broadcast`` is the network's broadcast address, None where it has none (IPv6, point to point).
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
    """``addresses`` are where others call this node, best first, at least one. ``links`` are those of their networks,
    and the one of IPv4 loopback where there is one: it joins nodes of one machine, whatever its network does."""

    addresses: tuple[Address, ...]
    links: tuple[Link, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(address.host for address in self.addresses)


def is_callable(host: str, *, may_be_loopback: bool) -> bool:
    """Whether a node can be called at this literal address that somebody told of.

    Not at an unspecified, multicast or broadcast one, IPv4 in IPv6, a link-local IPv6 one (it lacks its scope), nor at
    loopback unless it may be that.
    """
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return may_be_loopback
    if isinstance(address, ipaddress.IPv6Address) and (address.is_link_local or address.ipv4_mapped):
        return False
    is_broadcast = address.version == 4 and address.is_reserved
    return not (address.is_unspecified or address.is_multicast or is_broadcast)
