"""One replica of a shared map: which entry prevails, laws of putting, digests; and the clocks beneath it."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.maps.hybrid_clock import HybridClock
from meshp2p.core.maps.mesh_clock import MeshClock
from meshp2p.core.maps.replicated_map import ReplicatedMap, prevailing

stamps = st.builds(Stamp, st.integers(0, 5), st.integers(0, 2), st.integers(0, 2))
values = st.sampled_from([b"", b"1", b"2", b"[3]"])
entries = st.builds(MapEntry, st.sampled_from(["a", "b", "ü"]), stamps, values)
one_key = st.builds(MapEntry, st.just("a"), stamps, values)
sets = st.builds(
    MapEntry, st.just("a"), stamps, st.sets(st.integers(0, 4)).map(lambda numbers: msgspec.json.encode(sorted(numbers)))
)


def union(one: bytes, other: bytes) -> bytes:
    return msgspec.json.encode(sorted({*msgspec.json.decode(one), *msgspec.json.decode(other)}))


def a_replica(*held: MapEntry) -> ReplicatedMap:
    replica = ReplicatedMap("m")
    for entry in held:
        replica.put(entry)
    return replica


# Which prevails


@given(one_key, one_key, one_key)
def test_last_writer_wins_in_whatever_order_entries_come(a: MapEntry, b: MapEntry, c: MapEntry) -> None:
    assert prevailing(a, b) == prevailing(b, a)
    assert prevailing(prevailing(a, b), c) == prevailing(a, prevailing(b, c))
    assert prevailing(a, a) == a


@given(sets, sets, sets)
def test_with_a_merge_function_that_is_a_join_so_is_the_whole(a: MapEntry, b: MapEntry, c: MapEntry) -> None:
    def joined(one: MapEntry, other: MapEntry) -> MapEntry:
        return prevailing(one, other, union)

    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(a, a) == a


@given(st.lists(st.one_of(one_key, sets), max_size=6))
def test_replicas_that_merge_and_delete_agree_once_they_exchange(held: list[MapEntry]) -> None:
    """Deletions are not part of the join: what comes of them depends on who heard what first, but not for long."""
    joining = [ReplicatedMap("m", max) for _ in range(3)]
    for number, entry in enumerate(held):
        joining[number % 3].put(entry)
    for _ in range(3):
        for one, other in itertools.permutations(joining, 2):
            for entry in list(one.entries()):
                other.put(entry)
    assert len({replica.view for replica in joining}) == 1


@given(st.lists(entries, max_size=8), st.permutations(range(8)))
def test_replicas_that_were_given_the_same_entries_are_the_same(held: list[MapEntry], order: list[int]) -> None:
    one = a_replica(*held)
    other = a_replica(*(held[at] for at in order if at < len(held)), *held)
    assert list(one.entries()) == sorted(other.entries(), key=lambda entry: list(one._held).index(entry.key))
    assert (one.view, one.bytes, len(one)) == (other.view, other.bytes, len(other))


# Digests


@given(st.lists(entries, max_size=8), st.lists(entries, max_size=8), st.sampled_from([1, 2, 64, 4096]))
def test_what_differs_is_in_the_buckets_that_differ(ours: list[MapEntry], theirs: list[MapEntry], buckets: int) -> None:
    one, other = a_replica(*ours), a_replica(*theirs)
    differing = one.differing(other.digest(buckets))
    told = one.entries_in(differing, buckets)
    assert (not differing) == (one.view == other.view)
    assert all(entry in told or other.entry(entry.key) == entry for entry in one.entries())


def test_the_buckets_grow_with_the_map() -> None:
    replica = a_replica(*(MapEntry(f"k{number}", Stamp(1, 0, 0), b"1") for number in range(1000)))
    assert replica.buckets == 256
    changed = MapEntry("k7", Stamp(2, 0, 0), b"2")
    other = a_replica(*replica.entries(), changed)
    differing = replica.differing(other.digest(256))
    assert len(differing) == 1
    assert changed in other.entries_in(differing, 256)
    assert len(other.entries_in(differing, 256)) < 20


# Deletions


def test_a_deletion_hides_the_key_and_is_forgotten_later() -> None:
    replica = a_replica(MapEntry("a", Stamp(1, 0, 0), b"1"), MapEntry("a", Stamp(5, 0, 0), b""))
    assert (len(replica), list(replica.values()), replica.value("a")) == (0, [], None)
    assert not replica.put(MapEntry("a", Stamp(4, 0, 0), b"1"))
    replica.forget_deleted(5)
    assert replica.entries_count == 1
    replica.forget_deleted(6)
    assert (replica.entries_count, replica.bytes, replica.view) == (0, 0, 0)


# Clocks


@given(st.lists(st.one_of(st.integers(0, 9), stamps), max_size=30))
def test_a_hybrid_clock_is_above_all_that_it_gave_or_noted(steps: list[int | Stamp]) -> None:
    clock = HybridClock(7)
    highest: tuple[int, int] = (-1, 0)
    wall = -1
    for step in steps:
        if isinstance(step, Stamp):
            clock.note(step)
            highest = max(highest, (step.wall_ms, step.count))
            wall = max(wall, step.wall_ms)
        else:
            stamp = clock.tick(step)
            wall = max(wall, step)
            assert (stamp.wall_ms, stamp.count) > highest
            assert stamp.wall_ms <= max(wall, 0)  # it is never ahead of every clock there is
            highest = (stamp.wall_ms, stamp.count)


def test_one_clock_that_is_years_off_is_outvoted() -> None:
    shows = {"own": 1_000_000}
    clock = MeshClock(lambda: shows["own"])
    assert clock.read(0.0) == 1_000_000
    clock.note("behind", 0, 0.0)
    assert clock.read(0.0) == 1_000_000  # of two the later one is believed: it may be the other that is behind
    clock.note("ahead", 10**12, 0.0)
    assert clock.read(0.0) == 1_000_000
    shows["own"] = 10**12
    clock.note("behind", 0, 0.0)  # the own clock was set: what was heard before is not to be compared with it
    clock.note("right", 1_000_100, 0.0)
    assert clock.read(0.0) == 1_000_100
    shows["own"] += 10
    assert clock.read(0.01) == 1_000_110


def test_a_clock_that_is_a_little_off_is_left_alone() -> None:
    clock = MeshClock(lambda: 1_000_000)
    for number in range(5):
        clock.note(f"n{number}", 1_059_000, 0.0)
    assert clock.read(0.0) == 1_000_000
