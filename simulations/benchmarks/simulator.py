"""How fast the simulator is, and how much memory a simulated node takes.

Processor time is measured, of the best of a few runs: what else the machine does is not the simulator's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gc
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator

import msgspec

from meshp2p.simulation.checkers import Convergence
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import Simulation
from simulations.benchmarks.formation import bound_memory, form

__all__ = ["Measure", "add_command", "measure_all", "measure_idle", "measure_seeds"]

SIZES = (5, 100, 1000)
GOALS = {5: 8_000.0, 100: 400.0, 1000: 20.0}
"""Virtual seconds in a second of processor time."""
SEEDS_GOAL = 40.0


class Measure(msgspec.Struct, frozen=True):
    """One thing that was measured, its value, what is to be reached (0: nothing), and how it came about."""

    name: str
    value: float
    goal: float
    about: str

    @property
    def is_reached(self) -> bool:
        return self.value >= self.goal


def measure_idle(nodes: int, repeats: int = 3) -> Iterator[Measure]:
    """The speed of a mesh that is whole and has nothing to tell, the memory of each node, and what joining took."""
    schedule = build_schedule("join-storm" if nodes > 5 else "calm", Options(nodes=nodes, duration=1e6))
    memory = _resident()
    simulation = Simulation(schedule)
    convergence = simulation.checkers[Convergence.name]
    began = time.process_time()
    simulation.run_until(1.0)
    while isinstance(convergence, Convergence) and not convergence.is_whole() and simulation.engine.now < 120.0:
        simulation.run_until(simulation.engine.now + 0.5)
    joined = simulation.engine.now
    yield Measure(
        f"{nodes} nodes: joined, processor seconds", time.process_time() - began, 0.0, f"whole at {joined:.1f} s"
    )
    yield Measure(f"{nodes} nodes: KiB a node", (_resident() - memory) / nodes, 0.0, "resident, whole mesh")
    simulation.run_until(joined + 100.0)  # what joining left in the queues is told
    seconds = max(2.0, 6000.0 / nodes)
    best = 0.0
    events = 0.0
    for _ in range(repeats):
        before, began = simulation.engine.events, time.process_time()
        simulation.run_until(simulation.engine.now + seconds)
        took = time.process_time() - began
        if seconds / took > best:
            best, events = seconds / took, (simulation.engine.events - before) / took
    yield Measure(f"{nodes} nodes: times real time", best, GOALS.get(nodes, 0.0), f"{events:,.0f} events/s")


def measure_seeds(seeds: int = 40) -> Measure:
    """Seeds a second of the 5-node, 120-second partition scenario, with every checker on."""
    simulations = [Simulation(build_schedule("partition", Options(seed=seed))) for seed in range(seeds)]
    took = []
    for simulation in simulations:
        began = time.process_time()
        simulation.run()
        took.append(time.process_time() - began)
    took.sort()
    return Measure("partition, 5 nodes, 120 s: seeds/s", 1 / took[len(took) // 2], SEEDS_GOAL, "by the median seed")


def _resident() -> float:
    """The most that this process ever had, in KiB."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _seeds(seeds: int) -> list[Measure]:
    return [measure_seeds(seeds)]


def _idle(nodes: int, repeats: int) -> list[Measure]:
    return list(measure_idle(nodes, repeats))


def measure_all(sizes: tuple[int, ...] = SIZES, *, seeds: int = 40, repeats: int = 3) -> Iterator[Measure]:
    """All measures, each in a process of its own, so that none finds the memory of another."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        yield from pool.submit(_seeds, seeds).result()
        for nodes in sizes:
            yield from pool.submit(_idle, nodes, repeats).result()


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``python -m simulations.benchmarks simulator``."""
    parser = commands.add_parser("simulator", help="speed and memory of the simulator")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="nodes (default: 5 100 1000)")
    parser.add_argument(
        "--nodes", type=int, help="form one large mesh in waves, lose a node of it, and tell how it goes"
    )
    parser.add_argument("--quick", action="store_true", help="few seeds and one repeat: shows that it works")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    if given.nodes:
        bound_memory()
        for progress in form(given.nodes):
            gc.freeze()  # what is there now stays: later collections need not look at it
            print(msgspec.json.encode(progress).decode() if given.json else progress, flush=True)
        return 0
    measures = []
    amounts = {"seeds": 2, "repeats": 1} if given.quick else {}
    for measure in measure_all(tuple(given.sizes), **amounts):
        measures.append(measure)
        if not given.json:
            goal = (
                f"  goal {measure.goal:,.0f}: {'reached' if measure.is_reached else 'MISSED'}" if measure.goal else ""
            )
            print(f"{measure.name:42} {measure.value:12,.1f}  ({measure.about}){goal}", flush=True)
    if given.json:
        print(json.dumps([msgspec.to_builtins(measure) for measure in measures]))
    return 0
