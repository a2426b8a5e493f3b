"""The clocks of a simulated machine."""

from __future__ import annotations

from meshp2p.simulation.engine import Engine

__all__ = ["EPOCH_MS", "HostClock"]

EPOCH_MS = 1_700_000_000_000
"""Unix milliseconds at virtual time 0."""


class HostClock:
    """The clocks of one machine. The monotonic clock shows ``rate`` times virtual time plus ``offset`` seconds. The
    wall clock is ``wall_skew`` seconds ahead of the true time."""

    def __init__(self, engine: Engine) -> None:
        self.rate: float = 1.0
        self.offset: float = 0.0
        self.wall_skew: float = 0.0
        self._engine = engine

    @property
    def now(self) -> float:
        """The monotonic clock, in seconds."""
        return self._engine.now * self.rate + self.offset

    def wall_ms(self) -> int:
        """The wall clock, in Unix milliseconds."""
        return EPOCH_MS + int((self._engine.now + self.wall_skew) * 1000)

    def lease_seconds(self) -> float:
        """A clock that also runs while the machine sleeps, in seconds."""
        return self._engine.now

    def step(self, seconds: float) -> None:
        """Set the wall clock forward by this many seconds, or back."""
        self.wall_skew += seconds

    def set_rate(self, rate: float) -> None:
        """Change the rate of the monotonic clock from now on; 1 is right. The clock does not jump."""
        self.offset += self._engine.now * (self.rate - rate)
        self.rate = rate
