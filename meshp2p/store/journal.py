"""A journal of the last writes of messages: each is appended by one system call, and read again after a crash.

::

    header: base, records, checksum | record | record | ...

A record is its size, a checksum, and the writes of one transaction. ``base`` is how many transactions the message store
had when the first record was appended. The store takes over all records by one transaction. If the store has more
transactions than ``base``, it has taken them over; if it has fewer, it has lost transactions that come before them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from meshp2p.core.effects import Delete, Put, Table, Write
from meshp2p.store import private_files

__all__ = ["Journal"]

_HEADER_BYTES: Final = 20
_RECORD_BYTES: Final = 8
"""The size and the checksum before the writes of a record."""

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""How much of a file is read. A node writes about three quarters of it."""

_Row = tuple[Table, bytes, bytes | None]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Row]).decode


class Journal:
    """The file at ``path``. Use it from one thread at a time, and close it after use.

    What was appended survives any end of the process. It is not synced, so a power failure may lose the last records,
    but none survives without those before it.
    """

    def __init__(self, path: Path) -> None:
        """Opens nothing before :meth:`load`."""
        self._pending: dict[Table, dict[bytes, Write]] = defaultdict(dict)
        self._stored: dict[Table, bytes] = dict.fromkeys(Table, b"")
        """For each table, a bound: the store has, and has had, no row with a greater key."""
        self.size: int = 0
        """The size of the file in bytes; 0 if nothing is in it."""
        self._path = path
        self._file = -1
        self._place: os.stat_result | None = None
        self._base = 0
        self._records = 0

    def load(self, transactions: int) -> int:
        """Read what an earlier process left, if it belongs to a store with so many transactions. Return how many
        records are missing. Raises ``OSError`` and :class:`~meshp2p.errors.StoreError`.

        A journal with missing records is copied beside its place. One that cannot be read stays as it is.
        """
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return 0
        try:
            return self._load(transactions)
        except BaseException:
            os.close(self._file)  # so that `close` leaves the file as it is
            self._file, self._place, self.size = -1, None, 0
            self._pending.clear()
            raise

    def _load(self, transactions: int) -> int:
        self._place = os.fstat(self._file)
        if not stat.S_ISREG(self._place.st_mode):
            raise OSError("it is not a regular file")
        with open(self._file, "rb", closefd=False) as file:
            data = file.read(FILE_BYTES_MAX)
        missing = self._read(data, transactions)
        if missing:
            private_files.write(self._path.with_name(self._path.name + ".damaged"), data)
        os.ftruncate(self._file, self.size)
        return missing

    def _read(self, data: bytes, transactions: int) -> int:
        if len(data) < _HEADER_BYTES:
            return 0
        base, records = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
        if data[:_HEADER_BYTES] != _header(base, records):
            return 1  # or more: nothing tells how many it had
        if base != transactions:
            return records if base > transactions else 0
        self._base, self._records = base, 0
        place = _HEADER_BYTES
        while (record := _read_record(data, place, base)) is not None:
            body, place = record
            for table, key, value in body:
                self._pending[table][key] = Delete(table, key) if value is None else Put(table, key, value)
            self._records += 1
            self.size = place
        return max(0, records - self._records)

    def append(self, batches: Sequence[Sequence[Write]], transactions: int) -> bool:
        """Append these writes, which come after those of a store with so many transactions. Return False if that is not
        possible; then the journal is as it was. Call :meth:`is_in_place` before the first one."""
        if self._place is None:
            return False
        if not any(batches):
            return True
        try:
            if not self.size:
                self._base, self._records = transactions, 0
            body = _encode([(write.table, write.key, write.value) for batch in batches for write in batch])
            record = len(body).to_bytes(4, "big") + _checksum(body, self._base) + body
            header = _header(self._base, self._records + 1)
            if not self.size:
                record = header + record
            if os.pwrite(self._file, record, self.size) < len(record):
                raise OSError("there is no room for the whole record")
            if self.size:
                os.pwrite(self._file, header, 0)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
            return False
        self._records += 1
        self.size += len(record)
        for batch in batches:
            for write in batch:
                rows = self._pending[write.table]
                if write.value is None and write.key > self._stored[write.table]:
                    rows.pop(write.key, None)
                else:
                    rows[write.key] = write
        return True

    def writes(self) -> list[Write]:
        """Return the writes in the journal, without those that later ones replaced. A row that was put and deleted
        here, and that the store never had, is not among them."""
        return [write for rows in self._pending.values() for write in rows.values()]

    def note_stored(self, writes: Iterable[Write]) -> None:
        """Note that the store has rows with these keys, or may get them now."""
        for write in writes:
            self._stored[write.table] = max(self._stored[write.table], write.key)

    def clear(self) -> None:
        """Forget everything, because the store has it. Raises ``OSError``; then nothing can be appended any more."""
        self._pending.clear()
        self.size = 0
        if self._file >= 0:
            self._place, place = None, self._place
            os.ftruncate(self._file, 0)
            self._place = place

    def close(self) -> None:
        """Close the file, and remove it if nothing is in it."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                if not self.size and self.is_in_place():
                    self._path.unlink()
            os.close(self._file)
            self._file = -1

    def is_in_place(self) -> bool:
        """Return whether the file is at its place. If there is none, and nothing was in it, make it. Raises
        ``OSError``."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            if self.size:
                return False
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._place = os.fstat(self._file)
            return True
        return self._place is not None and os.path.samestat(found, self._place)


def _checksum(data: bytes, base: int) -> bytes:
    """Return a checksum that differs between journals, so that no record of an earlier one is taken for one of this."""
    return zlib.crc32(data, base & 0xFFFFFFFF).to_bytes(4, "big")


def _header(base: int, records: int) -> bytes:
    header = base.to_bytes(8, "big") + records.to_bytes(8, "big")
    return header + _checksum(header, 0)


def _read_record(data: bytes, place: int, base: int) -> tuple[list[_Row], int] | None:
    """Return the rows of the record at this place, and the place after it; None if there is none, or not all of it."""
    start = place + _RECORD_BYTES
    end = start + int.from_bytes(data[place : place + 4], "big")
    body = data[start:end]
    if not body or len(data) < end or data[start - 4 : start] != _checksum(body, base):
        return None
    try:
        return _decode(body), end
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
