"""What the table keeps beside its records is always what one would count from them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.directory.members import Members
from meshp2p.core.directory.tags import Tags
from meshp2p.core.record import Departed, Record, Rumour, State, claim_fingerprint, fingerprint, tag_of
from tests.core.builders import a_record, claims

operations = st.lists(st.one_of(claims, st.integers(0, 3)), max_size=60)


def check_against_a_recomputation(members: Members) -> None:
    view = claim_fingerprint(members.top_claim)
    for record in members.records.values():
        view ^= fingerprint(record)
    assert members.view == view
    assert members.lowest == min(members.records, key=str.encode, default=None)
    assert set(members.nodes) == {record.id for record in members.records.values() if record.is_node}
    assert not members.records.keys() & members.departed.keys()
    known = members.records.keys() | members.departed.keys()
    assert members.tags.ids == {tag_of(instance_id): instance_id for instance_id in known}
    assert sorted(members.tags.numbers.values()) == sorted({members.tags.numbers[tag_of(one)] for one in known})
    assert all(members.id_of(tag_of(instance_id)) == instance_id for instance_id in known)
    assert len(members) == len(members.records)


@given(operations)
def test_view_lowest_nodes_and_tags_are_those_of_the_records(operations: list[Record | Rumour | int]) -> None:
    members = Members()
    known_max = 0
    top = (0, "")
    now = 0.0
    for operation in operations:
        now += 1
        listed, version = set(members.records), members.version
        match operation:
            case Record():
                members.put(operation)
                top = max(top, (operation.epoch, operation.id))
            case Rumour(id=instance_id, incarnation=incarnation):
                members.depart(Departed(instance_id, incarnation, State.DEAD, (), True, now))
            case departed_max:
                before = list(members.departed)
                forgotten = members.forget_departed(now, 1e9, departed_max)
                assert len(members.departed) <= departed_max
                assert before == [*forgotten, *members.departed], "the oldest are forgotten first"
        assert (members.version != version) == (set(members.records) != listed)
        assert members.top_claim == (top if top[0] else (0, ""))
        known_max = max(known_max, len(members) + len(members.departed))
        assert max(members.tags.numbers.values(), default=0) <= known_max
        check_against_a_recomputation(members)


@given(st.floats(0, 1e6), st.floats(1, 1e9))
def test_who_departed_so_long_ago_is_forgotten_at_the_very_deadline(since: float, retention: float) -> None:
    members = Members()
    members.depart(Departed("a", 1, State.DEAD, (), True, since))
    assert members.forget_departed(since, retention, 10) == []
    assert members.forget_departed(since + retention, retention, 10) == ["a"]
    check_against_a_recomputation(members)


def test_the_greatest_claim_to_lead_is_remembered_when_its_maker_is_gone() -> None:
    members = Members()
    members.put(a_record("a", epoch=3))
    for claim in ((3, "a"), (2, "b")):
        members.note_claim(claim)
    members.depart(Departed("a", 1, State.DEAD, (), True, 0.0))
    assert members.top_claim == (3, "a")


def test_the_dead_are_called_unless_another_lives_at_their_address_or_none_is_known() -> None:
    members = Members()
    home, other = a_record("a").addresses, a_record("b").addresses
    members.depart(Departed("a", 1, State.DEAD, home, True, 0.0))
    members.depart(Departed("b", 1, State.LEFT, other, True, 0.0))
    members.depart(Departed("c", 1, State.DEAD, (), True, 0.0))
    members.depart(Departed("d", 1, State.DEAD, other, False, 0.0))
    assert [departed.id for departed in members.callable_dead()] == ["a"]
    members.put(a_record("e", addresses=home))
    assert members.callable_dead() == []


def test_who_departed_again_is_forgotten_by_its_last_departure() -> None:
    members = Members()
    for instance_id, since in (("a", 0.0), ("b", 1.0), ("a", 2.0)):
        members.depart(Departed(instance_id, 1, State.DEAD, (), True, since))
    assert members.forget_departed(11.0, 10.0, 100) == ["b"]
    assert list(members.departed) == ["a"]


def test_an_id_is_known_only_to_those_that_hold_it_if_tables_share_their_tags() -> None:
    tags = Tags()
    one, other = Members(tags), Members(tags)
    one.put(a_record("a"))
    assert (one.id_of(tag_of("a")), other.id_of(tag_of("a"))) == ("a", None)
    other.depart(Departed("a", 1, State.DEAD, (), True, 0.0))
    other.forget_departed(0.0, 1.0, 0)
    assert (one.id_of(tag_of("a")), other.id_of(tag_of("a"))) == ("a", None)
