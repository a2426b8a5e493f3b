"""The writer of messages: it writes in the caller's thread while the disk is quick, and keeps the order of writes."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from meshp2p.core.effects import Delete, Table, Write
from meshp2p.errors import StoreError
from meshp2p.store import message_writer, messages
from meshp2p.store.message_writer import PAUSE_MAX, PAUSE_MIN, SLOW_SECONDS, WRITE_BYTES_MAX, is_local
from tests.store.disks import DISK, HERE, Disk, keys_in, put, started

# Where it is written


async def test_small_writes_to_a_quick_disk_go_to_the_journal_in_the_caller_s_thread(tmp_path: Path) -> None:
    disk = await started(tmp_path)
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
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path / "synced", "power")
    assert await disk.write(3) == [DISK] * 3
    disk.close()
    disk = Disk(tmp_path / "remote", is_local=False)
    disk.now += 2 * PAUSE_MAX
    assert await disk.write(3) == [DISK] * 3
    disk.close()


async def test_a_slow_write_holds_up_the_caller_once_until_the_disk_has_been_quick_again(tmp_path: Path) -> None:
    disk = await started(tmp_path)
    disk.seconds = 2 * SLOW_SECONDS
    assert await disk.write(1000) == [HERE] + [DISK] * 999  # the pause ends during these, and begins again
    disk.seconds = 0.0
    assert await disk.write(2) == [DISK] * 2
    disk.now += PAUSE_MIN + 1
    assert await disk.write(3) == [DISK, HERE, HERE]
    disk.close()
    assert keys_in(tmp_path) == [*range(1, 1006)]


async def test_a_write_during_which_the_thread_never_waited_is_not_slow(tmp_path: Path) -> None:
    disk = await started(tmp_path)
    disk.seconds, disk.waits_each = 2 * SLOW_SECONDS, 0
    assert await disk.write(3) == [HERE] * 3
    disk.waits_each = 1
    assert await disk.write(2) == [HERE, DISK]
    disk.close()


async def test_the_pause_doubles_while_the_disk_is_slow_again_at_once(tmp_path: Path) -> None:
    disk = await started(tmp_path)
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


# The order, and the size


async def test_writes_keep_their_order_while_the_thread_of_the_disk_is_busy(tmp_path: Path) -> None:
    disk = await started(tmp_path, 1)
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
    disk = await started(tmp_path)
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
    disk = await started(tmp_path)

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
    disk = await started(tmp_path)
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
    disk = await started(tmp_path)
    before = (tmp_path / "messages.sqlite3-wal").stat().st_size
    for number in range(2000):
        await disk.make([(put(number, 5000),), (Delete(Table.OUTGOING, put(number).key),)])
    assert (tmp_path / "messages.sqlite3-wal").stat().st_size - before < 100_000
    disk.close()
    assert not (tmp_path / "messages.journal").exists()
    assert keys_in(tmp_path) == []


async def test_a_row_that_was_put_and_deleted_before_the_takeover_never_reaches_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    applied: list[Write] = []
    apply = disk.apply

    def note(batches: Sequence[Iterable[Write]]) -> None:
        applied.extend(itertools.chain.from_iterable(batches))
        apply(batches)

    monkeypatch.setattr(disk, "apply", note)
    await disk.make([(put(1), put(2))])
    await disk.make([(Delete(Table.OUTGOING, put(1).key),)])
    await disk.make([])
    assert applied == [put(2)]
    await disk.make([(Delete(Table.OUTGOING, put(2).key), Delete(Table.OUTGOING, put(3).key))])
    await disk.make([])
    assert applied == [put(2), Delete(Table.OUTGOING, put(2).key)]
    disk.close()
    again = Disk(tmp_path)
    assert again.rows == []
    again.close()


async def test_what_a_store_has_from_an_earlier_process_is_deleted_there(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    await disk.start()
    await disk.make([(put(1), put(2))])
    disk.close()
    for key in (put(2).key, put(1).key):
        disk = Disk(tmp_path)
        await disk.start()
        await disk.make([(Delete(Table.OUTGOING, key),)])
        disk.close()
    last = Disk(tmp_path)
    assert last.rows == []
    last.close()


async def test_a_takeover_that_failed_leaves_deletes_of_what_the_store_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction may have been made although an error was reported."""
    disk = Disk(tmp_path)
    await disk.start()
    await disk.make([(put(1),)])
    apply = disk.apply

    def apply_and_fail(batches: Sequence[Iterable[Write]]) -> None:
        apply(batches)
        raise StoreError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "apply", apply_and_fail)
        with pytest.raises(StoreError):
            await disk.make([])
    await disk.make([(Delete(Table.OUTGOING, put(1).key),)])
    disk.close()
    again = Disk(tmp_path)
    assert again.rows == []
    again.close()


@pytest.mark.parametrize(("is_deleted", "takeovers"), [(True, 2), (False, 6)])
async def test_the_store_takes_over_a_journal_early_if_most_of_its_rows_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool, takeovers: int
) -> None:
    monkeypatch.setattr(message_writer, "JOURNAL_BYTES_MAX", 300_000)
    monkeypatch.setattr(message_writer, "LOOK_BYTES", 100_000)
    disk = await started(tmp_path)
    disk.places.clear()
    for number in range(600):
        delete = Delete(Table.OUTGOING, put(number).key)
        for write in (put(number, 1000), delete) if is_deleted else (put(number, 1000),):
            await disk.make([(write,)])
            with trio.fail_after(60):
                while not disk.thread.is_idle:
                    await trio.lowlevel.checkpoint()
    assert disk.places.count(DISK) == takeovers
    disk.kill()
    assert len(keys_in(tmp_path)) == (0 if is_deleted else 600)
