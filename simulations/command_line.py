"""Shared parts of the commands of ``python -m simulations``: selecting names by words, and writing reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["names_with", "write_json_file"]


def names_with(words: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the names that contain one of these words; all of them if there are no words.

    Raises :class:`~meshp2p.errors.ConfigError` if no name matches.
    """
    known = list(names)
    found = [name for name in known if not words or any(word in name for word in words)]
    if not found:
        raise ConfigError(f"--only {' '.join(words)}: no match; expected a word of one of these: {', '.join(known)}")
    return found


def write_json_file(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, and create missing directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
