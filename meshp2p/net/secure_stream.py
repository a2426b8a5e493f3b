"""Encrypted streams: to a node whose certificate was verified, and to a caller of the HTTP API."""

from __future__ import annotations

from collections.abc import Callable

import trio

from meshp2p.net.tls_stream import TlsStream
from meshp2p.trust.grants import Grant

__all__ = ["CallerStream", "VerifiedStream"]


class _Encrypted(trio.abc.Stream):
    def __init__(self, stream: TlsStream) -> None:
        self.tls: TlsStream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.tls.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.tls.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.tls.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.tls.aclose()


class VerifiedStream(_Encrypted):
    """A TLS connection. ``instance_id`` is the id that the certificate of the other side is for, ``machine`` the
    fingerprint of the machine that issued it. ``trust_digest`` is that of the trust map on which both sides agreed
    last."""

    def __init__(self, stream: TlsStream, instance_id: str, machine: bytes, trust_digest: bytes) -> None:
        super().__init__(stream)
        self.instance_id: str = instance_id
        self.machine: bytes = machine
        self.trust_digest: bytes = trust_digest


class CallerStream(_Encrypted):
    """A TLS connection that carries HTTP. ``certified()`` is what the certificate of the client grants now, None if it
    showed none; it raises :class:`~meshp2p.errors.RemoteProtocolError` if that certificate is not accepted. ``direct``
    reads and writes without waiting; None if the connection is no socket."""

    def __init__(self, stream: TlsStream, peer_host: str, certified: Callable[[], Grant | None]) -> None:
        super().__init__(stream)
        self.peer_host: str = peer_host
        self.direct: TlsStream | None = stream if isinstance(stream.transport, trio.SocketStream) else None
        self.certified: Callable[[], Grant | None] = certified
