"""Shared maps among machines: who takes part, telling, comparing, deleting, wrong clocks, bounds."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import MapChanged
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync
from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.maps.shared_maps import NEWS_MAX, PUSHES_MAX
from meshp2p.errors import LimitExceeded, LocalProtocolError, NodeClosed
from tests.core.mesh import EPOCH_MS, Mesh

IDS = ("a", "b", "c", "d", "e")


def a_mesh(*ids: str, config: ProtocolConfig | None = None) -> Mesh:
    mesh = Mesh(config=config)
    for node_id in ids or IDS:
        mesh.add(node_id, join=None if node_id == (ids or IDS)[0] else (ids or IDS)[0])
    mesh.run_until(mesh.is_whole, 20)
    return mesh


def opened(mesh: Mesh, *ids: str, name: str = "m", merge: Merge | None = None) -> list[ReplicatedMap]:
    replicas = []
    for node_id in ids or tuple(mesh.nodes):
        replica, effects = mesh.nodes[node_id].open_map(name, merge, mesh.now)
        mesh.do(node_id, effects)
        replicas.append(replica)
    return replicas


def write(mesh: Mesh, node_id: str, key: str, value: bytes, name: str = "m") -> None:
    mesh.do(node_id, mesh.nodes[node_id].write_map(name, key, value, mesh.now))


def are_same(replicas: list[ReplicatedMap]) -> bool:
    return len({replica.view for replica in replicas}) == 1


def cut(mesh: Mesh, *side: str) -> None:
    mesh.is_cut = lambda one, other: (one in side) != (other in side)


def heal(mesh: Mesh) -> None:
    mesh.is_cut = lambda _one, _other: False


def calls(mesh: Mesh, *kinds: type) -> list[tuple[str, object]]:
    return [(sender, message) for _, sender, _, message in mesh.log if isinstance(message, kinds)]


# Telling


def test_a_write_is_everywhere_at_once() -> None:
    mesh = a_mesh()
    replicas = opened(mesh)
    mesh.run(1)
    write(mesh, "c", "k", b"1")
    assert mesh.run_until(lambda: all(replica.value("k") == b"1" for replica in replicas), 1) < 0.1
    assert mesh.changes["a"] == [MapChanged("m", "k", b"1")]


def test_only_nodes_that_opened_the_map_take_part() -> None:
    mesh = a_mesh()
    one, other = opened(mesh, "b", "d")
    write(mesh, "b", "k", b"1")
    mesh.run_until(lambda: are_same([one, other]), 1)
    asked = len(calls(mesh, MapSync))
    mesh.run(60)
    assert {sender for sender, _ in calls(mesh, MapSync, MapPush)} == {"b", "d"}
    assert len(calls(mesh, MapSync)) - asked < 40  # one comparison an interval and node


def test_whoever_opens_it_later_is_given_all() -> None:
    mesh = a_mesh()
    opened(mesh, "a", "b")
    for number in range(1000):
        write(mesh, "a", f"k{number}", b"%d" % number)
    mesh.run(5)
    replicas = opened(mesh)
    assert mesh.run_until(lambda: are_same(replicas), 5) < 1
    assert len(replicas[4]) == 1000


def test_a_newcomer_that_has_the_map_is_found() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh)
    write(mesh, "a", "k", b"1")
    mesh.run(30)
    mesh.add("c", join="a")
    replicas += opened(mesh, "c")
    mesh.run_until(lambda: are_same(replicas), 5)
    assert replicas[2].value("k") == b"1"


# Converging


def test_both_sides_of_a_partition_write_and_are_one_after_it() -> None:
    mesh = a_mesh()
    replicas = opened(mesh)
    write(mesh, "a", "both", b"0")
    write(mesh, "a", "gone", b"0")
    mesh.run(5)
    cut(mesh, "a", "b")
    mesh.run(60)
    write(mesh, "a", "left", b"1")
    write(mesh, "a", "both", b"1")
    mesh.run(1)
    write(mesh, "d", "right", b"2")
    write(mesh, "d", "both", b"2")
    write(mesh, "d", "gone", b"")
    mesh.run(30)
    assert replicas[0].value("gone") == b"0"
    heal(mesh)
    mesh.run_until(mesh.is_whole, 60)
    mesh.run_until(lambda: are_same(replicas), 10)
    held = replicas[0].values()
    assert held == {"both": b"2", "left": b"1", "right": b"2"}


def test_a_change_that_nobody_was_told_of_is_found_by_comparing() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh)
    mesh.run(10)
    cut(mesh, "a")
    write(mesh, "a", "k", b"1")
    mesh.run(2.5)  # the push is lost, and nobody is dead yet
    heal(mesh)
    mesh.run_until(lambda: are_same(replicas), 10)


def test_large_maps_are_exchanged_in_bounded_pieces() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(map_sync_bytes_max=4096))
    one, other = opened(mesh)
    cut(mesh, "a")
    mesh.run(60)
    for number in range(NEWS_MAX * 2):
        write(mesh, "a", f"a{number}", b'"%b"' % (b"x" * 100))
        write(mesh, "b", f"b{number}", b'"%b"' % (b"x" * 100))
    mesh.run(10)
    heal(mesh)
    mesh.run_until(mesh.is_whole, 60)
    mesh.run_until(lambda: are_same([one, other]), 20)
    assert len(one) == NEWS_MAX * 4
    pieces = [message.entries for _, message in calls(mesh, MapPush, MapDifference)]  # type: ignore[attr-defined]
    assert max(sum(entry.size for entry in piece) for piece in pieces) <= 4096


def test_an_idle_map_costs_one_word_an_interval() -> None:
    mesh = a_mesh("a", "b", "c")
    opened(mesh)
    for number in range(1000):
        write(mesh, "a", f"k{number}", b"1")
    mesh.run(30)
    before = len(mesh.log)
    mesh.run(60)
    idle = [message for *_, message in mesh.log[before:] if isinstance(message, MapSync | MapDifference | MapPush)]
    assert len(idle) <= 3 * 2 * 17
    assert all(len(message.digest) == 8 for message in idle if isinstance(message, MapSync))
    assert not any(message.entries for message in idle if isinstance(message, MapDifference))


def test_a_merge_function_joins_what_both_sides_wrote() -> None:
    def union(one: bytes, other: bytes) -> bytes:
        return msgspec.json.encode(sorted({*msgspec.json.decode(one), *msgspec.json.decode(other)}))

    mesh = a_mesh("a", "b", "c")
    replicas = opened(mesh, merge=union)
    mesh.run(1)
    cut(mesh, "a")
    mesh.run(60)
    write(mesh, "a", "k", b"[1]")
    write(mesh, "b", "k", b"[2]")
    mesh.run(1)
    write(mesh, "c", "k", b"[3]")
    mesh.run(5)
    heal(mesh)
    mesh.run_until(mesh.is_whole, 60)
    mesh.run_until(lambda: are_same(replicas), 10)
    assert replicas[0].value("k") == b"[1,2,3]"


# Deletions


def test_what_was_deleted_does_not_come_back_until_the_deletion_is_forgotten() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(map_deleted_retention=60.0))
    replicas = opened(mesh)
    write(mesh, "a", "k", b"1")
    mesh.run(1)
    write(mesh, "b", "k", b"")
    mesh.run(30)
    assert [replica.entries_count for replica in replicas] == [1, 1]
    mesh.run(60)
    assert [replica.entries_count for replica in replicas] == [0, 0]  # and neither told the other of it again
    assert are_same(replicas)


def test_what_only_the_asker_has_is_pushed_by_a_comparison() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh)
    mesh.run(1)
    mesh.is_cut = lambda sender, _receiver: sender == "b"  # b can ask nobody, and answers
    mesh.nodes["a"]._maps._tell = lambda *_: None  # type: ignore[method-assign]  # what is told is lost
    write(mesh, "a", "k", b"1")
    mesh.run(15)
    assert replicas[1].value("k") == b"1"


def test_a_node_that_did_not_answer_is_asked_again_whether_it_has_the_map() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh, "b")
    write(mesh, "b", "k", b"1")
    mesh.run(2)
    mesh.is_cut = lambda _one, _other: True
    replicas += opened(mesh, "a")
    mesh.run(2.5)
    heal(mesh)
    mesh.run(15)
    assert "b" in mesh.nodes["a"].records()
    assert replicas[1].value("k") == b"1"


def test_a_holder_that_hangs_gets_few_pushes_and_all_changes_once_it_answers() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh)
    mesh.run(10)
    mesh.delay = 0.2
    before = len(calls(mesh, MapPush))
    for number in range(100):
        write(mesh, "a", f"k{number}", b"1")
        mesh.run(0.001)
    assert len(calls(mesh, MapPush)) - before == PUSHES_MAX
    assert mesh.run_until(lambda: are_same(replicas), 5) < 2
    assert len(replicas[1]) == 100
    cut(mesh, "b")
    before = len(calls(mesh, MapPush))
    for number in range(100):
        write(mesh, "a", f"k{number}", b"2")
        mesh.run(0.001)
    assert len(calls(mesh, MapPush)) - before == PUSHES_MAX
    mesh.run(3)
    heal(mesh)
    mesh.run_until(lambda: are_same(replicas), 20)
    assert replicas[1].value("k99") == b"2"
    mesh.run(3)
    assert not mesh.nodes["a"]._maps.is_telling


def test_a_deletion_outlasts_a_cut_of_minutes() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh)
    mesh.run(1)
    write(mesh, "a", "k", b"1")
    mesh.run(1)
    cut(mesh, "b")
    write(mesh, "a", "k", b"")
    mesh.run(300)
    heal(mesh)
    mesh.run(60)
    assert are_same(replicas)
    assert replicas[0].value("k") is None


# Clocks


def test_a_clock_that_is_years_ahead_does_not_win_for_ever() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    cut(mesh, "d")
    mesh.clock_ahead_ms["d"] = 10 * 365 * 86_400_000
    replicas = opened(mesh)
    mesh.run(60)
    write(mesh, "d", "k", b'"wrong"')
    write(mesh, "d", "only", b"1")
    heal(mesh)
    mesh.run_until(mesh.is_whole, 60)
    mesh.run_until(lambda: are_same(replicas), 20)
    assert replicas[0].value("only") == b"1"  # it counts as written when the clock was found out
    write(mesh, "a", "k", b'"right"')
    mesh.run(5)
    assert [replica.value("k") for replica in replicas] == [b'"right"'] * 4
    latest = max(entry.stamp.wall_ms for entry in replicas[3].entries())
    assert latest < 1_700_000_000_000 + (mesh.now + 1) * 1000
    write(mesh, "d", "k", b"4")  # and its writes count like any other's
    mesh.run(1)
    assert are_same(replicas)
    assert replicas[0].value("k") == b"4"


def test_who_writes_after_it_read_prevails_though_its_clock_is_behind() -> None:
    mesh = a_mesh("a", "b")
    mesh.clock_ahead_ms["a"] = 20_000
    replicas = opened(mesh)
    mesh.run(1)
    write(mesh, "a", "k", b'"first"')
    mesh.run(1)
    assert replicas[1].value("k") == b'"first"'
    write(mesh, "b", "k", b'"second"')
    mesh.run(1)
    assert [replica.value("k") for replica in replicas] == [b'"second"'] * 2


def test_an_entry_that_is_stamped_years_ahead_is_refused() -> None:
    mesh = a_mesh("a", "b")
    replicas = opened(mesh)
    mesh.run(1)
    clock_ms = EPOCH_MS + int(mesh.now * 1000)
    entries = tuple(
        MapEntry(key, Stamp(clock_ms + ahead, 0, 1), b"1") for key, ahead in (("near", 1000), ("far", 10**10))
    )
    mesh.nodes["a"].receive_call(MapPush("m", "b", clock_ms, entries), mesh.now)
    assert list(replicas[0].values()) == ["near"]
    assert mesh.nodes["a"].counters.map_entries_refused == 1


def test_a_clock_that_is_years_behind_takes_part() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.clock_ahead_ms["c"] = -1_600_000_000_000
    replicas = opened(mesh)
    write(mesh, "a", "k", b"1")
    mesh.run(20)
    write(mesh, "c", "k", b"3")
    mesh.run(1)
    assert are_same(replicas)
    assert replicas[0].value("k") == b"3"


def test_nodes_that_share_other_maps_too_agree_on_the_time_of_each() -> None:
    mesh = a_mesh("a", "b", "c", "d", "e")
    mesh.clock_ahead_ms.update({"c": -2_400_000, "d": -2_800_000})
    opened(mesh, "a", "b", "d", "e", name="other")
    replicas = opened(mesh, "c", "d", "e")
    mesh.run(20)
    for number, node_id in enumerate(("c", "d", "e") * 5):
        write(mesh, node_id, f"k{number % 4}", b"%d" % number)
        mesh.run(0.5)
    mesh.run_until(lambda: are_same(replicas), 20)
    assert replicas[0].value("k2") == b"14"


# Bounds, and the end


def test_what_is_past_a_bound_is_refused_and_changes_nothing() -> None:
    config = ProtocolConfig(maps_max=1, map_entries_max=2, map_bytes_max=1024, map_value_bytes_max=900)
    mesh = a_mesh("a", config=config)
    (replica,) = opened(mesh)
    with pytest.raises(LimitExceeded, match="map_value_bytes_max = 900"):
        write(mesh, "a", "k", b"1" * 901)
    write(mesh, "a", "k", b"1" * 600)
    with pytest.raises(LimitExceeded, match="map_bytes_max = 1024"):
        write(mesh, "a", "l", b"1" * 600)
    write(mesh, "a", "k", b"1" * 800)  # in its own place
    write(mesh, "a", "l", b"2")
    with pytest.raises(LimitExceeded, match="map_entries_max = 2"):
        write(mesh, "a", "m", b"2")
    write(mesh, "a", "k", b"")
    assert len(replica) == 1
    with pytest.raises(LimitExceeded, match="maps_max = 1"):
        opened(mesh, name="other")
    with pytest.raises(LocalProtocolError, match="another merge"):
        opened(mesh, merge=max)
    assert opened(mesh) == [replica]


def test_others_entries_past_the_bounds_are_counted() -> None:
    mesh = a_mesh("a", config=ProtocolConfig(map_entries_max=1))
    (replica,) = opened(mesh)
    entries = tuple(MapEntry(f"k{number}", Stamp(1, 0, 0), b"1") for number in range(6))
    reply, _ = mesh.nodes["a"].receive_call(MapPush("m", "x", 0, entries), mesh.now)
    assert (len(replica), mesh.nodes["a"].counters.map_entries_refused) == (4, 2)
    assert reply is not None


def test_a_node_that_leaves_tells_what_it_wrote_last() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(leave_timeout=0.0))  # no farewell is waited for
    replicas = opened(mesh)
    mesh.run(1)
    mesh.do("a", [*mesh.nodes["a"].write_map("m", "k", b"1", mesh.now), *mesh.nodes["a"].leave(mesh.now)])
    assert not mesh.nodes["a"].has_left
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 1)
    assert replicas[1].value("k") == b"1"
    with pytest.raises(NodeClosed):
        write(mesh, "a", "k", b"2")
