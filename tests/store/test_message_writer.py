"""The writer of messages: it writes in the caller's thread while the disk is quick, and keeps the order of writes."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.errors import StoreError, StoreFull
from meshp2p.store import message_writer, messages
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.message_writer import BYTES_MAX, PAUSE_MAX, PAUSE_MIN, SLOW_SECONDS, MessageWriter, is_local
from meshp2p.store.messages import Durability, MessageStore
from meshp2p.store.tables import merge_log

FORK = multiprocessing.get_context("fork")
HERE, DISK = "here", "disk"


class Watched(MessageStore):
    """Notes in which thread each write was made. A write takes ``seconds`` by its own clock."""

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        super().__init__(path, durability)
        self.places: list[str] = []
        self.seconds = 0.0
        self.now = 1000.0
        self.gate = threading.Event()
        self.gate.set()

    def clock(self) -> float:
        return self.now

    def _commit(self, connection: sqlite3.Connection, batches: Sequence[Iterable[Write]]) -> None:
        is_disk = threading.current_thread().name == "meshp2p disk"
        if is_disk:
            self.gate.wait()
        super()._commit(connection, batches)
        self.now += self.seconds
        self.places.append(DISK if is_disk else HERE)


class Disk:
    """A directory with a writer."""

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        self.directory = DataDirectory(path)
        self.store = Watched(path / "messages.sqlite3", durability)
        self.store.load()
        self.thread = DiskThread()
        self.writer = MessageWriter(self.directory, self.store, self.thread, self.store.clock)
        self.count = 0

    async def write(self, times: int = 1, size: int = 100) -> list[str]:
        """Write so often, and return where that was done."""
        before = len(self.store.places)
        for _ in range(times):
            self.count += 1
            await self.writer.write([(put(self.count, size),)])
            with trio.fail_after(60):
                while not self.thread.is_idle:
                    await trio.lowlevel.checkpoint()
        return self.store.places[before:]

    def close(self) -> None:
        self.store.gate.set()
        self.thread.close()
        self.store.close()
        self.directory.close()


def put(number: int, size: int = 100) -> Put:
    return Put(Table.OUTGOING, number.to_bytes(4, "big"), bytes(size))


def keys_in(path: Path) -> list[int]:
    store = MessageStore(path / "messages.sqlite3")
    try:
        return [int.from_bytes(key, "big") for _, key, _ in store.load()]
    finally:
        store.close()


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests run on, its files count as those of this machine."""
    monkeypatch.setattr(message_writer, "is_local", lambda _path: True)


async def test_small_writes_to_a_quick_disk_are_made_in_the_caller_s_thread(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert await disk.write(20) == [HERE] * 20
    assert await disk.write(size=BYTES_MAX) == [DISK]
    assert await disk.write() == [HERE]
    disk.close()
    assert keys_in(tmp_path) == [*range(1, 23)]


async def test_no_write_is_made_in_the_caller_s_thread_if_it_is_synced_or_the_disk_may_be_a_server_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "synced", "power")
    assert await disk.write(3) == [DISK] * 3
    disk.close()
    monkeypatch.setattr(message_writer, "is_local", lambda _path: False)
    disk = Disk(tmp_path / "remote")
    disk.store.now += 2 * PAUSE_MAX
    assert await disk.write(3) == [DISK] * 3
    disk.close()


async def test_a_slow_write_holds_up_the_caller_once_until_the_disk_has_been_quick_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.store.seconds = 2 * SLOW_SECONDS
    assert await disk.write(1000) == [HERE] + [DISK] * 999  # the pause ends during these, and begins again
    disk.store.seconds = 0.0
    assert await disk.write(2) == [DISK] * 2
    disk.store.now += PAUSE_MIN + 1
    assert await disk.write(3) == [DISK, HERE, HERE]
    disk.close()


async def test_the_pause_doubles_while_the_disk_is_slow_again_at_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    pause = PAUSE_MIN
    for _ in range(10):
        disk.store.seconds = 2 * SLOW_SECONDS
        assert await disk.write() == [HERE]
        disk.store.seconds = 0.0
        disk.store.now += pause - 1
        assert await disk.write() == [DISK]
        disk.store.now += 2
        assert await disk.write(2) == [DISK, HERE]
        pause = min(2 * pause, PAUSE_MAX)
    disk.store.now += 2 * PAUSE_MAX
    disk.store.seconds = 2 * SLOW_SECONDS
    assert await disk.write() == [HERE]
    disk.store.seconds = 0.0
    disk.store.now += PAUSE_MIN + 1
    assert await disk.write(2) == [DISK, HERE]
    disk.close()


