"""The writer of messages: it writes in the caller's thread while the disk is quick, and keeps the order of writes."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import sqlite3
import stat
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.errors import StoreError, StoreFull
from meshp2p.store import message_writer, messages
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.journal import Journal
from meshp2p.store.message_writer import (
    CHECK_SECONDS,
    PAUSE_MAX,
    PAUSE_MIN,
    SLOW_SECONDS,
    WRITE_BYTES_MAX,
    MessageWriter,
    is_local,
)
from meshp2p.store.messages import Durability, MessageStore

FORK = multiprocessing.get_context("fork")
HERE, DISK = "here", "disk"


class Disk:
    """A directory with a writer. It notes where each write is made; each takes ``seconds`` by its own clock."""

    def __init__(self, path: Path, durability: Durability = "process") -> None:
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


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests run on, its files count as those of this machine."""
    monkeypatch.setattr(message_writer, "is_local", lambda _path: True)


# Where it is written


async def test_small_writes_to_a_quick_disk_go_to_the_journal_in_the_caller_s_thread(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    assert await disk.write(20) == [HERE] * 20
    assert await disk.write(size=WRITE_BYTES_MAX + 1) == [DISK]
    assert await disk.write() == [HERE]
    disk.kill()
    assert keys_in(tmp_path) == [*range(1, 23)]


async def test_the_first_write_goes_to_the_store_which_keeps_the_age(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert await disk.write(2) == [DISK, HERE]
    disk.kill()


async def test_no_write_is_made_in_the_caller_s_thread_if_it_is_synced_or_the_disk_may_be_a_server_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "synced", "power")
    assert await disk.write(3) == [DISK] * 3
    disk.close()
    monkeypatch.setattr(message_writer, "is_local", lambda _path: False)
    disk = Disk(tmp_path / "remote")
    disk.now += 2 * PAUSE_MAX
    assert await disk.write(3) == [DISK] * 3
    disk.close()


async def test_a_slow_write_holds_up_the_caller_once_until_the_disk_has_been_quick_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    disk.seconds = 2 * SLOW_SECONDS
    assert await disk.write(1000) == [HERE] + [DISK] * 999  # the pause ends during these, and begins again
    disk.seconds = 0.0
    assert await disk.write(2) == [DISK] * 2
    disk.now += PAUSE_MIN + 1
    assert await disk.write(3) == [DISK, HERE, HERE]
    disk.close()
    assert keys_in(tmp_path) == [*range(1, 1006)]


async def test_a_write_during_which_the_thread_never_waited_is_not_slow(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    disk.seconds, disk.waits_each = 2 * SLOW_SECONDS, 0
    assert await disk.write(3) == [HERE] * 3
    disk.waits_each = 1
    assert await disk.write(2) == [HERE, DISK]
    disk.close()


async def test_the_pause_doubles_while_the_disk_is_slow_again_at_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    pause = PAUSE_MIN
    for _ in range(10):
        disk.seconds = 2 * SLOW_SECONDS
        assert await disk.write() == [HERE]
        disk.seconds = 0.0
        disk.now += pause - 1
        assert await disk.write() == [DISK]
        disk.now += 2
        assert await disk.write(2) == [DISK, HERE]
        pause = min(2 * pause, PAUSE_MAX)
    disk.now += 2 * PAUSE_MAX
    disk.seconds = 2 * SLOW_SECONDS
    assert await disk.write() == [HERE]
    disk.seconds = 0.0
    disk.now += PAUSE_MIN + 1
    assert await disk.write(2) == [DISK, HERE]
    disk.close()


# A disk that fails


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, "cut"])
async def test_a_record_that_cannot_be_written_goes_to_the_store_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | str
) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    await disk.write(3)
    pwrite = os.pwrite

    def fail(file: int, data: bytes, place: int) -> int:
        if file != disk.journal._file:
            return pwrite(file, data, place)
        if isinstance(error, int):
            raise OSError(error, os.strerror(error))
        return pwrite(file, data[: len(data) // 2], place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        assert await disk.write(2) == [DISK] * 2
    assert await disk.write() == [DISK]
    disk.kill()
    assert keys_in(tmp_path) == [*range(1, 7)]


async def test_nothing_is_lost_while_the_store_refuses_and_each_write_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    await disk.write(3)

    def fail(*_arguments: object) -> None:
        error = sqlite3.OperationalError("no room")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(messages, "transact", fail)
        with pytest.raises(StoreFull, match="no room"):
            await disk.make([(put(98, WRITE_BYTES_MAX + 1),)])
        assert await disk.write(2) == [HERE] * 2
        disk.journal.append = lambda *_: False  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(StoreFull, match="no room"):
                await disk.make([(put(99),)])
    disk.kill()
    assert keys_in(tmp_path) == [*range(1, 6)]


@pytest.mark.parametrize(
    ("name", "is_replaced"),
    [
        ("messages.sqlite3", False),
        ("messages.sqlite3-wal", False),
        ("messages.sqlite3-wal", True),
        ("messages.journal", False),
        ("messages.journal", True),
    ],
)
async def test_a_file_that_a_cleaner_removed_is_made_anew_and_nothing_is_lost(
    tmp_path: Path, name: str, is_replaced: bool
) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    await disk.write(3)
    (tmp_path / name).unlink()
    if is_replaced:
        (tmp_path / name).write_bytes(b"another")
    disk.now += CHECK_SECONDS
    assert await disk.write() == [DISK]
    disk.now += PAUSE_MIN + 1
    await disk.write(3)
    disk.kill()
    if is_replaced and name == "messages.journal":
        assert (tmp_path / name).read_bytes() == b"another"
        (tmp_path / name).unlink()
    assert keys_in(tmp_path) == [*range(1, 8)]


async def test_a_removed_directory_is_refused_whatever_the_thread(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "data")
    await disk.start()
    await disk.write()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    disk.now += CHECK_SECONDS
    for is_quick in (True, False):
        disk.writer._is_quick = is_quick
        with pytest.raises(StoreError, match="removed or replaced"):
            await disk.make([(put(9),)])
    disk.close()


# The order, and the size


async def test_writes_keep_their_order_while_the_thread_of_the_disk_is_busy(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    await disk.write()
    disk.gate.clear()
    ended: list[str] = []

    async def write(name: str, batch: tuple[Write, ...]) -> None:
        await disk.make([batch])
        ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, "large", (put(5, WRITE_BYTES_MAX + 1), put(6)))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):  # it is written all the same
            await disk.make([(Delete(Table.OUTGOING, put(5).key),)])
        nursery.start_soon(write, "small", (Delete(Table.OUTGOING, put(6).key),))
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        disk.gate.set()
    assert sorted(ended) == ["large", "small"]
    disk.close()
    assert keys_in(tmp_path) == [1]


async def test_the_store_takes_a_long_journal_over_in_the_thread_of_the_disk_and_shrinks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_writer, "JOURNAL_BYTES_MAX", 1_000_000)
    disk = Disk(tmp_path)
    await disk.start()
    sizes: list[int] = []
    for start in range(0, 6_000, 10):
        await disk.make([tuple(put(number, 1000) for number in range(start, start + 10))])
        sizes.append((tmp_path / "messages.journal").stat().st_size)
    assert disk.places.count(DISK) >= 5
    assert disk.places.count(HERE) > 300
    assert max(sizes) < 1_100_000
    await disk.make([])
    assert disk.journal.size == 0
    disk.kill()
    assert len(keys_in(tmp_path)) == 6_000


