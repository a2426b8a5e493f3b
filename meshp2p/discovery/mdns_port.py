"""Whether multicast DNS can be used on this machine, before zeroconf tries: it logs what fails each time, we once."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Final

__all__ = ["MDNS_PORT", "try_multicast"]

MDNS_PORT: Final = 5353
_GROUP: Final = "224.0.0.251"
_EMPTY_RESPONSE: Final = bytes.fromhex("0000 8400 0000 0000 0000 0000")
"""A response without records, which everybody ignores."""


def try_multicast(interfaces: Sequence[str]) -> dict[str, OSError | None]:
    """Bind to the port, as others do, and send through each of these IPv4 addresses: why that failed, None if it did
    not. IPv6 addresses are left out.

    Raises ``OSError`` if the port cannot be shared, or no interface takes part in multicast.
    """
    hosts = [host for host in interfaces if ":" not in host]
    if not hosts:
        return {}
    outcome: dict[str, OSError | None] = {}
    refused: OSError | None = None
    joined = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            opened.bind(("", MDNS_PORT))
        except OSError as error:
            raise OSError(error.errno, f"UDP port {MDNS_PORT}: {error.strerror}") from error
        for host in hosts:
            try:
                opened.setsockopt(
                    socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_GROUP) + socket.inet_aton(host)
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # joined through another address of the interface
                    refused = outcome[host] = error
                    continue
            joined += 1
            try:
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
                opened.sendto(_EMPTY_RESPONSE, (_GROUP, MDNS_PORT))
                outcome[host] = None
            except OSError as error:
                outcome[host] = error
    if refused is not None and len(hosts) == len(interfaces) and joined == 0:
        raise OSError(refused.errno, f"multicast is refused on {', '.join(hosts)}: {refused.strerror}")
    return outcome
