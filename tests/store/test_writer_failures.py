"""The writer of messages when the disk fails or the process ends: nothing that was written is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.core.effects import Delete, Put, Table
from meshp2p.errors import StoreError, StoreFull
from meshp2p.store import messages
from meshp2p.store.message_writer import CHECK_SECONDS, PAUSE_MIN, WRITE_BYTES_MAX
from tests.store.disks import DISK, HERE, Disk, keys_in, kill_while_writing, put, refuse, started

# A disk that fails


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, "cut"])
async def test_a_record_that_cannot_be_written_goes_to_the_store_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | str
) -> None:
    disk = await started(tmp_path, 3)
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
    disk = await started(tmp_path, 3)

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
    disk = await started(tmp_path, 3)
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
    disk = await started(tmp_path / "data", 1)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    disk.now += CHECK_SECONDS
    for is_quick in (True, False):
        disk.writer._is_quick = is_quick
        with pytest.raises(StoreError, match="removed or replaced"):
            await disk.make([(put(9),)])
    disk.close()


async def test_what_a_store_has_taken_over_is_not_taken_again_from_a_journal_that_could_not_be_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = await started(tmp_path, 3)
    monkeypatch.setattr(os, "ftruncate", refuse)
    await disk.make([])
    await disk.make([(Delete(Table.OUTGOING, put(2).key),)])
    monkeypatch.undo()
    disk.kill()
    assert keys_in(tmp_path) == [1, 3]


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
        disk = await started(path)
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

    with tempfile.TemporaryDirectory() as directory:
        trio.run(run, Path(directory))


def _write_until_killed(path: Path, said: int) -> None:
    async def write() -> None:
        disk = Disk(path)
        for number in range(1_000_000):
            size = WRITE_BYTES_MAX + 1 if number % 50 == 0 else 100  # by turns in both threads
            await disk.make([(put(number, size),)])
            os.write(said, b"%d\n" % number)

    trio.run(write)


def test_what_was_written_by_either_thread_survives_a_kill(tmp_path: Path) -> None:
    last = kill_while_writing(_write_until_killed, tmp_path, 220)
    keys = keys_in(tmp_path)
    assert keys == [*range(len(keys))]
    assert len(keys) > last
