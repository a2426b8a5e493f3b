"""The duration of a suspicion (Lifeguard §IV-B, dynamic suspicion timeouts)."""

from __future__ import annotations

import math

__all__ = ["Suspicion"]


class Suspicion:
    """One suspect incarnation, and its accusers.

    It lasts ``timeout_max`` seconds without confirmations and shrinks to ``timeout_min`` with ``confirmations_max``
    independent ones: ``max - (max - min) x log(c + 1) / log(k + 1)``. An accuser counts once; an empty accuser
    (received by sync) never does.
    """

    __slots__ = (
        "_confirmations",
        "_confirmations_max",
        "_is_held_dead",
        "_timeout_max",
        "_timeout_min",
        "_wanted",
        "accusers",
        "confirmers",
        "patience",
        "refused",
        "since",
    )

    def __init__(
        self, accuser: str, now: float, *, timeout_min: float, timeout_max: float, confirmations_max: int
    ) -> None:
        self.accusers: set[str] = {accuser} if accuser else set()
        self._confirmations = 0
        self._confirmations_max = self._wanted = confirmations_max
        self._is_held_dead = False
        self.since: float = now
        self._timeout_min = timeout_min
        self._timeout_max = timeout_max if confirmations_max > 0 else timeout_min
        self.confirmers: tuple[str, ...] = ()
        """The nodes chosen to check the suspect; empty if unknown."""
        self.patience: float = 1.0
        """By how much the timeouts were extended for this suspect."""
        self.refused: dict[str, None] = {}
        """The nodes that the suspect's host refused (the host lives, the process does not), and those whose view holds
        the suspect dead."""

    def confirm(self, accuser: str) -> bool:
        """Count a confirmation. Return whether it was new: independent, and within the number that counts."""
        if not accuser or accuser in self.accusers or self._confirmations >= self._confirmations_max:
            return False
        is_first = not self.accusers
        self.accusers.add(accuser)
        if not is_first:
            self._confirmations += 1
        return True

    def note_death(self, by: str, now: float, *, timeout_min: float, timeout_max: float) -> bool:
        """Note that another view holds the suspect dead.

        The suspicion starts again. It lasts ``timeout_max`` seconds, and ``timeout_min`` once another node found the
        suspect unresponsive. Returns whether that was new: only once, and never for a confirmed suspicion.
        """
        if self._is_held_dead or self.is_confirmed:
            return False
        self._is_held_dead = True
        self.refused[by] = None
        self._confirmations = min(1, len(self.accusers - {by}))
        self._confirmations_max = self._wanted = 1
        self.accusers.add(by)
        self.since = now
        self._timeout_min = timeout_min
        self._timeout_max = timeout_max
        return True

    def expect(self, confirmers: int) -> bool:
        """Set how many of the chosen nodes can confirm; those that are suspected themselves cannot. Return whether that
        changes the duration."""
        before, self._confirmations_max = self._confirmations_max, min(self._wanted, confirmers)
        return before != self._confirmations_max

    @property
    def is_confirmed(self) -> bool:
        """Whether as many others confirmed it as count, or as could."""
        return self._wanted > 0 and self._confirmations_max <= self._confirmations

    @property
    def is_shared(self) -> bool:
        """Whether as many others confirmed it as count, and at least one."""
        return self.is_confirmed and self._confirmations > 0

    def restart(self, now: float) -> None:
        """Start again and keep the accusers: this process was suspended, and may have missed a refutation."""
        self.since = now

    def deadline(self) -> float:
        """Return when the suspect is to be declared dead, on the clock of ``now``."""
        if self._confirmations_max <= 0:
            return self.since + self._timeout_min
        share = math.log(self._confirmations + 1) / math.log(self._confirmations_max + 1)
        shrunk = self._timeout_max - (self._timeout_max - self._timeout_min) * share
        return self.since + max(self._timeout_min, shrunk)