@pytest.mark.parametrize("code", ["SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_BUSY"])
async def test_a_write_that_fails_is_tried_once_in_the_caller_s_thread_and_raises_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    disk = Disk(tmp_path)
    await disk.write()
    tried: list[str] = []

    def fail(*_arguments: object) -> None:
        tried.append(threading.current_thread().name)
        error = sqlite3.OperationalError(code)
        error.sqlite_errorcode = getattr(sqlite3, code)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(messages, "transact", fail)
        for _ in range(5):
            with pytest.raises(StoreFull if code == "SQLITE_FULL" else StoreError, match=code):
                await disk.writer.write([(put(99),)])
    assert tried[0] != "meshp2p disk"
    assert set(tried[1:]) == {"meshp2p disk"}
    assert await disk.write() == [DISK]
    disk.close()
    assert keys_in(tmp_path) == [1, 2]


async def test_a_removed_file_is_made_anew_in_the_thread_of_the_disk(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.write(3)
    disk.store._path.unlink()
    assert await disk.write() == [DISK]
    disk.close()
    assert keys_in(tmp_path) == [1, 2, 3, 4]


async def test_a_removed_directory_is_refused_whatever_the_thread(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "data")
    await disk.write()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    for is_quick in (True, False):
        disk.writer._is_quick = is_quick
        with pytest.raises(StoreError, match="removed or replaced"):
            await disk.writer.write([(put(9),)])
    disk.close()


async def test_writes_keep_their_order_while_the_thread_of_the_disk_is_busy(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.write()
    disk.store.gate.clear()
    ended: list[str] = []

    async def write(name: str, batch: tuple[Write, ...]) -> None:
        await disk.writer.write([batch])
        ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, "large", (put(5, BYTES_MAX), put(6)))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):  # it is written all the same
            await disk.writer.write([(Delete(Table.OUTGOING, put(5).key),)])
        nursery.start_soon(write, "small", (Delete(Table.OUTGOING, put(6).key),))
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        disk.store.gate.set()
    assert ended == ["large", "small"]
    disk.close()
    assert keys_in(tmp_path) == [1]


async def test_the_log_is_merged_by_the_thread_of_the_disk_alone_and_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    merged: list[str] = []

    def note(connection: sqlite3.Connection) -> None:
        merged.append(threading.current_thread().name)
        merge_log(connection)

    monkeypatch.setattr(messages, "merge_log", note)
    for start in range(0, 30_000, 300):
        await disk.writer.write([tuple(put(number, 1000) for number in range(start, start + 300))])
    assert disk.store.places.count(HERE) > 20
    assert len(merged) >= 2
    assert set(merged) == {"meshp2p disk"}
    assert disk.store._log_path.stat().st_size < 20 * 2**20
    disk.close()
    assert len(keys_in(tmp_path)) == 30_000


def _write_until_killed(path: Path, said: int) -> None:
    async def write() -> None:
        disk = Disk(path)
        for number in range(1_000_000):
            size = BYTES_MAX if number % 7 == 0 else 100  # by turns in both threads
            await disk.writer.write([(put(number, size),)])
            os.write(said, b"%d\n" % number)

    trio.run(write)


def test_what_was_written_by_either_thread_survives_a_kill(tmp_path: Path) -> None:
    hear, said = os.pipe()
    process = FORK.Process(target=_write_until_killed, args=(tmp_path, said))
    process.start()
    os.close(said)
    heard = b""
    while heard.count(b"\n") < 100:
        heard += os.read(hear, 4096)
    process.kill()
    process.join()
    while more := os.read(hear, 4096):
        heard += more
    os.close(hear)
    keys = keys_in(tmp_path)
    assert keys == [*range(len(keys))]
    assert len(keys) > int(heard.split()[-1])


@pytest.mark.parametrize(
    ("system", "expected"), [("ext4", True), ("overlay", True), ("nfs4", False), ("fuse.sshfs", False), ("9p", False)]
)
def test_only_known_file_systems_of_this_machine_count_as_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, expected: bool
) -> None:
    device = tmp_path.stat().st_dev
    mounts = (
        f"1 0 250:250 / /other rw - nfs x rw\n2 1 {os.major(device)}:{os.minor(device)} / /mnt rw,x - {system} y rw\n"
    )

    def read(say: Callable[[], str]) -> None:
        monkeypatch.setattr(Path, "read_text", lambda *_arguments, **_options: say())

    read(lambda: mounts)
    assert is_local(tmp_path) is expected
    read(lambda: mounts.splitlines()[0])
    assert is_local(tmp_path) is False

    def fail() -> str:
        raise FileNotFoundError

    read(fail)
    assert is_local(tmp_path) is False
