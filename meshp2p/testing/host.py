"""A virtual machine: its address, its ports, its disks, its clock, and the process that runs on it."""

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
        """A packet has arrived. Whether there was room for it."""

    def close(self) -> None: ...


class TcpPort(Protocol):
    """A bound TCP port of a process."""

    process: Process
    address: Address

    @property
    def is_full(self) -> bool:
        """Whether its backlog has no room for another connection."""

    def enqueue(self, stream: trio.abc.Stream, reset: Callable[[], None]) -> None:
        """A connection has arrived: its end here, and what resets it where nobody accepts it."""


class LanHost:
    """One machine of the virtual LAN. Without ``is_on`` it is silent."""

    def __init__(self, name: str, ip: str) -> None:
        self.name = name
        self.ip = ip
        self.is_on: bool = True
        self.wall_skew: float = 0.0
        """Seconds by which its wall clock is ahead."""
        self.is_forgetful: bool = False
        self.disks: dict[str, VirtualDisk] = {}
        self.udp: dict[int, UdpPort] = {}
        self.tcp: dict[int, TcpPort] = {}
        self.process: Process = Process(name, 1)
        self.platforms = 0
        """How many nodes were opened here, ever: each has randomness of its own."""
        self._last_port = _FIRST_FREE_PORT - 1

    def __repr__(self) -> str:
        return f"<Host {self.name!r} at {self.ip}: {'on' if self.is_on else 'off'}, {self.process!r}>"

    def boot(self) -> None:
        """Switch it on where it is off; a dead process is followed by a new one."""
        self.is_on = True
        if self.process.is_dead:
            self.process = Process(self.name, self.process.number + 1)

    def allocate_port(self) -> int:
        """A port that nobody has had yet, for a socket that did not ask for one."""
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
        """Whether synced writes are only pretended from now on."""
        self.is_forgetful = is_forgetful
        for disk in self.disks.values():
            if is_forgetful:
                disk.become_forgetful()
            else:
                disk.become_honest()
