"""Faults of clocks."""

from __future__ import annotations

from typing import ClassVar

from meshp2p.errors import ConfigError
from meshp2p.virtual.faults.base import FaultOfOne

__all__ = ["ClockRate", "ClockStep"]


class ClockStep(FaultOfOne, frozen=True, kw_only=True):
    """The wall clock is changed by ``seconds``, and back at ``end``."""

    seconds: float = -3600.0

    is_mild: ClassVar[bool] = True

    def _check(self) -> None:
        self._seconds("seconds", self.seconds, -1e9, 1e9)


class ClockRate(FaultOfOne, frozen=True, kw_only=True):
    """The monotonic clock runs at this rate: 1.05 is 5 % fast. The wall clock stays right."""

    rate: float = 1.05

    is_mild: ClassVar[bool] = True

    def _check(self) -> None:
        if not 0.5 <= self.rate <= 2:
            raise ConfigError(f"ClockRate: rate = {self.rate}: expected 0.5 to 2")
