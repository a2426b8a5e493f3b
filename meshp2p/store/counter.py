"""A number on disk that is written in place: cheap, and never torn."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final

__all__ = ["Counter"]

_FORM: Final = struct.Struct(">QI")  # the number, and a sum of it


class Counter:
    """The number in a file; 0 if there is none or it is damaged. It survives the end of the process. Close it after
    use."""

    def __init__(self, path: Path) -> None:
        """Raises ``OSError``."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = os.pread(self._file, _FORM.size, 0)
        number, crc = _FORM.unpack(data) if len(data) == _FORM.size else (0, 0)
        self.value: int = number if crc == _crc(number) else 0

    def write(self, number: int) -> None:
        """Replace the number. If the disk fails, the number is not written."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _FORM.pack(number, _crc(number)), 0)
            self.value = number

    def close(self) -> None:
        os.close(self._file)


def _crc(number: int) -> int:
    return zlib.crc32(number.to_bytes(8, "big"))
