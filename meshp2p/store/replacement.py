"""Replace a file durably."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_durably"]


def replace_durably(new: Path, path: Path) -> None:
    """Rename ``new``, whose content is already on disk, to ``path``. When this returns, that is on disk too.

    A power failure does not bring the old content back. Raises ``OSError``.
    """
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
