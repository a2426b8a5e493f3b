"""A virtual machine: its address, ports, disks and clock, and its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import trio

from meshp2p.core.address import Address
from meshp2p.testing.disk import VirtualDisk
from meshp2p.testing.process import Process
from meshp2p.wire.codec import Codec

__all__ = ["LanHost", "TcpPort", "UdpPort"]

_FIRST_FREE_PORT: Final = 49_152


class UdpPort(Protocol):
    """A bound UDP socket. ``codec`` is that of its owner's mesh."""

    process: Process
    address: Address
    codec: Codec

    def enqueue(self, data: bytes, source: Address) -> bool:
        """Receive a packet. Return whether there was room for it."""

    def close(self) -> None: ...


class TcpPort(Protocol):
    """A bound TCP port of a process."""

    process: Process
    address: Address

    @property
    def is_full(self) -> bool:
        """Whether its backlog has no room for another connection."""

    def enqueue(self, stream: trio.abc.Stream, reset: Callable[[], None]) -> None:
        """Receive a connection: its end here, and what resets it if it is not accepted."""


class LanHost:
    """One machine of the virtual LAN. Without ``is_on`` it does not respond at all."""

    def __init__(self, name: str, ip: str) -> None:
        self.name = name
        self.ip = ip
        self.is_on: bool = True
        self.wall_skew: float = 0.0
        """By how many seconds its wall clock is ahead."""
        self.is_forgetful: bool = False
        self.disks: dict[str, VirtualDisk] = {}
        self.udp: dict[int, UdpPort] = {}
        self.tcp: dict[int, TcpPort] = {}
        self.process: Process = Process(name, 1)
        self.platforms = 0
        """How many nodes were ever opened here: each has its own randomness."""
        self._last_port = _FIRST_FREE_PORT - 1

    def __repr__(self) -> str:
        return f"<Host {self.name!r} at {self.ip}: {'on' if self.is_on else 'off'}, {self.process!r}>"

    def boot(self) -> None:
        """Switch the machine on if it is off. A dead process is followed by a new one."""
        self.is_on = True
        if self.process.is_dead:
            self.process = Process(self.name, self.process.number + 1)

    def allocate_port(self) -> int:
        """Return an unused port for a socket that asks for any."""
        self._last_port = self._last_port + 1 if self._last_port < 65_535 else _FIRST_FREE_PORT
        while self._last_port in self.udp or self._last_port in self.tcp:
            self._last_port += 1
        return self._last_port

    def disk(self, directory: str) -> VirtualDisk:
        disk = self.disks.get(directory)
        if disk is None:
            disk = self.disks[directory] = VirtualDisk()
            disk.is_forgetful = self.is_forgetful
        return disk

    def set_forgetful(self, is_forgetful: bool) -> None:
        """Set whether synced writes are acknowledged without being stored."""
        self.is_forgetful = is_forgetful
        for disk in self.disks.values():
            if is_forgetful:
                disk.become_forgetful()
            else:
                disk.become_honest()
