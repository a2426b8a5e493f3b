"""Narrow paths, severed connections, addresses that change hands, and agents whose requests are lost or doubled."""

from __future__ import annotations

import random

import pytest

from meshp2p.core.events import InstanceDied
from meshp2p.errors import ConfigError
from meshp2p.simulation.schedule import AgentPlan, Schedule
from meshp2p.simulation.simulation import Simulation, run
from meshp2p.simulation.swarm import draw_swarm
from meshp2p.simulation.watches import KEEPALIVE
from meshp2p.virtual.describe import describe, describe_fault
from meshp2p.virtual.faults import Crash, Fault, Kind, Moved, Narrow, Severed
from meshp2p.virtual.impairments import QUEUE_SECONDS, Flight, impairment_of
from meshp2p.virtual.trace import What
from tests.simulation.simulated import a_mesh, a_schedule


def carried(fault: Narrow, *sizes: int, kind: Kind = Kind.UDP, sender: str = "a") -> list[Flight]:
    """Packets of these sizes from ``sender`` to b, all at the same moment."""
    impairment = impairment_of(fault, random.Random(1).random)
    assert impairment is not None
    found = []
    for size in sizes:
        flight = Flight(sender, "b", 0.0, kind, lambda size=size: size)  # type: ignore[misc]
        if impairment.concerns(flight):
            impairment.apply(flight)
        found.append(flight)
    return found


# Narrow paths


def test_a_narrow_path_has_one_direction() -> None:
    fault = Narrow(senders=("a",), receivers=("b",), seconds=0.25)
    assert [flight.delay for flight in carried(fault, 100)] == [0.25]
    assert [flight.delay for flight in carried(fault, 100, sender="c")] == [0.0]


def test_packets_wait_for_one_another_and_datagrams_only_for_so_long() -> None:
    fault = Narrow(senders=("a",), receivers=("b",), bytes_per_second=1000.0)
    found = carried(fault, 200, 200, 200, 200, 200)
    assert [flight.delay for flight in found[:3]] == pytest.approx([0.2, 0.4, 0.6])
    assert QUEUE_SECONDS < 0.6
    assert [flight.dropped for flight in found] == ["", "", "", "Narrow", "Narrow"]
    calls = carried(fault, 200, 200, 200, 200, 200, kind=Kind.TCP)
    assert calls[-1].delay == pytest.approx(1.0)
    assert not any(flight.dropped for flight in calls)


def test_large_datagrams_are_lost_where_the_path_takes_none() -> None:
    fault = Narrow(senders=("a",), receivers=("b",), bytes_max=512)
    assert [flight.dropped for flight in carried(fault, 512, 513)] == ["", "Narrow"]
    assert [flight.dropped for flight in carried(fault, 513, kind=Kind.TCP)] == [""]


def test_a_mesh_with_a_thin_path_between_two_sides_stays_whole() -> None:
    fault = Narrow(begin=10.0, end=50.0, senders=("n0", "n1"), receivers=("n2", "n3"), bytes_per_second=20_000.0)
    result = run(a_schedule(fault))
    assert result.faults["Narrow"] > 100
    assert result.violations == ()
    assert result.false_deaths == 0


# Severed connections


def test_a_severed_watch_connection_tells_nothing_until_keepalive_does() -> None:
    simulation = a_mesh(Severed(begin=10.0), until=10.0 + KEEPALIVE[0] - 0.1)
    trace = simulation.trace
    assert trace is not None
    ended = [entry for entry in trace if entry.what is What.FAIL and not entry.cause]
    assert ended == []
    simulation.run_until(10.0 + KEEPALIVE[1] + 0.1)
    ended = [entry for entry in trace if entry.what is What.FAIL and not entry.cause]
    assert len(ended) == 8, "two watches of each of four nodes"
    assert {describe(entry).partition(": ")[2] for entry in ended} == {"keepalive had no answer"}
    assert not any(isinstance(entry.detail, InstanceDied) for entry in trace)


@pytest.mark.parametrize("is_severed", [False, True])
def test_a_death_is_not_heard_over_severed_connections(is_severed: bool) -> None:
    """Two refusals still prove it, once a probe had no answer."""
    faults: tuple[Fault, ...] = (Crash(begin=12.0, node="n3"),)
    faults += (Severed(begin=10.0),) * is_severed
    trace = a_mesh(*faults, until=30.0).trace
    assert trace is not None
    first = next(entry for entry in trace if isinstance(entry.detail, InstanceDied))
    assert (first.at > 12.1) == is_severed
    assert first.detail.evidence == "refused"


def test_the_first_call_after_connections_were_severed_is_lost_and_the_next_is_not() -> None:
    simulation = a_mesh(Severed(begin=10.0, nodes=("n1",)), until=11.0)
    network, hosts = simulation.network, simulation.oracle.hosts
    lost = [network.loses_call(hosts["n0"], hosts["n1"]) for _ in range(2)]
    assert lost == [True, False]
    assert not network.loses_call(hosts["n0"], hosts["n2"])
    simulation.run_until(80.0)
    assert not network.loses_call(hosts["n2"], hosts["n1"]), "it was closed long ago"


