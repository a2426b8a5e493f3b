"""What a node keeps of messages: outbox and mailboxes, in one SQLite file of keys and values.

The file is in WAL mode: a transaction is kept once its frames are in the log, and the log is taken into the file every
``_CHECKPOINT_PAGES`` pages. A new file, and one of an older schema, is made beside its place and takes it when it is
whole; so the header of a file that is there always tells whose it is, and of which schema.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.errors import InternalError, StoreError, StoreFull
from meshp2p.store.replacement import replace_durably

__all__ = ["Durability", "MessageStore"]

Durability = Literal["process", "power"]
"""What keeps a write that was acknowledged: the end of the process, however sudden, or a power cut as well."""

_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = struct.Struct(">16s44xI4xI")  # magic, user_version, application_id: SQLite's file format §1.3
_APPLICATION_ID: Final = 0x6D703270  # "mp2p"

_MIGRATIONS: Final[tuple[str, ...]] = (
    "".join(
        f"CREATE TABLE {table} (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;"
        for table in Table
    ),
)
"""What makes a file of each schema from one of the schema before; that before the first is empty. Append-only. Tables
keep their rowid: WITHOUT ROWID halves the writes a second for values of 1 KiB, because they do not fit its pages."""

_CHECKPOINT_PAGES: Final = 4000
"""The log's pages (4 KiB each) that start a checkpoint. 1000, SQLite's own, costs a third of the writes a second;
16,000 gains little and needs 64 MiB of disk."""

_FREE_PAGES_MAX: Final = 2048
"""So many free pages are kept for what comes next; past it, and past a half of all, the file is made smaller. Chosen,
not measured: 8 MiB."""

_SHRINK_PAGES: Final = 256
"""By so many pages a transaction is followed at most: it bounds what the next one waits. Chosen, not measured."""

_CHUNKS: Final = (64, 8, 1)
"""Rows of one statement: each statement gives up the interpreter's lock, and may wait long to have it again."""


