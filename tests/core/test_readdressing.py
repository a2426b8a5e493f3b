"""A node whose machine has other addresses than before."""

from __future__ import annotations

import pytest

from meshp2p.core.address import Address
from meshp2p.core.events import InstanceDied, InstanceSuspected, InstanceUpdated
from tests.core.builders import HERE, a_machine, emitted, run_until
from tests.core.mesh import Mesh

THERE = Address("10.0.0.77", 77)


def is_known_at(mesh: Mesh, address: Address) -> bool:
    return all(machine.records()["b"].addresses == (address,) for machine in mesh.nodes.values())


@pytest.mark.parametrize("count", [2, 3, 16])
def test_a_node_that_moves_is_known_at_its_new_address_at_once_and_nobody_suspects_it(count: int) -> None:
    mesh = Mesh(count)
    for name in "abcdefghijklmnop"[:count]:
        mesh.add(name, join="a" if name != "a" else None)
    mesh.run_until(mesh.is_whole, within=5)
    mesh.move("b", THERE)
    assert mesh.run_until(lambda: is_known_at(mesh, THERE), within=1) < 0.5
    mesh.run(30)
    assert mesh.is_whole()
    happened = [event for events in mesh.events.values() for event in events]
    assert not [event for event in happened if isinstance(event, (InstanceSuspected, InstanceDied))]


def test_a_node_that_moved_and_does_not_know_it_is_found_where_its_packets_come_from() -> None:
    mesh = Mesh()
    for name in "abc":
        mesh.add(name, join="a" if name != "a" else None)
    mesh.run_until(mesh.is_whole, within=5)
    mesh.move("b", THERE, is_told=False)
    mesh.run(30)
    mesh.run_until(mesh.is_whole, within=30)
    now = mesh.now
    assert [member.addresses[0] for member in mesh.nodes["a"].instances(now) if member.id == "b"] == [THERE]


def test_the_same_addresses_again_are_no_news() -> None:
    machine = a_machine()
    assert machine.readdress((HERE,), 2.0) == []
    (event,) = emitted(machine.readdress((THERE,), 2.0))
    assert isinstance(event, InstanceUpdated)
    assert event.record.addresses == (THERE,)
    assert machine.readdress((THERE,), 2.0) == []
    incarnation = machine.own.incarnation
    machine.leave(3.0)
    assert machine.readdress((HERE,), 3.0) == []
    assert machine.own.incarnation == incarnation


def test_an_address_that_was_its_own_is_dialled_when_it_moved_away() -> None:
    mesh = Mesh()
    mesh.add("a", address=HERE)
    mesh.join("a", "a")
    mesh.run(5)
    assert len([address for _, _, address, request in mesh.log if address == HERE]) > 0
    mesh.move("a", THERE)
    mesh.add("b", address=HERE)
    mesh.run_until(mesh.is_whole, within=10)


def test_a_node_that_moves_before_it_is_announced_announces_where_it_is() -> None:
    machine = a_machine(is_announced=False)
    machine.readdress((THERE,), 0.5)
    run_until(machine, 2.0)
    assert machine.is_announced
    assert machine.own.addresses == (THERE,)


def test_a_machine_that_was_renamed_is_known_by_its_new_name_without_looking_for_others_anew() -> None:
    machine = a_machine()
    assert machine.readdress((HERE,), 2.0, hostname=machine.own.hostname) == []
    (event,) = emitted(machine.readdress((HERE,), 2.0, hostname="new-name"))
    assert isinstance(event, InstanceUpdated)
    assert event.record.hostname == "new-name"
    assert machine.own == event.record
