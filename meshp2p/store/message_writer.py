"""Writes messages in the node's own thread while the disk is quick, and in the thread of the disk otherwise.

Without a sync, a commit only copies into the memory of the operating system. That takes tens of microseconds, and the
way to another thread and back takes several times as long.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from meshp2p.core.effects import Write
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.messages import MessageStore
from meshp2p.store.tables import size_of

__all__ = ["MessageWriter"]

SLOW_SECONDS: Final = 0.02
"""A write that takes longer shows that the disk, or the interpreter, is busy. Chosen, not measured."""

PAUSE_MIN: Final = 10.0
PAUSE_MAX: Final = 600.0
"""The longest time in seconds after a slow write for which all writes are made in the thread of the disk; it doubles
each time. Chosen, not measured."""

BYTES_MAX: Final = 512 * 1024
"""The largest size, as :func:`~meshp2p.store.tables.size_of` counts it, of writes in the node's own thread. Chosen, not
measured."""

LOCAL_SYSTEMS: Final = frozenset(("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))
"""The file systems on which the node's own thread writes. Others may be on a server that does not answer."""


class MessageWriter:
    """Writes to a :class:`~meshp2p.store.messages.MessageStore`, in the order of the calls of :meth:`write`.

    A write is made in the caller's thread only if ``thread`` has nothing to do, so that one thread at a time uses the
    store, and only if it is small and the last writes were quick. It is never synced there. After a slow or failed
    write, ``thread`` makes all writes for a pause, and further until one of them is quick. So a disk that has become
    slow holds up the caller's thread for one write.
    """

    def __init__(
        self,
        directory: DataDirectory,
        messages: MessageStore,
        thread: DiskThread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._messages = messages
        self._thread = thread
        self._clock = clock
        self._is_quick = is_local(directory.path)
        self._is_checked = self._is_quick
        self._pause = PAUSE_MIN
        self._pause_ends = -math.inf

    async def write(self, batches: Sequence[tuple[Write, ...]]) -> None:
        """Make all these writes, in their order, or none: then it raises :class:`~meshp2p.errors.StoreError`.

        Cancel-safe: it is then unknown whether they are made; later calls come after it.
        """
        is_written = False
        if self._is_quick and self._thread.is_idle and size_of(batches) <= BYTES_MAX:
            self._directory.check()
            began = self._clock()
            is_written = self._messages.apply_briefly(batches)
            self._note(self._clock() - began if is_written else SLOW_SECONDS)
        if not is_written:
            await self._thread.run(lambda: self._write_in_thread(batches))
        if self._messages.is_untidy:
            self._thread.post(self._messages.tidy)

    def _write_in_thread(self, batches: Sequence[tuple[Write, ...]]) -> None:
        self._directory.check()
        began = self._clock()
        self._messages.apply(batches)
        self._note(self._clock() - began)

    def _note(self, seconds: float) -> None:
        """Note how long a write took."""
        if not self._is_checked:
            return
        now = self._clock()
        if seconds >= SLOW_SECONDS:
            if self._is_quick:
                was_calm = now - self._pause_ends > self._pause
                self._pause = PAUSE_MIN if was_calm else min(PAUSE_MAX, 2 * self._pause)
            self._is_quick = False
            self._pause_ends = now + self._pause
        elif now >= self._pause_ends:
            self._is_quick = True


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
