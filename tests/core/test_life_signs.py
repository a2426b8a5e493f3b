"""When each instance last gave a sign of life."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.directory.life_signs import LifeSigns
from meshp2p.core.directory.tags import Tags
from meshp2p.core.record import tag_of

IDS = ("a", "b", "c", "d")
by_tag = {tag_of(instance_id): instance_id for instance_id in IDS}

steps = st.lists(
    st.tuples(
        st.floats(0, 5),
        st.one_of(
            st.tuples(st.just("note"), st.integers(0, 2), st.sampled_from(IDS)),
            st.tuples(st.just("restart"), st.integers(0, 2), st.just("")),
            st.tuples(st.just("tell"), st.integers(0, 2), st.integers(0, 2)),
        ),
    ),
    max_size=60,
)


@given(steps)
def test_however_often_it_is_passed_on_a_sign_of_life_gets_no_later_than_it_was(
    steps: list[tuple[float, tuple[str, int, str | int]]],
) -> None:
    nodes = [LifeSigns() for _ in range(3)]
    oracle = dict.fromkeys(IDS, 0.0)
    listed_at = [0.0, 0.0, 0.0]
    for node in nodes:
        for instance_id in IDS:
            node.assume(instance_id, 0.0)
    now = 0.0
    for pause, (name, index, other) in steps:
        now += pause
        before = [[node[instance_id] or 0.0 for instance_id in IDS] for node in nodes]
        if name == "note":
            nodes[index].note(str(other), now)
            oracle[str(other)] = now
        elif name == "restart":
            listed_at[index] = now
            for instance_id in IDS:
                nodes[index].forget(instance_id)
                nodes[index].assume(instance_id, now)
        else:
            ages = nodes[index].pack(4, now)
            nodes[int(other)].unpack(ages, now)
        for node, known_before, since in zip(nodes, before, listed_at, strict=True):
            for instance_id, known in zip(IDS, known_before, strict=True):
                heard = node[instance_id]
                assert heard is not None
                assert heard >= known, "it went back"
                assert heard <= max(since, oracle[instance_id]) + 1e-6


def test_that_an_instance_is_listed_is_no_sign_of_life_for_others_until_it_gives_one() -> None:
    newcomer, there = LifeSigns(), LifeSigns()
    there.note("a", 10.0)
    newcomer.assume("a", 50.0)
    assert newcomer["a"] == 50.0
    assert newcomer.pack(4, 50.0) == ()
    assert newcomer.age("a", 50.0) == 3600.0
    newcomer.unpack(there.pack(4, 60.0), 60.0)
    assert newcomer.pack(4, 60.0) == (), "what it was told is older than what it shows"
    newcomer.note("a", 70.0)
    there.unpack(newcomer.pack(4, 71.0), 71.0)
    assert there["a"] == 70.0


def test_an_age_is_told_to_a_tenth_of_a_second() -> None:
    here, there = LifeSigns(), LifeSigns()
    here.note("a", 10.0)
    there.note("a", 0.0)
    there.unpack(here.pack(1, 12.34), 12.34)
    assert there["a"] == pytest.approx(9.94)


def test_news_go_ahead_and_then_each_has_its_turn() -> None:
    life = LifeSigns()
    for instance_id in IDS:
        life.note(instance_id, 0.0)
    assert len(life.pack(4, 0.0)) == 8  # all of them were news
    life.note("c", 10.0)
    first = life.pack(1, 10.0)
    assert first == (tag_of("c"), 0)
    turns = [by_tag[life.pack(1, 10.0)[0]] for _ in range(8)]
    assert sorted(turns) == sorted(IDS * 2)


def test_nothing_is_kept_or_told_of_who_is_not_listed() -> None:
    life = LifeSigns()
    life.note("a", 1.0)
    life.forget("a")
    life.unpack((tag_of("a"), 0, tag_of("b"), 0, 12345, 0, 99), 2.0)
    assert life["a"] is None
    assert life["b"] is None
    assert life.pack(3, 2.0) == ()


def test_an_absurd_age_is_taken_as_the_greatest() -> None:
    life = LifeSigns()
    life.note("a", 100_000.0)
    life.unpack((tag_of("a"), (1 << 64) - 1), 100_001.0)
    assert life["a"] == 100_000.0
    assert life.pack(1, 1e9) == (tag_of("a"), 36_000)


def test_signs_of_life_are_forgotten_with_their_instance_however_many_come_and_go() -> None:
    life = LifeSigns()
    for number in range(10_000):
        life.note(f"n{number}", float(number))
        life.forget(f"n{number}")
    assert len(life._turn) == len(life._tags.ids) == 0
    assert len(life._heard) == len(life._assumed) == 2
    assert len(life._news) <= 256


def test_nodes_that_share_tags_keep_their_own_signs_of_life() -> None:
    tags = Tags()
    here, there = LifeSigns(tags), LifeSigns(tags)
    for instance_id in IDS:
        there.note(instance_id, 1.0)
    assert here.pack(4, 2.0) == ()
    here.unpack(there.pack(4, 2.0), 2.0)
    here.note_listed(tag_of("d"), 3.0)
    assert [here[instance_id] for instance_id in IDS] == [None] * 4, "it lists none of them"
    here.note("d", 3.0)
    there.forget("d")
    assert (here["d"], there["d"], here["a"]) == (3.0, None, None)
    assert here.pack(4, 3.0) == (tag_of("d"), 0)
