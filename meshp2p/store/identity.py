"""A node's identity across restarts: its id, and the incarnations and the epoch that it may have used.

It is one small JSON file in the data directory, replaced as a whole and synced. A spare file of the same size beside it
reserves space for the next version, so that it can be written even if the disk is full. File systems that never write
in place, such as btrfs, do not guarantee that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from typing import Final

import msgspec

from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.record import EPOCH_MAX, ID_BYTES_MAX, INCARNATION_MAX
from meshp2p.errors import StartError, StoreError
from meshp2p.store.directory import DataDirectory

__all__ = ["Identity", "IdentityStore"]

_SCHEMA: Final = 2
_SCHEMA_WITHOUT_CRC: Final = 1
_FILE_BYTES: Final = 4096
"""The size of both files: more than the longest id needs, and a block of most file systems."""


class Identity(msgspec.Struct, frozen=True):
    """A stored identity. ``id`` is the node's id in this mesh; ``is_generated`` tells whether the node generated it."""

    id: str
    is_generated: bool
    kept: KeptState = KeptState()


class _IdentityFile(msgspec.Struct, frozen=True):
    id: str
    is_generated: bool
    kept: KeptState
    schema: int = _SCHEMA
    crc: int | None = None


class IdentityStore:
    """The identity in one data directory, and the space for the next one."""

    def __init__(self, directory: DataDirectory) -> None:
        """Raises :class:`StartError` if nothing can be written to the directory, unless only the space is missing and
        an identity exists already."""
        self._directory = directory
        self._path = directory.path / "identity.json"
        self._spare = directory.path / "identity.spare"
        self._old = directory.path / "identity.old"
        try:
            self._reserve()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._path.exists():
                raise StartError(f"{str(self._spare)!r} cannot be written: {error.strerror}") from error

    def load(self) -> Identity | None:
        """Return the identity that was saved last, or None.

        Raises :class:`StoreError` if the file is damaged or belongs to another program. It is left unchanged.
        """
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_IdentityFile)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(
                f"{str(self._path)!r} cannot be read: {error}; remove it to start with a new identity"
            ) from error
        identity = Identity(file.id, file.is_generated, file.kept)
        if file.schema not in (_SCHEMA, _SCHEMA_WITHOUT_CRC):
            raise StoreError(f"{str(self._path)!r} has schema {file.schema}: this version reads {_SCHEMA}")
        problem = _problem(identity)
        if file.schema == _SCHEMA and file.crc != _crc(identity):
            problem = "the file is damaged"
        if problem:
            raise StoreError(f"{str(self._path)!r} cannot be read: {problem}; remove it to start with a new identity")
        return identity

    def save(self, identity: Identity) -> None:
        """Replace the identity. When this returns, it is on disk. Raises :class:`StoreError`; the earlier identity is
        then unchanged."""
        problem = _problem(identity)
        if problem:
            raise StoreError(f"{str(self._path)!r} was not written: {problem}")
        file = _IdentityFile(identity.id, identity.is_generated, identity.kept, crc=_crc(identity))
        self._directory.check()
        try:
            self._reserve()
            with self._spare.open("r+b") as spare:
                spare.write(msgspec.json.encode(file).ljust(_FILE_BYTES))
                spare.flush()
                os.fsync(spare.fileno())
            with contextlib.suppress(OSError):  # becomes the next spare; there is none before the first save
                os.link(self._path, self._old)
            self._spare.replace(self._path)
            with contextlib.suppress(FileNotFoundError):
                self._old.replace(self._spare)
            self._directory.sync()
            with contextlib.suppress(OSError):
                self._reserve()
        except OSError as error:
            raise StoreError(f"{str(self._path)!r} cannot be written: {error.strerror}") from error

    def _reserve(self) -> None:
        """Make sure that the spare file exists and has its space. Raises ``OSError``."""
        if self._spare.exists():
            self._old.unlink(missing_ok=True)  # it is the identity itself: the process ended before the replacement
        elif self._old.exists():
            self._old.replace(self._spare)
        with self._spare.open("ab") as spare:
            status = os.fstat(spare.fileno())
            if status.st_nlink == 1 and status.st_size == _FILE_BYTES:
                return
        self._spare.unlink()
        with self._spare.open("wb") as spare:
            self._spare.chmod(0o600)
            spare.write(bytes(_FILE_BYTES))
            spare.flush()
            os.fsync(spare.fileno())


def _crc(identity: Identity) -> int:
    return zlib.crc32(msgspec.json.encode(identity))


def _problem(identity: Identity) -> str:
    """Return why this is not a valid identity of a node, or an empty string."""
    if not 1 <= len(identity.id.encode()) <= ID_BYTES_MAX:
        return f"expected an id of 1 to {ID_BYTES_MAX} bytes"
    kept = identity.kept
    if not (0 <= kept.incarnation <= INCARNATION_MAX and 0 <= kept.epoch <= EPOCH_MAX):
        return "expected an incarnation and an epoch from 0 to 2**62"
    return ""
