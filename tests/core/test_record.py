"""The one rule of precedence, and what a record is known by."""

from __future__ import annotations

import functools
import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.record import (
    EPOCH_MAX,
    INCARNATION_MAX,
    INCARNATION_STEP_MAX,
    Departed,
    Item,
    Record,
    Rumour,
    State,
    fingerprint,
    is_sound,
    supersedes,
    tag_of,
)
from tests.core.builders import a_record

records = st.builds(
    a_record,
    st.just("a"),
    st.integers(1, 3),
    state=st.sampled_from([State.ALIVE, State.SUSPECT]),
    boot=st.integers(1, 2),
    status=st.sampled_from(["", "x", "y"]),
)


def merge(one: Record, other: Record) -> Record:
    return other if supersedes(other, one) else one


@given(records, records)
def test_merging_two_records_does_not_depend_on_their_order(one: Record, other: Record) -> None:
    assert merge(one, other) == merge(other, one)


@given(records, records, records)
def test_merging_three_records_does_not_depend_on_who_merged_first(one: Record, two: Record, three: Record) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(records)
def test_a_record_does_not_supersede_itself(record: Record) -> None:
    assert not supersedes(record, record)
    assert merge(record, record) == record


@given(st.permutations([a_record(incarnation=i, boot=b, status=s) for i in (1, 2) for b in (1, 2) for s in "xy"]))
def test_of_many_claims_the_same_one_prevails_in_any_order(claims: list[Record]) -> None:
    winner = functools.reduce(merge, claims)
    assert all(winner == claim or supersedes(winner, claim) for claim in claims)


def test_a_later_state_outranks_an_earlier_one_of_the_same_incarnation_and_no_other() -> None:
    for lower, higher in itertools.pairwise(State):
        assert supersedes(Rumour("a", 5, higher), Rumour("a", 5, lower))
        assert not supersedes(Rumour("a", 5, lower), Rumour("a", 5, higher))
        assert supersedes(Rumour("a", 6, lower), Rumour("a", 5, higher))


def test_a_refutation_outranks_the_suspicion_it_answers() -> None:
    assert supersedes(a_record(incarnation=6), Rumour("a", 5, State.SUSPECT))
    assert supersedes(a_record(incarnation=6), Rumour("a", 5, State.LEFT))


def test_a_late_record_does_not_outrank_a_departure() -> None:
    departed = Departed("a", 5, State.LEFT, (), True, 0.0)
    assert not supersedes(a_record(incarnation=5), departed)
    assert not supersedes(Rumour("a", 5, State.DEAD), departed)
    assert supersedes(a_record(incarnation=6), departed)


def test_a_fingerprint_tells_ids_incarnations_and_processes_apart_and_not_states() -> None:
    record = a_record("a", 5, boot=7)
    assert fingerprint(record) == fingerprint(msgspec.structs.replace(record, state=State.SUSPECT))
    others = [a_record("b", 5, boot=7), a_record("a", 6, boot=7), a_record("a", 5, boot=8)]
    assert len({fingerprint(other) for other in [record, *others]}) == 4


@given(st.lists(st.text(min_size=1, max_size=8), unique=True))
def test_a_tag_has_64_bits_and_tells_ids_apart(ids: list[str]) -> None:
    assert len({tag_of(instance_id) for instance_id in ids}) == len(ids)
    assert all(0 <= tag_of(instance_id) < 1 << 64 for instance_id in ids)


def test_what_no_node_that_follows_the_protocol_says_is_not_sound() -> None:
    unsound: list[Item] = [
        Rumour("a", 1, State.ALIVE),
        a_record(state=State.DEAD),
        a_record(state=State.LEFT),
        a_record(addresses=()),
        msgspec.structs.replace(a_record("a", home="b"), addresses=a_record().addresses),
        a_record(epoch=EPOCH_MAX + 1),
        a_record(incarnation=INCARNATION_MAX + 1),
        Rumour("a", 5 + INCARNATION_STEP_MAX + 1, State.DEAD),
    ]
    assert not any(is_sound(item, 5) for item in unsound)
    sound: list[Item] = [
        Rumour("a", 5 + INCARNATION_STEP_MAX, State.DEAD),
        a_record(epoch=EPOCH_MAX),
        a_record("a", home="b"),
        a_record(state=State.SUSPECT),
    ]
    assert all(is_sound(item, 5) for item in sound)
