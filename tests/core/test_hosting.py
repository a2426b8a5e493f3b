"""Instances that speak only HTTP, and the nodes that answer for them."""

from __future__ import annotations

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import MemberDied, MemberJoined, MemberLeft, MemberUpdated
from meshp2p.core.hosting import Profile
from meshp2p.core.messages import (
    DeregisterReply,
    ForwardDeregister,
    ForwardHeartbeat,
    HeartbeatReply,
    Push,
    SyncRequest,
)
from meshp2p.core.record import Record, Rumour, State
from meshp2p.core.requests import Deregister, Heartbeat
from meshp2p.errors import InstanceConflict, LimitExceeded
from tests.core.builders import ELSEWHERE, a_machine, a_ping, a_record, calls, hear, run_until, told
from tests.core.mesh import Mesh

X = Profile("x", "x.example", 1, ("search",), ("fast",))


class Registry(Mesh):
    """A mesh whose nodes n0, n1, ... are asked as agents ask them."""

    def __init__(self, count: int = 4, config: ProtocolConfig | None = None) -> None:
        super().__init__(config=config)
        self._tickets = 0
        for number in range(count):
            self.add(f"n{number}", join="n0" if number else None)
        self.run_until(self.is_whole, within=3)
        self.run(3)

    def register(self, key: str, profile: Profile = X) -> None:
        self.do(key, self.nodes[key].register(profile, self.now))
        self.run(0.5)

    def heartbeat(self, key: str, instance_id: str = "x", status: str = "", metrics: str = "") -> HeartbeatReply:
        reply = self._ask(key, Heartbeat(instance_id, status, metrics))
        assert isinstance(reply, HeartbeatReply)
        return reply

    def deregister(self, key: str, instance_id: str = "x") -> bool:
        reply = self._ask(key, Deregister(instance_id))
        assert isinstance(reply, DeregisterReply)
        return reply.was_found

    def _ask(self, key: str, request: Heartbeat | Deregister) -> object:
        self._tickets += 1
        self.do(key, self.nodes[key].request(self._tickets, request, self.now))
        self.run_until(lambda: self._tickets in self.resolved, within=5)
        return self.resolved[self._tickets]

    def homes(self, instance_id: str = "x") -> set[str | None]:
        """Which home each node knows; None where it does not list the instance."""
        held = [machine.records().get(instance_id) for machine in self.nodes.values()]
        return {None if record is None else record.home for record in held}


# Registering


def test_a_registered_instance_is_listed_everywhere() -> None:
    registry = Registry()
    registry.register("n1")
    assert registry.homes() == {"n1"}
    shown = registry.nodes["n3"].instance("x", registry.now)
    assert shown is not None
    assert (shown.hostname, shown.port, shown.capabilities, shown.profiles) == ("x.example", 1, ("search",), ("fast",))
    assert shown.is_hosted
    assert shown.address is None
    assert registry.nodes["n3"].instance("y", registry.now) is None


def test_registering_again_at_the_same_node_publishes_nothing_new() -> None:
    registry = Registry()
    registry.register("n1")
    incarnation = registry.nodes["n1"].records()["x"].incarnation
    registry.register("n1")
    assert registry.nodes["n1"].records()["x"].incarnation == incarnation


def test_registering_elsewhere_moves_the_home_and_keeps_what_the_instance_was() -> None:
    registry = Registry()
    registry.register("n1")
    registry.heartbeat("n1", status="busy", metrics='{"a":1}')
    before = registry.nodes["n0"].records()["x"]
    registry.run(2)
    registry.register("n2", Profile("x", "other.example", 2))
    after = registry.nodes["n0"].records()["x"]
    assert registry.homes() == {"n2"}
    assert (after.created_at, after.status, after.metrics) == (before.created_at, "busy", '{"a":1}')
    assert (after.hostname, after.port) == ("other.example", 2)
    registry.run(14)
    assert registry.homes() == {"n2"}, "the first home lets go of it"


