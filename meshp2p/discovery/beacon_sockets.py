"""The sockets of the beacon: one for questions, which all processes of a machine share, and one for each link to ask.

Questions go to a multicast group and to the broadcast address of each IPv4 network, because one of the two is often
blocked. Both reach every socket that is bound to the port. Unicast to a shared port reaches only one of them. So a
question is sent from a socket of its own, which receives the answers.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import trio

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Link
from meshp2p.wire.beacon import BEACON_BYTES_MAX

__all__ = ["BEACON_GROUP", "BEACON_GROUP_IPV6", "BEACON_PORT", "Air", "BeaconSockets", "Take", "open_listener"]

BEACON_PORT: Final = 7699
BEACON_GROUP: Final = "239.255.77.99"
"""In the range for use within a site (RFC 2365 §6.1). The TTL is 1, so no router forwards it."""
BEACON_GROUP_IPV6: Final = "ff12::6d:7032"
"""In the link-local scope, unassigned (RFC 4291 §2.7)."""

READS_MAX: Final = 64
"""Packets read from one socket before other tasks run. Chosen, not measured."""

Reply = Callable[[bytes], None]
Take = Callable[[bytes, Address, Reply], None]
"""Called in the trio thread with each packet, its source, and a function that answers it, which raises ``OSError``."""


class Air(Protocol):
    """The interface for sending and receiving beacons."""

    async def run(self, take: Take, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pass on received packets until cancelled."""

    def shout(self, data: bytes) -> dict[str, OSError | None]:
        """Send to all nodes on every link. Return the error of each link by name, None if it worked."""


class BeaconSockets:
    """Sends and receives beacons over ``links``. A socket that cannot be opened now is tried again at each
    :meth:`shout`.

    If all links are loopback, packets from other machines are dropped.
    """

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = tuple(links)
        self._is_loopback_only = all(link.is_loopback for link in links)
        self._open: dict[object, socket.socket] = {}
        self._joined: set[Link] = set()
        self._take: Take = _ignore
        self._nursery: trio.Nursery | None = None

    async def run(self, take: Take, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`Air`."""
        self._take = take
        try:
            async with trio.open_nursery() as self._nursery:
                self._ensure_listening()
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for opened in self._open.values():
                opened.close()

    def shout(self, data: bytes) -> dict[str, OSError | None]:
        """See :class:`Air`. A link works if one of its packets was sent."""
        outcome = self._ensure_listening()
        for link in self._links:
            outcome[f"the beacon through {link}"] = self._shout_on(link, data)
        return outcome

    def _shout_on(self, link: Link, data: bytes) -> OSError | None:
        failure: OSError | None = None
        try:
            sender = self._ensure(link, functools.partial(open_sender, link))
        except OSError as error:
            return error
        group = BEACON_GROUP_IPV6 if link.is_ipv6 else BEACON_GROUP
        works = False
        for host in (group, link.broadcast):
            if host is not None:
                try:
                    sender.sendto(data, (host, BEACON_PORT))
                    works = True
                except OSError as error:  # no route, no such device, not permitted by a firewall, a full buffer
                    failure = failure or error
        return None if works else failure

    def _ensure_listening(self) -> dict[str, OSError | None]:
        outcome: dict[str, OSError | None] = {}
        for is_ipv6 in sorted({link.is_ipv6 for link in self._links}):
            version = "IPv6" if is_ipv6 else "IPv4"
            failure: OSError | None = None
            try:
                listener = self._ensure(version, functools.partial(open_listener, is_ipv6=is_ipv6))
                for link in self._links:
                    if link.is_ipv6 == is_ipv6 and link not in self._joined:
                        join_group(listener, link)
                        self._joined.add(link)
            except OSError as error:
                failure = error
            outcome[f"listening for beacons on UDP port {BEACON_PORT} ({version})"] = failure
        return outcome

    def _ensure(self, key: object, open_socket: Callable[[], socket.socket]) -> socket.socket:
        opened = self._open.get(key)
        if opened is None:
            opened = self._open[key] = open_socket()
            if self._nursery is not None:
                self._nursery.start_soon(self._read, opened)
        return opened

    async def _read(self, opened: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(opened)
            for _ in range(READS_MAX):
                try:
                    data, source = opened.recvfrom(BEACON_BYTES_MAX + 1)
                except (BlockingIOError, InterruptedError):
                    break
                except OSError:
                    continue  # an error of an earlier send, reported here; it is taken off the queue
                address = Address(str(source[0]).partition("%")[0], int(source[1]))
                if not self._is_loopback_only or ipaddress.ip_address(address.host).is_loopback:
                    self._take(data, address, functools.partial(_send, opened, source))
            await trio.lowlevel.checkpoint()


def _ignore(_data: bytes, _source: Address, _reply: Reply) -> None:
    """Drops packets that arrive before there is a receiver."""


def _send(opened: socket.socket, to: Any, data: bytes) -> None:
    opened.sendto(data, to)


@contextmanager
def _opening(family: socket.AddressFamily) -> Iterator[socket.socket]:
    """Open a UDP socket that does not block. It is closed if the block fails."""
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        yield opened
    except BaseException:
        opened.close()
        raise


def open_listener(*, is_ipv6: bool) -> socket.socket:
    """Bind to the beacon's port, which other processes may share. Raises ``OSError``."""
    with _opening(socket.AF_INET6 if is_ipv6 else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not sys.platform.startswith("linux"):  # there SO_REUSEADDR is enough, and this would ask for one user
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if is_ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("::" if is_ipv6 else "0.0.0.0", BEACON_PORT))
    return listener


def join_group(listener: socket.socket, link: Link) -> None:
    """Join the multicast group on a link. Raises ``OSError``."""
    try:
        if link.is_ipv6:
            group = socket.inet_pton(socket.AF_INET6, BEACON_GROUP_IPV6) + struct.pack("@I", link.index)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        else:
            group = socket.inet_aton(BEACON_GROUP) + socket.inet_aton(link.host)
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # joined through another address of the interface
            raise


def open_sender(link: Link) -> socket.socket:
    """Open a socket that multicasts and broadcasts through a link and receives the answers. Raises ``OSError``."""
    with _opening(socket.AF_INET6 if link.is_ipv6 else socket.AF_INET) as sender:
        if link.is_ipv6:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        else:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(link.host))
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sender.bind((link.host, 0))
    return sender
