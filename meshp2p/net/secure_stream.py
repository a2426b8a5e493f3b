"""Encrypted streams: to a node whose certificate was verified, and to a caller of the HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import trio

from meshp2p.trust.grants import CallerAccess, Grant

__all__ = ["CallerStream", "Security", "VerifiedStream"]


class _TlsStream(trio.abc.Stream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class VerifiedStream(_TlsStream):
    """A TLS connection. ``instance_id`` is the id that the certificate of the other side is for."""

    def __init__(self, stream: trio.abc.Stream, instance_id: str) -> None:
        super().__init__(stream)
        self.instance_id: str = instance_id


class CallerStream(_TlsStream):
    """A TLS connection that carries HTTP. ``certified()`` is what the certificate of the client grants now, None if it
    showed none; it raises :class:`~meshp2p.errors.RemoteProtocolError` if that certificate is not accepted."""

    def __init__(self, stream: trio.abc.Stream, peer_host: str, certified: Callable[[], Grant | None]) -> None:
        super().__init__(stream)
        self.peer_host: str = peer_host
        self.certified: Callable[[], Grant | None] = certified


class Security(Protocol):
    """One node of a secured mesh."""

    @property
    def mesh(self) -> str:
        """The name that stands for this mesh, and for no other, where an open mesh has its name."""

    @property
    def callers(self) -> CallerAccess:
        """What callers of the HTTP API may do."""

    def rename(self, names: Collection[str]) -> None:
        """Show a certificate with these DNS names and addresses from now on."""

    async def accept(self, stream: trio.abc.Stream, host: str) -> VerifiedStream | CallerStream:
        """Find out who connected from ``host``. Raises :class:`~meshp2p.errors.RemoteProtocolError` if that is neither
        a member nor a caller, ``OSError`` if the connection broke; the stream is closed then."""

    async def dial(self, stream: trio.abc.Stream) -> VerifiedStream:
        """As :meth:`accept`, for a connection to a node that was opened here."""
