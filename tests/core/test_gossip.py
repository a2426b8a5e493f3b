"""What is told first, how often, and how much at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.directory.gossip import GossipQueue, item_bytes
from meshp2p.core.record import Item, Rumour, State
from tests.core.builders import a_record, claims

BIG = 10_000


def ids(items: tuple[Item, ...]) -> list[str]:
    return [item.id for item in items]


def a_rumour(instance_id: str, incarnation: int = 1) -> Rumour:
    return Rumour(instance_id, incarnation, State.DEAD)


def test_the_least_told_go_first_and_of_these_the_newest() -> None:
    queue = GossipQueue(BIG)
    size = item_bytes(a_rumour("a"))
    for instance_id in "abcd":
        queue.put(a_rumour(instance_id))
    assert ids(queue.pop_items(2 * size, 9)) == ["d", "c"]
    queue.put(a_rumour("e"))
    assert ids(queue.pop_items(2 * size, 9)) == ["e", "b"]
    assert ids(queue.pop_items(5 * size, 9))[0] == "a"


def test_a_newer_item_about_an_id_replaces_the_older_and_is_told_anew() -> None:
    queue = GossipQueue(BIG)
    queue.put(a_rumour("a", 1))
    queue.pop_items(BIG, 2)
    queue.put(a_rumour("a", 2))
    assert len(queue) == 1
    assert [queue.pop_items(BIG, 2) for _ in range(3)] == [(a_rumour("a", 2),)] * 2 + [()]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), claims),
        st.tuples(st.just("take"), st.integers(0, 400)),
        st.tuples(st.just("discard"), st.sampled_from("abcd")),
    ),
    max_size=60,
)


@given(operations, st.integers(1, 6))
def test_nothing_is_told_too_often_or_above_the_budget_or_after_it_was_replaced(
    operations: list[tuple[str, object]], retransmits: int
) -> None:
    queue = GossipQueue(BIG)
    latest: dict[str, Item] = {}
    counts: dict[str, int] = {}
    for name, argument in operations:
        if name == "put":
            assert not isinstance(argument, (int, str))
            item: Item = argument  # type: ignore[assignment]  # drawn from claims
            queue.put(item)
            latest[item.id], counts[item.id] = item, 0
        elif name == "discard":
            queue.discard(str(argument))
            latest.pop(str(argument), None)
        elif isinstance(argument, int):
            held = dict(counts)
            taken = queue.pop_items(argument, retransmits)
            assert sum(map(item_bytes, taken)) <= argument
            assert len(set(ids(taken))) == len(taken)
            told = [held[item.id] for item in taken]
            assert told == sorted(told), "the least told go first"
            for item in taken:
                assert latest[item.id] == item
                counts[item.id] += 1
                assert counts[item.id] <= retransmits
                if counts[item.id] == retransmits:
                    del latest[item.id]
        assert len(queue) == len(latest)
        assert all(instance_id in queue for instance_id in latest)


def test_an_item_that_fits_into_no_packet_waits_for_a_call_and_is_told_once() -> None:
    queue = GossipQueue(1000)
    queue.put(a_record("a", metrics="x" * 2000))
    queue.put(a_record("b"))
    assert ids(queue.pop_items(BIG, 4)) == ["b"]
    assert ids(queue.pop_oversize(BIG)) == ["a"]
    assert "a" not in queue
    assert queue.pop_oversize(BIG) == ()


def test_a_small_packet_leaves_what_does_not_fit_and_takes_what_does() -> None:
    queue = GossipQueue(BIG)
    queue.put(a_rumour("a"))
    queue.put(a_record("b", status="x" * 500))
    assert ids(queue.pop_items(100, 4)) == ["a"]
    assert len(queue) == 2


def test_what_fits_into_no_packet_is_forgotten_with_its_id_and_makes_no_haste() -> None:
    queue = GossipQueue(1000)
    queue.put(a_record("a", metrics="x" * 2000))
    assert "a" in queue
    assert len(queue) == 1
    assert not queue.has_news, "packets told sooner tell no sooner of it"
    queue.put(a_rumour("a"))
    assert queue.pop_oversize(BIG) == ()
    assert ids(queue.pop_items(BIG, 4)) == ["a"]
    queue.put(a_record("b", metrics="x" * 2000))
    queue.discard("b")
    assert queue.pop_oversize(BIG) == ()
