"""A TLS 1.3 connection as a stream, in which encrypting is apart from writing.

With ``trio.SSLStream`` a warm call between two nodes took more than twice the time of one that is not encrypted. TLS
1.3 has no renegotiation, so a write never waits for a read, and whoever owns the socket can encrypt and write at once.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import Final

import trio

from meshp2p.net.sockets import receive_some

__all__ = ["TlsStream"]

_RECEIVE_BYTES: Final = 32 * 1024  # the buffer of an idle connection keeps as much: chosen, not measured
_ENDED: Final = (ssl.SSLZeroReturnError, ssl.SSLEOFError)


class TlsStream(trio.abc.Stream):
    """A stream over ``transport``. The end of the transport is the end of the stream, with or without a close_notify,
    as HTTPS has it. One task may receive while another one sends.

    :meth:`receive_some` does not yield to the loop if bytes that arrived earlier are left.
    """

    def __init__(self, transport: trio.abc.Stream, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.transport: trio.abc.Stream = transport
        self._unsent = b""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol that both sides agreed on."""
        return self._tls.selected_alpn_protocol()

    @property
    def certificate(self) -> bytes | None:
        """The certificate that the other side has shown, in DER."""
        return self._tls.getpeercert(binary_form=True)

    async def do_handshake(self) -> None:
        """Perform the handshake. Call it before everything else. Raises ``trio.BrokenResourceError``, whose cause is
        that of TLS."""
        is_over = False
        while not is_over:
            try:
                self._tls.do_handshake()
                is_over = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._flush()  # the other side is to know why
                raise trio.BrokenResourceError from error
            await self._flush()
            if not is_over:
                self._put(await receive_some(self.transport, _RECEIVE_BYTES))

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the bytes to write to the transport for these. Raises ``trio.BrokenResourceError`` if the connection
        has failed."""
        try:
            written = self._tls.write(data) if data else 0  # a record of 16 KiB at most
            while written < len(data):
                written += self._tls.write(memoryview(data)[written:])
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        return self._outgoing.read()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        unsent, self._unsent = self._unsent, b""
        await self.transport.send_all(unsent + self.encrypt(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while (received := self._read(_RECEIVE_BYTES if max_bytes is None else max_bytes)) is None:
            self._put(await receive_some(self.transport, _RECEIVE_BYTES))
        return received

    def fileno(self) -> int:
        """Return the descriptor of the transport, which must be a socket, as it must for what follows."""
        return self.transport.socket.fileno() if isinstance(self.transport, trio.SocketStream) else -1

    def send_nowait(self, data: bytes) -> bytes | None:
        """Send as much as the socket takes now. Return None if that was all, else what :meth:`send_all` is to be given
        for the rest. Raises ``OSError`` and ``trio.BrokenResourceError``."""
        self._unsent += self.encrypt(data)
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[os.write(self.fileno(), self._unsent) :]
        return b"" if self._unsent else None

    def receive_nowait(self, bytes_max: int) -> bytes:
        """Return what has arrived, empty at the end of the stream. Raises ``BlockingIOError`` if nothing has, other
        kinds of ``OSError``, and ``trio.BrokenResourceError``."""
        while (received := self._read(bytes_max)) is None:
            self._put(os.read(self.fileno(), _RECEIVE_BYTES))
        return received

    def _read(self, bytes_max: int) -> bytes | None:
        """Return bytes that arrived earlier, empty at the end of the stream, None if there are none."""
        if self._incoming.pending or self._incoming.eof or self._tls.pending():
            try:
                return self._tls.read(bytes_max)
            except ssl.SSLWantReadError:
                pass
            except _ENDED:
                return b""
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
        return None

    async def aclose(self) -> None:
        await self.transport.aclose()

    def _put(self, data: bytes | bytearray) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self.transport.send_all(self._outgoing.read())
