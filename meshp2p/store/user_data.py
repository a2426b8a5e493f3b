"""Where this user keeps what concerns all programs of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from meshp2p.errors import ConfigError

__all__ = ["meshes_directory", "user_data_directory"]


def user_data_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of ours in which programs of this user keep data on this platform. Raises :class:`ConfigError` if the
    user has no home."""
    try:
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError as error:
        raise ConfigError(f"this user has no home directory: {error}; set XDG_DATA_HOME") from error
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "meshp2p"
    given = environment.get("XDG_DATA_HOME", "")
    return (Path(given) if given.startswith("/") else home / ".local" / "share") / "meshp2p"


def meshes_directory() -> Path:
    """The folder with the secured meshes that this user joined."""
    return user_data_directory() / "meshes"
