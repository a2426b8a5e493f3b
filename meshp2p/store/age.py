"""How long ago a directory was made, by elapsed time: a wall clock that is set changes nothing.

Within one boot of the machine its uptime tells what passed, also while no process ran. Across boots there is only the
wall clock: it is believed as far as it went forward.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["AgeClock", "Moment", "read_moment"]

STEP_SECONDS: Final = 1.0
"""A change of the wall clock against the uptime, past which it was set. Chosen, not measured."""


class Moment(msgspec.Struct, frozen=True):
    """One instant: Unix seconds, seconds since the machine booted, and which boot that is, empty if that is unknown."""

    wall: float
    uptime: float
    boot: str


class _Mark(msgspec.Struct, frozen=True):
    age: float
    at: Moment


def read_moment() -> Moment:
    """Now. The uptime counts the time for which the machine slept."""
    wall = time.time()
    try:
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError, IndexError):
        return Moment(wall, time.monotonic(), "")
    return Moment(wall, uptime, boot)


class AgeClock:
    """Goes on from a mark that was kept; without one it begins at 0."""

    def __init__(self, mark: bytes | None, read: Callable[[], Moment] = read_moment) -> None:
        """Raises ``ValueError`` if the mark is none of :meth:`mark`."""
        self._read = read
        now = read()
        self._mark = _Mark(0.0, now) if mark is None else msgspec.json.decode(mark, type=_Mark)
        self._is_kept = mark is not None
        if not self._mark.at.boot or self._mark.at.boot != now.boot or now.uptime < self._mark.at.uptime:
            self._mark = _Mark(self._mark.age + max(0.0, now.wall - self._mark.at.wall), now)
            self._is_kept = False

    def read(self) -> float:
        """Seconds."""
        return self._age_at(self._read())

    def _age_at(self, now: Moment) -> float:
        return self._mark.age + max(0.0, now.uptime - self._mark.at.uptime)

    def new_mark(self) -> bytes | None:
        """What is to be kept, if the last mark does not do any more: it is another boot, or the wall clock was set."""
        now, at = self._read(), self._mark.at
        step = (now.wall - now.uptime) - (at.wall - at.uptime)
        if self._is_kept and now.boot and abs(step) <= STEP_SECONDS:
            return None
        self._mark = _Mark(self._age_at(now), now)
        return msgspec.json.encode(self._mark)

    def note_kept(self) -> None:
        """The mark that was given last is kept."""
        self._is_kept = True
