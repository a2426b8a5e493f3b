"""Ids of messages: they increase whatever the clock does, and tell which node made them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.mail.uuid7 import MessageIds, is_uuid7, node_bits_of
from meshp2p.core.record import tag_of

times = st.lists(st.integers(0, (1 << 47) - 1) | st.integers(1_700_000_000_000, 1_700_000_000_005), max_size=50)


@given(times, st.integers(0, 100))
def test_ids_increase_whatever_the_clock_does_and_bear_their_node(clock: list[int], burst: int) -> None:
    ids = MessageIds(tag_of("node"), random.Random(1))
    made = [ids.next(time) for time in clock for _ in range(burst)]
    assert made == sorted(set(made))
    assert all(is_uuid7(one) and node_bits_of(one) == tag_of("node") >> 32 for one in made)


def test_ids_of_one_millisecond_without_end_increase_too() -> None:
    ids = MessageIds(tag_of("node"), random.Random(1))
    made = [ids.next(1_700_000_000_000) for _ in range(10_000)]
    assert made == sorted(set(made))


@given(times)
def test_ids_go_on_behind_those_of_an_earlier_life(clock: list[int]) -> None:
    earlier, later = MessageIds(tag_of("node"), random.Random(1)), MessageIds(tag_of("node"), random.Random(2))
    made = [earlier.next(time) for time in clock]
    for one in made:
        later.skip(one)
    after = later.next(0)
    assert all(one < after for one in made)
    assert node_bits_of(after) == tag_of("node") >> 32


def test_what_is_no_uuid_tells_no_node() -> None:
    assert node_bits_of("no id") is None
