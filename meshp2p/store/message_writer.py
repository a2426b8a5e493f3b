"""Writes messages to a journal in the node's own thread while the disk is quick, and otherwise to the message store in
the thread of the disk.

A transaction of the store costs 50 to 200 µs of processor time, the way to another thread and back costs as much, and a
record of the journal about 15 µs. Most rows live for some milliseconds, so that the store never sees them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from meshp2p.core.effects import Put, Table, Write
from meshp2p.errors import StoreError
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.journal import Journal
from meshp2p.store.messages import Durability, MessageStore

__all__ = ["MessageWriter"]

SLOW_SECONDS: Final = 0.02
"""A write that takes longer, and waits, shows that the disk or the interpreter is busy. Chosen, not measured."""

PAUSE_MIN: Final = 10.0
PAUSE_MAX: Final = 600.0
"""For how many seconds after a slow write the thread of the disk makes all writes: at first, and at most. The time
doubles if the disk is slow again soon. Chosen, not measured."""

WRITE_BYTES_MAX: Final = 1024 * 1024
"""The largest write that is made in the node's own thread. Chosen, not measured."""

JOURNAL_BYTES_MAX: Final = 48 * 1024 * 1024
"""The size of the journal at which the store takes it over. If messages of 1 KiB are acknowledged soon, only the rows
of the latest 10,000 receipts are left then, as many as at 16 MiB. Reading it after a crash takes 0.1 s."""

LOOK_BYTES: Final = 16 * 1024 * 1024
"""After each so many bytes the writer looks how large the rows are that are left in the journal. If they have more than
half of that, the store takes them over at once: they are kept in memory, and the more there are, the longer a takeover
takes. Chosen, not measured."""

TAKEOVER_FACTOR: Final = 4
"""How many times the size of the journal must be free on the disk, so that the store can take it over. A journal that
fills the disk could never be taken over, and nothing be deleted. Chosen, not measured."""

CHECK_SECONDS: Final = 0.05
"""How often it is checked whether the directory and its files were removed, and how much room there is. Chosen, not
measured."""

