"""A virtual disk: it survives the death of the process, and loses what was not synced where it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from meshp2p.core.effects import Put, Table, Write
from meshp2p.discovery.cache import KnownPeer
from meshp2p.errors import StartError
from meshp2p.store.identity import Identity
from meshp2p.testing.process import Process

__all__ = ["OpenDisk", "VirtualDisk"]

SYNC_SECONDS: Final = 0.002
"""How long a synced write takes. Chosen, not measured: an SSD's order of magnitude."""

STORE_SECONDS: Final = 0.0002
"""How long a transaction of messages takes, which is not synced but left to the kernel."""


class _Contents:
    """What a directory holds."""

    def __init__(self, identity: Identity | None = None, peers: tuple[KnownPeer, ...] = ()) -> None:
        self.identity = identity
        self.peers = peers
        self.messages: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}

    def copy(self) -> _Contents:
        copy = _Contents(self.identity, self.peers)
        copy.messages = {table: dict(values) for table, values in self.messages.items()}
        return copy

    def store(self, batches: Sequence[tuple[Write, ...]]) -> None:
        for writes in batches:
            for write in writes:
                if isinstance(write, Put):
                    self.messages[write.table][write.key] = write.value
                else:
                    self.messages[write.table].pop(write.key, None)


class VirtualDisk:
    """One data directory of a host. What is written is in ``cached``; a crash leaves what is in ``synced``."""

    def __init__(self) -> None:
        self.synced: _Contents = _Contents()
        self.cached: _Contents = _Contents()
        self.is_forgetful: bool = False
        self.user: Process | None = None

    def sync(self) -> None:
        """What was written survives from now on, unless the disk lies."""
        if not self.is_forgetful:
            self.synced = self.cached.copy()

    def store(self, batches: Sequence[tuple[Write, ...]]) -> None:
        """Write messages; they survive as :meth:`sync` says."""
        self.cached.store(batches)
        if not self.is_forgetful:
            self.synced.store(batches)

    def become_honest(self) -> None:
        """What was held back is on the disk now."""
        self.is_forgetful = False
        self.sync()

    def crash(self) -> None:
        self.cached = self.synced.copy()
        self.user = None


class OpenDisk:
    """A process's hold on a disk: the platform's ``Disk``. Raises :class:`StartError` where another holds it."""

    def __init__(self, disk: VirtualDisk, process: Process, directory: str) -> None:
        if disk.user is not None:
            raise StartError(f"data directory {directory!r} is used by another running node: every node needs its own")
        disk.user = process
        self._disk = disk
        self._process = process
        process.at_death[disk.crash] = None

    def load_identity(self) -> Identity | None:
        return self._disk.cached.identity

    async def save_identity(self, identity: Identity) -> None:
        await self._process.sleep(SYNC_SECONDS)
        if not self._process.is_dead:
            self._disk.cached.identity = identity
            self._disk.sync()

    async def load_peers(self) -> tuple[KnownPeer, ...]:
        await self._process.sleep(0)
        return self._disk.cached.peers

    async def save_peers(self, peers: tuple[KnownPeer, ...]) -> None:
        await self._process.sleep(SYNC_SECONDS)
        if not self._process.is_dead:
            self._disk.cached.peers = peers
            self._disk.sync()

    def load_messages(self) -> list[tuple[Table, bytes, bytes]]:
        kept = self._disk.cached.messages
        return [(table, key, kept[table][key]) for table in Table for key in sorted(kept[table])]

    @property
    def age(self) -> float:
        return trio.current_time()

    @property
    def loss(self) -> str | None:
        return None

    async def store(self, batches: Sequence[tuple[Write, ...]]) -> None:
        await self._process.sleep(STORE_SECONDS)
        if not self._process.is_dead:
            self._disk.store(batches)

    def close(self) -> None:
        if not self._process.is_dead and self._disk.user is self._process:
            self._disk.user = None
            self._process.at_death.pop(self._disk.crash, None)