class MessageStore:
    """The tables in one file. To be closed; one thread at a time. The caller has the directory's lock.

    What :meth:`apply` wrote survives ``kill -9`` of the process at any moment. With durability ``"process"`` a power
    cut, or the operating system's own crash, may take the last transactions, since the last checkpoint at most, the
    later before the earlier and each as a whole; with ``"power"`` each is synced before :meth:`apply` returns, and it
    takes none that the disk itself does not lose.
    """

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        """Nothing is opened before :meth:`load`."""
        self._path = path
        self._durability = durability
        self._connection: sqlite3.Connection | None = None

    def load(self) -> list[tuple[Table, bytes, bytes]]:
        """All that is kept, table by table and in the order of keys; the file is made where there is none.

        To be called before :meth:`apply`. Raises :class:`StoreError` where the file is not ours, of a later version or
        damaged: it is then byte for byte as it was, and so is its log.
        """
        if self._connection is not None:
            with self._failing("read"):
                return _read(self._connection)
        with self._failing("opened"):
            version = self._find_version()
            kept = self._read_untouched() if version else []
            if version < len(_MIGRATIONS):
                self._migrate(version)
                kept = self._read_untouched()
            self._connection = self._open()
        return kept

    def apply(self, batches: Sequence[Iterable[Write]]) -> None:
        """Make all these writes, in their order, in one transaction.

        Raises :class:`StoreFull` where there is no room, :class:`StoreError` where the disk fails otherwise: then none
        of them was made, and the store may be used on. Only where a sync failed, a crash before the next transaction
        may still show them.
        """
        connection = self._connection
        if connection is None:
            raise InternalError("the message store is written to before it was loaded")
        statements = [statement for batch in _runs(batches) for statement in batch]
        with self._failing("written"):
            try:
                _transact(connection, statements)
            except sqlite3.Error as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                # a log that was taken in begins anew, in the room that it has already
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                _transact(connection, statements)

    def shrink(self) -> None:
        """Give back some of the pages that are free, where they are many: for after an :meth:`apply`. That it fails
        harms nothing."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(sqlite3.Error):
            [[free]] = connection.execute("PRAGMA freelist_count")
            [[pages]] = connection.execute("PRAGMA page_count")
            if free > _FREE_PAGES_MAX and free > pages // 2:
                # a page a step, each a row without columns: `execute` would make one step
                connection.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")

    def close(self) -> None:
        """Take the log into the file. What cannot be taken now is at the next opening."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    # The file

    def _find_version(self) -> int:
        """The schema of the file, from its header: 0 where there is no file."""
        try:
            with self._path.open("rb") as file:
                header = file.read(_HEADER.size)
        except FileNotFoundError:
            return 0
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            raise StoreError(f"{str(self._path)!r} is no SQLite file: remove it to begin with no messages")
        _, version, application_id = _HEADER.unpack(header)
        if application_id != _APPLICATION_ID or version == 0:
            raise StoreError(f"{str(self._path)!r} is another program's: choose another data directory")
        if version > len(_MIGRATIONS):
            raise StoreError(f"{str(self._path)!r} has schema {version}: this version reads up to {len(_MIGRATIONS)}")
        return int(version)

    def _read_untouched(self) -> list[tuple[Table, bytes, bytes]]:
        """Check and read all, through a connection that cannot write the file and does not take its log in."""
        log, index = self._beside("-wal"), self._beside("-shm")
        has_log, has_index = log.exists(), index.exists()
        # with no log there is nothing to lock either, and SQLite makes no file of its own
        mode = "mode=ro" if has_log else "mode=ro&immutable=1"
        uri = f"file:{quote(str(self._path.absolute()))}?{mode}"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
                [[found]] = connection.execute("PRAGMA quick_check(1)")
                if found != "ok":
                    raise sqlite3.DatabaseError(" ".join(str(found).split()))
                if {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}.issuperset(Table):
                    return _read(connection)
                raise sqlite3.DatabaseError("tables are missing")
        finally:
            if has_log and not has_index:
                index.unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        connection = _connect(self._path)
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durability == 'power' else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit={_CHECKPOINT_PAGES * 4096}")
            return connection
        except BaseException:
            connection.close()
            raise

    def _migrate(self, version: int) -> None:
        """Make the file of the newest schema, from the one that is there, whose schema is ``version``."""
        new = self._beside(".new")
        for leftover in ("", "-wal", "-shm", "-journal"):
            self._beside(f".new{leftover}").unlink(missing_ok=True)
            if leftover and not version:  # a log whose file was removed would be taken into the new one
                self._beside(leftover).unlink(missing_ok=True)
        if version:
            with contextlib.closing(_connect(self._path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._beside("-wal").exists():
                raise StoreError(f"{str(self._path)!r} is used by another program")
            shutil.copyfile(self._path, new)
        with contextlib.closing(_connect(new)) as connection:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=FULL")
            steps = "".join(_MIGRATIONS[version:])
            marks = f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={len(_MIGRATIONS)};"
            connection.executescript(f"BEGIN; {steps} {marks} COMMIT;")
            connection.execute("PRAGMA journal_mode=WAL")
        new.chmod(0o600)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        replace_durably(new, self._path)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Raise what SQLite and the operating system raise as our own."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            kind = StoreFull if code == sqlite3.SQLITE_FULL else StoreError
            raise kind(f"{str(self._path)!r} cannot be {what}: {error}") from error
        except OSError as error:
            kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
            raise kind(f"{str(self._path)!r} cannot be {what}: {error.strerror}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # transactions are begun and ended here, not by the module; one thread loads, another writes
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _transact(connection: sqlite3.Connection, statements: list[tuple[str, list[bytes | int]]]) -> None:
    try:
        if len(statements) == 1:
            connection.execute(*statements[0])  # a transaction of its own
            return
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(*statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read(connection: sqlite3.Connection) -> list[tuple[Table, bytes, bytes]]:
    kept: list[tuple[Table, bytes, bytes]] = []
    for table in Table:
        for key, value, crc in connection.execute(f"SELECT key, value, crc FROM {table} ORDER BY key"):
            if _crc(key, value) != crc:
                raise sqlite3.DatabaseError(f"the value of key {key.hex()} in {table} is not what was written")
            kept.append((table, key, value))
    return kept


def _crc(key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key))


def _runs(batches: Sequence[Iterable[Write]]) -> Iterator[Iterator[tuple[str, list[bytes | int]]]]:
    """The statements of these writes: those of one kind to one table that follow one another go together."""
    writes = itertools.chain.from_iterable(batches)
    for (kind, table), run in itertools.groupby(writes, lambda write: (type(write), write.table)):
        yield _chunks(kind, table, list(run))


def _chunks(kind: type[Write], table: Table, run: list[Write]) -> Iterator[tuple[str, list[bytes | int]]]:
    start = 0
    while start < len(run):
        rows = next(size for size in _CHUNKS if size <= len(run) - start)
        parameters: list[bytes | int] = []
        for write in run[start : start + rows]:
            parameters.append(write.key)
            if isinstance(write, Put):
                parameters += (write.value, _crc(write.key, write.value))
        yield _STATEMENTS[kind, table, rows], parameters
        start += rows


def _make_put(table: Table, rows: int) -> str:
    values = ", ".join(["(?, ?, ?)"] * rows)
    return f"INSERT INTO {table} VALUES {values} ON CONFLICT (key) DO UPDATE SET value=excluded.value, crc=excluded.crc"


def _make_delete(table: Table, rows: int) -> str:
    return f"DELETE FROM {table} WHERE key IN ({', '.join('?' * rows)})"


_STATEMENTS: Final = {
    (kind, table, rows): make(table, rows)
    for kind, make in ((Put, _make_put), (Delete, _make_delete))
    for table in Table
    for rows in _CHUNKS
}
