"""Two tables that heard the same claims agree, whatever the order in which they came and however often."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.machine import Machine
from meshp2p.core.record import Departed, Item, State
from tests.core.builders import a_machine, claims, hear

heard = st.lists(claims, max_size=14)


def live(machine: Machine) -> dict[str, int]:
    return {instance_id: record.incarnation for instance_id, record in machine.records().items() if instance_id != "0"}


def contents(machine: Machine) -> dict[str, str]:
    return {instance_id: record.status for instance_id, record in machine.records().items()}


def states(machine: Machine) -> dict[str, State]:
    return {instance_id: record.state for instance_id, record in machine.records().items()}


def departed(machine: Machine) -> dict[str, tuple[int, State]]:
    held: dict[str, Departed] = machine._state.members.departed
    return {each.id: (each.incarnation, each.state) for each in held.values()}


@given(heard, st.data())
def test_the_order_and_number_of_claims_do_not_matter(items: list[Item], data: st.DataObject) -> None:
    one, other = a_machine("0"), a_machine("0")
    shuffled = data.draw(st.permutations(items))
    again = data.draw(st.lists(st.sampled_from(items), max_size=8)) if items else []
    hear(one, items)
    for item in [*shuffled, *again]:
        hear(other, [item])
    assert live(one) == live(other)
    assert contents(one) == contents(other), "an incarnation stands for what was published under it"
    assert departed(one) == departed(other)
    assert one.view == other.view
    # a suspicion that comes before its record is not kept; as gossip and syncs repeat what they told, it comes again
    hear(one, items)
    hear(other, items)
    assert states(one) == states(other)
    assert one.view == other.view


@given(heard)
def test_hearing_all_a_second_time_changes_nothing_but_suspicions(items: list[Item]) -> None:
    machine = a_machine("0")
    hear(machine, items)
    before = (live(machine), contents(machine), departed(machine), machine.view)
    hear(machine, items)
    assert (live(machine), contents(machine), departed(machine), machine.view) == before
    settled = states(machine)
    hear(machine, items)
    assert states(machine) == settled


@given(heard)
def test_what_is_listed_is_never_what_departed(items: list[Item]) -> None:
    machine = a_machine("0")
    for item in items:
        hear(machine, [item])
        assert not machine.records().keys() & departed(machine).keys()
        assert machine.records()["0"].state is State.ALIVE


@given(heard)
def test_what_is_held_and_what_its_owner_said_before_change_nothing_and_count_as_stale(items: list[Item]) -> None:
    machine = a_machine("0")
    hear(machine, items)
    held = list(machine.records().values())
    earlier = [msgspec.structs.replace(record, incarnation=record.incarnation - 1, status="") for record in held]
    before = (states(machine), contents(machine), departed(machine), machine.view)
    stale = machine.counters.items_stale
    hear(machine, [*held, *(record for record in earlier if not record.epoch)])
    assert (states(machine), contents(machine), departed(machine), machine.view) == before
    assert machine.counters.items_stale - stale >= 2 * len(held) - 1, "whose own record claims to lead is not counted"
