"""Virtual UDP: the ``Datagrams`` of the driver."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.errors import RemoteProtocolError
from meshp2p.testing.lan import Lan
from meshp2p.testing.process import Process, Waiters
from meshp2p.virtual.corruption import Mangled
from meshp2p.wire.codec import Codec

__all__ = ["RECEIVE_BUFFER_BYTES", "VirtualDatagrams"]

RECEIVE_BUFFER_BYTES: Final = 1 << 20
"""The size of the receive buffer, as in :mod:`meshp2p.net.sockets`; further packets are lost."""

_PACKET_OVERHEAD: Final = 768  # bytes that a kernel counts for each small packet besides its own: Linux's, about


class VirtualDatagrams:
    """A bound UDP socket of a process. ``codec`` is that of its owner's mesh."""

    def __init__(self, lan: Lan, process: Process, address: Address, codec: Codec) -> None:
        self.process = process
        self.address = address
        self.codec = codec
        self.send_errors: int = 0
        self._lan = lan
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._bytes = 0
        self._is_closed = False
        self._readers = Waiters(process)

    async def wait_readable(self) -> None:
        """Wait for a packet. A suspended process keeps waiting, whatever its deadlines."""
        process = self.process
        is_first = True
        while process.is_stopped or not self._queue:
            await self._readers.wait()
            is_first = False
        if is_first:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        while self._queue and not self.process.is_stopped:
            data, source = self._queue.popleft()
            self._bytes -= len(data) + _PACKET_OVERHEAD
            if not (isinstance(data, Mangled) and self._is_intact(data)):
                return data, source
        return None

    def send_nowait(self, data: bytes, address: Address) -> None:
        if not self._is_closed:
            self.process.do(lambda: self._lan.send(self, address, data))

    def close(self) -> None:
        self._is_closed = True
        self._lan.close_datagrams(self)

    def enqueue(self, data: bytes, source: Address) -> bool:
        """Receive a packet. Return whether there was room for it."""
        size = len(data) + _PACKET_OVERHEAD
        if self._bytes + size > RECEIVE_BUFFER_BYTES:
            return False
        self._queue.append((data, source))
        self._bytes += size
        self._readers.wake()
        return True

    def _is_intact(self, data: bytes) -> bool:
        """Return whether a corrupted packet still decodes: then UDP's checksum, which is not computed here, refuses
        it."""
        try:
            self.codec.decode_datagram_untrusted(data)
        except RemoteProtocolError:
            return False
        return True