def test_registering_moves_the_home_even_where_nobody_was_heard_in_between() -> None:
    machine = a_machine()
    hear(machine, [a_record("n1"), a_record("x", 7, home="n1", status="busy")])
    machine.register(X, 1.0)
    held = machine.records()["x"]
    assert (held.home, held.boot, held.status) == ("me", machine.own.boot, "busy")
    assert held.incarnation > 7


@pytest.mark.parametrize("ask", ["register", "deregister"])
def test_nobody_registers_or_deregisters_a_live_node(ask: str) -> None:
    machine = a_machine()
    hear(machine, [a_record("x")])
    before = (dict(machine.records()), machine.view)
    with pytest.raises(InstanceConflict, match="'x'"):
        _ = machine.register(X, 1.0) if ask == "register" else machine.request(1, Deregister("x"), 1.0)
    assert (dict(machine.records()), machine.view) == before


def test_a_registration_that_is_too_large_is_refused_and_changes_nothing() -> None:
    machine = a_machine()
    before = (dict(machine.records()), machine.view, machine.next_deadline())
    with pytest.raises(LimitExceeded, match="at most 32768"):
        machine.register(Profile("x", "h", 1, ("y" * 1000,) * 40), 1.0)
    assert (dict(machine.records()), machine.view, machine.next_deadline()) == before


def test_no_more_are_registered_than_may_be_listed_and_those_who_are_may_again() -> None:
    machine = a_machine(config=ProtocolConfig(members_max=2))
    machine.register(X, 1.0)
    before = (dict(machine.records()), machine.view)
    with pytest.raises(LimitExceeded, match="2 instances"):
        machine.register(Profile("y", "h", 1), 1.0)
    assert (dict(machine.records()), machine.view) == before
    machine.register(X, 1.0)


# Heartbeats


def test_a_heartbeat_anywhere_counts_at_the_home() -> None:
    registry = Registry()
    registry.register("n1")
    for _ in range(10):
        registry.run(5)
        assert registry.heartbeat("n3").is_acknowledged
    assert registry.homes() == {"n1"}
    assert [what for _, key, _, what in registry.log if isinstance(what, ForwardHeartbeat) and key == "n3"]


def test_a_heartbeat_of_one_who_is_not_listed_is_not_acknowledged() -> None:
    registry = Registry()
    assert registry.heartbeat("n3", "nobody") == HeartbeatReply(False, False)


def test_a_heartbeat_of_a_node_is_forwarded_to_it_and_fails_with_it() -> None:
    registry = Registry()
    assert registry.heartbeat("n3", "n1", "busy").is_acknowledged
    registry.run(1)
    assert registry.nodes["n0"].records()["n1"].status == "busy"
    registry.kill("n1")
    assert not registry.heartbeat("n3", "n1").is_acknowledged


def test_without_a_heartbeat_an_instance_is_removed_after_its_time() -> None:
    registry = Registry()
    registry.register("n1")
    registry.run(10)
    registry.heartbeat("n1")
    registry.run(14.9)
    assert registry.homes() == {"n1"}
    registry.run(0.2)
    assert registry.homes() == {None}
    died = [event for event in registry.events["n3"] if isinstance(event, MemberDied)]
    assert [event.id for event in died] == ["x"]


def test_an_instance_that_expired_comes_back_when_it_registers_and_not_by_a_heartbeat() -> None:
    registry = Registry()
    registry.register("n1")
    registry.run(20)
    assert not registry.heartbeat("n1").is_acknowledged
    registry.register("n2")
    assert registry.homes() == {"n2"}


def test_status_is_told_at_most_once_a_second_and_metrics_every_five() -> None:
    registry = Registry()
    registry.register("n1")
    incarnations = set()
    for tenth in range(100):
        registry.heartbeat("n1", status=str(tenth))
        registry.run(0.1 - 1e-9)
        incarnations.add(registry.nodes["n1"].records()["x"].incarnation)
    assert 8 <= len(incarnations) <= 12
    registry.run(2)
    assert registry.nodes["n3"].records()["x"].status == "99", "the last report is told in the end"
    begin = registry.nodes["n1"].records()["x"].incarnation
    registry.run(5)
    for tenth in range(100):
        registry.heartbeat("n1", status="99", metrics=f'{{"a":{tenth}}}')
        registry.run(0.1)
    assert registry.nodes["n1"].records()["x"].incarnation - begin <= 3
    registry.run(5)
    assert registry.nodes["n3"].records()["x"].metrics == '{"a":99}'


