"""What the virtual network does to what it carries."""

from __future__ import annotations

import itertools
import random

import pytest

from meshp2p.simulation.simulation import run
from meshp2p.virtual.faults import (
    ALL_KINDS,
    Blocked,
    Bursts,
    Corrupted,
    Crash,
    Delayed,
    Duplicated,
    Fault,
    Forged,
    Forgery,
    Kind,
    Lossy,
    OneWay,
    Oversized,
    Partition,
    Reordered,
)
from meshp2p.virtual.impairments import Flight, impairment_of
from meshp2p.virtual.rules import rule_of
from meshp2p.virtual.trace import What
from tests.simulation.simulated import a_mesh, a_schedule


def verdicts(fault: Fault, now: float = 0.0, kind: Kind = Kind.UDP) -> dict[str, bool]:
    """Which of the ways among a, b and c are open."""
    rule = rule_of(fault)
    assert rule is not None
    return {one + other: not rule(one, other, now, kind) for one in "abc" for other in "abc" if one != other}


def test_a_partition_cuts_groups_both_ways_and_who_is_in_none_sees_all() -> None:
    open_ways = verdicts(Partition(groups=(("a",), ("b",))))
    assert [way for way, is_open in open_ways.items() if not is_open] == ["ab", "ba"]


def test_a_flapping_partition_is_cut_for_the_first_half_of_each_period() -> None:
    fault = Partition(begin=10.0, groups=(("a",), ("b",)), period=4.0)
    assert [verdicts(fault, now)["ab"] for now in (10.0, 11.9, 12.0, 13.9, 14.0)] == [False, False, True, True, False]


def test_one_way_cuts_one_way() -> None:
    open_ways = verdicts(OneWay(senders=("a",), receivers=("b", "c")))
    assert [way for way, is_open in open_ways.items() if not is_open] == ["ab", "ac"]


def test_a_kind_can_be_blocked_while_another_lives() -> None:
    fault = Blocked(kinds=(Kind.UDP,), nodes=("a",))
    assert not verdicts(fault)["ab"]
    assert verdicts(fault)["bc"]
    assert all(verdicts(fault, kind=Kind.TCP).values())


def test_a_rule_is_pure() -> None:
    rule = rule_of(Partition(groups=(("a",), ("b",)), period=3.0))
    assert rule is not None
    first = [rule("a", "b", now / 10, Kind.UDP) for now in range(100)]
    assert first == [rule("a", "b", now / 10, Kind.UDP) for now in range(100)]
    assert any(first)


def flights(fault: Fault, count: int, kind: Kind = Kind.UDP, packet_bytes: int = 100) -> list[Flight]:
    impairment = impairment_of(fault, random.Random(1).random)
    assert impairment is not None
    found = [Flight("a", "b", number * 0.1, kind, lambda: packet_bytes) for number in range(count)]
    for flight in found:
        if impairment.concerns(flight):
            impairment.apply(flight)
    return found


def test_loss_takes_its_share_of_datagrams_and_only_delays_tcp() -> None:
    lost = sum(bool(flight.dropped) for flight in flights(Lossy(probability=0.3), 5000))
    assert 0.27 < lost / 5000 < 0.33
    late = flights(Lossy(probability=0.3, kinds=(Kind.TCP,)), 1000, Kind.TCP)
    assert not any(flight.dropped for flight in late)
    assert sum(flight.delay > 0 for flight in late) > 200


def test_bursts_lose_in_runs() -> None:
    lost = [bool(flight.dropped) for flight in flights(Bursts(good=5.0, bad=1.0, loss_bad=1.0), 20_000)]
    share = sum(lost) / len(lost)
    assert 0.12 < share < 0.22  # bad / (good + bad)
    followed = sum(one and other for one, other in itertools.pairwise(lost)) / sum(lost)
    assert followed > 0.8  # independent losses would follow one another with the probability of one


def test_other_impairments_do_what_they_say() -> None:
    assert all(flight.copies for flight in flights(Duplicated(probability=1.0), 10))
    assert all(0 < flight.delay <= 0.05 for flight in flights(Reordered(probability=1.0), 10))
    assert all(0.5 <= flight.delay <= 0.7 for flight in flights(Delayed(seconds=0.5, jitter=0.2), 10))
    assert [bool(flights(Oversized(bytes_max=99), 1, packet_bytes=size)[0].dropped) for size in (99, 100)] == [0, 1]
    assert all(flight.is_corrupted for flight in flights(Corrupted(probability=1.0), 10))
    assert not any(flight.copies for flight in flights(Duplicated(probability=1.0, nodes=("c",)), 10))


def test_a_dead_process_refuses_calls_and_a_dead_machine_is_silent() -> None:
    for is_silent in (False, True):
        simulation = a_mesh(Crash(begin=5.0, node="n1", is_silent=is_silent), until=15.0)
        assert simulation.trace is not None
        failures = {entry.detail.failure for entry in simulation.trace if entry.what is What.FAIL}
        # a watch connection breaks where a process dies, and not where its machine does
        assert failures == ({"timeout"} if is_silent else {"refused", "unreachable"})


def test_udp_can_be_dead_while_calls_are_answered() -> None:
    simulation = a_mesh(Blocked(begin=5.0, kinds=(Kind.UDP,)), until=30.0)
    assert simulation.trace is not None
    after = [entry for entry in simulation.trace if entry.at > 5.1]
    assert not [entry for entry in after if entry.what is What.RECEIVE]
    assert [entry for entry in after if entry.what is What.REPLY]


@pytest.mark.parametrize("what", list(Forgery))
def test_what_an_attacker_sends_is_refused_or_changes_nothing(what: Forgery) -> None:
    result = run(a_schedule(Forged(begin=10.0, end=40.0, what=what, rate=50.0)))
    assert result.violations == ()
    assert result.faults["Forged"] > 1000
    assert result.false_deaths == 0
    if what not in (Forgery.REPLAY, Forgery.CLAIM):  # these are well-formed packets of the mesh
        assert result.traffic.refused > 1000


def test_corrupted_datagrams_are_refused_and_the_mesh_bears_it() -> None:
    result = run(a_schedule(Corrupted(begin=10.0, end=40.0, probability=0.3)))
    assert result.violations == ()
    assert result.faults["Corrupted"] > 100


def test_through_wire_bytes_are_counted_and_the_run_is_whole() -> None:
    result = run(a_schedule(through_wire=True))
    assert result.violations == ()
    assert 0 < result.traffic.packet_bytes_max <= 1232
    assert result.traffic.packet_bytes > result.traffic.datagrams * 20


def test_all_kinds_are_cut_by_default() -> None:
    assert Partition(groups=(("a",), ("b",))).kinds == ALL_KINDS
