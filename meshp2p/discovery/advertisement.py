"""The mDNS announcement of a node, and the parser for those of other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import is_callable
from meshp2p.discovery.source import ADDRESSES_MAX, Sighting
from meshp2p.errors import Refusal, RemoteProtocolError

__all__ = ["NAME_BYTES_MAX", "Advertisement", "parse_service_untrusted"]

NAME_BYTES_MAX = 128
"""The maximum length of an instance id and of a mesh name. Each shares the 255 bytes of a TXT string with its key."""


class Advertisement(msgspec.Struct, frozen=True):
    """A node's announcement on the LAN. It may be false; a call to the node shows whether it is true."""

    mesh: str
    instance_id: str
    version: int
    addresses: tuple[Address, ...]

    def to_sighting(self) -> Sighting:
        """Return it as a sighting, without the fields that tell meshes apart."""
        return Sighting("mdns", self.addresses, self.instance_id)


def parse_service_untrusted(
    properties: Mapping[bytes, bytes | None], hosts: Iterable[str], port: int | None, *, may_be_loopback: bool
) -> Advertisement:
    """Parse the TXT, address and SRV records of a service. Anybody on the LAN may have sent them.

    Addresses that cannot be called are left out (:func:`~meshp2p.discovery.endpoints.is_callable`). Of the others, the
    first ``ADDRESSES_MAX`` are used. Raises :class:`RemoteProtocolError` if an id, mesh, version, port or address is
    missing or invalid.
    """
    instance_id, mesh = (_name_untrusted(properties, key) for key in (b"id", b"mesh"))
    version = properties.get(b"v") or b""
    if not (version.isdigit() and len(version) <= 5):
        raise RemoteProtocolError(Refusal.BAD_VERSION, f"version {version[:16]!r}: expected a number")
    if port is None or not 1 <= port <= 65535:
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"port {port}: expected 1 to 65535")
    addresses: dict[Address, None] = {}
    for host in hosts:
        if len(addresses) == ADDRESSES_MAX:
            break
        if is_callable(host, may_be_loopback=may_be_loopback):
            addresses[Address(host, port)] = None
    if not addresses:
        raise RemoteProtocolError(Refusal.BAD_VALUE, "no address at which a node can be called")
    return Advertisement(mesh, instance_id, int(version), tuple(addresses))


def _name_untrusted(properties: Mapping[bytes, bytes | None], key: bytes) -> str:
    value = properties.get(key) or b""
    if not 1 <= len(value) <= NAME_BYTES_MAX:
        raise RemoteProtocolError(
            Refusal.BAD_VALUE, f"{key.decode()} of {len(value)} bytes: expected 1 to {NAME_BYTES_MAX}"
        )
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(Refusal.BAD_ENCODING, f"{key.decode()} is not UTF-8") from None
