"""A limit for connections whose other side is not known yet. One more ends the oldest of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio

__all__ = ["Strangers"]


class Strangers:
    """The scopes of the tasks that wait until it is known who connected."""

    def __init__(self) -> None:
        self._scopes: dict[trio.CancelScope, None] = {}

    @contextlib.contextmanager
    def open(self, count_max: int, seconds: float = math.inf) -> Iterator[trio.CancelScope]:
        """Count this block as one. Cancel it after ``seconds``, or if it is the oldest of more than ``count_max``."""
        if len(self._scopes) >= count_max:
            self.end_oldest()
        with trio.move_on_after(seconds) as scope:
            self._scopes[scope] = None
            try:
                yield scope
            finally:
                self._scopes.pop(scope, None)

    def end_oldest(self) -> None:
        oldest = next(iter(self._scopes), None)
        if oldest is not None:
            del self._scopes[oldest]
            oldest.cancel()
