"""A test whether this machine can use multicast DNS, so that a failure is logged once. zeroconf logs it at each
attempt."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Final

__all__ = ["MDNS_PORT", "open_shared", "send_marked", "try_multicast"]

MDNS_PORT: Final = 5353
_GROUP: Final = "224.0.0.251"
_EMPTY_RESPONSE: Final = bytes.fromhex("0000 8400 0000 0000 0000 0000")
"""A response without records. Every responder ignores it."""


def try_multicast(interfaces: Sequence[str]) -> dict[str, OSError | None]:
    """Bind to the port, which other programs share, and send through each of these IPv4 addresses. Return, by address,
    why sending failed, or None. IPv6 addresses are left out.

    Raises ``OSError`` if the port cannot be shared, or if no interface supports multicast.
    """
    hosts = [host for host in interfaces if ":" not in host]
    if not hosts:
        return {}
    outcome: dict[str, OSError | None] = {}
    with open_shared(hosts, is_all=len(hosts) == len(interfaces)) as opened:
        for host in hosts:
            try:
                send_marked(opened, host)
                outcome[host] = None
            except OSError as error:
                outcome[host] = error
    return outcome


def open_shared(hosts: Sequence[str], *, is_all: bool = True) -> socket.socket:
    """Open a socket at the shared port that receives multicast on the interfaces of these addresses.

    Raises ``OSError`` if the port cannot be shared. With ``is_all``, which says that no other interface matters, it
    also raises if none of these supports multicast.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            opened.bind(("", MDNS_PORT))
        except OSError as error:
            raise OSError(error.errno, f"UDP port {MDNS_PORT}: {error.strerror}") from error
        refused = [error for error in (_join(opened, host) for host in hosts) if error is not None]
        if is_all and hosts and len(refused) == len(hosts):
            raise OSError(refused[0].errno, f"multicast is refused on {', '.join(hosts)}: {refused[0].strerror}")
    except BaseException:
        opened.close()
        raise
    return opened


def send_marked(opened: socket.socket, host: str, marker: bytes = b"") -> None:
    """Multicast a packet that ends with ``marker`` and that every responder ignores. Raises ``OSError``."""
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
    opened.sendto(_EMPTY_RESPONSE + marker, (_GROUP, MDNS_PORT))


def _join(opened: socket.socket, host: str) -> OSError | None:
    try:
        opened.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_GROUP) + socket.inet_aton(host)
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # joined through another address of the interface
            return error
    return None
