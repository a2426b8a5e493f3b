"""Replay files: a schedule with the result of its run."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.schedule import Schedule, dump_schedule, load_schedule
from meshp2p.simulation.simulation import Result

__all__ = ["RecordedResult", "read_replay", "write_replay"]

BYTES_MAX = 1 << 24
"""Larger files are refused; one of 20,000 nodes has some 5 MB."""


class RecordedResult(msgspec.Struct, frozen=True):
    """The recorded result of a run: its digest, and its violations as text."""

    digest: str = ""
    violations: tuple[str, ...] = ()


class _Outcome(msgspec.Struct, frozen=True):
    outcome: RecordedResult = RecordedResult()


def write_replay(path: Path, schedule: Schedule, result: Result) -> None:
    """Write a file that replays this run. Raises ``OSError`` if it cannot be written."""
    plain = msgspec.json.decode(dump_schedule(schedule))
    plain["outcome"] = {"digest": result.digest, "violations": [str(each) for each in result.violations]}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n")


def read_replay(path: Path) -> tuple[Schedule, RecordedResult]:
    """Return the schedule of a file and the recorded result.

    Raises :class:`ConfigError` with one line if the file is missing, invalid, or of another format.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"replay file {path}: {error.strerror}") from None
    if len(data) > BYTES_MAX:
        raise ConfigError(f"replay file {path}: more than {BYTES_MAX >> 20} MiB")
    schedule = load_schedule(data)
    try:
        return schedule, msgspec.json.decode(data, type=_Outcome).outcome
    except msgspec.MsgspecError as error:
        raise ConfigError(f"replay file {path}: {error}") from None
