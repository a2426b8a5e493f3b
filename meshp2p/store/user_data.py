"""The directory for data of this user that all programs on this machine share."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from meshp2p.errors import ConfigError

__all__ = ["meshes_directory", "user_data_directory"]


def user_data_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return this package's folder among the data of this user on this platform.

    Raises :class:`ConfigError` if the user has no home directory, and ``XDG_DATA_HOME`` does not name another place.
    """
    given = environment.get("XDG_DATA_HOME", "")
    if sys.platform != "darwin" and given.startswith("/"):
        return Path(given) / "meshp2p"
    try:
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError as error:
        raise ConfigError(f"this user has no home directory: {error}; set HOME") from error
    data = Path("Library", "Application Support") if sys.platform == "darwin" else Path(".local", "share")
    return home / data / "meshp2p"


def meshes_directory() -> Path:
    """Return the folder with the secured meshes that this user joined."""
    return user_data_directory() / "meshes"
