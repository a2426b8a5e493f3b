"""The numbers that this node must store before it publishes them, and the handling of failed writes.

Two numbers are stored beside the messages: the greatest incarnation that this node may publish of itself, and the
greatest epoch that it may claim. The incarnation is stored far ahead, so that only a start, a claim to lead, and a
claim of others far above need a write. A number that is not stored is not published: the node continues without it, and
retries the write after a pause that doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from meshp2p.core.directory.timers import Timer, Timers
from meshp2p.core.effects import Delete, Effect, Emit, Persist, Put, Store, Table, Write
from meshp2p.core.events import StorageFailed, StorageRecovered
from meshp2p.core.record import INCARNATION_MAX

__all__ = ["Keeping", "KeptState", "StoreHandler", "ignore_failure"]

INCARNATION_RESERVE: Final = 1 << 16
"""How many incarnations one write reserves. A node uses a few an hour; half of them are left when the next write
begins. Chosen, not measured."""

PAUSE_MIN: Final = 0.5
PAUSE_MAX: Final = 10.0
"""The longest pause in seconds before a failed write is retried; it doubles each time. Chosen, not measured."""

CALM_SECONDS: Final = 60.0
"""After this long without a failure, the pause begins at its minimum again. Chosen, not measured."""

_PROBE: Final = (Put(Table.SETTLED, bytes(8), b"expired"), Delete(Table.SETTLED, bytes(8)))
"""Writes that change nothing and need space: no message has the number 0."""

StoreHandler = Callable[[str | None, float], None]


def ignore_failure(_failure: str | None, _now: float) -> None:
    """Ignore a failed write that only deletes. What a full disk does not forget comes back after a restart, and is then
    forgotten."""


class KeptState(msgspec.Struct, frozen=True):
    """The state that a node with a directory keeps across restarts: the last :class:`~meshp2p.core.effects.Persist`."""

    incarnation: int = 0
    epoch: int = 0


class Keeping:
    """Requests writes and receives their outcomes. Without a disk, everything counts as stored.

    ``emit(effect)`` passes an effect to the driver.
    """

    def __init__(self, kept: KeptState, emit: Callable[[Effect], None], timers: Timers, *, is_durable: bool) -> None:
        self.is_durable = is_durable
        """Whether there is a disk."""
        self.kept: KeptState = kept
        self._wanted: KeptState = kept
        self._writing: KeptState | None = None
        self._emit = emit
        self._timers = timers
        self._stores: dict[int, StoreHandler] = {}
        self._store_count = 0
        self._failures: dict[Timer, str] = {}
        self._pauses: dict[Timer, float] = {}
        self._failed_at: dict[Timer, float] = {}

    def resume(self, old: Keeping) -> None:
        """Continue with the writes under way."""
        self._wanted, self._writing, self._store_count = old._wanted, old._writing, old._store_count

    @property
    def failure(self) -> str | None:
        """Why something is not stored now; None if everything is."""
        return next(iter(self._failures.values()), None)

    # This node's own numbers

    def has_kept(self, incarnation: int, epoch: int) -> bool:
        """Return whether a record of this node with these numbers may be published."""
        return not self.is_durable or (incarnation <= self.kept.incarnation and epoch <= self.kept.epoch)

    def keep(self, incarnation: int, epoch: int) -> bool:
        """Request that these numbers, and some beyond, are stored. Return whether they are already."""
        wanted = self._wanted
        self._wanted = KeptState(max(wanted.incarnation, incarnation), max(wanted.epoch, epoch))
        self._write()
        return self.has_kept(incarnation, epoch)

    def _write(self) -> None:
        wanted, kept = self._wanted, self.kept
        is_low = min(INCARNATION_MAX, wanted.incarnation + INCARNATION_RESERVE // 2) > kept.incarnation
        if self._writing is not None or self._timers.is_set(Timer.PERSIST) or not (is_low or wanted.epoch > kept.epoch):
            return
        incarnation = max(kept.incarnation, min(INCARNATION_MAX, wanted.incarnation + INCARNATION_RESERVE))
        self._writing = KeptState(incarnation, max(kept.epoch, wanted.epoch))
        self._emit(Persist(self._writing.incarnation, self._writing.epoch))
        if not self.is_durable:
            self.kept, self._writing = self._writing, None

    def receive_persisted(self, failure: str | None, now: float) -> bool:
        """Receive the outcome of the request: stored, or the reason why not. Return whether something new is stored."""
        writing, self._writing = self._writing, None
        if writing is None:
            return False
        if failure is None:
            self.kept = writing
            self._recover(Timer.PERSIST)
            self._write()
        else:
            self._fail(Timer.PERSIST, failure, now)
        return failure is None

    # Messages

    def store(self, writes: Iterable[Write], handler: StoreHandler, now: float) -> None:
        """Make these writes. ``handler(None or why it failed, now)`` runs once, after those of earlier writes; at once
        if there is no disk."""
        if not self.is_durable:
            handler(None, now)
            return
        self._store_count += 1
        self._stores[self._store_count] = handler
        self._emit(Store(self._store_count, tuple(writes)))

    def receive_stored(self, number: int, failure: str | None, now: float) -> None:
        """Receive the outcome of a ``Store``: all writes were made, or none, for this reason."""
        handler = self._stores.pop(number, None)
        if handler is None:
            return
        if failure is not None and Timer.STORE not in self._failures:
            self._fail(Timer.STORE, failure, now)
        handler(failure, now)

    # Failures

    def _fail(self, what: Timer, failure: str, now: float) -> None:
        was_well = not self._failures
        is_calm = now - self._failed_at.get(what, -CALM_SECONDS) >= CALM_SECONDS
        pause = self._pauses[what] = PAUSE_MIN if is_calm else min(PAUSE_MAX, 2 * self._pauses[what])
        self._failures[what] = failure
        self._failed_at[what] = now
        self._timers.set(what, now + pause)
        if was_well:
            self._emit(Emit(StorageFailed(failure)))

    def _recover(self, what: Timer) -> None:
        if self._failures.pop(what, None) is not None and not self._failures:
            self._emit(Emit(StorageRecovered()))

    def handle_retry(self, what: Timer, now: float) -> None:
        """Write again or, if messages were not stored, check whether they would be now."""
        if what is Timer.PERSIST:
            self._write()
        else:
            self.store(_PROBE, self._conclude_probe, now)

    def _conclude_probe(self, failure: str | None, now: float) -> None:
        if failure is None:
            self._recover(Timer.STORE)
        else:
            self._fail(Timer.STORE, failure, now)
