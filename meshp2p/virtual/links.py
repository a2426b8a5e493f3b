"""The links of a virtual network: what passes between two hosts, and how long it takes."""

from __future__ import annotations

import math
import random

from meshp2p.errors import ConfigError
from meshp2p.virtual.checked import Checked
from meshp2p.virtual.faults import Faulty, Kind
from meshp2p.virtual.impairments import Flight, Impairment, impairment_of
from meshp2p.virtual.rules import Rule, rule_of

__all__ = ["LinkOptions", "Links"]


class LinkOptions(Checked, frozen=True, kw_only=True):
    """The network without faults. A packet takes ``delay`` seconds plus an exponential ``jitter``.

    The defaults are those of a quiet LAN. Chosen, not measured.
    """

    delay: float = 0.0002
    jitter: float = 0.0002

    def _check(self) -> None:
        if not (0 <= self.delay <= 10 and 0 <= self.jitter <= 10):
            raise ConfigError(f"link: delay = {self.delay}, jitter = {self.jitter}: expected 0 to 10 seconds")


class Links:
    """All links of a network, and its active faults.

    ``rules`` and ``impairments`` come from the faults, and from direct additions. ``fired`` counts the affected packets
    by the name of the fault. ``random`` is the source of all randomness of the network.
    """

    def __init__(self, options: LinkOptions, draw: random.Random) -> None:
        self.random: random.Random = draw
        self.rules: list[tuple[str, Rule]] = []
        """Each with the name of its fault."""
        self.impairments: list[Impairment] = []
        self.fired: dict[str, int] = {}
        self.places: dict[str, str] = {}
        """For hosts at the place of another host: its key, by their keys. Rules name that one."""
        self._draw = draw.random
        self._delay, self._jitter = options.delay, options.jitter
        self._faults: dict[int, tuple[tuple[str, Rule] | None, Impairment | None]] = {}

    # Faults

    def begin(self, number: int, fault: Faulty) -> bool:
        """Activate a fault for packets sent from now on. Return whether it affects the network. ``number`` identifies
        it."""
        stops, impairment = rule_of(fault), impairment_of(fault, self._draw)
        rule = None if stops is None else (type(fault).__name__, stops)
        if rule is not None:
            self.rules.append(rule)
        if impairment is not None:
            self.impairments.append(impairment)
        if rule is None and impairment is None:
            return False
        self._faults[number] = (rule, impairment)
        return True

    def end(self, number: int) -> bool:
        """End the fault with this number. Return whether it was active."""
        if number not in self._faults:
            return False
        rule, impairment = self._faults.pop(number)
        if rule is not None:
            self.rules.remove(rule)
        if impairment is not None:
            self.impairments.remove(impairment)
        return True

    def end_all(self) -> int:
        """End all faults. Return how many were active."""
        numbers = list(self._faults)
        for number in numbers:
            self.end(number)
        return len(numbers)

    def count(self, name: str) -> None:
        """Count a packet affected by a fault of this name."""
        self.fired[name] = self.fired.get(name, 0) + 1

    # Packets

    @property
    def delay_max(self) -> float:
        """The longest time of a packet without faults, in seconds, except for one in 150."""
        return self._delay + 5 * self._jitter

    def draw_delay(self) -> float:
        """Draw the time of the next packet without faults, in seconds."""
        return self._delay - math.log(1.0 - self._draw()) * self._jitter

    def objection(self, sender: str, receiver: str, kind: Kind, now: float) -> str:
        """Return the name of the fault that blocks this kind of traffic, or an empty string."""
        if self.places:
            sender, receiver = self.places.get(sender, sender), self.places.get(receiver, receiver)
        for name, stops in self.rules:
            if stops(sender, receiver, now, kind):
                return name
        return ""

    def carry(self, flight: Flight) -> None:
        """Apply rules and impairments to a packet: it is then ``dropped``, or has an additional delay."""
        flight.dropped = self.objection(flight.sender, flight.receiver, flight.kind, flight.now)
        if flight.dropped:
            self.count(flight.dropped)
        else:
            self.impair(flight)

    def impair(self, flight: Flight) -> None:
        """Apply only the impairments to a packet."""
        for impairment in self.impairments:
            if impairment.concerns(flight) and impairment.apply(flight):
                self.count(type(impairment.fault).__name__)
                if flight.dropped:
                    return
