"""Instances that speak only HTTP: registering, heartbeats, what they report, and what they are told."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import ForwardHeartbeat, HeartbeatReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import InstanceDied
from meshp2p.core.requests import Deregister, Heartbeat
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, InstanceConflict, LimitExceeded
from tests.core.builders import a_machine, a_record, hear, run_until
from tests.core.registry import Registry, X

# Registering


def test_a_registered_instance_is_listed_everywhere() -> None:
    registry = Registry()
    registry.register("n1")
    assert registry.homes() == {"n1"}
    shown = registry.nodes["n3"].instance("x", registry.now)
    assert shown is not None
    assert (shown.hostname, shown.port, shown.capabilities, shown.profiles) == ("x.example", 1, ("search",), ("fast",))
    assert shown.home == "n1"
    assert shown.addresses == ()
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


def test_what_is_listed_has_a_size_and_no_registration_makes_it_larger() -> None:
    machine = a_machine(config=ProtocolConfig(members_size_max=64 * 1024))
    large = ("y" * 1000,) * 15
    for name in ("a", "b", "c", "d"):
        machine.register(Profile(name, "h", 1, large), 1.0)
    machine.register(X, 1.0)
    before = (dict(machine.records()), machine.view)
    for profile in (Profile("e", "h", 1, large), Profile("x", "h", 1, large), Profile("a", "h", 1, large + large)):
        with pytest.raises(LimitExceeded, match="room"):
            machine.register(profile, 1.0)
    assert (dict(machine.records()), machine.view) == before
    machine.register(Profile("a", "h", 2, large), 2.0)
    machine.register(Profile("a", "h", 2), 3.0)
    machine.register(Profile("e", "h", 1, large), 4.0)


def test_each_change_of_what_is_listed_is_another_version() -> None:
    machine = a_machine()
    versions = [machine.listed_version]
    machine.register(X, 1.0)
    versions.append(machine.listed_version)
    machine.register(Profile("x", "h", 9), 2.0)
    versions.append(machine.listed_version)
    machine.request(1, Deregister("x"), 3.0)
    versions.append(machine.listed_version)
    assert len({*versions}) == 4


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
    died = [event for event in registry.events["n3"] if isinstance(event, InstanceDied)]
    assert [(event.id, event.by, event.evidence) for event in died] == [("x", "n1", "no_heartbeat")]


def test_of_an_instance_whose_home_is_gone_each_node_says_so() -> None:
    registry = Registry()
    registry.register("n1")
    registry.run(1)
    registry.kill("n1")
    registry.run(60)
    for name in ("n0", "n2"):
        [died] = [one for one in registry.events[name] if isinstance(one, InstanceDied) and one.id == "x"]
        assert (died.by, died.evidence) == (name, "home_lost")


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


@pytest.mark.parametrize(
    ("status", "metrics"),
    [
        ("x" * 1025, ""),
        ("\ud800", ""),
        ("", f'{{"a":"{"x" * 9000}"}}'),
        ("", f'{{"a":"{"é" * 5000}"}}'),
        ("", "this is no JSON"),
        ("", "[1]"),
        ("", '{"a":NaN}'),
        ("", '{"a":' + "[" * 40 + "]" * 40 + "}"),
        ("", "\ud800"),
    ],
)
def test_what_others_would_refuse_to_read_is_refused_at_the_door(status: str, metrics: str) -> None:
    machine = a_machine()
    machine.register(X, 1.0)
    before = (dict(machine.records()), machine.view)
    with pytest.raises((LimitExceeded, ConfigError), match=r"at most|JSON|surrogate"):
        machine.report(status, metrics, 1.0)
    with pytest.raises((LimitExceeded, ConfigError), match=r"at most|JSON|surrogate"):
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