def test_a_report_that_is_taken_back_before_it_was_told_is_not_told() -> None:
    machine = a_machine()
    machine.report("busy", "", 1.0)
    incarnation = machine.own.incarnation
    machine.report("idle", "", 1.1)
    machine.report("busy", "", 1.2)
    run_until(machine, 5.0)
    assert (machine.own.status, machine.own.incarnation) == ("busy", incarnation)


@pytest.mark.parametrize(("status", "metrics"), [("x" * 1025, ""), ("", "x" * 9000), ("", "é" * 5000)])
def test_what_others_would_refuse_to_read_is_refused_at_the_door(status: str, metrics: str) -> None:
    machine = a_machine()
    machine.register(X, 1.0)
    before = (dict(machine.records()), machine.view)
    with pytest.raises(LimitExceeded, match="at most"):
        machine.report(status, metrics, 1.0)
    with pytest.raises(LimitExceeded, match="at most"):
        machine.request(1, Heartbeat("x", status, metrics), 1.0)
    assert (dict(machine.records()), machine.view) == before


def test_a_forwarded_heartbeat_with_too_much_is_not_acknowledged() -> None:
    machine = a_machine()
    machine.register(X, 1.0)
    reply, _ = machine.receive_call(ForwardHeartbeat("x", "", "x" * 9000), 1.0)
    assert reply == HeartbeatReply(False, False)


# should_sync


def test_should_sync_says_that_instances_or_the_leader_changed_since_the_last_heartbeat() -> None:
    registry = Registry()
    registry.register("n1")
    assert not registry.heartbeat("n1").should_sync, "registering told it all"
    registry.register("n2", Profile("y", "h", 1))
    assert registry.heartbeat("n1").should_sync
    assert not registry.heartbeat("n1").should_sync
    registry.heartbeat("n2", "y", "busy")
    registry.run(2)
    assert not registry.heartbeat("n1").should_sync, "a status is no change of who is there"
    registry.deregister("n3", "y")
    registry.run(0.5)
    assert registry.heartbeat("n1").should_sync


def test_should_sync_says_that_a_leader_was_named_though_nobody_came_or_went() -> None:
    machine = a_machine("b", is_announced=False)
    hear(machine, [a_record("a", epoch=3), a_record("b2")], now=0.1)
    machine.register(X, 0.2)
    run_until(machine, 0.9)
    assert machine.receive_call(ForwardHeartbeat("x", "", ""), 0.9)[0] == HeartbeatReply(True, False)
    run_until(machine, 1.1)
    assert machine.leader_id == "a"
    assert machine.receive_call(ForwardHeartbeat("x", "", ""), 1.1)[0] == HeartbeatReply(True, True)
    assert machine.receive_call(ForwardHeartbeat("x", "", ""), 1.1)[0] == HeartbeatReply(True, False)


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
    left = [event.id for event in registry.events["n0"] if isinstance(event, MemberLeft)]
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
    assert machine._hosting._hosted == {}
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
    assert machine._hosting._hosted == {}


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
    assert kinds == [MemberJoined, MemberUpdated, MemberLeft]


def test_a_large_record_travels_by_tcp() -> None:
    registry = Registry(8)
    capabilities = tuple(f"{number}{'c' * 100}" for number in range(100))
    registry.register("n1", Profile("x", "h", 1, capabilities))
    registry.run(1)
    assert registry.homes() == {"n1"}
    assert registry.nodes["n7"].records()["x"].capabilities == capabilities
    pushed = [what for _, _, _, what in registry.log if isinstance(what, Push)]
    assert any(item.id == "x" for push in pushed for item in push.items)
