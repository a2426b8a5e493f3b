"""An explanation of a death says what the node really decided by."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Probe
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceDied, InstanceLeft, InstanceSuspected
from meshp2p.core.record import Rumour, tag_of
from meshp2p.simulation.pictures.reasons import reasons_of
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import AgentPlan, SecurityPlan
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.describe import describe
from meshp2p.virtual.faults import Crash, Delayed, Fault, Leave, Partition, ShutOut, Slow, Stalls
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
        if suspicion.detail.grounds is not None and not grounds.refused:  # else it may have begun again
            assert grounds.patience == suspicion.detail.grounds.patience


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


def test_the_patience_of_a_death_is_that_by_which_its_suspicion_was_extended() -> None:
    # n2 reports how slow it is, and refutes late: the patience for it grows while it is suspected
    trace = a_mesh(Slow(begin=10.0, node="n2", seconds=0.3), nodes=6, until=60.0, seed=5).trace
    assert trace is not None
    told = [death.detail.grounds for death in deaths(trace) if death.detail.grounds is not None]
    assert any(grounds.patience > 1 for grounds in told)
    for grounds in told:
        confirmed = ProtocolConfig().confirmed_timeout * grounds.patience
        assert grounds.deadline - grounds.since == pytest.approx(confirmed)


@pytest.mark.parametrize(
    "fault",
    [
        Slow(begin=10.0, node="n3", seconds=0.5),
        Stalls(begin=10.0, node="n3", seconds=8.0, every=9.0),
        Delayed(begin=10.0, seconds=3.0),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_suspicion_while_a_packet_is_held_up_names_the_fault_that_holds_it_up(fault: Fault) -> None:
    trace = a_mesh(fault, until=25.0).trace
    assert trace is not None
    reasons = reasons_of(trace)
    found = [entry for entry in trace if isinstance(entry.detail, InstanceSuspected)]
    assert found
    for suspicion in found:
        assert any(trace[each].detail == fault for each in explain(reasons, suspicion.number)), describe(suspicion)


@pytest.mark.parametrize("keeps_talking", [False, True])
def test_a_revoked_node_did_not_leave_and_the_revocation_is_named(keeps_talking: bool) -> None:
    fault = ShutOut(begin=10.0, node="n3", by="n0", keeps_talking=keeps_talking)
    trace = a_mesh(fault, until=30.0, security=SecurityPlan()).trace
    assert trace is not None
    reasons = reasons_of(trace)
    removed = [entry for entry in trace if isinstance(entry.detail, InstanceLeft)]
    assert {entry.node for entry in removed} == {"n0", "n1", "n2"}
    for entry in removed:
        assert describe(entry) == "no longer lists n3: it was revoked"
        assert [trace[each].detail for each in reasons[entry.number].steps] == [fault]
    for entry in trace:  # the revoked node hears nobody any more
        if isinstance(entry.detail, InstanceSuspected) and entry.node == "n3":
            assert any(trace[each].detail == fault for each in explain(reasons, entry.number))


def test_a_node_that_leaves_and_an_agent_that_deregisters_are_told_apart() -> None:
    agent = AgentPlan(id="agent", nodes=("n1",), at=2.0, until=15.0, deregisters=True)
    trace = a_mesh(Leave(begin=20.0, node="n2"), until=30.0, agents=(agent,)).trace
    assert trace is not None
    told = {describe(entry) for entry in trace if isinstance(entry.detail, InstanceLeft)}
    assert told == {"no longer lists agent: it was deregistered", "no longer lists n2: it left"}
