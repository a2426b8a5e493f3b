"""Standard output and standard error, as the commands use them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import select
import sys
from typing import Any

import msgspec

from meshp2p.node.instance import Instance

__all__ = ["OutputError", "as_json", "printable", "time_text", "to_json_line", "warn", "write_line"]


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


def as_json(instance: Instance) -> dict[str, Any]:
    """An instance for the output in JSON."""
    addresses = [str(address) for address in instance.addresses]
    return {**msgspec.structs.asdict(instance), "state": instance.state.name.lower(), "addresses": addresses}


def to_json_line(value: object) -> str:
    """A value of the output as one line of JSON."""
    return msgspec.json.encode(value).decode()


def time_text(time: dt.datetime) -> str:
    """A time as the HTTP contract writes it, in milliseconds."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _write_all(fd: int, data: bytes) -> None:
    """Write to the descriptor, not through the stream's buffer: a thread that is stuck in the buffer's lock keeps the
    process from ending."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
