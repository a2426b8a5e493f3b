"""Whose turn it is to be probed, and who is drawn."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.directory.nodes import Nodes, probe_offset

names = st.lists(st.text("abcdefgh", min_size=1, max_size=2), unique=True, min_size=1, max_size=20)
periods = st.lists(st.integers(0, 10**10), min_size=100, max_size=100)


def nodes_of(listed: list[str]) -> Nodes:
    nodes = Nodes()
    for node_id in listed:
        nodes.add(node_id)
    return nodes


def test_a_node_alone_has_nobody_to_probe() -> None:
    assert nodes_of(["a"]).choose_next("a", 7, random.Random(0)) is None


@given(names, st.integers(0, 10**10))
def test_each_node_is_probed_by_exactly_one_other_in_each_period(listed: list[str], first: int) -> None:
    draw = random.Random(0)
    tables = {own: nodes_of(listed) for own in listed}
    for period in range(first, first + 5):
        chosen = {own: nodes.choose_next(own, period, draw) for own, nodes in tables.items()}
        if len(listed) > 1:
            assert sorted(filter(None, chosen.values())) == sorted(listed)
            assert all(own != other for own, other in chosen.items())


@given(st.integers(1, 300), st.integers(0, 10**10))
def test_each_offset_comes_once_in_as_many_periods_as_there_are_others(others: int, first: int) -> None:
    offsets = [probe_offset(period, others) for period in range(first, first + others)]
    assert sorted(offsets) == list(range(1, others + 1))


@given(names, periods, st.integers(0, 99))
def test_whatever_clocks_show_each_has_its_turn_in_each_round_of_two_periods_for_each_other(
    listed: list[str], shown: list[int], seed: int
) -> None:
    nodes, draw, own = nodes_of(listed), random.Random(seed), listed[0]
    others = len(listed) - 1
    waiting, turns = {*listed} - {own}, 0
    for period in shown if others else []:
        waiting.discard(nodes.choose_next(own, period, draw) or "")
        turns += 1
        assert turns <= 2 * others
        if not waiting:
            waiting, turns = {*listed} - {own}, 0


@given(names, st.integers(0, 99))
def test_under_a_clock_that_stands_still_each_has_its_turn_once_in_a_round(listed: list[str], seed: int) -> None:
    nodes, draw, own = nodes_of(listed), random.Random(seed), listed[-1]
    others = sorted(set(listed) - {own})
    for _ in range(3):
        assert sorted(nodes.choose_next(own, 5, draw) or "" for _ in others) == others


@given(names, st.integers(0, 20), st.integers(1, 20), st.integers(0, 99))
def test_who_comes_or_goes_within_a_round_takes_no_turn_from_the_others(
    listed: list[str], turns: int, place: int, seed: int
) -> None:
    nodes, draw, own = nodes_of(listed), random.Random(seed), listed[0]
    turns = min(turns, len(listed) - 1)
    had = [nodes.choose_next(own, period, draw) for period in range(turns)]
    gone = (listed[1:] or ["never listed"])[place % max(1, len(listed) - 1)]
    if gone in listed:
        nodes.remove(gone)
    nodes.add("newcomer")
    waiting = {node_id for node_id in listed[1:] if node_id not in had and node_id != gone} | {"newcomer"}
    chosen = {nodes.choose_next(own, turns + period, draw) for period in range(2 * len(nodes))}
    assert waiting <= chosen
    assert gone not in chosen
    assert list(nodes) == sorted({*listed, "newcomer"} - {gone})


@given(names, st.integers(0, 25), st.integers(0, 99))
def test_as_many_are_drawn_as_there_are_and_nobody_twice(listed: list[str], count: int, seed: int) -> None:
    without = listed[:2]
    drawn = nodes_of(listed).draw(random.Random(seed), count, *without)
    assert len(set(drawn)) == len(drawn) == min(count, len(listed) - len(without))
    assert set(drawn) <= set(listed) - set(without)


def test_where_all_are_drawn_their_order_is_random() -> None:
    nodes, draw = nodes_of(["a", "b", "c", "d"]), random.Random(0)
    assert {nodes.draw(draw, 4, "a")[0] for _ in range(50)} == {"b", "c", "d"}


@given(names, st.text("abcdefgh", min_size=1, max_size=2))
def test_the_ring_goes_round_once_either_way_and_without_the_one_it_begins_at(listed: list[str], own: str) -> None:
    nodes = nodes_of(listed)
    others = sorted(set(listed) - {own})
    expected = sorted(others, key=lambda node_id: (node_id < own, node_id))
    assert list(nodes.successors(own)) == expected
    assert list(nodes.predecessors(own)) == expected[::-1]


@pytest.mark.parametrize("seed", range(10))
def test_a_round_goes_on_when_a_node_leaves_the_ring_in_it(seed: int) -> None:
    draw = random.Random(seed)
    listed = [f"n{number}" for number in range(8)]
    nodes = nodes_of(listed)
    turns = itertools.count(draw.randrange(0, 1000))
    for _ in range(draw.randrange(1, 6)):
        nodes.choose_next("n3", next(turns), draw)
    gone = draw.choice([name for name in listed if name != "n3"])
    nodes.remove(gone)
    others = set(listed) - {gone, "n3"}
    for _ in range(5):
        chosen = [nodes.choose_next("n3", next(turns), draw) for _ in range(2 * len(others))]
        assert set(chosen) == others
