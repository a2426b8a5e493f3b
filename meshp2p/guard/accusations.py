"""Limits how many accusations each machine may make."""

from __future__ import annotations

import collections
from typing import Final

__all__ = ["ACCUSATIONS_MAX", "AccusationLimits"]

ACCUSATIONS_MAX: Final = 64
"""Accusations of one machine that are taken at once, in addition to four for each listed node. Chosen, not
measured."""

ACCUSATIONS_PER_SECOND: Final = 2.0
"""The rate at which a machine regains accusations. Chosen, not measured."""

ACCUSERS_MAX: Final = 4096
"""Machines whose accusations are counted. Chosen, not measured."""


class _AccusationAllowance:
    """How many more accusations a machine may make."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at


class AccusationLimits:
    """The accusations that each machine may still make. A machine has as many ids as it likes, so they share its
    allowance."""

    def __init__(self) -> None:
        self._allowances: collections.OrderedDict[bytes, _AccusationAllowance] = collections.OrderedDict()

    def admit(self, machine: bytes, node_count: int, now: float) -> bool:
        """Count one more accusation by this machine while ``node_count`` nodes are listed. Return whether it is
        taken."""
        count_max = ACCUSATIONS_MAX + 4 * node_count
        allowance = self._allowances.pop(machine, None) or _AccusationAllowance(count_max, now)
        self._allowances[machine] = allowance
        if len(self._allowances) > ACCUSERS_MAX:
            self._allowances.popitem(last=False)
        allowance.left = min(count_max, allowance.left + ACCUSATIONS_PER_SECOND * (now - allowance.at))
        allowance.at = now
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True
