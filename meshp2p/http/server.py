"""The HTTP server. It ends when it is told to, whatever its clients do.

Other servers cannot be stopped while one client never reads (hypercorn 0.18, anycorn 0.20: a shielded send without a
deadline). Here nothing is shielded, every wait has a deadline (:class:`~meshp2p.http.limits.HttpLimits`), and neither a
client's bytes nor a handler's exception ends the server.

It speaks HTTP/1.1 and 1.0 with keep-alive and pipelining, but no WebSocket and no TLS. An ``Upgrade`` header is
ignored.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

import trio

from meshp2p.http.channel import Channel
from meshp2p.http.connection import Connection
from meshp2p.http.limits import HttpLimits, HttpRefusal, HttpStats
from meshp2p.http.request import Handler
from meshp2p.http.state import YOUNG_SECONDS, RequestRejected, ServerState

__all__ = ["HttpServer"]

_REFUSING_MAX: Final = 32  # connections over the limit that are told so at one time: chosen, not measured
_DESCRIPTORS_MANY: Final = 1 << 20

_log = logging.getLogger("meshp2p.http")


class HttpServer:
    """Answers requests by ``handler`` on a bound listener. ``stats`` has its counters.

    ``server_header``, if given, is sent as ``Server``. A server runs once.
    """

    def __init__(self, handler: Handler, limits: HttpLimits, *, server_header: str | None = None) -> None:
        self._state = ServerState(limits)
        self.stats: HttpStats = self._state.stats
        self._handler = handler
        self._limits = limits
        self._server_header = None if server_header is None else server_header.encode("ascii")
        self._connections: dict[Connection, None] = {}  # no set: closed in their order
        self._is_closing = False
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._refusing = 0

    async def serve(
        self,
        listener: trio.abc.Listener[trio.abc.Stream] | trio.SocketListener,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve until cancelled, or until :meth:`shut_down` and at most ``grace_seconds`` longer.

        Reports that it started before it accepts: the listener's backlog already takes connections. Closes the
        listener. A cancellation cuts all connections at once.
        """
        with self._serving:
            async with trio.open_nursery() as connections:
                try:
                    with self._accepting:
                        task_status.started()
                        while True:
                            connections.start_soon(self.serve_connection, await listener.accept())
                finally:
                    with trio.CancelScope(shield=True):
                        await listener.aclose()

    def shut_down(self) -> None:
        """Stop accepting, close the connections whose request has not arrived, and give the others ``grace_seconds``.

        Calling it again changes nothing.
        """
        if self._is_closing:
            return
        self._is_closing = True
        self._accepting.cancel()
        self._serving.deadline = trio.current_time() + self._limits.grace_seconds
        for connection in self._connections:
            connection.close_soon()

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end and close it. Raises nothing but ``trio.Cancelled``."""
        client = _client_host(stream)
        try:
            if (refused := self._make_room(client)) is not None:
                await self._refuse(stream, refused)
                return
            connection = Connection(stream, self._handler, self._state, self._server_header, client)
            self._connections[connection] = None
            self.stats.connections_total += 1
            self.stats.connections_open += 1
            if self._is_closing:
                connection.close_soon()
            try:
                await connection.run()
            except Exception as error:  # noqa: BLE001  # one connection does not end the others
                _log.error("a connection failed: please report it", exc_info=error)
            finally:
                self._connections.pop(connection, None)
                self.stats.connections_open -= 1
        finally:
            await trio.aclose_forcefully(stream)

    def _make_room(self, client: str | None) -> RequestRejected | None:
        """If there is no room for one more connection, close the one that has waited longest for its client. Return the
        reason if all are busy and there is still no room."""
        connections = list(self._connections)
        own = [connection for connection in connections if connection.client == client]
        limit = min(self._limits.connections_max, _descriptors_max() // 2)
        if not _is_loopback(client) and len(own) >= self._limits.connections_per_host_max:
            connections = own
            message = f"all {self._limits.connections_per_host_max} connections of {client} are in use"
        elif len(connections) >= limit:
            message = f"all {limit} connections are in use"
        else:
            return None
        now = trio.current_time()
        waiting = [(now if c.waits_since is None else c.waits_since, c) for c in connections]
        since, longest = min(waiting, key=lambda pair: pair[0])
        if since > now - YOUNG_SECONDS:
            return RequestRejected(503, HttpRefusal.TOO_MANY_CONNECTIONS, message)
        del self._connections[longest]
        self.stats.count(HttpRefusal.CROWDED_OUT)
        longest.cut()
        return None

    async def _refuse(self, stream: trio.abc.Stream, refused: RequestRejected) -> None:
        """Answer 503, unless too many connections are being answered already."""
        if self._refusing >= _REFUSING_MAX:
            self.stats.count(refused.reason)
            return
        self._refusing += 1
        try:
            await Channel(stream, self._state).refuse(refused)
        finally:
            self._refusing -= 1


def _client_host(stream: trio.abc.Stream) -> str | None:
    """Return the client's address, or None if there is none: a Unix socket, or the client has gone."""
    if not isinstance(stream, trio.SocketStream):
        return getattr(stream, "peer_host", None)  # a virtual network has one
    try:
        name = stream.socket.getpeername()
    except OSError:
        return None
    # A dual-stack listener writes IPv4 clients with this prefix, and callers compare with 127.0.0.1.
    return name[0].removeprefix("::ffff:") if isinstance(name, tuple) else None


def _is_loopback(client: str | None) -> bool:
    return client is None or client == "::1" or client.startswith("127.")


def _descriptors_max() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _DESCRIPTORS_MANY if soft == resource.RLIM_INFINITY else soft
