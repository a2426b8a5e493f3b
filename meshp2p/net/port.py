"""One TCP port for three protocols, told apart by the first byte that a client sends.

::

    16        TLS           handed to ``serve_tls``, and if it carries HTTP/1.1 to ``http``; in an open mesh closed
    d7        peer frames   handed to ``serve_peer``; in a secured mesh closed
    other     HTTP/1.1      accepted at ``http``, a listener like any other; in a secured mesh from this machine only

The byte is looked at and not taken, so whoever serves the connection finds it whole.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, runtime_checkable

import trio

from meshp2p.net.strangers import Strangers
from meshp2p.wire.peer_frames import PEER_MAGIC

__all__ = ["Listener", "Port", "PortStats", "host_of"]

FIRST_BYTE_SECONDS: Final = 10.0
"""How long a client may say nothing. Chosen, not measured."""

UNIDENTIFIED_MAX: Final = 256
"""Connections whose first byte is awaited; one more ends the oldest of the host that has the most. Chosen, not
measured."""

_ACCEPT_PAUSE: Final = 0.1  # seconds after accept() failed for want of descriptors or memory: chosen, not measured

_TLS: Final = 0x16

_REFUSAL_SECONDS: Final = 1.0  # for a client to read that it is refused: chosen, not measured
_REFUSAL_BYTES: Final = 16 * 1024
_REFUSED: Final = (
    b'{"error":"this node is in a secured mesh, and answers plain HTTP on its own machine only: use https:// with a'
    b' token (meshp2p token) or a client certificate"}'
)
_FORBIDDEN: Final = (
    b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
    % (len(_REFUSED), _REFUSED)
)

_log = logging.getLogger("meshp2p.net")

Listener = trio.abc.Listener[trio.abc.Stream] | trio.SocketListener


@runtime_checkable
class _Peekable(Protocol):
    """A stream that is no socket, and shows what it has received without taking it."""

    async def peek_some(self) -> bytes: ...

    @property
    def peer_host(self) -> str: ...


class PortStats:
    """Counters since the start."""

    def __init__(self) -> None:
        self.accept_failures: int = 0
        self.tls: int = 0
        """Connections that began with TLS."""
        self.plain: int = 0
        """Connections that were refused because they were not encrypted."""
        self.silent: int = 0
        """Connections that were ended because their first byte did not come, or others needed their place."""


class _HttpListener(trio.abc.Listener[trio.abc.Stream]):
    """Gives the connections that speak HTTP. Closing it closes those that nobody accepted."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](UNIDENTIFIED_MAX)

    async def put(self, stream: trio.abc.Stream) -> None:
        try:
            await self._send.send(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.aclose_forcefully(stream)

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        while True:
            try:
                stream = self._receive.receive_nowait()
            except (trio.WouldBlock, trio.ClosedResourceError):
                break
            await trio.aclose_forcefully(stream)
        self._receive.close()
        await trio.lowlevel.checkpoint()


class Port:
    """Accepts on a bound listener. A port with ``serve_tls`` is that of a node of a secured mesh; it returns the
    encrypted stream if that carries HTTP."""

    def __init__(
        self,
        listener: Listener,
        serve_peer: Callable[[trio.abc.Stream, str], Awaitable[None]],
        serve_tls: Callable[[trio.abc.Stream, str], Awaitable[trio.abc.Stream | None]] | None = None,
    ) -> None:
        self.stats: PortStats = PortStats()
        self._http = _HttpListener()
        self._listener = listener
        self._accepting = trio.CancelScope()
        self._serve_peer = serve_peer
        self._serve_tls = serve_tls
        self._unidentified = Strangers()
        self._errors_logged: set[int | None] = set()

    @property
    def http(self) -> trio.abc.Listener[trio.abc.Stream]:
        """Where connections that speak HTTP are accepted."""
        return self._http

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until cancelled, or until :meth:`shut_down`. Then close the listener."""
        try:
            with self._accepting:
                async with trio.open_nursery() as nursery:
                    task_status.started()
                    while True:
                        try:
                            stream = await self._listener.accept()
                        except OSError as error:
                            await self._pause(error)
                            continue
                        nursery.start_soon(self._identify, stream)
        finally:
            with trio.CancelScope(shield=True):
                await self._listener.aclose()

    def shut_down(self) -> None:
        """Accept no more connections. Those that were handed on continue."""
        self._accepting.cancel()

    async def _pause(self, error: OSError) -> None:
        # EMFILE and its like pass as connections close; what else may come here is no reason to stop either.
        self.stats.accept_failures += 1
        self._unidentified.end_one()
        if error.errno not in self._errors_logged:
            self._errors_logged.add(error.errno)
            _log.error("accept failed, and is tried again (logged once): %s", error)
        await trio.sleep(_ACCEPT_PAUSE)

    async def _identify(self, stream: trio.abc.Stream) -> None:
        first, host = b"", host_of(stream)
        with self._unidentified.open(host, UNIDENTIFIED_MAX, FIRST_BYTE_SECONDS) as waiting:
            try:
                first = await _peek(stream)
            finally:
                if not first:
                    self.stats.silent += waiting.cancel_called
                    await trio.aclose_forcefully(stream)
        if not first:
            return
        is_secured = self._serve_tls is not None
        if first[0] == _TLS:
            self.stats.tls += 1
            if self._serve_tls is None:
                await trio.aclose_forcefully(stream)
            elif (caller := await self._serve_tls(stream, host)) is not None:
                await self._http.put(caller)
        elif first[0] == PEER_MAGIC[0]:
            if is_secured:
                self.stats.plain += 1
                await trio.aclose_forcefully(stream)
            else:
                await self._serve_peer(stream, host)
        elif is_secured and not _is_this_machine(stream, host):
            self.stats.plain += 1
            await _refuse_http(stream)
        else:
            await self._http.put(stream)


async def _peek(stream: trio.abc.Stream) -> bytes:
    """Return the first bytes without consuming them; empty if there are none."""
    try:
        if isinstance(stream, trio.SocketStream):
            return await stream.socket.recv(1, socket.MSG_PEEK)
        if isinstance(stream, _Peekable):
            return await stream.peek_some()
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        return b""
    raise TypeError(f"{stream!r}: expected a socket, or a stream with peek_some()")


async def _refuse_http(stream: trio.abc.Stream) -> None:
    """Answer 403 before anything was read, and close."""
    with trio.move_on_after(_REFUSAL_SECONDS):
        try:
            await stream.send_all(_FORBIDDEN)
            while await stream.receive_some(_REFUSAL_BYTES):  # so that the answer is not lost to a reset
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    await trio.aclose_forcefully(stream)


def _is_this_machine(stream: trio.abc.Stream, host: str) -> bool:
    """Whether a connection from ``host`` comes from this machine: over loopback, or from the address it goes to."""
    try:
        own = str(stream.socket.getsockname()[0]) if isinstance(stream, trio.SocketStream) else ""
        return ipaddress.ip_address(host).is_loopback or own.removeprefix("::ffff:") == host
    except (OSError, ValueError):
        return False


def host_of(stream: trio.abc.Stream) -> str:
    """Return the address of the other machine, empty if it has none or is gone already."""
    if isinstance(stream, trio.SocketStream):  # first: to check for a protocol takes longer
        try:
            name = stream.socket.getpeername()
            return str(name[0]).removeprefix("::ffff:") if isinstance(name, tuple) else ""
        except OSError:
            return ""
    return stream.peer_host if isinstance(stream, _Peekable) else ""
