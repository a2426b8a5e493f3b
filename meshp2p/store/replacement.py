"""A file that takes the place of another, for good."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_durably"]


def replace_durably(new: Path, path: Path) -> None:
    """Let ``new``, whose content is on disk already, be the file ``path``. When this returns that is on disk too: a
    power cut brings nothing back of what was there before. Raises ``OSError``."""
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
