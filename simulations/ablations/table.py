"""Switch off each safeguard in turn and report which checkers notice."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from meshp2p.simulation.scenarios import Options
from simulations.ablations.safeguards import SAFEGUARDS
from simulations.sweep import run_seed

__all__ = ["Ablated", "ablate", "table_lines"]


class Ablated(msgspec.Struct, frozen=True):
    """The result of an ablation: how many seeds each checker failed without the safeguard, and how many with it."""

    safeguard: str
    seeds: int
    caught: dict[str, int]
    failed_with: int

    @property
    def is_caught(self) -> bool:
        """Whether the expected checker noticed, and no seed failed with the safeguard on."""
        return SAFEGUARDS[self.safeguard].checker in self.caught and not self.failed_with


def ablate(safeguard: str, seeds: int) -> Ablated:
    """Run the safeguard's scenario with and without it, for the given number of seeds."""
    scenario = SAFEGUARDS[safeguard].scenario
    caught: dict[str, int] = {}
    failed_with = 0
    for seed in range(seeds):
        without = run_seed(scenario, Options(seed=seed, ablations=(safeguard,)))
        for checker in dict.fromkeys(violation.checker for violation in without.violations):
            caught[checker] = caught.get(checker, 0) + 1
        failed_with += run_seed(scenario, Options(seed=seed)).has_failed
    return Ablated(safeguard, seeds, caught, failed_with)


def table_lines(seeds: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of a Markdown table, each with whether its safeguard was caught."""
    yield "| safeguard | what it does | scenario | seeds that fail without it, by checker | with it |", True
    yield "|---|---|---|---|---|", True
    for name, safeguard in SAFEGUARDS.items():
        found = ablate(name, seeds)
        caught = ", ".join(f"{checker} {count}" for checker, count in sorted(found.caught.items())) or "none"
        line = f"| {name} | {safeguard.about} | `{safeguard.scenario}` | {caught} of {seeds} | {found.failed_with} |"
        yield line, found.is_caught
