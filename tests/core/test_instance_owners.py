"""Which caller a hosted instance belongs to in a secured mesh, as any node tells it."""

from __future__ import annotations

from meshp2p.core.calls import HeartbeatReply, InstanceReply
from meshp2p.core.requests import Heartbeat, ReadInstance
from meshp2p.core.swim.hosting import Profile
from tests.core.registry import Registry, X


def owner(registry: Registry, key: str, *, is_known: bool = True) -> str:
    reply = registry.answer(key, ReadInstance("x"), within=1.0)
    assert isinstance(reply, InstanceReply)
    assert reply.is_home is is_known
    return reply.owner


def register(registry: Registry, key: str, caller: str) -> None:
    registry.do(key, registry.nodes[key].register(X, registry.now, caller))


def test_every_node_knows_at_once_to_whom_an_instance_belongs() -> None:
    registry = Registry()
    assert [owner(registry, key) for key in registry.nodes] == [""] * 4
    for home, caller in (("n1", "anna"), ("n2", "bert"), ("n2", "carl")):
        register(registry, home, caller)
        registry.run(0.5)
        assert [owner(registry, key) for key in registry.nodes] == [caller] * 4


def test_a_heartbeat_changes_no_owner() -> None:
    registry = Registry()
    register(registry, "n1", "anna")
    registry.run(0.5)
    for key in registry.nodes:
        reply = registry.answer(key, Heartbeat("x", "ok", "", "thief"), within=5.0)
        assert isinstance(reply, HeartbeatReply)
        assert reply.is_acknowledged
    assert [owner(registry, key) for key in registry.nodes] == ["anna"] * 4


def test_it_belongs_to_the_caller_whose_heartbeat_finds_it_another_home() -> None:
    registry = Registry()
    register(registry, "n1", "anna")
    registry.run(0.5)
    registry.kill("n1")
    reply = registry.answer("n3", Heartbeat("x", "ok", "", "anna"), within=5.0)
    assert isinstance(reply, HeartbeatReply)
    assert reply.is_acknowledged
    registry.run(5)
    assert registry.homes() == {"n3"}
    assert {owner(registry, key) for key in registry.nodes} == {"anna"}


def test_a_node_that_does_not_reach_the_home_does_not_know() -> None:
    registry = Registry()
    register(registry, "n1", "anna")
    registry.run(0.5)
    registry.is_cut = lambda sender, receiver: "n3" in (sender, receiver)
    assert owner(registry, "n3", is_known=False) == ""
    assert owner(registry, "n2") == "anna"


def test_what_has_departed_belongs_to_nobody() -> None:
    registry = Registry()
    register(registry, "n1", "anna")
    registry.run(0.5)
    assert registry.deregister("n2")
    registry.run(0.5)
    assert [owner(registry, key) for key in registry.nodes] == [""] * 4
    register(registry, "n2", "bert")
    registry.run(20)  # no heartbeat
    assert registry.homes() == {None}
    assert [owner(registry, key) for key in registry.nodes] == [""] * 4


def test_instances_of_callers_who_are_not_trusted_any_more_are_removed() -> None:
    registry = Registry()
    others = [Profile(name, "h", 1) for name in ("y", "z")]
    register(registry, "n1", "anna")
    registry.do("n1", registry.nodes["n1"].register(others[0], registry.now, "bert"))
    registry.do("n1", registry.nodes["n1"].register(others[1], registry.now))
    registry.run(0.5)
    registry.do("n1", registry.nodes["n1"].expel((), registry.now, lambda owner: owner != "anna"))
    registry.run(0.5)
    assert registry.homes("x") == {None}
    assert registry.homes("y") == registry.homes("z") == {"n1"}
