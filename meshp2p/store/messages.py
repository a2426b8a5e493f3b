"""The message store of a node: outbox and mailboxes, in one SQLite file of keys and values.

The file is in WAL mode. A transaction is stored once its frames are in the log, and the log is merged into the file
every ``_CHECKPOINT_PAGES`` pages. A new file, or one with an older schema, is built beside its place and moved there
when it is complete. So the header of an existing file always tells which program and schema it belongs to. The file is
locked while it is open, so the index of its log is only in memory.

Transactions are counted in the file, and in a small file beside it. If the latter is ahead, committed transactions are
missing, for example after a damaged log, which SQLite treats as empty.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from meshp2p.core.effects import Table, Write
from meshp2p.errors import InternalError, StoreError, StoreFull
from meshp2p.store import private_files
from meshp2p.store.age import AgeClock
from meshp2p.store.counter import Counter
from meshp2p.store.replacement import replace_durably
from meshp2p.store.tables import AGE, MARKS, MIGRATIONS, TRANSACTIONS, mark, read_tables, statements_of, transact

__all__ = ["Durability", "MessageStore"]

Durability = Literal["process", "power"]
"""The failures that an acknowledged write survives: any end of the process, or also a power failure."""

_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = struct.Struct(">16s44xI4xI")  # magic, user_version, application_id: SQLite's file format §1.3
_APPLICATION_ID: Final = 0x6D703270  # "mp2p"

_CHECKPOINT_PAGES: Final = 4000
"""The size of the log, in pages of 4 KiB, that starts a checkpoint. SQLite's default of 1000 costs a third of the
writes per second; 16,000 gains little and needs 64 MiB of disk."""

_FREE_PAGES_MAX: Final = 2048
"""How many free pages are kept for new data. Above this, and above half of all pages, the file is shrunk. Chosen, not
measured: 8 MiB."""

_SHRINK_PAGES: Final = 256
"""The maximum number of pages freed after a transaction; it bounds the wait of the next one. Chosen, not measured."""


class MessageStore:
    """The tables in one file. Use it from one thread at a time, and close it after use. The caller holds the
    directory's lock.

    Data written by :meth:`apply` survives ``kill -9`` of the process at any moment. With durability ``"process"``, a
    power failure or a crash of the operating system may lose the last transactions, at most those since the last
    checkpoint; transactions are atomic, and none survives without those before it. With ``"power"`` each is synced
    before :meth:`apply` returns, and is lost only if the disk loses it.
    """

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        """Opens nothing before :meth:`load`."""
        self.missing: int = 0
        """How many transactions were committed before the last end and are not in the file."""
        self._path = path
        self._log_path = self._beside("-wal")
        self._durability = durability
        self._connection: sqlite3.Connection | None = None
        self._is_loaded = False
        self._place: os.stat_result | None = None
        self._log_place: os.stat_result | None = None
        self._counter: Counter | None = None
        self.transactions: int = 0
        """How many transactions were ever committed."""
        self._age = AgeClock(None)

    def load(self) -> list[tuple[Table, bytes, bytes]]:
        """Return all stored data, table by table and in the order of keys. Create the file if there is none.

        Call it before :meth:`apply`. Raises :class:`StoreError` if the file is damaged, belongs to another program or
        has a later version. The file and its log are then unchanged.
        """
        if self._connection is not None:
            with self._failing("read"):
                return read_tables(self._connection)[0]
        with self._failing("opened"):
            version = self._find_version()
            if version:
                with self._keeping_log():
                    pass  # the process ended during the last check and left it beside its place
                self._read_untouched(version)
            if version < len(MIGRATIONS):
                self._migrate(version)
            kept, marks = self._read_untouched(len(MIGRATIONS))
            self.transactions = int.from_bytes(marks.get(TRANSACTIONS, b""), "big")
            self._age = AgeClock(marks.get(AGE))
            self._counter = Counter(self._beside("-count"))
            self.missing = max(0, self._counter.value - self.transactions)
            if self.missing and self._log_path.exists():
                private_files.write(self._beside("-wal.damaged"), self._log_path.read_bytes())
            self._connection = self._open()
            self._is_loaded = True
            self._counter.write(self.transactions)
        return kept

    @property
    def age(self) -> float:
        """Return the seconds since the file was created."""
        return self._age.read()

    @property
    def is_current(self) -> bool:
        """Whether the file and its log are where they were made, and the age in the file is valid. If not,
        :meth:`apply` mends that. Raises ``OSError``."""
        return self._is_in_place and self._age.new_mark() is None

    @property
    def _is_in_place(self) -> bool:
        is_log_there = self._log_place is None or _is_same(_stat(self._log_path), self._log_place)
        return is_log_there and _is_same(_stat(self._path), self._place)

    def apply(self, batches: Sequence[Iterable[Write]]) -> None:
        """Make these writes in order, in one transaction.

        If the file or its log was removed meanwhile, it is recreated from the open file. Raises :class:`StoreFull` if
        there is no room, and :class:`StoreError` if the disk fails otherwise or the file was replaced. Then none of the
        writes was made, and the store can still be used. Only if a sync failed, a crash before the next transaction may
        still bring them back.
        """
        if not self._is_loaded:
            raise InternalError("the message store is written to before it was loaded")
        statements = list(statements_of(batches))
        with self._failing("written"):
            connection = self._find_place()
            age = self._age.new_mark()
            if not statements and age is None:
                return
            count = self.transactions + 1
            statements.append(mark(TRANSACTIONS, count.to_bytes(8, "big")))
            if age is not None:
                statements.append(mark(AGE, age))
            try:
                transact(connection, statements)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                    raise
                # a log that was taken in begins anew, in the room that it has already
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                transact(connection, statements)
        self.transactions = count
        if age is not None:
            self._age.note_kept()
        if self._counter is not None:
            self._counter.write(count)
        if self._log_place is None:
            self._log_place = _stat(self._log_path)

    def shrink(self) -> None:
        """Free some unused pages, if there are many. Call it after :meth:`apply`. A failure does no harm."""
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
        """Merge the log into the file. What cannot be merged now is merged at the next opening."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._counter is not None:
            self._counter.close()
            self._counter = None

    # The file

    def _find_version(self) -> int:
        """Return the schema of the file, from its header: 0 if there is no file."""
        try:
            with self._path.open("rb") as file:
                header = file.read(_HEADER.size)
        except FileNotFoundError:
            return 0
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            raise StoreError(f"{str(self._path)!r} is not an SQLite file: remove it to start without messages")
        _, version, application_id = _HEADER.unpack(header)
        if application_id != _APPLICATION_ID or version == 0:
            raise StoreError(f"{str(self._path)!r} belongs to another program: choose another data directory")
        if version > len(MIGRATIONS):
            raise StoreError(f"{str(self._path)!r} has schema {version}: this version reads up to {len(MIGRATIONS)}")
        return int(version)

    def _read_untouched(self, version: int) -> tuple[list[tuple[Table, bytes, bytes]], dict[bytes, bytes]]:
        """Check and read everything through a connection that cannot write the file, does not merge its log and creates
        no files.

        Returns the data, and the store's marks.
        """
        # without a log only the file is read; without locks, because a file that is not written cannot be
        # locked for itself alone, which is what keeps the log's index in memory
        mode = "mode=ro&vfs=unix-none" if self._log_path.exists() else "mode=ro&immutable=1"
        uri = f"file:{quote(os.fsencode(self._path.absolute()))}?{mode}"
        connecting = contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None))
        with self._keeping_log(), connecting as connection:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
            [[found]] = connection.execute("PRAGMA integrity_check(1)")
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(str(found).split()))
            tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            expected = {*Table, MARKS} if version == len(MIGRATIONS) else set[str]()
            if not tables.issuperset(expected):
                raise sqlite3.DatabaseError("tables are missing")
            return read_tables(connection, tables)

    @contextlib.contextmanager
    def _keeping_log(self) -> Iterator[None]:
        """Keep the log until the end of the block: SQLite removes an empty one."""
        log, second = self._log_path, self._beside("-wal.kept")
        if log.exists():
            second.unlink(missing_ok=True)
            try:
                os.link(log, second)
            except OSError:  # there are no links on this file system
                shutil.copy(log, second)
        try:
            yield
        finally:
            if log.exists():
                second.unlink(missing_ok=True)
            elif second.exists():
                second.replace(log)

    def _open(self) -> sqlite3.Connection:
        connection = _connect(self._path)
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durability == 'power' else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit={_CHECKPOINT_PAGES * 4096}")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # which takes the lock
            self._place = _stat(self._path)
            self._log_place = _stat(self._log_path)
            return connection
        except BaseException:
            connection.close()
            raise

    def _find_place(self) -> sqlite3.Connection:
        """Return the connection to the file at its place. A removed file is recreated; a replaced one is left alone.

        Raises :class:`StoreError`, ``sqlite3.Error`` and ``OSError``.
        """
        if self._connection is None:
            self._connection = self._open()
        if self._is_in_place:
            return self._connection
        here, log = _stat(self._path), _stat(self._log_path)
        if here is None:
            self._restore(self._connection)
        elif not _is_same(here, self._place):
            if _is_same(log, self._log_place):
                self._log_path.replace(self._beside("-wal.replaced"))  # it would be merged into the other file
            raise StoreError(f"{str(self._path)!r} was replaced by another file while it was open: restart the node")
        else:
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise StoreError(f"the log of {str(self._path)!r} was removed, and cannot be merged")
            self._connection.close()
            self._connection = None
            self._connection = self._open()
        return self._connection

    def _restore(self, connection: sqlite3.Connection) -> None:
        """Copy the open file, which has no name any more, to its place."""
        new = self._beside(".new")
        new.unlink(missing_ok=True)
        private_files.create(new, b"")
        with contextlib.closing(_connect(new)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with new.open("rb") as file:
            os.fsync(file.fileno())
        self._log_path.unlink(missing_ok=True)  # it belongs to the removed file
        replace_durably(new, self._path)
        connection.close()
        self._connection = None
        self._connection = self._open()
        if self._counter is not None:
            self._counter.close()
        self._counter = Counter(self._beside("-count"))

    def _migrate(self, version: int) -> None:
        """Build the file with the newest schema from the existing one, whose schema is ``version``."""
        new = self._beside(".new")
        for leftover in ("", "-wal", "-shm", "-journal"):
            self._beside(f".new{leftover}").unlink(missing_ok=True)
            if leftover and not version:  # a log whose file was removed would be merged into the new one
                self._beside(leftover).unlink(missing_ok=True)
        if version:
            with contextlib.closing(_connect(self._path)) as connection:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._log_path.exists():
                raise StoreError(f"{str(self._path)!r} is used by another program")
            shutil.copy(self._path, new)
        with contextlib.closing(_connect(new)) as connection:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=FULL")
            steps = "".join(MIGRATIONS[version:])
            marks = f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={len(MIGRATIONS)};"
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
        """Convert errors of SQLite and the operating system to our own."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            kind = StoreFull if code == sqlite3.SQLITE_FULL else StoreError
            raise kind(f"{str(self._path)!r} cannot be {what}: {error}") from error
        except OSError as error:
            kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
            raise kind(f"{str(self._path)!r} cannot be {what}: {error.strerror}") from error
        except (ValueError, TypeError) as error:  # the schema's text, or a mark: what SQLite does not check
            raise StoreError(f"{str(self._path)!r} cannot be {what}: it is damaged: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # transactions are begun and ended here, not by the module; one thread loads, another writes
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _is_same(found: os.stat_result | None, expected: os.stat_result | None) -> bool:
    return found is not None and expected is not None and os.path.samestat(found, expected)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
