"""Hypothesis drives a mesh through faults that it makes up, and shrinks what fails to the fewest steps."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Crash, Lossy, OneWay, Partition, Pause, Sleep
from tests.simulation.simulated import a_schedule

NODES = [f"n{number}" for number in range(4)]
node = st.sampled_from(NODES)


class MeshInTrouble(RuleBasedStateMachine):
    """Faults begin and end in any order, time goes on between; no law is broken, and when all has ended the mesh
    becomes whole."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.simulation = Simulation(a_schedule(nodes=len(NODES), duration=1e6, seed=seed))
        self.faults: list[int] = []

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 5.0, 20.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.simulation.run_until(self.simulation.engine.now + seconds)

    @rule(cut=st.integers(1, len(NODES) - 1), order=st.permutations(NODES))
    def a_partition_begins(self, cut: int, order: list[str]) -> None:
        self.faults.append(self.simulation.begin(Partition(groups=(tuple(order[:cut]), tuple(order[cut:])))))

    @rule(order=st.permutations(NODES))
    def one_way_is_cut(self, order: list[str]) -> None:
        self.faults.append(self.simulation.begin(OneWay(senders=(order[0],), receivers=(order[1],))))

    @rule(probability=st.sampled_from([0.05, 0.3]))
    def packets_are_lost(self, probability: float) -> None:
        self.faults.append(self.simulation.begin(Lossy(probability=probability)))

    @rule(node=node, keeps_state=st.booleans())
    def a_node_crashes(self, node: str, keeps_state: bool) -> None:
        self.faults.append(self.simulation.begin(Crash(node=node, keeps_state=keeps_state)))

    @rule(node=node)
    def a_process_stops(self, node: str) -> None:
        self.faults.append(self.simulation.begin(Pause(node=node)))

    @rule(node=node)
    def a_machine_sleeps(self, node: str) -> None:
        self.faults.append(self.simulation.begin(Sleep(node=node, clock_stops=False)))

    @precondition(lambda self: self.faults)
    @rule(data=st.data())
    def a_fault_ends(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.faults))
        self.faults.remove(number)
        self.simulation.end(number)

    @invariant()
    def no_law_is_broken(self) -> None:
        if hasattr(self, "simulation"):
            assert self.simulation.violations == []

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            for number in self.faults:
                self.simulation.end(number)
            assert self.simulation.become_whole() is not None, self.simulation.violations
            self.no_law_is_broken()


TestMeshInTrouble = MeshInTrouble.TestCase
TestMeshInTrouble.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
