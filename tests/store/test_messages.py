"""Messages on disk: what was applied is what is loaded, whatever ends the process; what is not ours is not touched."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import resource
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.errors import InternalError, StoreError, StoreFull
from meshp2p.store import messages
from meshp2p.store.age import AgeClock, Moment
from meshp2p.store.messages import Durability, MessageStore
from meshp2p.store.tables import MIGRATIONS
from tests.store.disks import FORK, kill_while_writing

VALUE = bytes(range(256)) * 4


@contextmanager
def opened(path: Path, durability: Durability = "process") -> Iterator[MessageStore]:
    store = MessageStore(path, durability)
    try:
        store.load()
        yield store
    finally:
        store.close()


def load(path: Path) -> list[tuple[Table, bytes, bytes]]:
    store = MessageStore(path)
    try:
        return store.load()
    finally:
        store.close()


def names_beside(path: Path) -> set[str]:
    """The files that are there, beside the count of transactions."""
    return {found.name for found in path.parent.iterdir()} - {f"{path.name}-count"}


def put(key: int, value: bytes = VALUE, table: Table = Table.OUTGOING) -> Put:
    return Put(table, key.to_bytes(4, "big"), value)


def delete(key: int) -> Delete:
    return Delete(Table.OUTGOING, key.to_bytes(4, "big"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "messages.sqlite3"


# What is kept


def test_nothing_is_kept_at_first_and_the_file_is_its_owners_alone(path: Path) -> None:
    assert load(path) == []
    assert names_beside(path) == {path.name}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_applied_is_loaded_by_table_and_in_the_order_of_keys(path: Path, durability: Durability) -> None:
    with opened(path, durability) as store:
        store.apply([(put(3), put(1, b"")), (put(2), Put(Table.INCOMING, b"", b"\0"))])
        store.apply([(Delete(Table.OUTGOING, b"never there"), put(3, b"new"), delete(2))])
        expected = [
            (Table.OUTGOING, b"\0\0\0\1", b""),
            (Table.OUTGOING, b"\0\0\0\3", b"new"),
            (Table.INCOMING, b"", b"\0"),
        ]
        assert store.load() == expected
    assert load(path) == expected


def test_an_empty_transaction_changes_nothing(path: Path) -> None:
    with opened(path) as store:
        store.apply([])
        store.apply([(), ()])
        assert store.load() == []


KEYS = st.binary(max_size=3) | st.sampled_from([b"a", b"b"])
WRITES = st.builds(Put, st.sampled_from(Table), KEYS, st.binary()) | st.builds(Delete, st.sampled_from(Table), KEYS)


@settings(max_examples=25)  # each makes a file, and syncs it
@given(st.lists(st.lists(st.lists(WRITES, max_size=12).map(tuple), max_size=20), max_size=3))
def test_a_store_holds_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, transactions: list[list[tuple[Write, ...]]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "m"
    expected: dict[tuple[Table, bytes], bytes] = {}
    with opened(path) as store:
        for batches in transactions:
            store.apply(batches)
            for write in (write for batch in batches for write in batch):
                if isinstance(write, Put):
                    expected[write.table, write.key] = write.value
                else:
                    expected.pop((write.table, write.key), None)
    order = list(Table)
    found = load(path)
    assert {(table, key): value for table, key, value in found} == expected
    assert found == sorted(found, key=lambda row: (order.index(row[0]), row[1]))


def test_writing_before_loading_is_our_own_mistake(path: Path) -> None:
    with pytest.raises(InternalError):
        MessageStore(path).apply([(put(1),)])


# How it ends


def _write_until_killed(path: Path, said: int) -> None:
    store = MessageStore(path)
    store.load()
    for number in range(1_000_000):
        store.apply([(put(2 * number),), (put(2 * number + 1),)])
        os.write(said, b"%d\n" % number)


def test_what_was_acknowledged_survives_a_kill_and_each_transaction_is_there_as_a_whole(path: Path) -> None:
    for _ in range(3):
        last = kill_while_writing(_write_until_killed, path, 200)
        keys = [int.from_bytes(key, "big") for _, key, _ in load(path)]
        assert keys == [*range(len(keys))]
        assert len(keys) >= 2 * (last + 1)
        assert len(keys) % 2 == 0


def _leave_a_log(path: Path) -> None:
    store = MessageStore(path)
    store.load()
    store.apply([tuple(put(number) for number in range(100))])
    os._exit(0)


def in_a_process(function: Callable[[Path], None], path: Path) -> None:
    process = FORK.Process(target=function, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_a_log_is_taken_in_at_the_next_opening(path: Path) -> None:
    in_a_process(_leave_a_log, path)
    assert path.with_name(path.name + "-wal").stat().st_size > 100_000
    assert len(load(path)) == 100
    assert names_beside(path) == {path.name}
    assert len(load(path)) == 100


def test_a_log_whose_file_was_removed_is_not_taken_into_the_new_one(path: Path) -> None:
    in_a_process(_leave_a_log, path)
    path.unlink()
    assert load(path) == []


# The file's size


def test_the_log_does_not_grow_without_end_and_what_was_deleted_is_given_back(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    with opened(path) as store:
        for start in range(0, 40_000, 1000):
            store.apply([tuple(put(number) for number in range(start, start + 1000))])
        full = path.stat().st_size
        assert full > 32 * 2**20
        assert log.stat().st_size < 32 * 2**20
        for start in range(0, 40_000, 1000):
            store.apply([tuple(delete(number) for number in range(start, start + 1000))])
            store.shrink()
        for number in range(200):
            store.apply([(put(number), delete(number))])
            store.shrink()
    assert path.stat().st_size < full // 3


# What is not ours, or not whole


def _make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE outgoing (key, value, crc)")
    connection.close()


def _make_newer(path: Path) -> None:
    load(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()


def _make_full(path: Path) -> None:
    with opened(path) as store:
        store.apply([tuple(put(number) for number in range(500))])


def _make_damaged(path: Path) -> None:
    _make_full(path)
    data = bytearray(path.read_bytes())
    for page in range(8, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)


def _make_one_bit_wrong(path: Path) -> None:
    _make_full(path)
    data = bytearray(path.read_bytes())
    data[data.rindex(VALUE[:64]) + 7] ^= 4
    path.write_bytes(data)


def _make_half(path: Path) -> None:
    _make_full(path)
    path.write_bytes(path.read_bytes()[: 20 * 4096])


def _make_without_a_table(path: Path) -> None:
    load(path)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE settled")
    connection.close()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not an SQLite file"),
    "zeros, as after a power cut": (lambda path: path.write_bytes(bytes(8192)), "not an SQLite file"),
    "text": (lambda path: path.write_text("messages\n" * 100), "not an SQLite file"),
    "another program's": (_make_foreign, "belongs to another program"),
    "of a later schema": (_make_newer, "schema 3: this version reads up to 2"),
    "damaged": (_make_damaged, "cannot be opened"),
    "one bit wrong": (_make_one_bit_wrong, "is not what was written"),
    "half": (_make_half, "cannot be opened"),
    "without a table": (_make_without_a_table, "tables are missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_ours_or_not_whole_is_refused_by_its_name_and_left_as_it_is(path: Path, name: str) -> None:
    make, reason = REFUSED[name]
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=reason) as caught:
        load(path)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert names_beside(path) == {path.name}


def test_a_damaged_file_keeps_its_log_as_well(path: Path) -> None:
    _make_one_bit_wrong(path)
    store = MessageStore(path)
    log = path.with_name(path.name + "-wal")
    in_a_process(_leave_a_log_beside_damage, path)
    before = (path.read_bytes(), log.read_bytes())
    for _ in range(2):
        with pytest.raises(StoreError, match="is not what was written"):
            store.load()
        assert (path.read_bytes(), log.read_bytes()) == before
        assert names_beside(path) == {path.name, log.name}


def _leave_a_log_beside_damage(path: Path) -> None:
    store = MessageStore(path)
    store._is_loaded = True
    store.apply([(put(1000),)])
    os._exit(0)


def test_a_place_where_no_file_can_be_is_refused_by_its_name(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"messages\.sqlite3"):
        load(path)
    with pytest.raises(StoreError, match="cannot be opened"):
        load(path.parent / "none" / "m")


# Schemas


def test_a_file_of_an_older_schema_is_taken_through_the_migrations(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_process(_leave_a_log, path)
    monkeypatch.setattr(messages, "MIGRATIONS", (*MIGRATIONS, "DELETE FROM outgoing;", "VALUES (1);"))
    assert load(path) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(4,)]
    assert names_beside(path) == {path.name}


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_full(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(messages, "MIGRATIONS", (*MIGRATIONS, "DELETE FROM outgoing; NONSENSE;"))
        with pytest.raises(StoreError, match="syntax error"):
            load(path)
    assert path.read_bytes() == before
    assert len(load(path)) == 500
    monkeypatch.setattr(messages, "MIGRATIONS", (*MIGRATIONS, "DELETE FROM outgoing;"))
    assert load(path) == []
    assert names_beside(path) == {path.name}


# A disk that fails


def test_of_a_transaction_that_does_not_fit_nothing_is_kept_and_the_store_goes_on(path: Path) -> None:
    with opened(path) as store:
        store.apply([(put(1),)])
        before = store.load()
        assert store._connection is not None
        [[pages]] = store._connection.execute("PRAGMA page_count")
        store._connection.execute(f"PRAGMA max_page_count={pages + 4}").fetchall()
        with pytest.raises(StoreFull, match="full"):
            store.apply([(put(2), delete(1)), tuple(put(number) for number in range(3, 100))])
        assert store.load() == before
        store.apply([(delete(1),), (put(2),)])
        expected = store.load()
        assert [key for _, key, _ in expected] == [b"\0\0\0\2"]
    assert load(path) == expected


def _fill_what_is_allowed(path: Path) -> None:
    with opened(path) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))
        kept = 0
        while True:
            try:
                store.apply([(put(2 * kept),), (put(2 * kept + 1),)])
            except StoreError:
                break
            kept += 1
        if not kept or len(store.load()) != 2 * kept:
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.apply([(put(2 * kept), put(2 * kept + 1))])
        if len(store.load()) != 2 * kept + 2:
            os._exit(2)


def test_where_the_system_refuses_a_write_nothing_of_it_is_kept_and_the_store_goes_on(path: Path) -> None:
    in_a_process(_fill_what_is_allowed, path)
    keys = [int.from_bytes(key, "big") for _, key, _ in load(path)]
    assert keys == [*range(len(keys))]


# What happens to the file while it is open, or while nobody has it open


def files_of(path: Path) -> tuple[Path, Path]:
    return path, path.with_name(path.name + "-wal")


@pytest.mark.parametrize("gone", [(0,), (1,), (0, 1)], ids=["the file", "its log", "both"])
def test_what_a_cleaner_removed_while_it_was_open_is_made_anew_and_nothing_is_lost(
    path: Path, gone: tuple[int, ...]
) -> None:
    def run(path: Path) -> None:
        store = MessageStore(path)
        store.load()
        store.apply([tuple(put(number) for number in range(50))])
        for number in gone:
            files_of(path)[number].unlink()
        for number in range(50, 100):
            store.apply([(put(number), delete(number - 50))])
        os._exit(0)

    in_a_process(run, path)
    store = MessageStore(path)
    assert [int.from_bytes(key, "big") for _, key, _ in store.load()] == [*range(50, 100)]
    assert store.missing == 0
    store.close()


def test_a_file_that_was_replaced_by_another_takes_nothing_and_neither_is_changed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with opened(other) as store:
        store.apply([(put(7, b"another's"),)])
    with opened(path) as store:
        store.apply([(put(7, b"mine"),)])
        other.replace(path)
        for _ in range(2):
            with pytest.raises(StoreError, match="replaced by another file"):
                store.apply([(put(8),)])
    assert load(path) == [(Table.OUTGOING, b"\0\0\0\7", b"another's")]


def test_nobody_else_can_open_the_file_while_it_is_open(path: Path) -> None:
    with opened(path) as store:
        store.apply([(put(1, b"mine"),)])
        with pytest.raises(StoreError, match="locked"):
            load(path)
        with closing(sqlite3.connect(path, timeout=0)) as stranger, pytest.raises(sqlite3.OperationalError):
            stranger.execute("DELETE FROM outgoing")
        store.apply([(put(2, b"mine"),)])
        assert len(store.load()) == 2


@pytest.mark.parametrize("damage", ["garbage", "zeros", "empty", "gone", "one bit", "half"])
def test_a_log_that_lost_transactions_is_told_with_their_number_and_kept_aside(path: Path, damage: str) -> None:
    in_a_process(_leave_a_log_of_many, path)
    log = files_of(path)[1]
    whole = log.read_bytes()
    match damage:
        case "garbage":
            log.write_bytes(os.urandom(len(whole)))
        case "zeros":
            log.write_bytes(bytes(len(whole)))
        case "empty":
            log.write_bytes(b"")
        case "gone":
            log.unlink()
        case "one bit":
            data = bytearray(whole)
            data[len(data) // 2] ^= 1
            log.write_bytes(data)
        case _:
            log.write_bytes(whole[: len(whole) // 2])
    damaged = log.read_bytes() if log.exists() else None
    store = MessageStore(path)
    left = len(store.load())
    assert left < 100
    assert store.missing == 100 - left
    if damaged is not None:
        kept = log.with_name(log.name + ".damaged")
        assert kept.read_bytes() == damaged
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    store.apply([(put(500),)])
    store.close()
    store = MessageStore(path)
    assert len(store.load()) == left + 1
    assert store.missing == 0, "it is told once"
    store.close()


def _leave_a_log_of_many(path: Path) -> None:
    store = MessageStore(path)
    store.load()
    for number in range(100):
        store.apply([(put(number),)])
    os._exit(0)


def test_a_count_that_is_damaged_or_gone_claims_no_loss(path: Path) -> None:
    in_a_process(_leave_a_log, path)
    count = path.with_name(path.name + "-count")
    for data in (b"", b"x", bytes(12), b"\xff" * 12, count.read_bytes()[:-1]):
        count.write_bytes(data)
        store = MessageStore(path)
        assert len(store.load()) == 100
        assert store.missing == 0
        store.close()


def test_age_goes_on_over_restarts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [Moment(1_700_000_000.0, 100.0, "boot")]
    monkeypatch.setattr(messages, "AgeClock", functools.partial(AgeClock, read=lambda: now[0]))
    for step in (-400, 3, 400, 0):
        with opened(path) as store:
            store.apply([])
            assert store.age == pytest.approx(now[0].uptime - 100.0)
        now[0] = Moment(now[0].wall + step * 86_400, now[0].uptime + 50.0, "boot")


def test_every_flipped_bit_is_refused_or_changes_nothing(path: Path) -> None:
    """Of bytes that are in use: one bit each, drawn anew each time."""
    with opened(path) as store:
        for number in range(6):
            store.apply([tuple(Put(table, b"%d" % number, b"v%d" % number * 40) for table in Table)])
        store.apply([(Delete(Table.OUTGOING, b"2"), Delete(Table.INCOMING, b"3"))])
        expected = store.load()
    whole = path.read_bytes()
    used = [place for place, byte in enumerate(whole) if byte]
    draw = random.Random()
    for place in draw.sample(used, 250):
        data = bytearray(whole)
        bit = draw.randrange(8)
        data[place] ^= 1 << bit
        path.write_bytes(data)
        store = MessageStore(path)
        try:
            found = store.load()
        except StoreError:
            assert path.read_bytes() == data, (place, bit)
        else:
            assert found == expected, (place, bit)
            with contextlib.suppress(StoreError):
                store.apply([(Put(Table.OUTGOING, b"new", b"1"), Delete(Table.OUTGOING, b"1"))])
                assert len(store.load()) == len(expected), (place, bit)
        store.close()
        for left in path.parent.iterdir():
            left.unlink()


@pytest.mark.parametrize("code", ["SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN"])
def test_a_disk_that_fails_is_told_as_what_it_is_and_used_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    with opened(path) as store:
        store.apply([(put(1),)])

        def fail(*_arguments: object) -> None:
            error = sqlite3.OperationalError(code)
            error.sqlite_errorcode = getattr(sqlite3, code)
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(messages, "transact", fail)
            with pytest.raises(StoreFull if code == "SQLITE_FULL" else StoreError):
                store.apply([(put(2),)])
        store.apply([(put(3),)])
        assert [int.from_bytes(key, "big") for _, key, _ in store.load()] == [1, 3]
