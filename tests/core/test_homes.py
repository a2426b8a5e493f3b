"""Instances that speak only HTTP: when their home is gone, their end, and what others claim of them."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import (
    DeregisterReply,
    FetchReply,
    ForwardDeregister,
    ForwardHeartbeat,
    HeartbeatReply,
    Probe,
    Push,
    SendReply,
    SyncRequest,
)
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import InstanceJoined, InstanceLeft, InstanceUpdated
from meshp2p.core.record import Record, Rumour, State
from meshp2p.core.requests import Deregister, Fetch, Heartbeat, SendMessage
from meshp2p.core.swim.hosting import Profile
from tests.core.builders import ELSEWHERE, a_machine, a_ping, a_record, calls, hear, run_until, told
from tests.core.registry import Registry, X

# When the home is gone


def test_the_node_that_is_asked_adopts_the_instance_of_a_home_that_does_not_answer() -> None:
    registry = Registry()
    registry.register("n1")
    registry.kill("n1")
    assert registry.heartbeat("n3").is_acknowledged
    registry.run(0.5)
    assert {registry.nodes[key].records()["x"].home for key in ("n0", "n2", "n3")} == {"n3"}
    for _ in range(6):
        registry.run(5)
        assert registry.heartbeat("n0").is_acknowledged
    assert registry.homes() == {"n3"}


def test_an_instance_of_a_dead_home_has_its_time_once_more_and_is_then_removed() -> None:
    registry = Registry()
    registry.register("n1")
    registry.kill("n1")
    registry.run_until(lambda: "n1" not in registry.nodes["n0"].records(), within=20)
    registry.run(14)
    assert registry.homes() == {"n1"}
    registry.run(2)
    assert registry.homes() == {None}


def test_an_orphan_that_is_heard_of_in_time_stays() -> None:
    registry = Registry()
    registry.register("n1")
    registry.kill("n1")
    registry.run_until(lambda: "n1" not in registry.nodes["n0"].records(), within=20)
    registry.run(10)
    assert registry.heartbeat("n2").is_acknowledged
    registry.run(10)
    assert registry.homes() == {"n2"}


def test_a_home_that_restarts_takes_its_instances_up_again() -> None:
    registry = Registry()
    registry.register("n1")
    registry.kill("n1")
    registry.run(1)
    registry.add("n1", join="n0", address=registry.address("n1"))
    registry.run(2)
    assert registry.homes() == {"n1"}
    assert registry.heartbeat("n2").is_acknowledged
    registry.run(16)
    assert registry.homes() == {None}, "and they expire there as everywhere"


@pytest.mark.parametrize("down", [0.01, 0.3, 1.0, 5.0, 10.0])
@pytest.mark.parametrize("joins", ["n0", "n1", "n3"])
def test_a_hosted_record_carries_the_boot_of_its_restarted_home(down: float, joins: str) -> None:
    registry = Registry()
    registry.register("n2")
    registry.kill("n2")
    registry.run(down)
    home = registry.add("n2", join=joins, address=registry.address("n2"))
    registry.run(3)
    held = [machine.records()["x"] for machine in registry.nodes.values()]
    assert {(record.home, record.boot) for record in held} == {("n2", home.own.boot)}


def test_messages_reach_an_instance_whose_home_was_restarted() -> None:
    registry = Registry()
    registry.register("n2")
    registry.kill("n2")
    sent = registry.answer("n0", SendMessage("s", "x", "Notification", "", b"1"))
    assert isinstance(sent, SendReply)
    registry.add("n2", join="n0", address=registry.address("n2"))
    registry.run(3)
    read = registry.answer("n2", Fetch("x", 10, "", 5.0))
    assert isinstance(read, FetchReply)
    assert [message.id for message in read.messages] == [sent.message_id]


def test_a_heartbeat_before_the_home_is_announced_publishes_with_its_own_boot() -> None:
    home = a_machine("n2", is_announced=False)
    hear(home, [a_record("x", home="n2", boot=1)])
    home.request(1, Heartbeat("x", "busy", ""), 1.0)
    record = home.records()["x"]
    assert (record.status, record.boot) == ("busy", home.own.boot)


def test_a_node_that_asks_whether_its_id_is_another_s_claims_none_of_its_instances() -> None:
    newcomer = a_machine("n2", is_announced=False)
    rival = a_record("n2", newcomer.own.incarnation + 1, boot=1)
    [call] = calls(hear(newcomer, [rival, a_record("x", home="n2", boot=1)], 0.4), Probe)
    looked_around = newcomer.config.settle_timeout
    run_until(newcomer, looked_around)
    assert newcomer.records()["x"].boot == 1
    assert not newcomer.is_announced
    newcomer.receive_reply(call.call_id, CallFailed(Failure.REFUSED, "nobody listens"), looked_around)
    assert newcomer.is_announced
    assert newcomer.records()["x"].boot == newcomer.own.boot


def test_an_instance_that_another_adopted_meanwhile_stays_there_when_its_home_returns() -> None:
    registry = Registry()
    registry.register("n2")
    registry.kill("n2")
    assert registry.heartbeat("n3").is_acknowledged
    registry.add("n2", join="n0", address=registry.address("n2"))
    registry.run(3)
    assert registry.homes() == {"n3"}


def test_an_instance_whose_home_is_nobody_is_an_orphan() -> None:
    machine = a_machine()
    hear(machine, [a_record("x", home="nobody"), a_record("y", home="x")])
    run_until(machine, 15.9)
    assert "x" in machine.records()
    run_until(machine, 16.1)
    assert list(machine.records()) == ["me"]


def test_a_heartbeat_for_an_instance_whose_home_is_no_node_is_taken_here() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("x", home="a"), a_record("y", home="x")])
    effects = machine.request(1, Heartbeat("y", "", ""), 1.0)
    assert calls(effects, ForwardHeartbeat) == []
    assert machine.records()["y"].home == "me"


def test_an_instance_that_moved_while_its_old_home_was_asked_is_asked_for_at_the_new_one() -> None:
    registry = Registry()
    registry.register("n1")
    registry.is_cut = lambda sender, receiver: {sender, receiver} == {"n1", "n3"}
    registry.do("n3", registry.nodes["n3"].request(99, Heartbeat("x", "", ""), registry.now))
    registry.do("n2", registry.nodes["n2"].register(X, registry.now))
    registry.run(3)
    assert registry.resolved[99] in (HeartbeatReply(True, True), HeartbeatReply(True, False))
    assert registry.homes() == {"n2"}


def test_a_node_that_leaves_while_it_forwards_adopts_nobody() -> None:
    registry = Registry()
    registry.register("n1")
    registry.is_cut = lambda sender, receiver: {sender, receiver} == {"n1", "n3"}
    registry.do("n3", registry.nodes["n3"].request(99, Heartbeat("x", "", ""), registry.now))
    registry.do("n3", registry.nodes["n3"].request(98, Deregister("x"), registry.now))
    registry.run(0.1)
    registry.leave("n3")
    registry.run(2)
    assert registry.resolved[99] == HeartbeatReply(False, False)
    assert registry.resolved[98] == DeregisterReply(False)
    assert registry.nodes["n0"].records()["x"].home == "n1"


# Deregistering


@pytest.mark.parametrize("key", ["n1", "n3"])
def test_an_instance_is_deregistered_through_any_node(key: str) -> None:
    registry = Registry()
    registry.register("n1")
    assert registry.deregister(key)
    registry.run(0.5)
    assert registry.homes() == {None}
    assert not registry.deregister(key)
    left = [event.id for event in registry.events["n0"] if isinstance(event, InstanceLeft)]
    assert left == ["x"]


def test_an_instance_is_deregistered_though_its_home_is_gone() -> None:
    registry = Registry()
    registry.register("n1")
    registry.kill("n1")
    assert registry.deregister("n3")
    registry.run(0.5)
    assert registry.homes() == {None}


def test_of_an_instance_that_was_adopted_only_to_be_deregistered_nothing_is_kept() -> None:
    machine = a_machine()
    hear(machine, [a_record("x", home="gone")])
    machine.request(1, Deregister("x"), 1.0)
    assert list(machine.records()) == ["me"]
    assert machine._swim.hosting._hosted == {}
    assert machine._state.life["x"] is None


def test_a_packet_in_the_name_of_a_hosted_instance_makes_nobody_call_it() -> None:
    machine = a_machine()
    machine.register(X, 1.0)
    run_until(machine, 5.0)
    assert calls(machine.receive(a_ping("x", "me", 12345), ELSEWHERE, 5.0), SyncRequest) == []
    assert machine._state.reach == {}


def test_a_deregistered_instance_is_not_brought_back_by_what_was_told_before() -> None:
    registry = Registry()
    registry.register("n1")
    late: Record = registry.nodes["n0"].records()["x"]
    registry.deregister("n2")
    registry.run(0.5)
    for key in registry.nodes:
        registry.do(key, hear(registry.nodes[key], [late], registry.now))
    registry.run(20)
    assert registry.homes() == {None}


def test_only_the_home_answers_a_forwarded_deregistration() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("x", home="a")])
    assert machine.receive_call(ForwardDeregister("x"), 1.0)[0] == DeregisterReply(False)
    assert machine.receive_call(ForwardDeregister("me"), 1.0)[0] == DeregisterReply(False)
    assert "x" in machine.records()


# What others claim


def test_a_home_refutes_that_its_instance_is_dead() -> None:
    machine = a_machine()
    machine.register(X, 1.0)
    held = machine.records()["x"]
    hear(machine, [Rumour("x", held.incarnation, State.DEAD, "somebody")])
    assert machine.records()["x"].incarnation == held.incarnation + 1
    hear(machine, [Rumour("x", held.incarnation + 1, State.LEFT, "somebody")])
    assert "x" not in machine.records(), "it was deregistered elsewhere"
    assert machine._swim.hosting._hosted == {}


def test_a_death_of_an_instance_that_a_peer_tells_in_a_sync_is_believed_of_its_home_alone() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("x", home="a"), a_record("y", home="a"), a_record("z", home="gone")])
    said = tuple(Rumour(instance_id, 1, State.DEAD, by) for instance_id, by in (("x", "b"), ("y", "a"), ("z", "b")))
    machine.receive_call(Push(1, said), 1.0)
    assert sorted(machine.records()) == ["a", "me", "x"]


def test_a_full_table_takes_up_no_instance_of_an_earlier_life_and_goes_on() -> None:
    machine = a_machine(config=ProtocolConfig(members_max=2))
    hear(machine, [a_record("a"), a_record("x", home="me")])
    assert sorted(machine.records()) == ["a", "me"]
    assert hear(machine, [a_record("x", 2, home="me")]) == []


def test_instances_of_an_earlier_life_are_not_told_at_once_to_many() -> None:
    machine = a_machine()
    hear(machine, [a_record(f"n{number:02}") for number in range(20)])
    effects = hear(machine, [a_record(f"x{number:02}", home="me") for number in range(50)])
    assert len(machine.records()) == 71
    assert told(effects) == []


def test_an_event_is_told_for_each_change_of_an_instance() -> None:
    registry = Registry(2)
    registry.register("n1")
    registry.heartbeat("n1", status="busy")
    registry.run(0.5)
    registry.deregister("n0")
    registry.run(0.5)
    kinds = [type(event) for event in registry.events["n0"] if getattr(event, "id", "") == "x"]
    assert kinds == [InstanceJoined, InstanceUpdated, InstanceLeft]


def test_a_large_record_travels_by_tcp() -> None:
    registry = Registry(8)
    capabilities = tuple(f"{number}{'c' * 100}" for number in range(100))
    registry.register("n1", Profile("x", "h", 1, capabilities))
    registry.run(1)
    assert registry.homes() == {"n1"}
    assert registry.nodes["n7"].records()["x"].capabilities == capabilities
    pushed = [what for _, _, _, what in registry.log if isinstance(what, Push)]
    assert any(item.id == "x" for push in pushed for item in push.items)


def test_that_an_orphan_is_gone_is_told_to_nobody_for_all_find_it_out() -> None:
    machine = a_machine(config=ProtocolConfig(instance_timeout=1.0))
    hear(machine, [a_record("n1"), a_record("n2"), a_record("x", home="n1")])
    hear(machine, [Rumour("n1", 1, State.LEFT, "n1")])
    effects = run_until(machine, 1.0 + machine.config.instance_timeout + 0.1)
    assert "x" not in machine.records()
    assert not [item for item in told(effects) if isinstance(item, Rumour) and item.id == "x"]
