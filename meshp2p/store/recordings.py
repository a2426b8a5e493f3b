"""The recordings of a node on disk: a few files, the newest ones."""

from __future__ import annotations

import os
from typing import Final

from meshp2p.errors import StoreError
from meshp2p.store.directory import DataDirectory

__all__ = ["RECORDINGS_MAX", "RecordingFiles"]

RECORDINGS_MAX: Final = 8
"""How many files are kept. Chosen, not measured."""


class RecordingFiles:
    """The directory ``recordings`` in the data directory of a node."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._path = directory.path / "recordings"

    def save(self, name: str, data: bytes) -> None:
        """Write a file that only this user may read, and remove the oldest ones. Names are in the order of time.

        Raises :class:`StoreError`.
        """
        self._directory.check()
        path = self._path / name
        new = path.with_suffix(".new")
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            new.replace(path)
            for old in sorted(self._path.glob("*.recording"))[:-RECORDINGS_MAX]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"the recording {str(path)!r} cannot be written: {error.strerror}") from error
