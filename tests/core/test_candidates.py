"""Addresses at which a peer may be."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.swim.candidates import (
    DIAL_INTERVAL_LAST,
    DIAL_PATIENCE,
    GREETERS,
    OWN_ADDRESS_INTERVAL,
    SEED_INTERVAL_LAST,
    STARTING_SHARE,
    Candidates,
    SourceStats,
)

CONFIG = ProtocolConfig(candidates_max=200)


def an_address(number: int) -> Address:
    return Address("10.0.0.1", 1 + number)


def never(_address: Address, _instance_id: str | None) -> bool:
    return False


def a_table(config: ProtocolConfig = CONFIG) -> Candidates:
    return Candidates(config, random.Random(1))


def test_every_address_is_tried_for_ever_however_many_fail_before_it() -> None:
    table = a_table()
    table.offer("seed", tuple(map(an_address, range(200))), None, 0.0)
    tries = dict.fromkeys(map(an_address, range(200)), 0)
    now = 0.0
    while now < 600:
        dialled = table.choose_due(now, 16, without=never)
        now += 2.0  # as long as a call may take
        for address in dialled:
            tries[address] += 1
            table.conclude(address, None, now)
    # 16 at a time, 2 s each: 4,800 dials in all, 24 for each
    assert min(tries.values()) >= 20


@given(st.lists(st.tuples(st.sampled_from(["offer", "dial", "fail", "answer"]), st.integers(0, 4)), max_size=80))
def test_no_address_is_dialled_twice_at_once_and_the_pauses_have_bounds(operations: list[tuple[str, int]]) -> None:
    table = a_table()
    under_way: set[Address] = set()
    failed_at: dict[Address, float] = {}
    now = 0.0
    for name, number in operations:
        now += 0.1
        address = an_address(number)
        if name == "offer":
            table.offer("mdns", (address,), None, now)
        elif name == "dial":
            for due in table.choose_due(now, 2, without=never):
                assert due not in under_way
                under_way.add(due)
                if due in failed_at:
                    assert now - failed_at[due] >= 0.75 * CONFIG.dial_interval_min
        elif address in under_way:
            under_way.discard(address)
            failed_at[address] = now
            table.conclude(address, "peer" if name == "answer" else None, now)
        for candidate in table:
            assert candidate.next_dial <= now + 1.25 * CONFIG.dial_interval_max
            assert candidate.is_dialling == (candidate.address in under_way)


def test_pauses_double_up_to_the_longest() -> None:
    table = a_table()
    table.offer("seed", (an_address(1),), None, 0.0)
    now, pauses = 0.0, []
    for _ in range(10):
        assert table.choose_due(now, 1, without=never) == [an_address(1)]
        table.conclude(an_address(1), None, now)
        due = table.next_dial(without=never)
        assert due is not None
        pauses.append(due - now)
        now = due
    for failures, pause in enumerate(pauses, start=1):
        expected = min(CONFIG.dial_interval_max, CONFIG.dial_interval_min * 2**failures)
        assert 0.75 * expected <= pause <= 1.25 * expected


def test_a_lone_node_tries_a_seed_that_may_be_starting_again_soon_and_other_addresses_later() -> None:
    table = a_table()
    table.offer("seed", (an_address(1),), None, 0.0)
    table.offer("mdns", (an_address(2),), None, 0.0)
    assert len(table.choose_due(0.0, 2, without=never)) == 2
    for number in (1, 2):
        table.conclude(an_address(number), None, 0.0, is_alone=True)
    seed, other = table
    assert seed.next_dial <= 1.25 * 0.4 * CONFIG.dial_interval_min
    assert other.next_dial >= 0.75 * 2 * CONFIG.dial_interval_min


def fail_until(table: Candidates, end: float, now: float = 0.0) -> float:
    """Dial the only address in vain whenever it is due; the pause after the last dial."""
    while (due := table.next_dial(without=never)) is not None and due < end:
        now = due
        assert table.choose_due(now, 1, without=never)
        table.conclude(an_address(1), None, now)
    assert due is not None
    return due - now


def test_who_failed_for_long_and_was_not_seen_again_is_dialled_ever_more_rarely() -> None:
    table = a_table()
    table.offer("cache", (an_address(1),), "a", 0.0)
    assert fail_until(table, DIAL_PATIENCE) <= 1.25 * CONFIG.dial_interval_max
    assert fail_until(table, 10 * DIAL_PATIENCE) >= 0.75 * DIAL_INTERVAL_LAST
    assert fail_until(table, 40 * DIAL_PATIENCE) <= 1.25 * DIAL_INTERVAL_LAST


@pytest.mark.parametrize("instance_id", ["a", "b", None])
def test_a_new_sighting_of_who_failed_for_long_has_it_dialled_at_once(instance_id: str | None) -> None:
    table = a_table()
    table.offer("cache", (an_address(1),), "a", 0.0)
    now = 10 * DIAL_PATIENCE
    fail_until(table, now)
    table.offer("mdns", (an_address(1),), instance_id, now)
    assert table.next_dial(without=never) == now
    assert fail_until(table, now + 0.9 * DIAL_PATIENCE, now) <= 1.25 * CONFIG.dial_interval_max


def test_a_seed_at_which_nobody_is_is_dialled_more_rarely_though_it_is_named_again_and_again() -> None:
    table = a_table()
    pause = now = 0.0
    while now < 2 * DIAL_PATIENCE:
        table.offer("seed", (an_address(1),), None, now)
        now += 30.0
        pause = fail_until(table, now, now - 30.0)
    assert 0.75 * SEED_INTERVAL_LAST <= pause <= 1.25 * SEED_INTERVAL_LAST
    table.offer("mdns", (an_address(1),), None, now)
    assert table.next_dial(without=never) == now


def test_a_node_that_moved_tries_all_whom_it_did_not_reach_at_once() -> None:
    table = a_table()
    table.offer("seed", (an_address(1),), None, 0.0)
    now = 2 * DIAL_PATIENCE
    fail_until(table, now)
    table.move(now)
    assert table.next_dial(without=never) == now
    assert fail_until(table, now + 0.9 * DIAL_PATIENCE, now) <= 1.25 * CONFIG.dial_interval_max


def test_the_address_of_who_was_lost_is_dialled_often_however_long_ago_it_was_seen() -> None:
    table = a_table()
    table.offer("cache", (an_address(1),), "a", 0.0)
    table.expect("a", 5000.0)
    assert table.choose_due(5000.0, 1, without=never)
    table.conclude(an_address(1), None, 5000.0)
    assert fail_until(table, 5000.0 + DIAL_PATIENCE, 5000.0) <= 1.25 * CONFIG.dial_interval_max


def test_an_own_address_is_dialled_again_after_an_hour_or_when_another_is_said_to_be_there() -> None:
    table = a_table()
    table.offer("seed", (an_address(1),), None, 0.0)
    table.choose_due(0.0, 1, without=never)
    table.conclude(an_address(1), "me", 0.0, is_own=True)
    for source, instance_id in (("seed", None), ("mdns", "me")):
        table.offer(source, (an_address(1),), instance_id, 1.0)
        assert table.choose_due(0.7 * OWN_ADDRESS_INTERVAL, 1, without=never) == []
    assert table.choose_due(1.3 * OWN_ADDRESS_INTERVAL, 1, without=never) == [an_address(1)]
    table.conclude(an_address(1), "me", 5000.0, is_own=True)
    table.offer("mdns", (an_address(1),), "other", 5001.0)
    assert table.choose_due(5001.0, 1, without=never) == [an_address(1)]


def test_a_full_table_gives_up_who_failed_most_and_nobody_who_did_not_fail() -> None:
    table = a_table(ProtocolConfig(candidates_max=2))
    table.offer("seed", (an_address(1), an_address(2)), None, 0.0)
    table.offer("seed", (an_address(3),), None, 0.0)
    assert [candidate.address for candidate in table] == [an_address(1), an_address(2)]
    for _ in range(3):
        assert an_address(2) in table.choose_due(1e6, 9, without=lambda address, _id: address == an_address(1))
        table.conclude(an_address(2), None, 0.0)
    table.offer("seed", (an_address(3),), None, 0.0)
    assert [candidate.address for candidate in table] == [an_address(1), an_address(3)]


def test_who_is_being_dialled_is_not_given_up() -> None:
    table = a_table(ProtocolConfig(candidates_max=1))
    table.offer("seed", (an_address(1),), None, 0.0)
    for _ in range(5):
        table.choose_due(1e6, 1, without=never)
        table.conclude(an_address(1), None, 0.0)
    table.choose_due(1e6, 1, without=never)
    table.offer("seed", (an_address(2),), None, 0.0)
    assert [candidate.address for candidate in table] == [an_address(1)]
    table.conclude(an_address(1), None, 1e6)


def test_an_address_whose_peer_is_another_now_is_dialled_at_once() -> None:
    table = a_table()
    table.offer("mdns", (an_address(1),), "a", 0.0)
    table.choose_due(0.0, 1, without=never)
    table.conclude(an_address(1), None, 0.0)
    table.offer("mdns", (an_address(1),), "a", 0.1)
    assert table.choose_due(0.1, 1, without=never) == []
    table.offer("mdns", (an_address(1),), "b", 0.1)
    assert table.choose_due(0.1, 1, without=never) == [an_address(1)]


def test_a_seed_that_does_not_answer_is_tried_again_sooner_than_one_that_answers_and_is_not_listed() -> None:
    table = a_table()
    for number, answers in enumerate((None, "peer")):
        table.offer("seed", (an_address(number),), None, 0.0)
        table.choose_due(0.0, 1, without=never)
        table.conclude(an_address(number), answers, 0.0, is_alone=True)
    silent, answering = (candidate.next_dial for candidate in table)
    assert silent <= 1.25 * STARTING_SHARE * 2 * CONFIG.dial_interval_min
    assert 0.75 * CONFIG.dial_interval_min <= answering <= 1.25 * CONFIG.dial_interval_min


def test_who_is_needless_is_kept_and_not_dialled() -> None:
    table = a_table()
    table.offer("mdns", (an_address(1),), "a", 0.0)
    assert table.choose_due(0.0, 1, without=lambda _address, instance_id: instance_id == "a") == []
    assert table.next_dial(without=lambda _address, instance_id: instance_id == "a") is None
    assert table.next_dial(without=never) == 0.0


def test_a_call_back_does_not_wait_for_its_turn_but_is_not_made_twice_in_a_moment() -> None:
    table = a_table()
    assert not table.reserve(an_address(1), 0.0)
    table.offer("packet", (an_address(1),), "a", 0.0)
    assert table.reserve(an_address(1), 0.0)
    assert not table.reserve(an_address(1), 0.0)
    table.conclude(an_address(1), None, 0.0)
    assert not table.reserve(an_address(1), 0.1)
    assert table.reserve(an_address(1), 0.3)


def test_a_candidate_says_who_told_of_it_and_how_it_went() -> None:
    table = a_table()
    table.offer("mdns", (an_address(1),), "a", 0.0)
    table.offer("seed", (an_address(1),), "a", 0.0)
    assert repr(next(iter(table))).startswith("<Candidate 10.0.0.1:2 from mdns+seed id='a' successes=0 failures=0")


def test_what_each_source_is_worth_is_counted() -> None:
    table = a_table()
    table.offer("mdns", tuple(map(an_address, (1, 2, 3))), None, 0.0)
    table.offer("seed", (an_address(1),), None, 0.0)
    table.choose_due(0.0, 2, without=never)
    table.conclude(an_address(1), "a", 0.0)
    table.conclude(an_address(2), None, 0.0)
    assert table.statistics() == {"mdns": SourceStats(3, 1, 1), "seed": SourceStats(1, 1, 0)}
    table.choose_due(1e6, 1, without=lambda address, _: address != an_address(1))
    table.conclude(an_address(1), None, 1e6)
    assert table.statistics()["seed"] == SourceStats(1, 0, 1)


@pytest.mark.parametrize("count", [0, -3])
def test_without_room_nobody_is_dialled(count: int) -> None:
    table = a_table()
    table.offer("seed", (an_address(1),), None, 0.0)
    assert table.choose_due(0.0, count, without=never) == []


def test_of_many_nodes_that_see_a_newcomer_a_few_dial_it_at_once_and_all_do_soon() -> None:
    tables = [Candidates(CONFIG, random.Random(seed)) for seed in range(1000)]
    for table in tables:
        table.offer("mdns", (an_address(1),), "n1", 5.0, nodes=100)
    dialled = sum(len(table.choose_due(5.0, 16, without=never)) for table in tables)
    assert GREETERS * 0.5 <= dialled / 10 <= GREETERS * 1.5
    dialled += sum(len(table.choose_due(5.0 + 3 * CONFIG.dial_interval_min, 16, without=never)) for table in tables)
    assert dialled == 1000


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_in_a_small_mesh_each_dials_whom_it_sees_at_once(nodes: int) -> None:
    table = a_table()
    table.offer("mdns", tuple(map(an_address, range(10))), None, 5.0, nodes=nodes)
    assert len(table.choose_due(5.0, 16, without=never)) == 10


def test_an_address_that_answered_is_tried_as_often_again_as_at_first() -> None:
    table = a_table()
    table.offer("seed", (an_address(1),), None, 0.0)
    now = pause = 0.0
    for answer in (None, None, None, None, None, "a", None):
        assert table.choose_due(now, 1, without=never)
        table.conclude(an_address(1), answer, now)
        due = table.next_dial(without=never)
        assert due is not None
        pause, now = due - now, due
    assert pause <= 1.25 * 2 * CONFIG.dial_interval_min
    assert table.statistics()["seed"] == SourceStats(1, 0, 1)
