"""Mending what gossip lost."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.address import Address
from meshp2p.core.calls import Done, Push, SyncReply, SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.digest import BUCKETS_MAX
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceJoined
from meshp2p.core.record import Record, State, tag_of
from meshp2p.core.swim.hosting import Profile
from tests.core.builders import ELSEWHERE, a_machine, a_ping, a_record, calls, hear, run_until
from tests.core.mesh import Mesh


def a_quiet_mesh(seed: int = 0) -> Mesh:
    """Five nodes that have been one mesh for a while: n0 is the first."""
    mesh = Mesh(seed)
    for number in range(5):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(3)
    return mesh


def test_a_newcomer_that_all_gossip_lost_is_found_by_a_look() -> None:
    mesh = a_quiet_mesh()

    def is_about_x(datagram: Datagram) -> bool:
        return any(item.id == "x" for item in datagram.items)

    mesh.is_dropped = lambda _sender, receiver, datagram: receiver == "n4" and is_about_x(datagram)
    mesh.do("n1", mesh.nodes["n1"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(0.2)
    assert "x" not in mesh.nodes["n4"].records()
    mesh.run_until(lambda: "x" in mesh.nodes["n4"].records(), within=2 * mesh.config.look_delay)
    mesh.run_until(mesh.is_whole, within=2)
    assert [event.id for event in mesh.events["n4"] if isinstance(event, InstanceJoined)][-1] == "x"


def test_news_of_an_instance_that_gossip_lost_is_mended_by_a_sync() -> None:
    mesh = a_quiet_mesh()

    def is_about_n1(datagram: Datagram) -> bool:
        return any(item.id == "n1" for item in datagram.items)

    mesh.is_dropped = lambda _sender, receiver, datagram: receiver == "n4" and is_about_n1(datagram)
    mesh.do("n1", mesh.nodes["n1"].report("busy", "", mesh.now))
    mesh.run(0.9)
    assert mesh.nodes["n4"].records()["n1"].status == ""
    # a grace of 1 s, and a ping or an ack of somebody, of which there are two a second
    mesh.run_until(lambda: mesh.nodes["n4"].records()["n1"].status == "busy", within=4)


def test_views_that_agree_cost_no_call() -> None:
    mesh = a_quiet_mesh()
    mesh.log.clear()
    mesh.run(120)
    assert all(isinstance(what, Datagram) for _, _, _, what in mesh.log)
    assert len(mesh.log) / 5 / 120 <= 2.2


def test_a_view_that_changes_all_the_time_and_agrees_with_nobodys_is_compared_too() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))], sender="a")
    asked: list[float] = []
    for tenth in range(80):
        now = 1.0 + tenth / 10
        effects = run_until(machine, now)
        effects += hear(machine, [a_record("b", tenth + 1)], now, sender="a")
        effects += machine.receive(a_ping("a", "me", 12345), ELSEWHERE, now)
        asked += [now for _ in calls(effects, SyncRequest)]
    assert asked[:1] == [5 * machine.config.sync_grace]


def test_only_one_sync_is_under_way_and_after_one_failed_there_is_another() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))], sender="a")
    effects = []
    for tenth in range(30):
        now = 1.0 + tenth / 10
        effects += run_until(machine, now) + machine.receive(a_ping("a", "me", 12345), ELSEWHERE, now)
    (call,) = calls(effects, SyncRequest)
    machine.receive_reply(call.call_id, CallFailed(Failure.TIMEOUT, ""), 4.0)
    assert machine.counters.syncs_failed == 1
    run_until(machine, 5.0)
    effects = machine.receive(a_ping("a", "me", 12345), ELSEWHERE, 5.0)
    assert len(calls(effects, SyncRequest)) == 1


def test_what_the_asker_knows_better_is_pushed_and_the_rest_is_not() -> None:
    here, there = a_machine("a"), a_machine("b")
    here_only, there_only, both = a_record("x"), a_record("y"), a_record("z")
    hear(here, [here_only, both, a_record("v", 2)])
    hear(there, [there_only, both, a_record("v", 1)])
    hear(here, [there.own])
    here._swim.syncer.sync_with("b", 1.0)
    (call,) = calls(here._conclude(1.0), SyncRequest)
    assert isinstance(call.request, SyncRequest)
    reply, _ = there.receive_call(call.request, 1.0)
    assert isinstance(reply, SyncReply)
    (push,) = calls(here.receive_reply(call.call_id, reply, 1.0), Push)
    assert isinstance(push.request, Push)
    there.receive_call(push.request, 1.0)
    assert {item.id for item in push.request.items} >= {"x", "v"}
    assert both not in push.request.items or len(push.request.items) > 3
    assert here.records() == there.records() | {"a": here.own}
    assert here.view == there.view


@pytest.mark.parametrize("buckets", [b"", b"1234567", b"\0" * 24, b"\0" * 16 * BUCKETS_MAX])
def test_bytes_that_are_no_digest_are_answered_with_nothing(buckets: bytes) -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    reply, _ = machine.receive_call(SyncRequest(buckets, a_record("b")), 1.0)
    assert reply == SyncReply(machine.own, True, (), ())
    assert "b" not in machine.records()


def test_a_sync_carries_no_more_than_it_may_and_the_next_brings_the_rest() -> None:
    config = ProtocolConfig(sync_bytes_max=64 * 1024, record_bytes_max=16 * 1024)
    full, empty = a_machine("a", config), a_machine("b", config)
    hear(full, [a_record(f"x{number}", metrics="m" * 8000) for number in range(30)])
    rounds = 0
    while len(empty.records()) < 31 and rounds < 50:
        rounds += 1
        reply, _ = full.receive_call(SyncRequest(b"\0" * 8, None), 1.0)
        assert isinstance(reply, SyncReply)
        assert sum(len(item.metrics) for item in reply.items if isinstance(item, Record)) <= 64 * 1024
        hear(empty, reply.items)
    assert 4 <= rounds < 50


def test_more_than_members_max_are_not_listed_and_known_ones_are_still_updated() -> None:
    machine = a_machine(config=ProtocolConfig(members_max=5))
    hear(machine, [a_record(f"n{number}") for number in range(10)])
    assert len(machine.records()) == 5
    machine.receive_call(Push(1, (a_record("n9", 5), a_record("n9", 5, state=State.SUSPECT))), 1.0)
    hear(machine, [a_record("n8", state=State.SUSPECT), a_record("n1", 2, status="new")])
    assert len(machine.records()) == 5
    assert machine.records()["n1"].status == "new"
    assert "n9" not in machine.records()


def test_a_record_that_this_node_could_tell_nobody_is_refused() -> None:
    mesh = Mesh()
    mesh.add("a")
    mesh.add("b", join="a")
    mesh.run_until(mesh.is_whole, within=3)
    most = mesh.config.sync_bytes_max
    for name, size in (("small", most // 2), ("large", most)):
        record = msgspec.structs.replace(a_record(name, home="b"), capabilities=("c" * 1000,) * (size // 1000 + 1))
        reply, effects = mesh.nodes["a"].receive_call(Push(tag_of("x"), (record,)), mesh.now)
        mesh.do("a", effects)
        assert reply == Done()
    mesh.run(5)
    assert "large" not in mesh.nodes["a"].records()
    mesh.log.clear()
    mesh.run(5)
    assert not [packet for *_, packet in mesh.log if isinstance(packet, Datagram) and isinstance(packet.body, Gossip)]


def test_candidates_have_a_bound() -> None:
    machine = a_machine(config=ProtocolConfig(candidates_max=10))
    for number in range(100):
        machine.receive(a_ping(f"stranger{number}", "me"), _an_address(number), 1.0)
    assert len(list(machine.candidates())) == 10
    assert len(calls(machine.handle_timeouts(1.0), SyncRequest)) == 10


def _an_address(number: int) -> Address:
    return Address("10.9.0.1", 1 + number)


def test_no_more_than_a_few_are_dialled_at_once_and_a_reply_makes_room() -> None:
    machine = a_machine()
    machine.offer("cache", tuple(_an_address(number) for number in range(40)), None, 1.0)
    dialled = calls(machine.handle_timeouts(1.0), SyncRequest)
    assert len(dialled) == 16
    machine.receive_reply(dialled[0].call_id, CallFailed(Failure.REFUSED, ""), 1.0)
    assert len(calls(machine.handle_timeouts(1.0), SyncRequest)) == 1


def test_a_dead_nodes_candidate_is_due_at_once_and_looks_like_no_pause() -> None:
    mesh = Mesh()
    mesh.add("a")
    mesh.add("b", join="a")
    mesh.run(60)
    mesh.kill("a")
    mesh.run(30)
    assert list(mesh.nodes["b"].records()) == ["b"]
    assert mesh.nodes["b"].counters.pauses == 0
    mesh.add("a", address=mesh.address("a"))
    assert mesh.run_until(mesh.is_whole, within=8) < 8


def test_a_reply_to_a_call_that_nobody_made_is_ignored() -> None:
    machine = a_machine()
    before = machine.view
    assert machine.receive_reply(999, SyncReply(a_record("a"), True, (a_record("b"),), ()), 1.0) == []
    assert machine.view == before


@pytest.mark.parametrize("tag", [tag_of("me"), 0, (1 << 64) - 1])
def test_a_push_of_anybody_is_taken_by_its_items(tag: int) -> None:
    machine = a_machine()
    machine.receive_call(Push(tag, (a_record("a"),)), 1.0)
    assert "a" in machine.records()
