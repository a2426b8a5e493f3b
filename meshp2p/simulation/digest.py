"""The digest of a run."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Callable

__all__ = ["Digest"]


class Digest:
    """A digest that is equal for equal runs: BLAKE2b over the time and place of every step of a machine.

    ``mark`` adds numbers and must be cheap; they are hashed in bulk.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._marks = array.array("d")
        self.mark: Callable[[float], None] = self._marks.append

    def flush(self) -> None:
        """Hash the numbers that were added since the last call, and free their memory."""
        self._hash.update(self._marks)
        del self._marks[:]

    def hexdigest(self) -> str:
        self.flush()
        return self._hash.hexdigest()
