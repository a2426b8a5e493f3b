"""Files that only their user may read, each replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from meshp2p.errors import StoreError
from meshp2p.store.replacement import replace_durably

__all__ = ["create", "read", "read_secret", "write", "write_secret"]

_BYTES_MAX: Final = 64 << 20  # of the longest file, a trust map with all that fits: chosen, not measured


def read_secret(path: Path) -> bytes:
    """Read a file that nobody else may be able to read. Raises :class:`StoreError`."""
    return read(path, is_secret=True)


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that nobody else may read. Raises :class:`StoreError`."""
    try:
        create(path, data)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {error.strerror}") from error


def read(path: Path, *, is_secret: bool = False) -> bytes:
    """The content of a file, which nobody else may be able to read if it is secret. Raises :class:`StoreError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if is_secret and status.st_uid != os.geteuid():
                raise StoreError(f"{str(path)!r} belongs to another user: it is not used")
            if is_secret and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise StoreError(
                    f"{str(path)!r} may be read or changed by others: it is not used. If nobody did, run"
                    f" chmod 600 {str(path)!r}; otherwise revoke this machine and join again"
                )
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if len(data) > _BYTES_MAX:
        raise StoreError(f"{str(path)!r} has more than {_BYTES_MAX} bytes: it is not read")
    return data


def write(path: Path, data: bytes) -> None:
    """Replace a file, which only this user may read. Raises :class:`StoreError`."""
    new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        create(new, data)
        replace_durably(new, path)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def create(path: Path, data: bytes) -> None:
    """Write a new file, which only this user may read. Raises ``OSError``; then there is no such file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise
