"""Who a node is, kept across restarts: its id, the incarnations and the epoch that it may have used.

One JSON file in the data directory, replaced as a whole and synced before anything that depends on it is sent. A lock
file keeps two processes from being the same node.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.core.state import KeptState
from meshp2p.errors import StartError, StoreError
from meshp2p.store.replacement import replace_durably

__all__ = ["Identity", "IdentityStore"]

_SCHEMA: Final = 1
_COUNTER_MAX: Final = 1 << 53  # far above milliseconds since 1970, far below where a record's numbers end


class Identity(msgspec.Struct, frozen=True):
    """``id`` is the node's id in this mesh; ``is_generated`` whether nobody chose it."""

    id: str
    is_generated: bool
    kept: KeptState = KeptState()
    schema: int = _SCHEMA


class IdentityStore:
    """The identity in one data directory. Open from the constructor on; to be closed."""

    def __init__(self, data_dir: Path) -> None:
        """Make the directory where there is none, and lock it.

        Raises :class:`StartError` where it cannot be made, written or locked.
        """
        self._path = data_dir / "identity.json"
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"data directory {str(data_dir)!r}: {error.strerror}; expected one that can be read and written"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                why = "is used by another running node: every node needs its own"
            else:
                why = f"cannot be locked: {error.strerror}; choose one on a disk of this machine"
            raise StartError(f"data directory {str(data_dir)!r} {why}") from error

    def load(self) -> Identity | None:
        """What was saved last; None where nothing was.

        Raises :class:`StoreError` where the file is not ours or damaged; it is left as it is.
        """
        try:
            identity = msgspec.json.decode(self._path.read_bytes(), type=Identity)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(
                f"{str(self._path)!r} cannot be read: {error}; remove it to begin with a new identity"
            ) from error
        if identity.schema != _SCHEMA:
            raise StoreError(f"{str(self._path)!r} has schema {identity.schema}: this version reads {_SCHEMA}")
        size, kept = len(identity.id.encode()), identity.kept
        if not (
            1 <= size <= ID_BYTES_MAX and 0 <= kept.incarnation <= _COUNTER_MAX and 0 <= kept.epoch <= _COUNTER_MAX
        ):
            raise StoreError(
                f"{str(self._path)!r} cannot be read: expected an id of 1 to {ID_BYTES_MAX} bytes and numbers from 0 to"
                " 2**53; remove it to begin with a new identity"
            )
        return identity

    def save(self, identity: Identity) -> None:
        """Replace what is kept. When this returns it is on disk. Raises :class:`StoreError`; what was kept before is
        then as it was."""
        temporary = self._path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(identity))
                file.flush()
                os.fsync(file.fileno())
            replace_durably(temporary, self._path)
        except OSError as error:
            raise StoreError(f"{str(self._path)!r} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._lock)
