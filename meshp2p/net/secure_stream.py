"""A stream to a node whose certificate was verified, and what makes such streams."""

from __future__ import annotations

from typing import Protocol

import trio

__all__ = ["Security", "VerifiedStream"]


class VerifiedStream(trio.abc.Stream):
    """A TLS connection. ``instance_id`` is the id that the certificate of the other side is for."""

    def __init__(self, stream: trio.abc.Stream, instance_id: str) -> None:
        self.instance_id: str = instance_id
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class Security(Protocol):
    """One node of a secured mesh."""

    @property
    def mesh(self) -> str:
        """The name that stands for this mesh, and for no other, where an open mesh has its name."""

    async def accept(self, stream: trio.abc.Stream) -> VerifiedStream:
        """Find out who connected. Raises :class:`~meshp2p.errors.RemoteProtocolError` if that is no member, ``OSError``
        if the connection broke; the stream is closed then."""

    async def dial(self, stream: trio.abc.Stream) -> VerifiedStream:
        """As :meth:`accept`, for a connection that was opened here."""
