"""A bound on connections whose other side is not known yet: one more ends the oldest of the host that has the most, so
that one host does not end those of others."""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Iterator

import trio

__all__ = ["Strangers"]


class Strangers:
    """The scopes of the tasks that wait until the other side is identified, with its host."""

    def __init__(self) -> None:
        self._scopes: dict[trio.CancelScope, str] = {}

    @contextlib.contextmanager
    def open(self, host: str, count_max: int, seconds: float = math.inf) -> Iterator[trio.CancelScope]:
        """Count this block as one of ``host``, and cancel it after ``seconds``, or if it has to make room for one more
        than ``count_max``."""
        if len(self._scopes) >= count_max:
            self.end_one()
        with trio.move_on_after(seconds) as scope:
            self._scopes[scope] = host
            try:
                yield scope
            finally:
                self._scopes.pop(scope, None)

    def end_one(self) -> None:
        """Cancel the oldest of the host that has the most."""
        counts = collections.Counter(self._scopes.values())
        worst = max(counts.values(), default=0)
        oldest = next((scope for scope, host in self._scopes.items() if counts[host] == worst), None)
        if oldest is not None:
            del self._scopes[oldest]
            oldest.cancel()
