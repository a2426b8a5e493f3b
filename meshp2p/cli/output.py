"""Standard output and standard error, as the commands use them."""

from __future__ import annotations

import contextlib
import os
import select
import sys

__all__ = ["OutputError", "printable", "warn", "write_line"]


class OutputError(Exception):
    """Standard output cannot be written."""


def write_line(text: str) -> None:
    """Print a line to standard output. What its encoding lacks is escaped.

    A pipe that does not block is waited for. Raises :class:`OutputError` if the line cannot be written.
    """
    stream = sys.stdout
    if stream is None:
        raise OutputError("it is closed")
    is_replaced = stream is not sys.__stdout__  # as by a test
    try:
        encoding = stream.encoding or "utf-8"
        data = f"{text}\n".encode(encoding, "backslashreplace")
        if is_replaced:
            stream.write(data.decode(encoding))
        else:
            stream.flush()
            _write_all(stream.fileno(), data)
    except (OSError, ValueError) as error:
        raise OutputError(getattr(error, "strerror", None) or str(error)) from error


def warn(text: str) -> None:
    """Print a line that begins with ``meshp2p:`` to standard error, if that can be written."""
    with contextlib.suppress(OSError, ValueError):
        print(f"meshp2p: {text}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text with its control characters escaped: an id is a stranger's, and a terminal obeys some of them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _write_all(fd: int, data: bytes) -> None:
    """Write to the descriptor, not through the stream's buffer: a thread that is stuck in the buffer's lock keeps the
    process from ending."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
