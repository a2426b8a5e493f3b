"""News that is told at once: by its author to a node of each arc, and by these to the others in their arcs."""

from __future__ import annotations

import pytest

from meshp2p.core.datagrams import Datagram, Gossip, Ping
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Effect
from meshp2p.core.machine import Machine
from meshp2p.core.record import Item, Record, Rumour, State, tag_of
from tests.core.builders import ELSEWHERE, a_machine, a_record, hear, run_until, sends

CALM = 10.0
"""A time at which all that was heard at first has been gossiped."""


def a_mesh(nodes: int) -> list[Record]:
    return [a_record(f"n{number:03}") for number in range(nodes)]


def a_member(name: str, records: list[Record]) -> Machine:
    """The machine of one of these nodes, which lists all others and has nothing to gossip."""
    machine = a_machine(name)
    hear(machine, [record for record in records if record.id != name])
    for timer in Timer.PROBE, Timer.CONTACT:  # nobody answers, and yet all stay listed
        machine._state.timers.cancel(timer)
    run_until(machine, CALM)
    assert not len(machine._state.gossip)
    return machine


def tellings(effects: list[Effect], item: Item, records: list[Record]) -> list[str]:
    """Those to whom the item is sent in packets without ages."""
    names = {record.addresses[0]: record.id for record in records}
    return [names[send.address] for send in sends(effects) if item in send.datagram.items and not send.datagram.ages]


@pytest.mark.parametrize("nodes", [2, 3, 17, 18, 40, 128, 250])
def test_news_reaches_each_node_once_and_in_two_hops(nodes: int) -> None:
    records = a_mesh(nodes)
    author = a_member("n001", records)
    effects = author.report("busy", "{}", CALM)
    first = tellings(effects, author.own, records)
    assert len(first) == min(16, nodes - 1)
    heard = list(first)
    for name in first:
        teller = a_member(name, records)
        heard += tellings(hear(teller, [author.own], CALM, sender="n001"), author.own, records)
    assert sorted(heard) == [record.id for record in records if record.id != "n001"]


def test_who_was_told_gossips_later_and_who_heard_it_by_gossip_at_once() -> None:
    records = a_mesh(12)
    news = a_record("n003", 2)
    for ages, pause in ((), 0.05), ((tag_of("n004"), 5), 0.0):
        machine = a_member("n007", records)
        machine.receive(Datagram(Gossip(tag_of("n003")), (news,), ages), ELSEWHERE, CALM)
        assert machine._state.timers.deadline(Timer.GOSSIP) == pytest.approx(CALM + pause)
    machine = a_member("n007", records)
    machine.receive(Datagram(Ping(7, tag_of("n003"), tag_of("n007"), 0), (news,)), ELSEWHERE, CALM)
    assert machine._state.timers.deadline(Timer.GOSSIP) == CALM


@pytest.mark.parametrize("nodes", [40, 300])
def test_news_that_one_of_many_heard_from_another_than_its_author_is_not_passed_on_at_once(nodes: int) -> None:
    records = a_mesh(nodes)
    machine = a_member("n007", records)
    assert tellings(hear(machine, [a_record("n003", 2)], CALM, sender="n004"), a_record("n003", 2), records) == []


def test_while_there_is_other_gossip_arcs_hear_all_by_gossip() -> None:
    records = a_mesh(40)
    machine = a_member("n007", records)
    hear(machine, [a_record("n005", 2)], CALM, sender="n004")
    assert tellings(hear(machine, [a_record("n003", 2)], CALM, sender="n003"), a_record("n003", 2), records) == []
    assert machine._state.timers.deadline(Timer.GOSSIP) == CALM


def test_in_a_mesh_of_thousands_arcs_are_not_told() -> None:
    records = a_mesh(300)
    machine = a_member("n007", records)
    assert tellings(hear(machine, [a_record("n003", 2)], CALM, sender="n003"), a_record("n003", 2), records) == []
    assert machine._state.timers.deadline(Timer.GOSSIP) == CALM


def test_suspects_are_not_told() -> None:
    records = a_mesh(40)
    machine = a_member("n008", records)
    hear(machine, [Rumour("n009", 1, State.SUSPECT, "n030")], CALM)
    machine._state.gossip.discard("n009")
    news = a_record("n003", 2)
    assert tellings(hear(machine, [news], CALM, sender="n003"), news, records) == ["n010"]


def test_a_node_that_was_held_dead_tells_those_that_it_holds_dead() -> None:
    records = a_mesh(12)
    machine = a_member("n001", records)
    halves = [record for record in records if record.id > "n005"]
    hear(machine, [Rumour(record.id, 1, State.DEAD, "n002") for record in halves], CALM)
    effects = hear(machine, [Rumour("n001", machine.own.incarnation, State.DEAD, "n009")], CALM + 20)
    for record in halves:
        [packet] = [send.datagram for send in sends(effects) if send.address == record.addresses[0]]
        items = Rumour(record.id, 1, State.DEAD, "n002"), machine.own
        assert packet == Datagram(Gossip(tag_of("n001")), items)
    assert set(tellings(effects, machine.own, records)) == {record.id for record in records if record.id != "n001"}
