"""Receive buffers that hold few datagrams, nodes that accept few connections, and addresses that are dead."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.address import Address
from meshp2p.errors import ConfigError
from meshp2p.simulation.inbox import BUFFER_DATAGRAMS
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.simulation import Simulation, run
from meshp2p.simulation.swarm import draw_swarm
from meshp2p.virtual.describe import describe_fault
from meshp2p.virtual.faults import Crash, Crowded, DeadAddress, Fault, Moved, Pause, SmallBuffer, Stalls
from meshp2p.virtual.trace import What
from tests.simulation.simulated import a_mesh, a_schedule

# Receive buffers


@pytest.mark.parametrize("datagrams", [1, 3, BUFFER_DATAGRAMS])
def test_a_buffer_holds_so_many_datagrams_for_a_process_that_is_stopped(datagrams: int) -> None:
    buffer = SmallBuffer(begin=9.0, end=30.0, node="n2", datagrams=datagrams)
    simulation = a_mesh(buffer, Pause(begin=10.0, end=15.0, node="n2"), until=14.9)
    host, trace = simulation.oracle.hosts["n2"], simulation.trace
    assert trace is not None
    lost = [entry for entry in trace if entry.what is What.DROP and entry.detail == "the receive buffer is full"]
    assert {entry.node for entry in lost} == ({"n2"} if datagrams < BUFFER_DATAGRAMS else set())
    assert all(entry.peer in simulation.oracle.hosts for entry in lost)
    assert [is_datagram for *_, is_datagram in host._inbox.clear()].count(True) <= datagrams
    assert simulation.fired.get("SmallBuffer", 0) == 1 + len(lost)


def test_a_mesh_survives_that_a_busy_process_loses_datagrams() -> None:
    buffer = SmallBuffer(begin=10.0, end=50.0, node="n2", datagrams=1)
    result = run(a_schedule(buffer, Stalls(begin=10.0, end=50.0, node="n2", seconds=1.0)))
    assert result.faults["SmallBuffer"] > 10
    assert result.violations == ()


def test_after_the_fault_the_buffer_is_as_before() -> None:
    buffer = SmallBuffer(begin=10.0, end=20.0, node="n2", datagrams=1)
    simulation = a_mesh(buffer, Pause(begin=25.0, end=30.0, node="n2"), until=29.0)
    assert simulation.fired == {"Pause": 1, "SmallBuffer": 1}


# Connections


@pytest.mark.parametrize("connections", [0, 1, 2])
def test_a_node_accepts_connections_up_to_its_number(connections: int) -> None:
    fault = Crowded(begin=1.0, end=60.0, nodes=("n2",), connections=connections)
    simulation = Simulation(a_schedule(fault, nodes=5))
    network, hosts = simulation.network, simulation.oracle.hosts
    simulation.begin(fault)
    accepted = []
    for caller in ("n0", "n1", "n3", "n0"):
        if network.may_connect(hosts[caller], hosts["n2"]):
            network.connections.note(hosts[caller], hosts["n2"])
            accepted.append(caller)
    assert accepted == ["n0", "n1", "n3"][:connections] + ["n0"] * (connections > 0)
    assert network.may_connect(hosts["n2"], hosts["n4"]), "it can open connections"
    assert network.may_connect(hosts["n4"], hosts["n2"]) is False


def test_a_connection_that_is_not_used_makes_room() -> None:
    fault = Crowded(begin=1.0, end=600.0, nodes=("n2",), connections=1)
    schedule = a_schedule(duration=600.0)
    plans = tuple(msgspec.structs.replace(plan, at=500.0) for plan in schedule.nodes)  # nobody else calls
    simulation = Simulation(msgspec.structs.replace(schedule, nodes=plans))
    network, hosts = simulation.network, simulation.oracle.hosts
    simulation.begin(fault)
    network.connections.note(hosts["n0"], hosts["n2"])
    assert not network.may_connect(hosts["n1"], hosts["n2"])
    simulation.run_until(61.0)
    assert network.may_connect(hosts["n1"], hosts["n2"])


def test_a_mesh_whose_nodes_accept_no_connections_stays_whole() -> None:
    result = run(a_schedule(Crowded(begin=5.0, end=50.0, nodes=("n2", "n3")), Crash(begin=20.0, end=30.0, node="n1")))
    assert result.faults["Crowded"] > 0
    assert result.violations == ()


# Addresses


def with_two_addresses(*faults: Fault, node: str = "n2") -> Schedule:
    schedule = a_schedule()
    plans = (msgspec.structs.replace(plan, addresses=1 + (plan.id == node)) for plan in schedule.nodes)
    return msgspec.structs.replace(schedule, nodes=tuple(plans), faults=faults)


def listed_addresses(simulation: Simulation, node: str) -> set[tuple[Address, ...]]:
    return {host.listed[node].addresses for host in simulation.oracle.hosts.values()}


def test_a_node_publishes_all_its_addresses_and_sends_from_the_first() -> None:
    simulation = Simulation(with_two_addresses())
    simulation.run_until(10.0)
    host = simulation.oracle.hosts["n2"]
    assert len(host.addresses) == 2
    assert listed_addresses(simulation, "n2") == {host.addresses}
    assert host.address == host.addresses[0]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("begin", [0.0, 20.0])
@pytest.mark.parametrize("node", ["n0", "n2"])
def test_a_mesh_stays_whole_while_one_of_two_addresses_is_dead(number: int, begin: float, node: str) -> None:
    simulation = Simulation(with_two_addresses(DeadAddress(begin=begin, end=50.0, node=node, number=number), node=node))
    simulation.run_until(40.0)
    host = simulation.oracle.hosts[node]
    assert host.address == host.addresses[1 - number]
    result = simulation.run()
    assert result.violations == ()
    assert result.false_deaths == 0
    assert host.address == host.addresses[0]


def test_the_last_address_that_works_cannot_die() -> None:
    faults = [DeadAddress(begin=10.0, end=40.0, node="n2", number=number) for number in (0, 1)]
    result = run(with_two_addresses(*faults))
    assert result.faults["DeadAddress"] == 1
    assert result.violations == ()


def test_an_address_that_the_machine_has_no_more_does_not_come_back() -> None:
    dead = DeadAddress(begin=10.0, end=40.0, node="n2", number=1)
    schedule = with_two_addresses(dead, Moved(begin=20.0, end=20.0, node="n2", notices=1.0))
    simulation = Simulation(schedule)
    left = simulation.oracle.hosts["n2"].address
    result = simulation.run()
    assert result.violations == ()
    assert left not in simulation.oracle.hosts["n2"].addresses
    assert simulation.network.host_at(left) is None
    assert listed_addresses(simulation, "n2") == {simulation.oracle.hosts["n2"].addresses}


# The swarm


def test_a_swarm_draws_each_of_them() -> None:
    drawn: dict[str, int] = {}
    for seed in range(300):
        schedule = draw_swarm(seed)
        for name in {type(fault).__name__ for fault in schedule.faults}:
            drawn[name] = drawn.get(name, 0) + 1
    assert all(drawn.get(name, 0) >= 3 for name in ("SmallBuffer", "Crowded", "DeadAddress")), drawn


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (SmallBuffer(node="a", datagrams=1), "SmallBuffer  a, datagrams 1"),
        (Crowded(nodes=("a", "b"), connections=2), "Crowded  a b, connections 2"),
        (DeadAddress(node="a", number=1), "DeadAddress  a, number 1"),
    ],
)
def test_they_are_told_in_words(fault: Fault, words: str) -> None:
    assert describe_fault(fault) == words


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="datagrams = 0: expected 1 to 1,000,000"):
        SmallBuffer(node="a", datagrams=0)
    with pytest.raises(ConfigError, match="connections = -1: expected 0 or more"):
        Crowded(connections=-1)
    with pytest.raises(ConfigError, match="number = -1: expected 0 or more"):
        DeadAddress(node="a", number=-1)
    with pytest.raises(ConfigError, match="number = 1: node 'n1' has 1 addresses"):
        with_two_addresses(DeadAddress(node="n1", number=1))
    schedule = a_schedule()
    many = msgspec.structs.replace(schedule.nodes[0], addresses=17)
    with pytest.raises(ConfigError, match="addresses = 17: expected 1 to 16"):
        msgspec.structs.replace(schedule, nodes=(many, *schedule.nodes[1:]))
