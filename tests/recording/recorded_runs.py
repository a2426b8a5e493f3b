"""What the tests of recordings share: simulated runs of which each node is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from meshp2p.core.machine import Machine
from meshp2p.recording.inputs import INPUTS
from meshp2p.recording.recorder import RecordedMachine, Recorder, RecorderLimits
from meshp2p.recording.recording import Recording
from meshp2p.simulation.host import Host
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.simulation import Simulation

ALL = RecorderLimits(math.inf, 1 << 30, 20.0, 1 << 30, math.inf)
"""Nothing is dropped, and the state is written every 20 s."""


class KeepingMachine(RecordedMachine):
    """A recorded machine that also keeps what it returned."""

    outcomes: list[Any]


def _keeping(name: str) -> Callable[..., Any]:
    method = getattr(RecordedMachine, name)

    def run(self: KeepingMachine, *arguments: Any, **options: Any) -> Any:
        outcome: Any = None
        try:
            outcome = method(self, *arguments, **options)
        finally:
            if name != "start":
                self.outcomes.append(outcome[1] if name == "open_map" and outcome else outcome)
        return outcome

    return run


for _name in INPUTS:
    setattr(KeepingMachine, _name, _keeping(_name))


class RecordedProcess(NamedTuple):
    """A process of a run."""

    name: str
    host: Host
    machine: KeepingMachine
    recorder: Recorder

    def take(self) -> Recording | None:
        return self.recorder.take(self.machine, "test", self.host.now)


def record_run(schedule: Schedule, limits: RecorderLimits = ALL) -> tuple[Simulation, list[RecordedProcess]]:
    """Run a schedule, and record each process of it."""
    simulation = Simulation(schedule)
    processes: list[RecordedProcess] = []

    def recorded(host: Host) -> Callable[..., Machine]:
        def make(*arguments: Any, **options: Any) -> Machine:
            # not the time of this machine, so that the same is recorded again
            recorder = Recorder(host.clock.wall_ms, "simulated", limits._replace(cost_factor=0.0))
            options["tags"] = None  # other machines change those of the simulation, which is no input
            machine = KeepingMachine(*arguments, recorder=recorder, **options)
            machine.outcomes = []
            processes.append(RecordedProcess(f"{host.key} {host.life}", host, machine, recorder))
            return machine

        return make

    for host in simulation.oracle.hosts.values():
        host.make_machine = recorded(host)
    simulation.run()
    return simulation, processes
