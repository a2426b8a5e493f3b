"""A writer for the stores of a machine. Stores that wait are written together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from meshp2p.core.effects import Store, Write
from meshp2p.errors import StoreError

__all__ = ["STORE_SECONDS_MAX", "StoreWriter", "WriteBatches"]

STORE_SECONDS_MAX: Final = 5.0
"""How long the end of a node waits for stores that are not written yet. Chosen, not measured."""

WriteBatches = Callable[[Sequence[tuple[Write, ...]]], Awaitable[None]]
"""Performs all of these writes or none. Raises :class:`~meshp2p.errors.StoreError`."""


class StoreWriter:
    """Writes stores in order. ``conclude(stores, failure)`` gets the result of each transaction: its stores, and the
    failure or None."""

    def __init__(self, write: WriteBatches, conclude: Callable[[list[Store], str | None], None]) -> None:
        self._write_batches = write
        self._conclude = conclude
        self._waiting: list[Store] = []
        self._scope = trio.CancelScope(shield=True)
        self._is_ending = False
        self._has_news = trio.Event()

    def put(self, store: Store) -> None:
        self._waiting.append(store)
        self._has_news.set()

    def end(self) -> None:
        """Write the waiting stores, for at most ``STORE_SECONDS_MAX``; then :meth:`run` returns."""
        self._is_ending = True
        self._scope.deadline = trio.current_time() + STORE_SECONDS_MAX
        self._has_news.set()

    async def run(self) -> None:
        """Write stores until :meth:`end`."""
        with self._scope:
            while self._waiting or not self._is_ending:
                if self._waiting:
                    taken, self._waiting = self._waiting, []
                    await self._write(taken)
                    if self._waiting:
                        await trio.lowlevel.checkpoint()  # what other tasks store now is written together
                else:
                    self._has_news = trio.Event()
                    await self._has_news.wait()

    async def _write(self, stores: list[Store]) -> None:
        failure: str | None = None
        try:
            await self._write_batches([store.writes for store in stores])
        except StoreError as error:
            if len(stores) > 1:  # one that is refused, for its size or its place, must not take the others with it
                for store in stores:
                    await self._write([store])
                return
            failure = str(error)
        self._conclude(stores, failure)
