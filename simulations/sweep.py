"""Many seeds of one scenario, on all cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.checkers import Violation
from meshp2p.simulation.replay import write_replay
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import Result, run
from simulations.ablations.safeguards import ablation
from simulations.jobs import map_in_processes
from simulations.varied_seeds import varied_seeds

__all__ = ["Seed", "Spread", "Sweep", "run_seed", "sweep"]

CHUNK = 4
"""How many seeds a worker gets at a time: few, to show the progress. Chosen, not measured."""


class Seed(msgspec.Struct, frozen=True):
    """The outcome of one seed: a result, or an exception of the simulator itself."""

    seed: int
    result: Result | None
    error: str = ""

    @property
    def has_failed(self) -> bool:
        return self.result is None or bool(self.result.violations)

    @property
    def violations(self) -> tuple[Violation, ...]:
        if self.result is None:
            return (Violation("simulator", 0.0, "", self.error),)
        return self.result.violations


class Sweep(msgspec.Struct):
    """The outcomes of all seeds of a sweep, in order."""

    scenario: str
    first: int
    wall_seconds: float = 0.0
    seeds: list[Seed] = []

    @property
    def failures(self) -> list[Seed]:
        return [seed for seed in self.seeds if seed.has_failed]

    def fired(self) -> dict[str, int]:
        """How often each fault fired, over all seeds."""
        total: dict[str, int] = {}
        for seed in self.seeds:
            for name, count in (seed.result.faults if seed.result is not None else {}).items():
                total[name] = total.get(name, 0) + count
        return dict(sorted(total.items()))

    def recoveries(self) -> list[float]:
        """Sorted times from the last fault until the mesh converged."""
        times = [seed.result.recovered_after for seed in self.seeds if seed.result is not None]
        return sorted(time for time in times if time is not None)

    def detections(self) -> list[float]:
        """Sorted times from each crash until all knew of it."""
        return sorted(time for seed in self.seeds if seed.result is not None for time in seed.result.detections)

    def false_deaths(self) -> int:
        return sum(seed.result.false_deaths for seed in self.seeds if seed.result is not None)

    def virtual_seconds(self) -> float:
        return sum(seed.result.virtual_seconds for seed in self.seeds if seed.result is not None)


def run_seed(scenario: str, options: Options) -> Seed:
    """Run one seed. An exception of the simulator is its result, so that a sweep continues."""
    try:
        return Seed(options.seed, run(build_schedule(scenario, options), ablate=ablation))
    except Exception as error:  # noqa: BLE001 - whatever it is belongs to this seed alone
        return Seed(options.seed, None, f"{type(error).__name__}: {error}")


Work = tuple[str, Options, Sequence[int]]
"""A scenario, its options, and the seeds of one chunk."""

Spread = Callable[[Callable[[Work], list[Seed]], list[Work]], Iterator[list[Seed]]]
"""Applies a function to each item, anywhere, and returns the results in the order of the items."""


def _run_chunk(work: Work) -> list[Seed]:
    scenario, options, seeds = work
    return [run_seed(scenario, msgspec.structs.replace(options, seed=seed)) for seed in seeds]


def _chunks(scenario: str, options: Options, seeds: Sequence[int]) -> Iterator[Work]:
    for begin in range(0, len(seeds), CHUNK):
        yield scenario, options, seeds[begin : begin + CHUNK]


def sweep(
    scenario: str,
    options: Options,
    count: int,
    *,
    jobs: int = 1,
    is_varied: bool = False,
    spread: Spread | None = None,
    progress: Callable[[int, Sequence[Seed]], None] | None = None,
) -> Sweep:
    """Run ``count`` seeds from ``options.seed`` on, on so many processes, or wherever ``spread`` runs them. With
    ``is_varied`` they are chosen by :func:`varied_seeds`.

    ``progress`` receives how many are done, and those of them that failed. Raises
    :class:`~meshp2p.errors.ConfigError` for impossible options, before a seed runs.
    """
    build_schedule(scenario, options)
    outcome = Sweep(scenario, options.seed)
    if is_varied and scenario != "swarm":
        raise ConfigError(f"--varied: expected the scenario 'swarm', not {scenario!r}")
    seeds = varied_seeds(options, count) if is_varied else range(options.seed, options.seed + count)
    work = list(_chunks(scenario, options, seeds))
    began = time.perf_counter()
    failed: list[Seed] = []
    for chunk in map_in_processes(_run_chunk, work, jobs) if spread is None else spread(_run_chunk, work):
        outcome.seeds += chunk
        failed += [seed for seed in chunk if seed.has_failed]
        if progress is not None:
            progress(len(outcome.seeds), failed)
    outcome.wall_seconds = time.perf_counter() - began
    return outcome


def write_failures(outcome: Sweep, options: Options, directory: Path) -> list[Path]:
    """Write a replay file for each failed seed whose schedule could be built."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in outcome.failures:
        if seed.result is None:
            continue
        path = directory / f"{outcome.scenario}-{seed.seed}.json"
        schedule = build_schedule(outcome.scenario, msgspec.structs.replace(options, seed=seed.seed))
        write_replay(path, schedule, seed.result)
        paths.append(path)
    return paths
