"""Standard output and standard error, as the commands use them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import select
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TextIO

import msgspec

from meshp2p.node.instance import Instance
from meshp2p.wire.contract import InstanceDetail

__all__ = [
    "OutputError",
    "detail_of",
    "is_terminal",
    "printable",
    "progress",
    "table_lines",
    "time_text",
    "to_json_line",
    "warn",
    "write",
    "write_line",
]


_WARNING_MAX: Final = 4096  # characters; an error text may be anybody's: chosen, not measured
_REDRAW_SECONDS: Final = 0.2
_CELL_MAX: Final = 48  # characters: chosen, not measured
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")


class OutputError(Exception):
    """Standard output cannot be written."""


def write_line(text: str) -> None:
    """Print a line to standard output. See :func:`write`."""
    write(f"{text}\n")


def write(text: str) -> None:
    """Write to standard output. What its encoding lacks is escaped.

    A pipe that does not block is waited for. Raises :class:`OutputError` if the text cannot be written.
    """
    stream = sys.stdout
    if stream is None:
        raise OutputError("it is closed")
    is_replaced = stream is not sys.__stdout__  # as by a test
    try:
        encoding = stream.encoding or "utf-8"
        data = text.encode(encoding, "backslashreplace")
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
        print(f"meshp2p: {printable(text[:_WARNING_MAX])}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(what: str | Callable[[], str]) -> Iterator[None]:
    """Show on standard error what the command does, and for how long, until the block ends; only on a terminal."""
    stream, began, has_ended = sys.stderr, time.monotonic(), threading.Event()
    if not is_terminal(stream):
        yield
        return

    def draw() -> None:
        while not has_ended.wait(_REDRAW_SECONDS):
            text = f"{what if isinstance(what, str) else what()} ({time.monotonic() - began:.0f} s)"
            write(printable(text)[: shutil.get_terminal_size().columns - 1])

    def write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(f"\r\x1b[K{text}", end="", file=stream, flush=True)

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    try:
        yield
    finally:
        has_ended.set()
        drawing.join()
        write("")


def printable(text: str) -> str:
    """Return the text with its control characters escaped: an id is a stranger's, and a terminal obeys some of them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def detail_of(instance: Instance) -> InstanceDetail:
    """Return an instance for the output in JSON, as the HTTP API shows it."""
    addresses = tuple(map(str, instance.addresses))
    return InstanceDetail(
        instance_id=instance.id,
        hostname=instance.hostname,
        port=instance.port,
        capabilities=instance.capabilities,
        is_leader=instance.is_leader,
        last_heartbeat=time_text(instance.last_heartbeat),
        created_at=time_text(instance.created_at),
        agent_profiles=instance.profiles,
        status=instance.status or None,
        metrics=instance.metrics or None,
        state=instance.state.name.lower(),
        home=instance.home,
        incarnation=instance.incarnation,
        address=addresses[0] if addresses else None,
        addresses=addresses,
        epoch=instance.epoch,
        led_since=None if instance.led_since is None else time_text(instance.led_since),
    )


def table_lines(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table. An empty cell is shown as a hyphen, and of a long one the begin."""
    table = [titles, *([_cell(text) for text in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _cell(text: str) -> str:
    shown = printable(text) or "-"
    return shown if len(shown) <= _CELL_MAX else shown[: _CELL_MAX - 3] + "..."


def to_json_line(value: object) -> str:
    """Return a value of the output as one line of JSON, which a terminal may show: what :func:`printable` escapes is
    inside of strings here, and JSON has escapes for it too."""
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else _NOT_PRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


def time_text(time: dt.datetime) -> str:
    """Return a time as the HTTP contract writes it, in milliseconds."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _write_all(fd: int, data: bytes) -> None:
    """Write to the descriptor, not through the stream's buffer: a thread that is stuck in the buffer's lock keeps the
    process from ending."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
