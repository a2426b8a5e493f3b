"""The formation of a large mesh in the simulator: nodes join in waves, through seeds, and then one of them is lost.

A wave starts when the mesh of the earlier nodes has converged. Each new node gets two running nodes as seeds.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from meshp2p.simulation.checkers import Convergence
from meshp2p.simulation.schedule import NodePlan, Schedule
from meshp2p.simulation.simulation import Simulation

__all__ = ["Progress", "bound_memory", "form"]

WAVE_MAX = 500
"""A wave doubles the mesh, but has at most this many nodes: then the first half second of a storm stays affordable.
Chosen, not measured."""

SPREAD = 1.0
"""Virtual seconds in which the nodes of a wave start."""

PATIENCE = 300.0
"""Virtual seconds after which a wave that has not converged is given up."""

MEMORY_MAX = 12 << 30
"""Bytes of address space: more ends the run, not the machine."""


class Progress(msgspec.Struct, frozen=True):
    """The progress of a run: this many nodes have converged, or know of the loss. Virtual and processor seconds since
    the start, virtual seconds of this step, resident bytes now, and datagrams and calls so far."""

    what: str
    nodes: int
    virtual: float
    step: float
    processor: float
    resident: int
    datagrams: int
    calls: int

    def __str__(self) -> str:
        pairs = self.nodes * self.nodes
        return (
            f"{self.what:7} {self.nodes:6,} nodes  after {self.step:6.2f} s, at {self.virtual:7.1f} s virtual"
            f"  {self.processor:8.1f} s processor  {self.resident / 2**20:8,.0f} MiB"
            f" ({self.resident / pairs:5.0f} B a pair)  {self.datagrams:,} datagrams, {self.calls:,} calls"
        )


def form(nodes: int, seed: int = 0) -> Iterator[Progress]:
    """Form a mesh of this many nodes, then stop one silently and wait until all nodes know.

    Raises ``TimeoutError`` if a wave does not converge.
    """
    draw = random.Random(seed)
    names = [f"n{number:05}" for number in range(nodes)]
    never = 1e6
    plans = tuple(
        NodePlan(id=name, at=never, seeds=tuple(draw.sample(names[:number], min(2, number))))
        for number, name in enumerate(names)
    )
    schedule = Schedule(scenario="formation", seed=seed, duration=never, nodes=plans, checks=(Convergence.name,))
    simulation = Simulation(schedule)
    began = time.process_time()

    def wait(what: str, since: float) -> Progress:
        convergence = simulation.checkers[Convergence.name]
        live = 0
        while live != expected or not (isinstance(convergence, Convergence) and convergence.is_whole()):
            if simulation.engine.now - since > PATIENCE or simulation.is_over:
                raise TimeoutError(f"{what} of {expected} nodes: {simulation.violations or 'not whole in time'}")
            simulation.run_until(simulation.engine.now + 0.25)
            live = len(simulation.oracle.live)
        now, traffic = simulation.engine.now, simulation.network.traffic
        took = time.process_time() - began
        return Progress(what, live, now, now - since, took, resident_bytes(), traffic.datagrams, traffic.calls)

    started = 0
    while started < nodes:
        size = min(max(1, started), WAVE_MAX, nodes - started)
        since = simulation.engine.now
        for name in names[started : started + size]:
            simulation.engine.at(since + SPREAD * draw.random(), simulation.start_host, simulation.oracle.hosts[name])
        started = expected = started + size
        yield wait("joined", since)
    lost = simulation.oracle.hosts[draw.choice(names[1:])]
    expected = nodes - 1
    since = simulation.engine.now
    simulation.stop_host(lost, is_silent=True)
    yield wait("lost 1", since)


def bound_memory() -> None:
    """Make this process fail with ``MemoryError`` if it needs more than ``MEMORY_MAX``."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, resource.getrlimit(resource.RLIMIT_AS)[1]))


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
