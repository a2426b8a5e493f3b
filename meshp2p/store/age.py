"""The age of a directory in elapsed time, unaffected by changes of the wall clock.

Within one boot of the machine the uptime measures it, even while no process runs. Across boots only the wall clock is
available: it counts as far as it went forward.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["AgeClock", "Moment", "read_moment"]

STEP_SECONDS: Final = 1.0
"""A change of the wall clock against the uptime beyond this means that the clock was set. Chosen, not measured."""


class Moment(msgspec.Struct, frozen=True):
    """A point in time: Unix seconds, seconds since the machine booted, and the id of that boot, empty if unknown."""

    wall: float
    uptime: float
    boot: str


class _Mark(msgspec.Struct, frozen=True):
    age: float
    at: Moment


def read_moment() -> Moment:
    """Return the current moment. The uptime includes the time for which the machine was suspended."""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), _read_boot())


@functools.cache
def _read_boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class AgeClock:
    """A clock that continues from a stored mark; without one it begins at 0."""

    def __init__(self, mark: bytes | None, read: Callable[[], Moment] = read_moment) -> None:
        """Raises ``ValueError`` if the mark is not one of :meth:`mark`."""
        self._read = read
        now = read()
        self._mark = _Mark(0.0, now) if mark is None else msgspec.json.decode(mark, type=_Mark)
        self._is_kept = mark is not None
        if not self._mark.at.boot or self._mark.at.boot != now.boot or now.uptime < self._mark.at.uptime:
            self._mark = _Mark(self._mark.age + max(0.0, now.wall - self._mark.at.wall), now)
            self._is_kept = False

    def read(self) -> float:
        """Return the age in seconds."""
        return self._age_at(self._read())

    def _age_at(self, now: Moment) -> float:
        return self._mark.age + max(0.0, now.uptime - self._mark.at.uptime)

    def new_mark(self) -> bytes | None:
        """Return the mark to store, if the last one is no longer valid: after a boot, or a change of the wall clock."""
        now, at = self._read(), self._mark.at
        step = (now.wall - now.uptime) - (at.wall - at.uptime)
        if self._is_kept and now.boot and abs(step) <= STEP_SECONDS:
            return None
        self._mark = _Mark(self._age_at(now), now)
        return msgspec.json.encode(self._mark)

    def note_kept(self) -> None:
        """Note that the last mark returned is stored."""
        self._is_kept = True
