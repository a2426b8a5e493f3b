"""What the commands share in how they print."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """The text with its control characters escaped: an id is a stranger's, and a terminal obeys some of them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
