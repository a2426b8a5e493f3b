"""Virtual TCP: connections with one-way delays, resets, windows and retransmission, as trio streams."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.testing.lan import Lan
from meshp2p.testing.process import Process, Waiters
from meshp2p.virtual.impairments import RETRANSMISSION

__all__ = ["VirtualListener", "VirtualStream", "connect"]

WINDOW_BYTES: Final = 256 * 1024
"""The maximum of bytes in transit or unread; then sending waits. Chosen, not measured."""

_SEGMENT_BYTES: Final = 32 * 1024  # what travels as one, of a longer write: chosen, not measured
_BACKLOG_MAX: Final = 128  # as in net/sockets.py
_RETRIES_MAX: Final = 15  # after which the connection is given up: Linux's tcp_retries2
_PAUSE_MAX: Final = 120.0  # seconds between two retransmissions: Linux's
_SYN_TIMEOUT: Final = 1.0  # seconds before a connection is asked for again, doubled each time: Linux's
_SYN_RETRIES: Final = 6

_END = b""
"""The mark that a side will send nothing more."""


class _OneAtATime:
    """Refuses a second task, as trio's streams do."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._is_busy = False

    def __enter__(self) -> None:
        if self._is_busy:
            raise trio.BusyResourceError(self._message)
        self._is_busy = True

    def __exit__(self, *_: object) -> None:
        self._is_busy = False


class VirtualStream(trio.abc.HalfCloseableStream):
    """One end of a connection, in one process. ``local`` and ``remote`` are its addresses."""

    def __init__(self, lan: Lan, process: Process, local: Address, remote: Address) -> None:
        self.process = process
        self.local = local
        self.remote = remote
        self.last_used: float = trio.current_time()
        """When something was last sent or read."""
        self._lan = lan
        self._host = lan.hosts[process.host_name]
        self._peer: VirtualStream = self
        self._received = bytearray()
        self._has_ended = False
        self._is_broken = False
        self._is_closed = False
        self._has_sent_end = False
        self._outgoing: deque[bytes] = deque()
        self._is_retrying = False
        self._retries = 0
        self._unread = 0  # bytes sent that the peer's process has not read
        self._last_arrival = 0.0
        self._readers = Waiters(process)
        self._writers = Waiters(process)
        self._sending = _OneAtATime("another task is sending on this stream")
        self._receiving = _OneAtATime("another task is receiving from this stream")
        process.at_death[self.reset] = None

    @classmethod
    def pair(
        cls, lan: Lan, client: Process, local: Address, server: Process, remote: Address
    ) -> tuple[VirtualStream, VirtualStream]:
        """Return both ends of a new connection."""
        one, other = cls(lan, client, local, remote), cls(lan, server, remote, local)
        one._peer, other._peer = other, one
        return one, other

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "broken" if self._is_broken else "open"
        return f"<VirtualStream {self.local} to {self.remote}: {state}>"

    @property
    def is_readable(self) -> bool:
        """Return whether reading would return at once."""
        return bool(self._received) or self._has_ended or self._is_broken

    @property
    def peer_host(self) -> str:
        """The address of the other side's host."""
        return self.remote.host

    # trio's side

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_usable()
            rest = bytes(data)
            while rest:
                await self._wait_for_room()
                piece, rest = rest[:_SEGMENT_BYTES], rest[_SEGMENT_BYTES:]
                self._unread += len(piece)
                self._push(piece)
            await self.process.wait_until_running()

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        while self.process.is_stopped or (self._unread >= WINDOW_BYTES and not self._is_useless):
            await self._writers.wait()
        self._check_usable()

    async def send_eof(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            await self.process.wait_until_running()
            if self._has_sent_end and not self._is_closed:
                return
            self._check_usable()
            self._has_sent_end = True
            self._push(_END)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is not None and not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes = {max_bytes!r}: expected a whole number")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes = {max_bytes}: expected 1 or more")
        await self._wait_readable()
        self.last_used = trio.current_time()
        data = bytes(self._received[:max_bytes])
        del self._received[: len(data)]
        self._peer._note_read(len(data))
        return data

    async def peek_some(self) -> bytes:
        """Return received data without removing it; empty at the end."""
        await self._wait_readable()
        return bytes(self._received)

    async def _wait_readable(self) -> None:
        with self._receiving:
            await trio.lowlevel.checkpoint()
            while self.process.is_stopped or not (self.is_readable or self._is_closed):
                await self._readers.wait()
        if self._is_closed:
            raise trio.ClosedResourceError
        if self._is_broken:
            raise trio.BrokenResourceError("the connection was reset") from _os_error(errno.ECONNRESET)

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close without waiting. If data was left unread, the other side's connection is reset."""
        if self._is_closed:
            return
        self._is_closed = True
        self.process.at_death.pop(self.reset, None)
        if self._received:
            self.process.do(self._reset_peer)
        elif not self._has_sent_end and not self._is_broken:
            self._has_sent_end = True
            self._push(_END)
        self._readers.wake()
        self._writers.wake()

    @property
    def _is_useless(self) -> bool:
        return self._is_closed or self._is_broken

    def _check_usable(self) -> None:
        if self._is_closed or self._has_sent_end:
            raise trio.ClosedResourceError
        if self._is_broken:
            raise trio.BrokenResourceError("the connection was reset") from _os_error(errno.ECONNRESET)

    # The kernel's side

    def _push(self, segment: bytes) -> None:
        self.last_used = trio.current_time()
        self._outgoing.append(segment)
        if not self._is_retrying:
            self.process.do(self._transmit)

    def _transmit(self) -> None:
        """Send what waits, in order. What does not pass now is retried at growing intervals."""
        lan, peer = self._lan, self._peer
        self._is_retrying = False
        while self._outgoing and not self._is_broken:
            delay = lan.tcp_delay(self._host, peer._host)
            now = trio.current_time()
            if delay is None:
                self._is_retrying = True
                self._retries += 1
                if self._retries > _RETRIES_MAX:
                    self._break()
                    return
                pause = min(RETRANSMISSION * 2 ** (self._retries - 1), _PAUSE_MAX)
                lan.courier.at(now + pause, self._transmit)
                return
            self._retries = 0
            segment = self._outgoing.popleft()
            lan.log.mark(self._host.name, "tcp", peer._host.name, b"%d" % len(segment))
            self._last_arrival = max(self._last_arrival, now + delay)
            lan.courier.at(self._last_arrival, peer._enqueue_segment, segment)

    def _enqueue_segment(self, segment: bytes) -> None:
        """Receive a segment."""
        if not self._host.is_on:
            return
        if self._is_closed or self._is_broken:
            if segment:
                self._reset_peer()
        elif segment:
            self._received += segment
            self._readers.wake()
        else:
            self._has_ended = True
            self._readers.wake()

    def _note_read(self, count: int) -> None:
        self._unread -= count
        if count:
            self._writers.wake()

    def _reset_peer(self) -> None:
        """Tell the other side that this one is gone. If that does not pass, the other side learns it with its next
        segment."""
        delay = self._lan.tcp_delay(self._host, self._peer._host)
        if delay is not None:
            self._last_arrival = max(self._last_arrival, trio.current_time() + delay)
            self._lan.courier.at(self._last_arrival, self._peer._break)

    def _break(self) -> None:
        self._is_broken = True
        self._received.clear()
        self._outgoing.clear()
        self._readers.wake()
        self._writers.wake()

    def reset(self) -> None:
        """Reset the connection on both sides, as the kernel does for a killed process."""
        self.process.at_death.pop(self.reset, None)
        self._reset_peer()
        self._break()


