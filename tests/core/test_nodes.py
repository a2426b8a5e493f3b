"""Whose turn it is to be probed, and who is drawn."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.nodes import Nodes

names = st.lists(st.text("abcdefgh", min_size=1, max_size=2), unique=True, min_size=1, max_size=20)


def nodes_of(listed: list[str]) -> Nodes:
    nodes = Nodes()
    for node_id in listed:
        nodes.add(node_id)
    return nodes


@given(names, st.integers(0, 99))
def test_each_has_its_turn_once_in_a_round(listed: list[str], seed: int) -> None:
    nodes, draw = nodes_of(listed), random.Random(seed)
    for _ in range(3):
        assert sorted(nodes.draw_next(draw) for _ in listed) == sorted(listed)


@given(names, st.integers(0, 20), st.integers(0, 20), st.integers(0, 99))
def test_who_goes_within_a_round_changes_no_turn_of_the_others(
    listed: list[str], turns: int, place: int, seed: int
) -> None:
    nodes, draw = nodes_of(listed), random.Random(seed)
    turns = min(turns, len(listed))
    had = [nodes.draw_next(draw) for _ in range(turns)]
    gone = listed[place % len(listed)]
    nodes.remove(gone)
    nodes.add("newcomer")
    waiting = [node_id for node_id in listed if node_id not in had and node_id != gone]
    assert sorted(nodes.draw_next(draw) for _ in range(len(waiting) + 1)) == sorted([*waiting, "newcomer"])
    assert len(nodes) == len(listed)


@given(names, st.integers(0, 25), st.integers(0, 99))
def test_as_many_are_drawn_as_there_are_and_nobody_twice(listed: list[str], count: int, seed: int) -> None:
    without = listed[:2]
    drawn = nodes_of(listed).draw(random.Random(seed), count, *without)
    assert len(set(drawn)) == len(drawn) == min(count, len(listed) - len(without))
    assert set(drawn) <= set(listed) - set(without)


def test_a_newcomer_is_probed_after_half_a_round_on_average() -> None:
    waits = []
    for seed in range(400):
        nodes, draw = nodes_of([f"n{number}" for number in range(20)]), random.Random(seed)
        nodes.draw_next(draw)
        nodes.add("newcomer")
        waits.append(next(turn for turn in range(1, 21) if nodes.draw_next(draw) == "newcomer"))
    assert 9 < sum(waits) / len(waits) < 12
