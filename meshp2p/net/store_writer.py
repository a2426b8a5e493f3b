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

WriteBatches = Callable[[Sequence[tuple[Write, ...]]], Awaitable[None] | None]
"""Performs all of these writes or none: at once, or while what it returns is awaited. Raises
:class:`~meshp2p.errors.StoreError`."""


class StoreWriter:
    """Writes stores in order. ``conclude(stores, failure)`` gets the result of each transaction: its stores, and the
    failure or None.

    If the last transaction was made at once, so is the next one, without a switch to the task. Further stores wait
    until all tasks that are ready have run, so that they are written together. ``gather()`` puts those that were
    scheduled.
    """

    def __init__(
        self, write: WriteBatches, conclude: Callable[[list[Store], str | None], None], gather: Callable[[], None]
    ) -> None:
        self._write_batches = write
        self._conclude = conclude
        self._gather = gather
        self._waiting: list[Store] = []
        self._begun: tuple[list[Store], Awaitable[None]] | None = None
        """A transaction that could not be made at once."""
        self._is_quick = False
        self._may_write_at_once = False
        self._scope = trio.CancelScope(shield=True)
        self._is_ending = False
        self._has_news = trio.Event()
        self._scheduled = 0
        self._are_many = False

    def schedule(self) -> bool:
        """Schedule a store that ``gather()`` puts before the next transaction. Return False if it must be put now: the
        last transaction was for one store only, or no more are made."""
        if not self._are_many or self._is_ending:
            return False
        self._scheduled += 1
        self._has_news.set()
        return True

    def put(self, store: Store) -> None:
        self._has_news.set()
        if self._may_write_at_once:
            self._may_write_at_once = False
            self._begin([store])
        else:
            self._waiting.append(store)

    def end(self) -> None:
        """Write the waiting stores, for at most ``STORE_SECONDS_MAX``; then :meth:`run` returns."""
        self._gather()
        self._is_ending = True
        self._scope.deadline = trio.current_time() + STORE_SECONDS_MAX
        self._has_news.set()

    async def run(self) -> None:
        """Write stores until :meth:`end`."""
        try:
            with self._scope:
                await self._run()
        finally:
            self._may_write_at_once = False

    async def _run(self) -> None:
        while self._begun or self._waiting or not self._is_ending:
            scheduled, self._scheduled = self._scheduled, 0
            self._gather()
            if not self._begun and self._waiting:
                taken, self._waiting = self._waiting, []
                self._are_many = max(scheduled, len(taken)) > 1
                self._begin(taken)
            if self._begun is not None:
                (stores, writing), self._begun = self._begun, None
                await self._finish(stores, writing)
            elif self._waiting:
                await trio.lowlevel.checkpoint()  # what other tasks store now is written together
            else:
                self._has_news = trio.Event()
                self._may_write_at_once = self._is_quick
                await self._has_news.wait()
                self._may_write_at_once = False

    def _begin(self, stores: list[Store]) -> None:
        """Make a transaction, if that is possible at once."""
        try:
            writing = self._write_batches([store.writes for store in stores])
        except StoreError as error:
            self._conclude(stores, str(error))
            return
        self._is_quick = writing is None
        if writing is None:
            self._conclude(stores, None)
        else:
            self._begun = (stores, writing)

    async def _finish(self, stores: list[Store], writing: Awaitable[None]) -> None:
        failure: str | None = None
        try:
            await writing
        except StoreError as error:
            if len(stores) > 1:  # one that is refused, for its size or its place, must not take the others with it
                for store in stores:
                    await self._write_alone(store)
                return
            failure = str(error)
        self._conclude(stores, failure)

    async def _write_alone(self, store: Store) -> None:
        self._begin([store])
        if self._begun is not None:
            (stores, writing), self._begun = self._begun, None
            await self._finish(stores, writing)
