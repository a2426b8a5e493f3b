"""The journal on disk: what a cut, damaged or foreign file gives at the next start, and what is told of it."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from meshp2p.errors import StoreError
from meshp2p.store.directory import DataDirectory
from meshp2p.store.disk_thread import DiskThread
from meshp2p.store.journal import Journal
from meshp2p.store.message_writer import MessageWriter
from meshp2p.store.messages import MessageStore
from tests.store.disks import Disk, make_journal, put, refuse


async def test_a_journal_that_was_cut_gives_the_records_before_the_cut_and_tells_how_many_are_missing(
    tmp_path: Path,
) -> None:
    data = await make_journal(tmp_path, 5)
    for size in range(len(data)):
        (tmp_path / "messages.journal").write_bytes(data[:size])
        journal = Journal(tmp_path / "messages.journal")
        missing = journal.load(1)
        keys = [int.from_bytes(write.key, "big") for write in journal.writes()]
        assert keys == [*range(1, len(keys) + 1)]
        assert missing == (5 - len(keys) if size >= 20 else 0)
        os.close(journal._file)


async def test_every_flipped_bit_of_a_journal_loses_records_from_there_on_and_is_told(tmp_path: Path) -> None:
    data = await make_journal(tmp_path, 3)
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "messages.journal").write_bytes(damaged)
        journal = Journal(tmp_path / "messages.journal")
        missing = journal.load(1)
        assert journal.writes() == [put(1, 10), put(2, 10), put(3, 10)][: len(journal.writes())]
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
    data = await make_journal(tmp_path, 3)
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
    data = await make_journal(tmp_path, 3)
    path = tmp_path / "messages.journal"
    path.write_bytes(data[:-1])
    with monkeypatch.context() as patched:
        _fail_to_load(tmp_path, lambda: patched.setattr(os, failing, refuse))
    assert path.read_bytes() == data[:-1]
    disk = Disk(tmp_path)
    assert disk.writer.missing == 1
    assert [key for _, key, _ in disk.rows] == [put(1).key, put(2).key]
    disk.close()


async def test_a_long_journal_is_read_in_part_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = await make_journal(tmp_path, 3)
    monkeypatch.setattr("meshp2p.store.journal.FILE_BYTES_MAX", len(data) - 1)
    os.truncate(tmp_path / "messages.journal", 10 * len(data))
    journal = Journal(tmp_path / "messages.journal")
    assert journal.load(1) == 1
    assert len(journal.writes()) == 2
    assert (tmp_path / "messages.journal.damaged").stat().st_size == len(data) - 1
    assert stat.S_IMODE((tmp_path / "messages.journal.damaged").stat().st_mode) == 0o600
    os.close(journal._file)


@pytest.mark.parametrize(
    "body", [b"\x91\x93\xa1\xff\xc4\x01a\xc0", b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc0"]
)
async def test_a_record_with_a_checksum_and_without_rows_is_a_missing_one(tmp_path: Path, body: bytes) -> None:
    data = await make_journal(tmp_path, 1)
    checksum = zlib.crc32(body, 1).to_bytes(4, "big")
    (tmp_path / "messages.journal").write_bytes(data[:20] + len(body).to_bytes(4, "big") + checksum + body)
    journal = Journal(tmp_path / "messages.journal")
    assert journal.load(1) == 1
    assert not journal.writes()
    os.close(journal._file)


async def test_a_journal_counts_only_with_the_store_that_it_continues(tmp_path: Path) -> None:
    data = await make_journal(tmp_path, 3)
    for transactions, missing, found in ((0, 3, 0), (1, 0, 3), (2, 0, 0), (9, 0, 0)):
        (tmp_path / "messages.journal").write_bytes(data)
        journal = Journal(tmp_path / "messages.journal")
        assert journal.load(transactions) == missing
        assert len(journal.writes()) == found
        os.close(journal._file)