async def test_a_journal_that_the_store_cannot_take_over_stays_short_and_writes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_writer, "JOURNAL_BYTES_MAX", 10_000)
    disk = Disk(tmp_path)
    await disk.start()

    def fail(*_arguments: object) -> None:
        raise sqlite3.OperationalError("damaged page")

    accepted: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(messages, "transact", fail)
        for number in range(100):
            with contextlib.suppress(StoreError):
                await disk.make([(put(number, 1000),)])
                accepted.append(number)
    assert accepted == [*range(len(accepted))]
    assert 0 < disk.journal.size < 12_000
    await disk.make([(put(500, 1000),)])
    disk.kill()
    assert keys_in(tmp_path) == [*accepted, 500]


async def test_a_journal_never_takes_the_room_that_the_store_needs_to_take_it_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    found = list(os.statvfs(tmp_path))
    found[1], found[4] = 1, 4 * 5_000  # the size of a block, and the free ones
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: os.statvfs_result(found))
        places = await disk.write(20, size=1000)
    assert places.count(DISK) >= 3
    assert places.count(HERE) >= 10
    assert disk.journal.size < 7_000
    disk.kill()
    assert keys_in(tmp_path) == [*range(1, 21)]


async def test_what_is_deleted_soon_never_reaches_the_store(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    before = (tmp_path / "messages.sqlite3-wal").stat().st_size
    for number in range(2000):
        await disk.make([(put(number, 5000),), (Delete(Table.OUTGOING, put(number).key),)])
    assert (tmp_path / "messages.sqlite3-wal").stat().st_size - before < 100_000
    disk.close()
    assert not (tmp_path / "messages.journal").exists()
    assert keys_in(tmp_path) == []


# How it ends


WRITES = st.lists(
    st.one_of(
        st.builds(put, st.integers(0, 5), st.integers(0, 20)),
        st.integers(0, 5).map(lambda number: Delete(Table.OUTGOING, put(number).key)),
        st.builds(Put, st.just(Table.RECEIPTS), st.sampled_from([b"a", b"b"]), st.binary(max_size=4)),
    ),
    max_size=4,
).map(tuple)
STEPS = st.lists(st.one_of(WRITES, st.sampled_from(["kill", "close", "take over", "slow", "quick"])), max_size=30)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_it_holds_what_a_dictionary_would_whatever_ends_the_process_and_whoever_writes(steps: list[object]) -> None:
    async def run(path: Path) -> None:
        expected: dict[tuple[Table, bytes], bytes] = {}
        disk = Disk(path)
        await disk.start()
        for step in steps:
            if isinstance(step, tuple):
                await disk.make([step])
                for write in step:
                    expected.pop((write.table, write.key), None)
                    if isinstance(write, Put):
                        expected[write.table, write.key] = write.value
            elif step == "take over":
                await disk.make([])
            elif step in ("slow", "quick"):
                disk.writer._is_quick = step == "quick"
            else:
                (disk.kill if step == "kill" else disk.close)()
                disk = Disk(path)
                assert disk.writer.missing == 0
                assert {(table, key): value for table, key, value in disk.rows} == expected
                assert disk.rows == sorted(disk.rows, key=lambda row: (list(Table).index(row[0]), row[1]))
        disk.close()

    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        patched.setattr(message_writer, "is_local", lambda _path: True)
        trio.run(run, Path(directory))


async def _make_journal(path: Path, count: int) -> bytes:
    disk = Disk(path)
    await disk.start()
    await disk.write(count, size=10)
    disk.kill()
    return (path / "messages.journal").read_bytes()


async def test_a_journal_that_was_cut_gives_the_records_before_the_cut_and_tells_how_many_are_missing(
    tmp_path: Path,
) -> None:
    data = await _make_journal(tmp_path, 5)
    for size in range(len(data)):
        (tmp_path / "messages.journal").write_bytes(data[:size])
        journal = Journal(tmp_path / "messages.journal")
        missing = journal.load(1)
        keys = [int.from_bytes(key, "big") for _, key in journal.pending]
        assert keys == [*range(1, len(keys) + 1)]
        assert missing == (5 - len(keys) if size >= 20 else 0)
        os.close(journal._file)


async def test_every_flipped_bit_of_a_journal_loses_records_from_there_on_and_is_told(tmp_path: Path) -> None:
    data = await _make_journal(tmp_path, 3)
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "messages.journal").write_bytes(damaged)
        journal = Journal(tmp_path / "messages.journal")
        missing = journal.load(1)
        assert [*journal.pending.values()] == [put(1, 10), put(2, 10), put(3, 10)][: len(journal.pending)]
        assert missing >= 1
        assert (tmp_path / "messages.journal.damaged").read_bytes() == damaged
        assert journal.is_in_place()
        assert journal.append([(put(9),)], 1)
        os.close(journal._file)