# Addresses


def test_two_nodes_that_crash_together_come_back_at_one_another_s_addresses() -> None:
    faults = (
        Crash(begin=10.0, end=20.0, node="n2", takes="n3"),
        Crash(begin=10.0, end=20.0, node="n3", takes="n2"),
    )
    simulation = Simulation(a_schedule(*faults))
    hosts = simulation.oracle.hosts
    before = hosts["n2"].address, hosts["n3"].address
    result = simulation.run()
    assert (hosts["n3"].address, hosts["n2"].address) == before
    assert result.violations == ()
    assert result.recovered_after is not None


def test_an_address_at_which_a_process_runs_is_not_taken() -> None:
    faults = (Crash(begin=5.0, end=6.0, node="n2"), Crash(begin=10.0, end=20.0, node="n3", takes="n2"))
    simulation = Simulation(a_schedule(*faults))
    before = {key: host.address for key, host in simulation.oracle.hosts.items()}
    assert simulation.run().violations == ()
    assert {key: host.address for key, host in simulation.oracle.hosts.items()} == before


def test_a_process_that_notices_that_its_machine_moved_publishes_the_address() -> None:
    simulation = a_mesh(Moved(begin=10.0, end=10.0, node="n3", notices=1.0), until=10.9)
    hosts = simulation.oracle.hosts
    assert hosts["n0"].listed["n3"].addresses != (hosts["n3"].address,)
    simulation.run_until(12.0)
    assert hosts["n0"].listed["n3"].addresses == (hosts["n3"].address,)
    assert not simulation.violations


# Agents


def agents(loses: float = 0.0, doubles: float = 0.0, until: float | None = None) -> Schedule:
    plan = AgentPlan(
        id="agent",
        nodes=("n1", "n2"),
        at=2.0,
        every=2.0,
        until=until,
        deregisters=until is not None,
        loses=loses,
        doubles=doubles,
    )
    return a_schedule(agents=(plan,))


def heartbeats(schedule: Schedule) -> int:
    simulation = Simulation(schedule, trace=True)
    assert simulation.run().violations == ()
    assert simulation.trace is not None
    return sum(entry.what is What.ASK and type(entry.detail).__name__ == "Heartbeat" for entry in simulation.trace)


def test_an_agent_sends_each_heartbeat_twice_and_stays_listed() -> None:
    assert heartbeats(agents(doubles=1.0)) == 2 * heartbeats(agents())


def test_an_agent_that_loses_requests_and_answers_goes_from_node_to_node() -> None:
    schedule = agents(loses=0.3)
    simulation = Simulation(schedule, trace=True)
    assert simulation.run().violations == ()
    assert simulation.trace is not None
    asked = {entry.node for entry in simulation.trace if entry.what is What.ASK}
    assert asked == {"n1", "n2"}


def test_a_deregistration_that_is_lost_leaves_the_agent_to_its_timeout() -> None:
    lost, kept = agents(loses=1.0, until=20.0), agents(until=20.0)
    for schedule, is_lost in ((lost, True), (kept, False)):
        simulation = Simulation(schedule, trace=True)
        assert simulation.run().violations == ()
        assert simulation.trace is not None
        asked = [entry for entry in simulation.trace if type(entry.detail).__name__ == "Deregister"]
        assert bool(asked) != is_lost


# The swarm


def test_a_swarm_draws_each_of_them() -> None:
    drawn: dict[str, int] = {}
    for seed in range(300):
        schedule = draw_swarm(seed)
        kinds = {type(fault).__name__ for fault in schedule.faults}
        kinds |= {"takes" for fault in schedule.faults if isinstance(fault, Crash) and fault.takes}
        kinds |= {"notices" for fault in schedule.faults if isinstance(fault, Moved) and fault.notices}
        kinds |= {
            name for agent in schedule.agents for name in ("loses", "doubles", "deregisters") if getattr(agent, name)
        }
        for name in kinds:
            drawn[name] = drawn.get(name, 0) + 1
    wanted = ("Narrow", "Severed", "takes", "notices", "loses", "doubles", "deregisters")
    assert all(drawn.get(name, 0) >= 3 for name in wanted), drawn


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Narrow(senders=("a",), receivers=("b",), seconds=0.1), "Narrow  a b, senders a, receivers b, seconds 0.1"),
        (Severed(nodes=("a",)), "Severed  a"),
        (Crash(node="a", takes="b"), "Crash  a b, takes b"),
        (Moved(node="a", notices=2.0), "Moved  a, notices 2"),
    ],
)
def test_they_are_told_in_words(fault: Fault, words: str) -> None:
    assert describe_fault(fault) == words


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"bytes_per_second = 1.0: expected 0, or 100 to 1e12"):
        Narrow(senders=("a",), receivers=("b",), bytes_per_second=1)
    with pytest.raises(ConfigError, match=r"notices = 61.0: expected 0 to 60 seconds"):
        Moved(node="a", notices=61.0)
    with pytest.raises(ConfigError, match=r"agent 'agent': loses = 2.0, doubles = 0.0: expected 0 to 1"):
        agents(loses=2.0)
