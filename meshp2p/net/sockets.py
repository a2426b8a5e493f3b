"""UDP and TCP sockets with one port number."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Final, Protocol

import trio

from meshp2p.core.address import Address
from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX
from meshp2p.errors import StartError

__all__ = ["DatagramSocket", "Sockets", "connect_tcp", "keep_alive", "open_sockets", "receive_some"]

_TRIES: Final = 32
_MAPPED: Final = "::ffff:"
_RECEIVE_BUFFER_BYTES: Final = 1 << 20
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""TCP keep-alive options: an idle connection ends a minute after the other machine has gone. Seconds and a count, by
the systems' names for them. Chosen, not measured."""


SEGMENT_BYTES_MAX: Final = 1220
"""The maximum size of a TCP segment to another machine: it fits into IPv6's minimum MTU, 1,280 bytes. If a router
drops larger segments and its ICMP messages are filtered (a path-MTU black hole), segments of a LAN's size would
never arrive."""


class DatagramSocket:
    """A bound UDP socket that never blocks. Packets that cannot be sent now are dropped and counted, as in a
    network."""

    def __init__(self, bound: socket.socket) -> None:
        bound.setblocking(False)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        except OSError:
            pass  # the kernel's default serves, with less room for bursts
        self._socket = bound
        self._is_ipv6 = bound.family == socket.AF_INET6
        self.send_errors: int = 0

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._socket)

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        """Return the next waiting datagram and its source, cut one byte above the maximum size; None if none waits."""
        while True:
            try:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError:
                continue  # an ICMP error of an earlier send, reported here; it is taken off the queue
            return data, Address(source[0].removeprefix(_MAPPED), source[1])

    def send_nowait(self, data: bytes, address: Address) -> None:
        host = address.host
        if self._is_ipv6 and ":" not in host:
            host = _MAPPED + host
        try:
            self._socket.sendto(data, (host, address.port))
        except OSError:  # no route, a full buffer, an address of the other family, refused earlier
            self.send_errors += 1

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class Sockets:
    """One node's sockets: ``datagrams`` and ``listener`` are bound to ``host`` and ``port``."""

    def __init__(self, datagrams: DatagramSocket, listener: trio.SocketListener, host: str, port: int) -> None:
        self.datagrams = datagrams
        self.listener = listener
        self.host = host
        self.port = port


def open_sockets(host: str, port: int, *, is_port_wished: bool) -> Sockets:
    """Bind UDP and TCP to one port number of ``host``, a literal address or a name of this machine. ``::`` means IPv4
    as well, or IPv4 only if the machine has no IPv6.

    ``port`` 0 means any free port. If ``is_port_wished`` is false, a port that is taken means the same. Raises
    :class:`StartError`.
    """
    family, literal = _resolve(host)
    if ipaddress.ip_address(literal.partition("%")[0]).is_link_local and ":" in literal:
        raise StartError(
            f"host {host!r} is a link-local IPv6 address, which other machines cannot use: choose another address of"
            " this machine, or :: for all. Other nodes may --join this one with their own zone ([fe80::1%eth0]:7700)"
        )
    if not _is_one_host(literal):
        raise StartError(f"host {host!r} is not an address that other nodes can use: choose an address of this machine")
    try:
        return _bind(family, literal, port)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT and literal == "::":  # Python speaks IPv6 and the kernel does not
            return open_sockets("0.0.0.0", port, is_port_wished=is_port_wished)
        if error.errno == errno.EADDRINUSE and not is_port_wished and port != 0:
            return open_sockets(literal, 0, is_port_wished=False)
        raise StartError(_explain(error, host, port)) from error


class _Options(Protocol):
    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def keep_alive(connection: _Options) -> None:
    """Turn on TCP keep-alive for this socket, or for those that are accepted from it. A machine that is switched off
    sends nothing, and a call to it would wait for ever."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def connect_tcp(address: Address) -> trio.abc.Stream:
    """Connect to a literal address. Raises ``OSError``, or ``ValueError`` if the host is no literal address."""
    if not address.host:
        raise OSError("no host")
    family = trio.socket.AF_INET6 if ":" in address.host else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        keep_alive(sock)
        if not ipaddress.ip_address(address.host).is_loopback and hasattr(socket, "TCP_MAXSEG"):
            # set before connecting it is announced as well, so it bounds what the other side sends
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES_MAX)
        await sock.connect((address.host, address.port))
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError) and error.errno is not None:  # trio puts the address into its text
            raise OSError(error.errno, os.strerror(error.errno)) from error
        raise
    return trio.SocketStream(sock)


async def receive_some(stream: trio.abc.Stream, bytes_max: int) -> bytes | bytearray:
    """Receive as ``stream.receive_some`` does. A socket is waited for first and then read once: a connection between
    nodes is idle most of the time, and trio's layers take longer than the read."""
    if not isinstance(stream, trio.SocketStream):
        return await stream.receive_some(bytes_max)
    while True:
        if stream.socket.fileno() < 0:
            raise trio.ClosedResourceError("this socket was closed")
        await trio.lowlevel.wait_readable(stream.socket)
        try:
            return os.read(stream.socket.fileno(), bytes_max)
        except BlockingIOError:
            pass
        except OSError as error:
            raise trio.BrokenResourceError(f"socket connection broken: {error}") from error


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return (socket.AF_INET6 if literal.version == 6 else socket.AF_INET), host
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be one
        reason = error.strerror if isinstance(error, OSError) else error
        raise StartError(f"host {host!r}: {reason}; expected an address or a name of this machine") from error
    return found[0][0], str(found[0][4][0])


def _is_one_host(literal: str) -> bool:
    """Return whether the address is neither multicast nor broadcast, and means the same on every machine."""
    return "%" not in literal and literal != "255.255.255.255" and not ipaddress.ip_address(literal).is_multicast


def _bind(family: socket.AddressFamily, host: str, port: int) -> Sockets:
    """Bind both sockets to one number. If the system chooses it, a number that is free for one may be taken for the
    other: then try others."""
    for attempt in range(_TRIES):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keep_alive(tcp)
            if family == socket.AF_INET6:
                only = 0 if host == "::" else 1
                tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            tcp.bind((host, port))
            chosen = int(tcp.getsockname()[1])
            udp.bind((host, chosen))
            tcp.listen(1024)  # a burst that does not fit is tried again by its clients after a second
        except OSError as error:
            tcp.close()
            udp.close()
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < _TRIES - 1:
                continue
            raise
        tcp.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(tcp))
        return Sockets(DatagramSocket(udp), listener, host, chosen)
    raise AssertionError("unreachable")


def _explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is in use: choose another, or 0 for any that is free"
        case errno.EADDRNOTAVAIL:
            return f"host {host!r} is no address of this machine: choose one of its own, 127.0.0.1, or :: for all"
        case errno.EACCES:
            return f"port {port} of {host} is not allowed to this user: choose one of 1024 or more"
        case _:
            return f"cannot bind to port {port} of {host}: {error.strerror}"