def _fail_to_load(path: Path, begin: Callable[[], None] = lambda: None) -> None:
    """Start and end as a node does; the store is open already at ``begin``."""
    directory, store, thread = DataDirectory(path), MessageStore(path / "messages.sqlite3"), DiskThread()
    writer = MessageWriter(directory, store, thread, "process")
    store.load()
    begin()
    with pytest.raises(StoreError, match=r"messages\.journal|the journal in .* cannot be read"):
        writer.load()
    thread.close()
    writer.close()
    store.close()
    directory.close()


def _make_pipe(path: Path, _data: bytes) -> None:
    os.mkfifo(path)


def _make_link(path: Path, data: bytes) -> None:
    path.with_name("elsewhere").write_bytes(data)
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [_make_pipe, _make_link, lambda path, _: path.mkdir()], ids=["pipe", "link", "dir"])
async def test_what_is_no_journal_stops_the_start_and_stays(
    tmp_path: Path, make: Callable[[Path, bytes], None]
) -> None:
    data = await _make_journal(tmp_path, 3)
    path = tmp_path / "messages.journal"
    path.unlink()
    make(path, data)
    before = path.lstat().st_ino
    _fail_to_load(tmp_path)
    assert path.lstat().st_ino == before


@pytest.mark.parametrize("failing", ["fstat", "ftruncate", "fsync"])
async def test_a_journal_that_cannot_be_read_now_is_read_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    data = await _make_journal(tmp_path, 3)
    path = tmp_path / "messages.journal"
    path.write_bytes(data[:-1])

    def fail(*_arguments: object) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patched:
        _fail_to_load(tmp_path, lambda: patched.setattr(os, failing, fail))
    assert path.read_bytes() == data[:-1]
    disk = Disk(tmp_path)
    assert disk.writer.missing == 1
    assert [key for _, key, _ in disk.rows] == [put(1).key, put(2).key]
    disk.close()


