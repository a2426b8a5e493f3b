"""Files whose names survive a power failure."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_durably", "sync_name"]


def replace_durably(new: Path, path: Path) -> None:
    """Rename ``new``, whose content is already on disk, to ``path``. When this returns, that is on disk too.

    A power failure does not bring the old content back. Raises ``OSError``.
    """
    new.replace(path)
    sync_name(path)


def sync_name(path: Path) -> None:
    """Make the name of this file survive a power failure. Raises ``OSError``."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
