"""What the tests of the store share: a directory with a writer of messages, and a kill of a process that writes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from unittest.mock import patch

import trio

from meshp2p.core.effects import Put, Table, Write
from meshp2p.store import message_writer
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.message_writer import MessageWriter
from meshp2p.store.messages import Durability, MessageStore

FORK = multiprocessing.get_context("fork")
HERE, DISK = "here", "disk"


class Disk:
    """A directory with a writer. It notes where each write is made; each takes ``seconds`` by its own clock.

    Whatever the tests run on, the directory counts as one of this machine if it ``is_local``.
    """

    def __init__(self, path: Path, durability: Durability = "process", *, is_local: bool = True) -> None:
        self.seconds = 0.0
        self.now = 1000.0
        self.waits = 0
        self.waits_each = 1
        self.places: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.directory = DataDirectory(path)
        self.store = MessageStore(path / "messages.sqlite3", durability)
        self.thread = DiskThread()
        with patch.object(message_writer, "is_local", lambda _path: is_local):
            self.writer = MessageWriter(
                self.directory, self.store, self.thread, durability, lambda: self.now, lambda: self.waits
            )
        self.rows = self.writer.load()
        self.journal = self.writer._journal
        self.apply, self.store.apply = self.store.apply, self._apply  # type: ignore[method-assign]
        self.append, self.journal.append = self.journal.append, self._append  # type: ignore[method-assign]
        self.count = 0

    def _apply(self, batches: Sequence[Iterable[Write]]) -> None:
        assert threading.current_thread().name == "meshp2p disk" or not self.thread._thread.is_alive()
        self.gate.wait()
        self.apply(batches)
        self.now += self.seconds
        self.places.append(DISK)

    def _append(self, batches: Sequence[Sequence[Write]], transactions: int) -> bool:
        assert threading.current_thread() is threading.main_thread()
        is_written = self.append(batches, transactions)
        self.now += self.seconds
        self.waits += self.waits_each
        if is_written:
            self.places.append(HERE)
        return is_written

    async def make(self, batches: Sequence[tuple[Write, ...]]) -> None:
        if (writing := self.writer.write(batches)) is not None:
            await writing

    async def start(self) -> None:
        """Make the first write, which also stores the age, in the thread."""
        await self.make([])

    async def write(self, times: int = 1, size: int = 100) -> list[str]:
        """Write so often, and return where that was done, without the takeovers of the journal."""
        made: list[str] = []
        for _ in range(times):
            self.count += 1
            await self.make([(put(self.count, size),)])
            made.append(self.places[-1])
            with trio.fail_after(60):
                while not self.thread.is_idle:
                    await trio.lowlevel.checkpoint()
        return made

    def close(self) -> None:
        self.gate.set()
        self.thread.close()
        self.writer.close()
        self.store.close()
        self.directory.close()

    def kill(self) -> None:
        """End without the takeover of the journal, as a process that is killed."""
        self.gate.set()
        self.thread.close()
        if self.journal._file >= 0:
            os.close(self.journal._file)
        self.store.close()
        self.directory.close()


async def started(path: Path, times: int = 0, size: int = 100) -> Disk:
    """Return a disk that was started, and after that written to ``times`` times."""
    disk = Disk(path)
    await disk.start()
    await disk.write(times, size)
    return disk


def put(number: int, size: int = 100) -> Put:
    return Put(Table.OUTGOING, number.to_bytes(4, "big"), bytes(size))


def keys_in(path: Path) -> list[int]:
    """The keys that the next process finds."""
    disk = Disk(path)
    try:
        assert disk.writer.missing == 0
        return [int.from_bytes(key, "big") for _, key, _ in disk.rows]
    finally:
        disk.close()


async def make_journal(path: Path, count: int) -> bytes:
    """Leave a journal of ``count`` records, as a process that is killed does, and return its bytes."""
    (await started(path, count, size=10)).kill()
    return (path / "messages.journal").read_bytes()


def refuse(*_arguments: object) -> None:
    """Stand in for a system call that fails."""
    raise OSError(errno.EIO, "no")


def kill_while_writing(write: Callable[[Path, int], None], path: Path, count: int) -> int:
    """Run ``write`` in a process, kill it after ``count`` writes, and return the number of the last write.

    ``write`` prints the number of each finished write, one per line, to the file descriptor that it gets.
    """
    hear, said = os.pipe()
    process = FORK.Process(target=write, args=(path, said))
    process.start()
    os.close(said)
    heard = b""
    while heard.count(b"\n") < count:
        heard += os.read(hear, 4096)
    process.kill()
    process.join()
    while more := os.read(hear, 4096):
        heard += more
    os.close(hear)
    return int(heard.split()[-1])