async def test_a_long_journal_is_read_in_part_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = await _make_journal(tmp_path, 3)
    monkeypatch.setattr("meshp2p.store.journal.FILE_BYTES_MAX", len(data) - 1)
    os.truncate(tmp_path / "messages.journal", 10 * len(data))
    journal = Journal(tmp_path / "messages.journal")
    assert journal.load(1) == 1
    assert len(journal.pending) == 2
    assert (tmp_path / "messages.journal.damaged").stat().st_size == len(data) - 1
    assert stat.S_IMODE((tmp_path / "messages.journal.damaged").stat().st_mode) == 0o600
    os.close(journal._file)


@pytest.mark.parametrize(
    "body", [b"\x91\x93\xa1\xff\xc4\x01a\xc0", b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc0"]
)
async def test_a_record_with_a_checksum_and_without_rows_is_a_missing_one(tmp_path: Path, body: bytes) -> None:
    data = await _make_journal(tmp_path, 1)
    checksum = zlib.crc32(body, 1).to_bytes(4, "big")
    (tmp_path / "messages.journal").write_bytes(data[:20] + len(body).to_bytes(4, "big") + checksum + body)
    journal = Journal(tmp_path / "messages.journal")
    assert journal.load(1) == 1
    assert not journal.pending
    os.close(journal._file)


async def test_a_journal_counts_only_with_the_store_that_it_continues(tmp_path: Path) -> None:
    data = await _make_journal(tmp_path, 3)
    for transactions, missing, found in ((0, 3, 0), (1, 0, 3), (2, 0, 0), (9, 0, 0)):
        (tmp_path / "messages.journal").write_bytes(data)
        journal = Journal(tmp_path / "messages.journal")
        assert journal.load(transactions) == missing
        assert len(journal.pending) == found
        os.close(journal._file)


async def test_what_a_store_has_taken_over_is_not_taken_again_from_a_journal_that_could_not_be_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    await disk.write(3)

    def fail(*_arguments: object) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "ftruncate", fail)
    await disk.make([])
    await disk.make([(Delete(Table.OUTGOING, put(2).key),)])
    monkeypatch.undo()
    disk.kill()
    assert keys_in(tmp_path) == [1, 3]


def _write_until_killed(path: Path, said: int) -> None:
    async def write() -> None:
        disk = Disk(path)
        for number in range(1_000_000):
            size = WRITE_BYTES_MAX + 1 if number % 50 == 0 else 100  # by turns in both threads
            await disk.make([(put(number, size),)])
            os.write(said, b"%d\n" % number)

    trio.run(write)


def test_what_was_written_by_either_thread_survives_a_kill(tmp_path: Path) -> None:
    hear, said = os.pipe()
    process = FORK.Process(target=_write_until_killed, args=(tmp_path, said))
    process.start()
    os.close(said)
    heard = b""
    while heard.count(b"\n") < 220:
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
