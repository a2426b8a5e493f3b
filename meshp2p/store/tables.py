"""The tables of the message store in SQL: schemas, reads, and the statements that write."""

from __future__ import annotations

import itertools
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from meshp2p.core.effects import Delete, Put, Table, Write

__all__ = [
    "AGE",
    "MARKS",
    "MIGRATIONS",
    "TRANSACTIONS",
    "Statement",
    "mark",
    "read_tables",
    "statements_of",
    "transact",
]

Statement = tuple[str, list[bytes | int]]
"""SQL, and its parameters."""

MARKS: Final = "marks"
"""The table of the store's own data: the number of transactions, and the age of the directory."""
TRANSACTIONS: Final = b"transactions"
AGE: Final = b"age"


def _make_tables(*tables: str) -> str:
    columns = "(key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL)"
    return "".join(f"CREATE TABLE {table} {columns} STRICT;" for table in tables)


MIGRATIONS: Final[tuple[str, ...]] = (
    _make_tables("outgoing", "settled", "incoming", "acknowledged"),
    _make_tables("receipts", MARKS),
)
"""The migration to each schema from the one before; the one before the first is empty. Append-only.

Tables keep their rowid: WITHOUT ROWID halves the writes per second for values of 1 KiB, because they do not fit its
pages.
"""

_CHUNKS: Final = (64, 32, 16, 8, 4, 2, 1)
"""The number of rows in one statement. Each statement releases the interpreter's lock, and may wait long to get it
back."""


def transact(connection: sqlite3.Connection, statements: list[Statement]) -> None:
    """Run these statements in one transaction: all, or none if one raises."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(*statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def read_tables(
    connection: sqlite3.Connection, tables: Iterable[str] = (*Table, MARKS)
) -> tuple[list[tuple[Table, bytes, bytes]], dict[bytes, bytes]]:
    """Return the stored data, table by table in the order of keys, and the marks.

    Raises ``sqlite3.DatabaseError`` if a value is not what was written.
    """
    kept = [(table, key, value) for table in Table if table in tables for key, value in _rows(connection, table)]
    return kept, dict(_rows(connection, MARKS)) if MARKS in tables else {}


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[tuple[bytes, bytes]]:
    for key, value, crc in connection.execute(f"SELECT key, value, crc FROM {table} ORDER BY key"):
        if _crc(key, value) != crc:
            raise sqlite3.DatabaseError(f"the value of key {key.hex()} in {table} is not what was written")
        yield key, value


def mark(key: bytes, value: bytes) -> Statement:
    """Return the statement that sets a mark."""
    return _make_put(MARKS, 1), [key, value, _crc(key, value)]


def _crc(key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key))


def statements_of(batches: Sequence[Iterable[Write]]) -> Iterator[Statement]:
    """Return the statements for these writes. Consecutive writes of one kind to one table are combined."""
    writes = itertools.chain.from_iterable(batches)
    for (kind, table), run in itertools.groupby(writes, lambda write: (type(write), write.table)):
        yield from _chunks(kind, table, list(run))


def _chunks(kind: type[Write], table: Table, run: list[Write]) -> Iterator[Statement]:
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


def _make_put(table: str, rows: int) -> str:
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
