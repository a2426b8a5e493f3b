"""The measure of memory under churn: that machines do not grow, and that one which does is seen."""

from __future__ import annotations

import pytest
import trio

from meshp2p.core.address import Address
from meshp2p.core.directory.life_signs import LifeSigns
from meshp2p.simulation.simulation import Simulation
from meshp2p.simulation.simulation import run as run_schedule
from meshp2p.testing import VirtualMesh, run
from simulations.__main__ import main
from simulations.memory.machine_churn import Churn, measure_machine
from simulations.memory.mesh_churn import MESH_SLOPE_MAX, churned_schedule, count_machines, measure_mesh
from simulations.memory.minutes import SLOPE_MAX, growth, slope
from simulations.memory.node_churn import NodeChurn, measure_nodes


@pytest.mark.long
def test_a_machine_does_not_grow_under_churn() -> None:
    found = measure_machine(4)
    assert slope(found) < SLOPE_MAX


def test_the_churn_is_one() -> None:
    churn = Churn()
    churn.run(120.0)
    counters = churn.machine.counters
    assert min(counters.deaths, counters.messages_taken, counters.messages_accepted, counters.items_taken) > 20
    assert counters.copies_acknowledged + counters.copies_expired + counters.copies_undeliverable > 0
    assert len(churn.machine._state.members.departed) == churn.machine.config.departed_max


@pytest.mark.long
def test_what_is_never_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[list[str]] = []
    monkeypatch.setattr(LifeSigns, "forget", lambda _self, instance_id: kept.append([instance_id] * 1000))
    found = measure_machine(4)
    assert slope(found) > SLOPE_MAX
    assert growth(found)["list"] > 20


def test_the_command_wants_two_minutes() -> None:
    assert main(["memory", "--minutes", "1"]) == 2


def test_in_the_churn_of_whole_nodes_all_is_done() -> None:
    async def churn(mesh: VirtualMesh) -> dict[str, int]:
        happening = NodeChurn(mesh, 1)
        with trio.move_on_after(12.0):
            await happening.run()
        return happening.done

    done = run(churn, seed=1)
    acts = [f"act {number}" for number in range(8)]
    assert set(done) >= {*acts, "read", "event", "change", "term", "registered", "came and went"}


@pytest.mark.long
def test_whole_nodes_do_not_grow_under_churn() -> None:
    # half of the bound, so that a leak of the bound is seen despite noise
    assert abs(slope(measure_nodes(12))) < SLOPE_MAX / 2


# A simulated mesh


@pytest.mark.parametrize("seed", [0, 1])
def test_a_simulated_mesh_goes_through_churn_without_a_violation(seed: int) -> None:
    schedule = churned_schedule(8, seed)
    assert (schedule.security is not None) == bool(seed % 2)
    result = run_schedule(schedule)
    assert result.violations == ()
    assert result.faults


def test_a_day_has_each_kind_of_churn() -> None:
    schedule = churned_schedule(24 * 60)
    kinds = {type(fault).__name__ for fault in schedule.faults}
    assert kinds == {"Crash", "Leave", "Moved", "Partition", "Pause"}
    assert len(schedule.agents) == 24


def test_what_machines_hold_is_counted_and_what_the_simulator_keeps_is_not() -> None:
    simulation = Simulation(churned_schedule(10))
    simulation.run_until(300.0)
    before = count_machines(simulation, 5)
    simulation.oracle.agents.update({f"agent {number}": 0.0 for number in range(1000)})
    assert count_machines(simulation, 5) == before
    machine = simulation.oracle.hosts["n0"].running
    machine._state.reach.update({f"node {number}": Address("10.0.0.1", 1000 + number) for number in range(1000)})
    after = count_machines(simulation, 5)
    assert after.objects["Address"] == before.objects["Address"] + 1000
    assert after.bytes > before.bytes + 100_000


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_a_simulated_mesh_does_not_grow_in_two_days(seed: int) -> None:
    """Seed 1 is a secured mesh. Timers are those of real nodes, up to a day."""
    found, violations = measure_mesh(2 * 24 * 60, seed)
    assert violations == ()
    assert slope(found) < MESH_SLOPE_MAX
