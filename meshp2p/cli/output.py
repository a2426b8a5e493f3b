"""Standard output and standard error, as the commands use them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import select
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from meshp2p.node.instance import Instance
from meshp2p.wire.contract import InstanceDetail

__all__ = ["OutputError", "detail_of", "printable", "time_text", "to_json_line", "warn", "write_line", "write_table"]


_CELL_MAX: Final = 48  # characters: chosen, not measured
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")


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
        print(f"meshp2p: {printable(text)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text with its control characters escaped: an id is a stranger's, and a terminal obeys some of them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def detail_of(instance: Instance) -> InstanceDetail:
    """An instance for the output in JSON, as the HTTP API shows it."""
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


def write_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns. An empty cell is shown as a hyphen, and of a long one the begin."""
    table = [titles, *([_cell(text) for text in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        write_line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _cell(text: str) -> str:
    shown = printable(text) or "-"
    return shown if len(shown) <= _CELL_MAX else shown[: _CELL_MAX - 3] + "..."


def to_json_line(value: object) -> str:
    """A value of the output as one line of JSON, which a terminal may show: what :func:`printable` escapes is inside of
    strings here, and JSON has escapes for it too."""
    text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else _NOT_PRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


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
