"""The data directory of one node, locked against other nodes.

The lock is on the directory itself, so there is no lock file that a cleaner of temporary files could remove.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from meshp2p.errors import StartError, StoreError

__all__ = ["DataDirectory"]


class DataDirectory:
    """A directory that is locked from the constructor on. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Create the directory if needed, and lock it.

        Raises :class:`StartError` if it cannot be created, read or locked.
        """
        self.path: Path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StartError(
                f"data directory {str(path)!r}: {error.strerror}; expected one that can be read and written"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                why = "is used by another running node: every node needs its own"
            else:
                why = f"cannot be locked: {error.strerror}; choose one on a disk of this machine"
            raise StartError(f"data directory {str(path)!r} {why}") from error

    def check(self) -> None:
        """Raise :class:`StoreError` if the path no longer is this directory, because it was removed or replaced."""
        try:
            is_here = os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            is_here = False
        if not is_here:
            raise StoreError(f"data directory {str(self.path)!r} was removed or replaced: nothing can be kept in it")

    def sync(self) -> None:
        """Make the names in the directory survive a power failure. Raises ``OSError``."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
