"""Each safeguard switched off, and which checkers then fail: a checker that never catches anything is not one."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from meshp2p.simulation.scenarios import Options
from simulations.ablations.safeguards import SAFEGUARDS
from simulations.sweep import run_seed

__all__ = ["Ablated", "ablate", "table_lines"]


class Ablated(msgspec.Struct, frozen=True):
    """What came of some seeds without a safeguard: how many each checker failed, and how many failed with it."""

    safeguard: str
    seeds: int
    caught: dict[str, int]
    failed_with: int

    @property
    def is_caught(self) -> bool:
        """Whether the checker that is to see it did, and none failed while the safeguard was there."""
        return SAFEGUARDS[self.safeguard].checker in self.caught and not self.failed_with


def ablate(safeguard: str, seeds: int) -> Ablated:
    """Run the safeguard's scenario without it, and with it, for so many seeds."""
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
    """A Markdown table, line by line, and whether the safeguard of that line was missed."""
    yield "| safeguard | what it does | scenario | seeds that fail without it, by checker | with it |", True
    yield "|---|---|---|---|---|", True
    for name, safeguard in SAFEGUARDS.items():
        found = ablate(name, seeds)
        caught = ", ".join(f"{checker} {count}" for checker, count in sorted(found.caught.items())) or "none"
        line = f"| {name} | {safeguard.about} | `{safeguard.scenario}` | {caught} of {seeds} | {found.failed_with} |"
        yield line, found.is_caught
