"""HTTP/1.1 from node to node: one POST at a time on a connection, which is kept for the next.

A general client does much that a call between nodes never needs: redirects, cookies, encodings, proxies. Without that a
call costs both nodes less than half (figures in ADR 0029), and a node that asks nobody else loads no client at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import h11
import trio

from meshp2p.core.address import Address
from meshp2p.net.sockets import keep_alive
from meshp2p.wire.calls import CONTENT_TYPE

__all__ = ["Connect", "NoHttp", "PeerConnection", "PeerConnections", "connect_tcp"]

IDLE_MAX: Final = 16
"""Connections that are kept though nothing passes. Chosen, not measured."""

IDLE_SECONDS: Final = 20.0
"""How long they are kept: less than the other side does. Chosen, not measured."""

_CHUNK: Final = 64 * 1024

_T = TypeVar("_T")

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]


class NoHttp(Exception):
    """The other side closed the connection, or what it said is no answer. ``is_stale``: it said nothing at all on a
    connection that had been used before, as when it closed it meanwhile."""

    def __init__(self, message: str, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


async def connect_tcp(address: Address) -> trio.abc.Stream:
    """Connect to a literal address. Raises ``OSError``."""
    if not address.host:
        raise OSError("no host")
    family = trio.socket.AF_INET6 if ":" in address.host else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        keep_alive(sock)
        await sock.connect((address.host, address.port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


class PeerConnection:
    """One connection. Whoever is done with it gives it back to :class:`PeerConnections`, or closes it."""

    def __init__(self, stream: trio.abc.Stream, address: Address) -> None:
        self.address = address
        self.is_used: bool = False
        self._stream = stream
        self._host = str(address)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_CHUNK)

    async def send(self, path: str, body: bytes) -> int:
        """Send a POST, and return the status of its answer; :meth:`read` then gives its body.

        Raises ``OSError``, trio's errors of a broken stream, and :class:`NoHttp`.
        """
        headers = [
            ("host", self._host),
            ("content-type", CONTENT_TYPE),
            ("content-length", str(len(body))),
            ("accept-encoding", "identity"),
        ]
        parts = (h11.Request(method="POST", target=path, headers=headers), h11.Data(data=body), h11.EndOfMessage())
        try:
            await self._stream.send_all(b"".join(self._h11.send(part) or b"" for part in parts))
            while not isinstance(event := await self._next_event(is_first=True), h11.Response):
                if not isinstance(event, h11.InformationalResponse):
                    raise NoHttp("no response")
        except trio.BrokenResourceError as error:
            raise NoHttp(f"it closed the connection: {error}", is_stale=self.is_used) from error
        return event.status_code

    async def read(self) -> bytes:
        """Some more of the body; empty at its end. Raises like :meth:`send`."""
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                return b""

    async def _next_event(self, *, is_first: bool = False) -> h11.Event:
        try:
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                data = await self._stream.receive_some(_CHUNK)
                if not data and is_first:
                    raise NoHttp("it closed the connection", is_stale=self.is_used)
                is_first = False
                self._h11.receive_data(bytes(data))
        except h11.RemoteProtocolError as error:
            raise NoHttp(f"no HTTP: {error}") from error
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise NoHttp("it closed the connection")
        return event

    def become_ready(self) -> bool:
        """Make it ready for the next request; whether that can be."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self.is_used = True
        return True

    async def close(self) -> None:
        """Close it at once."""
        await trio.aclose_forcefully(self._stream)


class PeerConnections:
    """Connections by address: idle ones are used again, the latest first."""

    def __init__(self, connect: Connect = connect_tcp) -> None:
        self._connect = connect
        self._idle: dict[Address, list[tuple[float, PeerConnection]]] = {}  # no list is empty

    async def post(self, address: Address, path: str, body: bytes, reply_bytes_max: int) -> tuple[int, bytes]:
        """One request; the status and the body of its answer. Where a kept connection turns out to be closed it is
        asked once more on a new one: what nodes ask of one another may be asked twice.

        Raises ``OSError``, trio's errors of a broken stream, and :class:`NoHttp`.
        """
        connection = await self.take(address)
        try:
            status = await connection.send(path, body)
        except NoHttp as error:
            await connection.close()
            if not error.is_stale:
                raise
            connection = await self.open(address)
            status = await self._or_close(connection, connection.send(path, body))
        except BaseException:
            await connection.close()
            raise
        reply = await self._or_close(connection, _read_all(connection, reply_bytes_max))
        await self._give_back(connection)
        return status, reply

    async def take(self, address: Address) -> PeerConnection:
        """A connection that nobody else uses."""
        while idle := self._idle.get(address):
            since, connection = idle.pop()
            if not idle:
                del self._idle[address]
            if since + IDLE_SECONDS > trio.current_time():
                return connection
            await connection.close()
        return await self.open(address)

    async def open(self, address: Address) -> PeerConnection:
        """A new connection. Raises ``OSError``."""
        return PeerConnection(await self._connect(address), address)

    async def _or_close(self, connection: PeerConnection, operation: Awaitable[_T]) -> _T:
        try:
            return await operation
        except BaseException:
            await connection.close()
            raise

    async def _give_back(self, connection: PeerConnection) -> None:
        if not connection.become_ready():
            await connection.close()
            return
        self._idle.setdefault(connection.address, []).append((trio.current_time(), connection))
        if sum(map(len, self._idle.values())) > IDLE_MAX:
            oldest = min(self._idle, key=lambda address: self._idle[address][0][0])
            _, connection = self._idle[oldest].pop(0)
            if not self._idle[oldest]:
                del self._idle[oldest]
            await connection.close()

    async def close(self) -> None:
        """Close what is idle."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for _, connection in connections:
                await connection.close()


async def _read_all(connection: PeerConnection, bytes_max: int) -> bytes:
    reply = bytearray()
    while data := await connection.read():
        reply += data
        if len(reply) > bytes_max:
            raise NoHttp(f"a reply of over {bytes_max} bytes")
    return bytes(reply)
