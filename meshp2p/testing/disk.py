"""A virtual disk. It survives the death of the process, and can be told to lose unsynced writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from meshp2p.core.effects import Table, Write
from meshp2p.discovery.cache import KnownPeer
from meshp2p.errors import StartError
from meshp2p.store.identity import Identity
from meshp2p.store.recordings import RECORDINGS_MAX
from meshp2p.testing.process import Process
from meshp2p.virtual.disk import SimulatedDisk

__all__ = ["OpenDisk", "VirtualDisk"]

SYNC_SECONDS: Final = 0.002
"""How long a synced write takes. Chosen, not measured: the order of magnitude of an SSD."""

STORE_SECONDS: Final = 0.0002
"""How long a transaction of messages takes, which is not synced but left to the kernel."""


class _Files(msgspec.Struct, frozen=True):
    """The small files of a data directory."""

    identity: Identity | None = None
    peers: tuple[KnownPeer, ...] = ()


class VirtualDisk(SimulatedDisk[_Files]):
    """One data directory of a host, and the process that uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.user: Process | None = None
        self.recordings: dict[str, bytes] = {}

    @property
    def files(self) -> _Files:
        return self.read() or _Files()

    def crash(self) -> bool:
        self.user = None
        return super().crash()


class OpenDisk:
    """A process's open disk: the ``VirtualDisk`` of the platform. Raises :class:`StartError` if another process has it
    open."""

    def __init__(self, disk: VirtualDisk, process: Process, directory: str) -> None:
        if disk.user is not None:
            raise StartError(f"data directory {directory!r} is used by another running node: every node needs its own")
        disk.user = process
        self._disk = disk
        self._process = process
        process.at_death[self._crash] = None

    def _crash(self) -> None:
        self._disk.crash()

    def load_identity(self) -> Identity | None:
        return self._disk.files.identity

    async def save_identity(self, identity: Identity) -> None:
        await self._process.sleep(SYNC_SECONDS)
        if not self._process.is_dead:
            self._disk.write(msgspec.structs.replace(self._disk.files, identity=identity))

    async def load_peers(self) -> tuple[KnownPeer, ...]:
        await self._process.sleep(0)
        return self._disk.files.peers

    async def save_peers(self, peers: tuple[KnownPeer, ...]) -> None:
        await self._process.sleep(SYNC_SECONDS)
        if not self._process.is_dead:
            self._disk.write(msgspec.structs.replace(self._disk.files, peers=peers))

    async def save_recording(self, name: str, data: bytes) -> None:
        await self._process.sleep(SYNC_SECONDS)
        if not self._process.is_dead:
            self._disk.recordings[name] = data
            for old in sorted(self._disk.recordings)[:-RECORDINGS_MAX]:
                del self._disk.recordings[old]

    def load_messages(self) -> list[tuple[Table, bytes, bytes]]:
        return self._disk.read_messages()

    @property
    def age(self) -> float:
        return trio.current_time()

    @property
    def loss(self) -> str | None:
        return None

    async def store(self, batches: Sequence[tuple[Write, ...]]) -> None:
        await self._process.sleep(STORE_SECONDS)
        if not self._process.is_dead:
            for writes in batches:
                self._disk.write_messages(writes)

    def close(self) -> None:
        if not self._process.is_dead and self._disk.user is self._process:
            self._disk.user = None
            self._process.at_death.pop(self._crash, None)
