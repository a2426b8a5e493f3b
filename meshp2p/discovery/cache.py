"""The cache of peers: a small file with the peers of earlier lives, so that a restart needs neither multicast nor
seeds."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.source import ADDRESSES_MAX, Offer, Sighting, logger

__all__ = ["PEERS_MAX", "CacheSource", "KnownPeer", "PeerCache"]

FORMAT = 1
PEERS_MAX = 256
"""How many peers the file has. Chosen, not measured: one that is still alive is enough to join."""
FILE_BYTES_MAX = 1 << 20
"""The maximum size of a file that is read, twice that of ``PEERS_MAX`` peers with all their addresses."""


class KnownPeer(msgspec.Struct, frozen=True):
    """A known peer: its id, and the addresses at which it was reached."""

    instance_id: str
    addresses: tuple[Address, ...]


class _CacheFile(msgspec.Struct, frozen=True):
    format: int
    peers: tuple[KnownPeer, ...]


class PeerCache:
    """The file at ``path``, as JSON. One process writes it; its directory exists.

    The file is a convenience: if it cannot be read or written, that is logged once and ignored. ``run`` runs a function
    that waits for the disk; by default that is a worker thread of trio.
    """

    def __init__(
        self, path: Path, run: Callable[[Callable[[], Any]], Awaitable[Any]] = trio.to_thread.run_sync
    ) -> None:
        self._path = path
        self._run = run
        self._is_write_failure_known = False

    async def load(self) -> tuple[KnownPeer, ...]:
        """Read the peers, the most recently met first. Empty if there is no valid file. Cancel-safe."""
        peers: tuple[KnownPeer, ...] = await self._run(self._load)
        return peers

    async def save(self, peers: Iterable[KnownPeer]) -> bool:
        """Replace the file by the first ``PEERS_MAX`` of ``peers``, the most recently met first. Return whether that
        worked.

        After a crash the file is the old one or the new one. A cancellation takes effect before or after the whole
        write.
        """
        kept = tuple(peers)[:PEERS_MAX]
        has_worked: bool = await self._run(lambda: self._save(kept))
        return has_worked

    def _load(self) -> tuple[KnownPeer, ...]:
        try:
            with self._path.open("rb") as file:
                return _parse_untrusted(file.read(FILE_BYTES_MAX + 1))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("the cache of peers %s is ignored and will be replaced: %s", self._path, error)
            return ()

    def _save(self, peers: tuple[KnownPeer, ...]) -> bool:
        data = msgspec.json.format(msgspec.json.encode(_CacheFile(FORMAT, peers)), indent=1)
        temporary = self._path.with_name(self._path.name + ".tmp")
        try:
            temporary.touch(mode=0o600)  # other users of a shared machine may not read who is in the mesh
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            if not self._is_write_failure_known:
                logger.warning("the cache of peers %s cannot be written: %s", self._path, error)
            self._is_write_failure_known = True
            return False
        self._is_write_failure_known = False
        return True


def _parse_untrusted(data: bytes) -> tuple[KnownPeer, ...]:
    """Parse a file that may be torn, edited or of a later version. Raises ``ValueError``; msgspec's errors are such."""
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"it is larger than {FILE_BYTES_MAX} bytes")
    file = msgspec.json.decode(data, type=_CacheFile)
    if file.format != FORMAT:
        raise ValueError(f"its format is {file.format}, and this version reads {FORMAT}")
    for peer in file.peers:
        if not 1 <= len(peer.instance_id.encode()) <= 128:
            raise ValueError("an instance id is not 1 to 128 bytes long")
        if not 1 <= len(peer.addresses) <= ADDRESSES_MAX:
            raise ValueError(f"a peer has {len(peer.addresses)} addresses, and 1 to {ADDRESSES_MAX} are allowed")
        for address in peer.addresses:
            ipaddress.ip_address(address.host)
            if not 1 <= address.port <= 65535:
                raise ValueError(f"port {address.port} is not from 1 to 65535")
    return file.peers[:PEERS_MAX]


class CacheSource:
    """Offers each known peer once, and again after the machine moved to another network."""

    name = "cache"

    def __init__(self, peers: Sequence[KnownPeer]) -> None:
        self._peers = tuple(peers)
        self._wake = trio.Event()

    def move(self, place: Endpoints) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        self.refresh()

    def refresh(self) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        self._wake.set()

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        while True:
            for peer in self._peers:
                offer(Sighting(self.name, peer.addresses, peer.instance_id))
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await self._wake.wait()
            self._wake = trio.Event()
