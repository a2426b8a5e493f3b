"""An explanation of a death says what the node really decided by."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Probe
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceDied, InstanceSuspected
from meshp2p.core.record import Rumour, tag_of
from meshp2p.simulation.pictures.reasons import reasons_of
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.describe import describe
from meshp2p.virtual.faults import Crash, Fault, Partition
from meshp2p.virtual.trace import Trace, TraceEntry, What
from tests.simulation.chains import explain
from tests.simulation.simulated import a_mesh


def traced(scenario: str, seed: int, nodes: int | None = None) -> Trace:
    simulation = Simulation(build_schedule(scenario, Options(seed=seed, nodes=nodes)), trace=True)
    simulation.run()
    assert simulation.trace is not None
    return simulation.trace


def deaths(trace: Trace) -> list[TraceEntry]:
    return [entry for entry in trace if isinstance(entry.detail, InstanceDied)]


def refusals(trace: Trace, numbers: list[int], node: str, target: str) -> list[TraceEntry]:
    """The refused probes of a node among these entries."""
    return [
        trace[each]
        for each in numbers
        if trace[each].what is What.FAIL
        and trace[each].node == node
        and isinstance(trace[each].detail, CallFailed)
        and trace[each].detail.failure is Failure.REFUSED
        and trace[trace[each].cause].detail == Probe(tag_of(target))
    ]


def accusers_told(trace: Trace, numbers: list[int], node: str, target: str) -> set[str]:
    """Whose accusations this node received in these entries."""
    return {
        item.by
        for each in numbers
        if trace[each].node == node and trace[each].what in (What.RECEIVE, What.CALLED, What.REPLY)
        for item in getattr(trace[each].detail, "items", ())
        if isinstance(item, Rumour) and item.id == target
    }


def check_death(trace: Trace, death: TraceEntry, numbers: list[int]) -> None:
    """Compare the explanation of a death with what the node recorded, and with what it received."""
    event, words = death.detail, describe(death)
    assert numbers[0] == death.number
    assert all(each < death.number and trace[each].at <= death.at for each in numbers[1:])
    if event.evidence in ("no_heartbeat", "home_lost"):
        assert ("had no heartbeat" if event.evidence == "no_heartbeat" else "adopted it") in words
        return
    assert ("host refused" if event.evidence == "refused" else "did not") in words
    grounds = event.grounds
    if grounds is None:
        assert "heard" in words or "another view" in words
        found = [
            each
            for each in trace.entries[: death.number]
            if isinstance(each.detail, InstanceDied)
            and each.detail.id == event.id
            and each.detail.grounds is not None
            and each.detail.by == event.by
            and each.detail.evidence == event.evidence
        ]
        assert not found or any(each.number in numbers for each in found), "the finder's verdict is missing"
        return
    suspicion = next(
        trace[each]
        for each in numbers
        if isinstance(trace[each].detail, InstanceSuspected)
        and trace[each].node == death.node
        and trace[each].detail.id == event.id
    )
    told = accusers_told(trace, numbers, death.node, event.id) | {suspicion.detail.by, event.by}
    if event.evidence == "refused":
        assert refusals(trace, numbers, death.node, event.id)
        assert set(grounds.refused) <= told
    else:
        assert set(grounds.accusers) <= told
        assert f"within {grounds.deadline - grounds.since:.3g} s" in words


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(5, 30))])
def test_each_death_of_a_swarm_is_explained_by_its_evidence_and_by_nothing_later(seed: int) -> None:
    trace = traced("swarm", seed, nodes=(3, 5, 9)[seed % 3])
    reasons = reasons_of(trace)
    for death in deaths(trace):
        check_death(trace, death, explain(reasons, death.number))


@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        (Crash(begin=10.0, node="n3"), "refused"),
        (Crash(begin=10.0, node="n3", is_silent=True), "silent"),
        (Partition(begin=10.0, end=40.0, groups=(("n0", "n1", "n2"), ("n3",))), "silent"),
    ],
)
def test_a_death_is_followed_back_to_the_fault_by_those_that_found_it_and_those_that_heard(
    fault: Fault, evidence: str
) -> None:
    trace = a_mesh(fault, until=30.0).trace
    assert trace is not None
    reasons = reasons_of(trace)
    found = [death for death in deaths(trace) if death.node != "n3"]
    assert {death.detail.evidence for death in found} == {evidence}
    assert any(death.detail.grounds is not None for death in found)
    for death in found:
        numbers = explain(reasons, death.number)
        check_death(trace, death, numbers)
        assert any(trace[each].detail == fault for each in numbers), "the fault is missing"
        is_refused = bool(refusals(trace, numbers, death.detail.by, "n3"))
        assert is_refused == (evidence == "refused")


def test_a_node_that_heard_of_a_death_names_the_node_that_found_it() -> None:
    trace = traced("isolate", 3, nodes=16)
    reasons = reasons_of(trace)
    heard = [death for death in deaths(trace) if death.detail.grounds is None]
    assert heard
    for death in heard:
        check_death(trace, death, explain(reasons, death.number))
        assert describe(death).endswith(f": heard: it did not answer {death.detail.by}")


def test_a_broken_watch_connection_stands_before_the_check_that_was_refused() -> None:
    trace = a_mesh(Crash(begin=10.0, node="n3"), until=30.0).trace
    assert trace is not None
    first = next(each for each in trace if isinstance(each.detail, InstanceSuspected))
    told = [describe(trace[each]) for each in explain(reasons_of(trace), first.number)]
    assert "its host refused the connection to a check; it has" in told[0]
    assert "watch connection to n3 fails: connection reset" in told
