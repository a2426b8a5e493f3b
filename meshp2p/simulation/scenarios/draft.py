"""A scenario in the making."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.schedule import AgentPlan, MailPlan, MapPlan, SecurityPlan
from meshp2p.virtual.faults import Fault

__all__ = ["SCENARIOS", "Draft", "Scenario", "scenario"]

WARM_UP = 20.0
"""Virtual seconds before the first fault of a scenario, so that the mesh has converged. Chosen, not measured."""


class Draft(msgspec.Struct):
    """A scenario in the making: the nodes' names and times are set, faults are added."""

    random: random.Random
    names: tuple[str, ...]
    duration: float
    faults: list[Fault] = []
    starts: dict[str, float] = {}
    seeds: dict[str, tuple[str, ...]] = {}
    agents: list[AgentPlan] = []
    mail: list[MailPlan] = []
    maps: list[MapPlan] = []
    multicast_interval: float = 0.0
    calm: float = 5.0
    config: ProtocolConfig = ProtocolConfig()
    reads_on: tuple[str, ...] = ()
    security: SecurityPlan | None = None

    @property
    def chaos_end(self) -> float:
        """Return when the faults of a scenario end: after three quarters of its time, so that the rest shows the
        recovery."""
        return round(self.duration * 0.75, 3)

    @property
    def chaos_begin(self) -> float:
        return round(min(WARM_UP, self.duration / 4), 3)

    def halves(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return two groups, chosen at random. The first may be a single node."""
        shuffled = self.random.sample(self.names, len(self.names))
        cut = self.random.randrange(1, len(shuffled)) if len(shuffled) > 1 else 1
        return tuple(sorted(shuffled[:cut])), tuple(sorted(shuffled[cut:]))

    def send_mail(self, until: float) -> None:
        """Make each node send to each other node."""
        for number, node in enumerate(self.names):
            target = self.names[(number + 1) % len(self.names)]
            for sender, to in ((f"next{number}", target), (f"all{number}", "")):
                self.mail.append(MailPlan(source=sender, nodes=(node,), target=to, at=5.0, until=until, every=2.0))

    def one(self) -> str:
        return self.names[self.random.randrange(0, len(self.names))]


Scenario = Callable[[Draft], None]
SCENARIOS: dict[str, tuple[Scenario, str, int, int, float]] = {}


def scenario(
    name: str, about: str, *, nodes: int = 5, least: int = 2, duration: float = 120.0
) -> Callable[[Scenario], Scenario]:
    def note(function: Scenario) -> Scenario:
        SCENARIOS[name] = (function, about, nodes, least, duration)
        return function

    return note