LOCAL_SYSTEMS: Final = frozenset(("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))
"""The file systems on which the node's own thread writes. Others may be on a server that does not answer."""


def count_waits() -> int:
    """Return how often this thread has waited for the system or a lock."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class MessageWriter:
    """Writes to a :class:`~meshp2p.store.messages.MessageStore`, in the order of the calls of :meth:`write`.

    A write goes to the journal, in the caller's thread, only if ``thread`` has nothing to do, so that one thread at a
    time uses the files, and only if it is small and the last writes were quick. It is never synced there. After a slow
    or failed write, ``thread`` makes all writes for a pause, and further until one of them is quick. So a disk that has
    become slow holds up the caller's thread for one write.
    """

    def __init__(
        self,
        directory: DataDirectory,
        messages: MessageStore,
        thread: DiskThread,
        durability: Durability,
        clock: Callable[[], float] = time.monotonic,
        count_waits: Callable[[], int] = count_waits,
    ) -> None:
        self.missing: int = 0
        """How many transactions were committed before the last end and are lost."""
        self._directory = directory
        self._messages = messages
        self._journal = Journal(directory.path / "messages.journal")
        self._thread = thread
        self._clock = clock
        self._count_waits = count_waits
        self._may_be_quick = durability == "process" and is_local(directory.path)
        self._is_quick = self._may_be_quick
        self._pause = PAUSE_MIN
        self._looked_at = 0
        self._pause_ends = self._next_check = -math.inf
        self._bytes_max = 0

    def load(self) -> list[tuple[Table, bytes, bytes]]:
        """Return all stored data, table by table and in the order of keys. Call it once, before :meth:`write`. Raises
        :class:`~meshp2p.errors.StoreError`."""
        rows = self._messages.load()
        try:
            self.missing = self._messages.missing + self._journal.load(self._messages.transactions)
        except OSError as error:
            raise StoreError(f"the journal in {str(self._directory.path)!r} cannot be read: {error}") from error
        self._journal.note_stored(Put(*row) for row in rows)
        if not (writes := self._journal.writes()):
            return rows
        found = {(table, key): value for table, key, value in rows}
        for write in writes:
            if isinstance(write, Put):
                found[write.table, write.key] = write.value
            else:
                found.pop((write.table, write.key), None)
        order = list(Table)
        places = sorted(found, key=lambda place: (order.index(place[0]), place[1]))
        return [(table, key, found[table, key]) for table, key in places]

    def write(self, batches: Sequence[tuple[Write, ...]]) -> Awaitable[None] | None:
        """Make all these writes, in their order, or none: then it raises :class:`~meshp2p.errors.StoreError`.

        Return None if they were made at once; otherwise they are made while the result is awaited. Then it is
        cancel-safe: it is unknown whether they are made, and later calls come after it. Without any writes, the store
        takes over the journal.
        """
        if not self._append(batches):
            return self._thread.run(lambda: self._write_in_thread(batches))
        if self._is_due():
            self._thread.post(self._merge)
        return None

    def close(self) -> None:
        """Let the store take over the journal. What it cannot take over now stays in the journal."""
        with contextlib.suppress(StoreError):
            self._merge()
        self._journal.close()

    def _append(self, batches: Sequence[tuple[Write, ...]]) -> bool:
        """Write to the journal, if that may be done here. Return whether it was."""
        if not (self._is_quick and self._thread.is_idle and batches and _size_of(batches) <= WRITE_BYTES_MAX):
            return False
        began = self._clock()
        if began >= self._next_check:
            self._directory.check()
            try:
                if not (self._messages.is_current and self._journal.is_in_place()):
                    return False
                room = os.statvfs(self._directory.path)
            except OSError:
                return False
            self._bytes_max = min(JOURNAL_BYTES_MAX, room.f_bavail * room.f_frsize // TAKEOVER_FACTOR)
            self._next_check = began + CHECK_SECONDS
        if self._journal.size > self._bytes_max:  # the store could not take it over
            return False
        waits = self._count_waits()
        is_written = self._journal.append(batches, self._messages.transactions)
        seconds = self._clock() - began
        if not is_written:
            self._note(SLOW_SECONDS)
        elif seconds < SLOW_SECONDS or self._count_waits() > waits:  # else the thread was interrupted, and did not wait
            self._note(seconds)
        return is_written

    def _is_due(self) -> bool:
        """Return whether the store is to take over the journal."""
        size = self._journal.size
        self._looked_at = min(self._looked_at, size)  # a journal that was taken over begins at 0
        if size <= JOURNAL_BYTES_MAX and size - self._looked_at > LOOK_BYTES:
            self._looked_at = size
            return _size_of([self._journal.writes()]) > LOOK_BYTES // 2
        return size > JOURNAL_BYTES_MAX

    def _write_in_thread(self, batches: Sequence[tuple[Write, ...]]) -> None:
        self._directory.check()
        self._merge()
        self._journal.note_stored(itertools.chain.from_iterable(batches))
        began = self._clock()
        self._messages.apply(batches)
        if not self._is_quick:
            self._note(self._clock() - began)

    def _merge(self) -> None:
        """Let the store take over the journal in one transaction. Raises :class:`~meshp2p.errors.StoreError`."""
        if self._journal.size:
            writes = self._journal.writes()
            self._journal.note_stored(writes)
            # writes of one kind to one table take one statement for many
            self._messages.apply([sorted(writes, key=lambda one: (isinstance(one, Put), one.table, one.key))])
            with contextlib.suppress(OSError):
                self._journal.clear()
        self._messages.shrink()

    def _note(self, seconds: float) -> None:
        """Note how long a write took."""
        now = self._clock()
        if seconds >= SLOW_SECONDS:
            if self._is_quick:
                was_calm = now - self._pause_ends > self._pause
                self._pause = PAUSE_MIN if was_calm else min(PAUSE_MAX, 2 * self._pause)
            self._is_quick = False
            self._pause_ends = now + self._pause
        elif now >= self._pause_ends:
            self._is_quick = self._may_be_quick


def _size_of(batches: Sequence[Sequence[Write]]) -> int:
    return sum([len(write.value) for batch in batches for write in batch if write.value is not None])


def is_local(directory: Path) -> bool:
    """Return whether a directory is on one of the :data:`LOCAL_SYSTEMS`, as far as the system tells."""
    try:
        device = directory.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        mount, _, system = line.partition(" - ")
        if mount.split()[2] == number:
            return system.split()[0] in LOCAL_SYSTEMS
    return False
