"""What two nodes compare to find where they differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.digest import BUCKETS_MAX, is_digest
from meshp2p.core.directory.members import Members
from meshp2p.core.record import Departed, Record, State
from meshp2p.core.swim.view_digest import bucket_digest, differing_buckets, items_in
from tests.core.builders import a_record

names = st.text("abcdefgh", min_size=1, max_size=3)
tables = st.dictionaries(names, st.integers(1, 3), max_size=40)


def members_of(table: dict[str, int]) -> Members:
    members = Members()
    for instance_id, incarnation in table.items():
        members.put(a_record(instance_id, incarnation))
    return members


@given(tables, tables)
def test_buckets_differ_where_and_only_where_the_views_do(ours: dict[str, int], theirs: dict[str, int]) -> None:
    mine, other = members_of(ours), members_of(theirs)
    digest = bucket_digest(other)
    assert is_digest(digest)
    differing = differing_buckets(mine, digest)
    assert (differing == ()) == (mine.view == other.view)
    buckets = len(digest) // 8
    told = {item.id for item in items_in(mine, differing, buckets)}
    assert told >= {instance_id for instance_id in ours if ours[instance_id] != theirs.get(instance_id)}


@given(tables, tables)
def test_after_the_differing_buckets_were_exchanged_the_views_agree(
    ours: dict[str, int], theirs: dict[str, int]
) -> None:
    mine, other = members_of(ours), members_of(theirs)
    digest = bucket_digest(mine)
    differing = differing_buckets(other, digest)
    for there, here in ((other, mine), (mine, other)):
        for item in list(items_in(there, differing, len(digest) // 8)):
            held = here.records.get(item.id)
            if isinstance(item, Record) and (held is None or item.incarnation > held.incarnation):
                here.put(item)
    assert mine.view == other.view


def test_the_departed_of_a_bucket_are_told_behind_its_records() -> None:
    members = members_of({"a": 1})
    members.depart(Departed("b", 4, State.LEFT, (), True, 0.0, "b"))
    items = list(items_in(members, [0], 1))
    assert [item.id for item in items] == ["a", "b"]
    assert items[1].state is State.LEFT


@pytest.mark.parametrize("count", [0, 1, 5, 100, 3000])
def test_there_is_about_one_bucket_for_four_records(count: int) -> None:
    digest = bucket_digest(members_of({f"n{number}": 1 for number in range(count)}))
    buckets = len(digest) // 8
    assert is_digest(digest)
    assert max(1, count // 4) <= buckets * 2 <= max(2, count)


@pytest.mark.parametrize("size", [0, 7, 9, 24, 8 * 3, 8 * BUCKETS_MAX * 2])
def test_what_cannot_be_a_digest_is_told_apart(size: int) -> None:
    assert not is_digest(b"\0" * size)
    assert is_digest(b"\0" * 8 * BUCKETS_MAX)
