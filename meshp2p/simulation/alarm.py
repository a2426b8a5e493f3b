"""The alarm that wakes a simulated process when one of its timers is due."""

from __future__ import annotations

import math
from collections.abc import Callable

from meshp2p.simulation.clock import HostClock
from meshp2p.simulation.engine import Engine

__all__ = ["Alarm"]

SPINS_MAX = 1000
"""How many timers may fire in a row at the same time. Chosen, not measured."""


class Alarm:
    """Calls ``ring`` when the host's monotonic clock shows ``deadline``, or sooner: the callee checks whether it is
    due. ``cause`` is the trace entry that led to the deadline."""

    def __init__(self, engine: Engine, clock: HostClock, ring: Callable[[], None]) -> None:
        self.deadline: float = math.inf
        self.cause: int = 0
        self._engine = engine
        self._clock = clock
        self._ring = ring
        self._at = math.inf
        self._spins = 0
        self._spun_at = -1.0

    def forget(self) -> None:
        """Forget the deadline, because another process runs."""
        self._at = math.inf
        self._spins = 0

    def set(self, deadline: float, cause: int) -> None:
        """Ring at this time of the host's monotonic clock, unless an earlier time is set."""
        self.deadline = deadline
        clock, engine = self._clock, self._engine
        when = (deadline - clock.offset) / clock.rate
        if when < self._at:
            self.cause = cause
            self._at = when = max(when, engine.now)
            engine.at(when, self._wake, when)

    def look(self) -> None:
        """Set the same deadline again, because the clock's rate changed or the alarm rang early."""
        self.set(self.deadline, self.cause)

    def is_spinning(self) -> bool:
        """Return whether too many timers were due at this moment. Call it once for each timer."""
        self._spins = self._spins + 1 if self._engine.now == self._spun_at else 0
        self._spun_at = self._engine.now
        return self._spins > SPINS_MAX

    def _wake(self, when: float) -> None:
        if when == self._at:
            self._at = math.inf
            self._ring()
