"""Large meshes with hosted instances in the simulator: whether they become whole, and what they cost while idle."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Final

import msgspec

from meshp2p.simulation.checkers import Convergence
from meshp2p.simulation.schedule import AgentPlan, NodePlan, Schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.wire.codec import Codec
from simulations.frontier import HEADER_BYTES

__all__ = ["Measured", "measure", "measure_each", "plan"]

JOIN_SECONDS: Final = 20.0
"""Virtual seconds over which nodes start, one after another."""
REGISTER_SECONDS: Final = 10.0
"""Virtual seconds over which instances register, once the nodes are there."""
PAUSE: Final = 5.0
POLL: Final = 0.1
WHOLE_SECONDS_MAX: Final = 120.0
SETTLE_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 60.0
"""Virtual seconds from the last start to the first registration, between two looks, until it must be whole, until what
joining left is told, and of the idle window. Chosen, not measured."""


class Measured(msgspec.Struct, frozen=True):
    """One mesh. ``whole_after`` is in virtual seconds from the last registered instance's first heartbeat, which
    changes its record once more, None where the mesh never was whole; then nothing more was measured. ``missing`` says
    what it lacks at the end. Bytes are with IP and UDP headers, of a node and second."""

    nodes: int
    instances: int
    whole_after: float | None
    missing: str
    idle_bytes: float
    idle_datagrams: float
    violations: int
    processor_seconds: float

    @property
    def is_well(self) -> bool:
        """Whether it became whole, stayed so, and broke no law."""
        return self.whole_after is not None and not self.missing and not self.violations


def plan(nodes: int, instances: int, seed: int = 1) -> Schedule:
    """Nodes that start one after another with one seed, then instances that register with each in turn."""
    names = [f"n{number:05}" for number in range(nodes)]
    return Schedule(
        scenario="scale",
        seed=seed,
        duration=1e6,
        nodes=tuple(
            NodePlan(
                id=name,
                at=round(JOIN_SECONDS * number / nodes, 6),
                seeds=tuple(names[1:2] if number == 0 else names[:1]),
            )
            for number, name in enumerate(names)
        ),
        agents=tuple(
            AgentPlan(
                id=f"x{number:05}",
                nodes=(names[number % nodes], names[(number + 1) % nodes]),
                at=round(_registers_at() + REGISTER_SECONDS * number / instances, 6),
            )
            for number in range(instances)
        ),
        checks=(Convergence.name,),
    )


def _registers_at() -> float:
    return JOIN_SECONDS + PAUSE


def measure(nodes: int, instances: int, seed: int = 1) -> Measured:
    """Run one mesh until it is whole and has settled, and watch it idle."""
    began = time.process_time()
    simulation = Simulation(plan(nodes, instances, seed))
    told = _registers_at() + REGISTER_SECONDS + AgentPlan(id="", nodes=()).every
    simulation.run_until(told)
    while (missing := _missing(simulation, instances)) and simulation.engine.now < told + WHOLE_SECONDS_MAX:
        if simulation.is_over:
            break
        simulation.run_until(simulation.engine.now + POLL)
    if missing:
        took = time.process_time() - began
        return Measured(nodes, instances, None, missing, 0.0, 0.0, len(simulation.violations), took)
    whole = simulation.engine.now
    simulation.run_until(whole + SETTLE_SECONDS)
    simulation.network.codec = Codec("simulation")  # bytes are counted from here on, and they take time
    traffic = simulation.network.traffic
    datagrams, packet_bytes = traffic.datagrams, traffic.packet_bytes
    simulation.run_until(simulation.engine.now + IDLE_SECONDS)
    datagrams, packet_bytes = traffic.datagrams - datagrams, traffic.packet_bytes - packet_bytes
    each = nodes * IDLE_SECONDS
    return Measured(
        nodes,
        instances,
        whole - told,
        _missing(simulation, instances),
        (packet_bytes + HEADER_BYTES * datagrams) / each,
        datagrams / each,
        len(simulation.violations),
        time.process_time() - began,
    )


def _missing(simulation: Simulation, instances: int) -> str:
    """Why not all nodes list all nodes and instances and name one leader; empty where they do."""
    convergence = simulation.checkers[Convergence.name]
    assert isinstance(convergence, Convergence)
    wanted = len(simulation.oracle.hosts) + instances
    for host in simulation.oracle.live:
        assert host.machine is not None
        if (listed := len(host.machine.records())) != wanted:
            return f"{host.key} lists {listed} of {wanted}"
    return convergence.what_is_missing_now()


def measure_each(sizes: Sequence[tuple[int, int]]) -> Iterator[Measured]:
    """Each mesh in a process of its own, which ends with this. Raises ``EOFError`` where one ends without a result."""
    context = multiprocessing.get_context("spawn")
    for nodes, instances in sizes:
        result, found = context.Pipe(duplex=False)
        process = context.Process(target=_measure_into, args=(found, nodes, instances), daemon=True)
        process.start()
        found.close()
        try:
            yield result.recv()
        finally:
            process.kill()
            process.join()


def _measure_into(found: Connection, nodes: int, instances: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    found.send(measure(nodes, instances))