class VirtualListener(trio.abc.Listener[trio.abc.Stream]):
    """A bound TCP port of a process. Its kernel accepts connections into a backlog, even while the process is
    suspended."""

    def __init__(self, lan: Lan, process: Process, address: Address) -> None:
        self.process = process
        self.address = address
        self._lan = lan
        self._backlog: deque[tuple[trio.abc.Stream, Callable[[], None]]] = deque()
        self._is_closed = False
        self._acceptors = Waiters(process)

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        while self.process.is_stopped or not (self._backlog or self._is_closed):
            await self._acceptors.wait()
        if self._is_closed:
            raise trio.ClosedResourceError
        stream, _ = self._backlog.popleft()
        return stream

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Refuse connections from now on, and reset those in the backlog."""
        if self._is_closed:
            return
        self._is_closed = True
        self.process.at_death.pop(self.close, None)
        host = self._lan.hosts[self.process.host_name]
        if host.tcp.get(self.address.port) is self:
            del host.tcp[self.address.port]
        for _, reset in self._backlog:
            reset()
        self._backlog.clear()
        self._acceptors.wake()

    @property
    def is_full(self) -> bool:
        """Return whether the backlog has no room for another connection."""
        return len(self._backlog) >= _BACKLOG_MAX

    def enqueue(self, stream: trio.abc.Stream, reset: Callable[[], None]) -> None:
        """Receive a connection: its end here, and what resets it if it is not accepted."""
        self._backlog.append((stream, reset))
        self._acceptors.wake()


async def connect(lan: Lan, process: Process, place: str, port: int) -> VirtualStream:
    """Connect to a port of the host with this name or address.

    Raises ``OSError``: ``ECONNREFUSED`` if nothing listens there, ``ETIMEDOUT`` after two minutes without an answer.
    """
    host = lan.hosts[process.host_name]
    target = lan.host_at(place, host)
    await process.wait_until_running()
    if process.is_dead or not host.is_on:
        raise _os_error(errno.ENETDOWN)
    local = Address(host.ip, host.allocate_port())
    pause = _SYN_TIMEOUT
    for _ in range(_SYN_RETRIES + 1):
        forth = None if target is None else lan.tcp_delay(host, target)
        if forth is not None and target is not None:
            await trio.sleep(forth)
            back = lan.tcp_delay(target, host)
            if back is not None:
                listener = target.tcp.get(port)
                if listener is None:
                    return await _conclude(process, None, back)
                if not listener.is_full:
                    ours, theirs = VirtualStream.pair(lan, process, local, listener.process, listener.address)
                    listener.enqueue(theirs, theirs.reset)
                    return await _conclude(process, ours, back)
        await process.sleep(pause)
        pause *= 2
    raise _os_error(errno.ETIMEDOUT)


async def _conclude(process: Process, stream: VirtualStream | None, delay: float) -> VirtualStream:
    """Send the answer back: a connection, or a refusal."""
    try:
        await process.sleep(delay)
    except BaseException:
        if stream is not None:
            stream.close()
        raise
    if stream is None:
        raise _os_error(errno.ECONNREFUSED)
    return stream


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
