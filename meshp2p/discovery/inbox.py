"""A bounded queue from threads of a library to a trio task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import trio

__all__ = ["SightingQueue"]

Seen = TypeVar("Seen")


class SightingQueue(Generic[Seen]):
    """A queue from other threads to one trio task. Above ``size_max`` items the oldest is dropped. Made in the trio
    thread."""

    def __init__(self, size_max: int) -> None:
        self._seen: deque[Seen] = deque(maxlen=size_max)
        self._token = trio.lowlevel.current_trio_token()
        self._wake = trio.Event()

    def put(self, seen: Seen) -> None:
        """Add an item, from any thread, even after trio has ended."""
        self._seen.append(seen)
        self.call_soon(self._set_wake)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` in the trio thread. Waiting calls of one function are combined into one."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, idempotent=True)

    async def receive(self) -> list[Seen]:
        """Wait until there are items, and return all of them. Cancel-safe: nothing is lost."""
        await self._wake.wait()
        self._wake = trio.Event()
        return [self._seen.popleft() for _ in range(len(self._seen))]

    def _set_wake(self) -> None:
        self._wake.set()
