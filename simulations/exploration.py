"""How many runs consecutive and varied seeds need to find planted faults: ``python -m simulations exploration``."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options
from simulations.mutants.hunt import first_failed
from simulations.mutants.planted import copied, read_mutants
from simulations.sweep import run_seed
from simulations.varied_seeds import varied_seeds

__all__ = ["FAULTS", "WAYS", "add_exploration", "runs_to_find"]

FAULTS = (
    "revoked-machines-are-heard",
    "issuers-need-not-sign",
    "lost-store-keeps-a-delivery",
    "new-process-pays-for-the-old-one",
    "own-messages-wake-nobody",
    "small-mesh-waits-for-confirmations",
    "refused-line-stays-blocked",
    "older-twin-gives-way",
    "any-certificate-is-admitted",
    "confirmation-does-not-shorten",
)
"""Planted faults of ten modules, each found in 5 to 60 runs by a series of consecutive seeds that is not repeated here.
They are the first such faults of a shuffled list."""

SERIES_SEEDS = 1_000_000
"""Series begin at multiples of this, so that they have no seed in common."""

SMALL = Options(nodes=4, duration=30.0)
"""The runs. They are short, so that there can be many."""


def _consecutive_seeds(options: Options, count: int) -> list[int]:
    return list(range(options.seed, options.seed + count))


WAYS: dict[str, Callable[[Options, int], list[int]]] = {"consecutive": _consecutive_seeds, "varied": varied_seeds}


def runs_to_find(fault: str, seeds: Sequence[int]) -> int | None:
    """Run these seeds of the swarm with a planted fault. Return the number of runs until one failed that does not fail
    without the fault, or None if none did.

    Raises :class:`ConfigError` for an unknown fault.
    """
    mutant = next((mutant for mutant in read_mutants() if mutant.name == fault), None)
    if mutant is None:
        raise ConfigError(f"there is no planted fault {fault!r}")
    with copied(mutant) as copy:
        done = 0
        while (failed := first_failed(copy, seeds[done:], SMALL)) is not None:
            done = seeds.index(failed) + 1
            if not run_seed("swarm", msgspec.structs.replace(SMALL, seed=failed)).has_failed:
                return done
    return None


def _explore(given: argparse.Namespace) -> int:
    if min(given.series, given.runs, given.first) < 1:
        raise ConfigError("--series, --runs, --first: expected at least 1 of each")
    faults = given.only or FAULTS
    medians: dict[str, list[float]] = {way: [] for way in WAYS}
    print(f"{'planted fault':36}" + "".join(f" {way + ' (median)':>22}" for way in WAYS), flush=True)
    for fault in faults:
        line = f"{fault:36}"
        for way, seeds_of in WAYS.items():
            found = []
            for series in range(given.first, given.first + given.series):
                options = msgspec.structs.replace(SMALL, seed=series * SERIES_SEEDS)
                number = runs_to_find(fault, seeds_of(options, given.runs))
                found.append(given.runs + 1 if number is None else number)
            medians[way].append(statistics.median(found))
            line += f" {medians[way][-1]:>22g}"
        print(line, flush=True)
    print(f"{'median of all':36}" + "".join(f" {statistics.median(medians[way]):>22g}" for way in WAYS))
    print(f"{given.series} series of at most {given.runs} runs; {given.runs + 1} means not found", flush=True)
    return 0


def add_exploration(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    exploring = commands.add_parser("exploration", help="compare consecutive and varied seeds by planted faults")
    exploring.add_argument("--series", type=int, default=5, help="series of seeds (default: 5)")
    exploring.add_argument("--first", type=int, default=1, help="number of the first series (default: 1)")
    exploring.add_argument("--runs", type=int, default=100, help="runs at most in a series (default: 100)")
    exploring.add_argument("--only", nargs="+", metavar="NAME", help="these planted faults")
    exploring.set_defaults(run=_explore)
