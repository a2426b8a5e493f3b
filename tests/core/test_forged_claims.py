"""Claims that no node which follows the protocol makes: they put nothing out of its owner's reach."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.calls import HeartbeatReply, Push
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.effects import Emit, Resolve, Send
from meshp2p.core.events import IdConflictLost, InstanceJoined, InstanceLeft
from meshp2p.core.record import INCARNATION_MAX, INCARNATION_STEP_MAX, Rumour, State
from meshp2p.core.requests import Heartbeat
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import LimitExceeded
from tests.core.builders import ELSEWHERE, a_machine, a_record, hear, run_until
from tests.core.mesh import Mesh

HOSTED = Profile("agent", "h", 1)


def a_mesh(*ids: str) -> Mesh:
    mesh = Mesh()
    for node_id in ids:
        mesh.add(node_id, join=None if node_id == ids[0] else ids[0])
    mesh.run_until(lambda: mesh.is_whole() and len(mesh.nodes[ids[0]].records()) == len(ids), 10.0)
    return mesh


# Incarnations


@pytest.mark.parametrize("steps", [(1,), (1, 2), (1, 2, 3, 4)])
def test_deaths_far_apart_evict_nobody_for_long(steps: tuple[int, ...]) -> None:
    mesh = a_mesh("a", "b", "c")
    published = mesh.nodes["b"].own.incarnation
    far = [Rumour("b", published + step * (INCARNATION_STEP_MAX - 1), State.DEAD, "zz", True) for step in steps]
    for key in ("a", "c"):  # and not the one whom it is about
        mesh.do(key, mesh.nodes[key].receive(Datagram(Gossip(7), tuple(far)), ELSEWHERE, mesh.now))
    assert "b" not in mesh.nodes["a"].records()
    mesh.run_until(mesh.is_whole, 10.0)
    assert all("b" in machine.records() for machine in mesh.nodes.values())


def test_a_record_with_the_greatest_incarnation_but_one_is_outbid() -> None:
    mesh = a_mesh("a", "b", "c")
    own = mesh.nodes["b"].own
    forged = a_record("b", INCARNATION_MAX - 1, boot=own.boot, addresses=own.addresses)
    mesh.do("a", mesh.nodes["a"].receive(Datagram(Gossip(7), (forged,)), ELSEWHERE, mesh.now))
    mesh.run_until(lambda: mesh.is_whole() and mesh.nodes["b"].own.incarnation == INCARNATION_MAX, 10.0)
    assert {machine.records()["b"] for machine in mesh.nodes.values()} == {mesh.nodes["b"].own}


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_a_node_of_whom_something_is_said_that_cannot_be_outbid_ends_and_says_so(state: State) -> None:
    machine = a_machine()
    effects = hear(machine, [Rumour("me", INCARNATION_MAX, state, "a")])
    assert Emit(IdConflictLost("me", "")) in effects
    assert machine.has_lost_id


def test_an_instance_of_which_something_is_said_that_cannot_be_outbid_is_let_go() -> None:
    machine = a_machine()
    machine.register(HOSTED, 1.0)
    hear(machine, [a_record("agent", INCARNATION_MAX, home="me", boot=1, addresses=())])
    hear(machine, [Rumour("agent", INCARNATION_MAX, State.DEAD, "a")])
    assert "agent" not in machine.records()
    with pytest.raises(LimitExceeded, match="another id"):
        machine.register(HOSTED, 2.0)


@pytest.mark.parametrize("status", ["", "busy"])
def test_a_heartbeat_is_not_acknowledged_if_nothing_can_be_published_of_its_instance(status: str) -> None:
    machine = a_machine()
    machine.register(HOSTED, 1.0)
    hear(machine, [msgspec.structs.replace(machine.records()["agent"], incarnation=INCARNATION_MAX)])
    assert Resolve(7, HeartbeatReply(False, False)) in machine.request(7, Heartbeat("agent", status, ""), 1.0)
    with pytest.raises(LimitExceeded, match="another id"):
        machine.register(HOSTED, 1.0)
    run_until(machine, 30.0)
    assert "agent" not in machine.records()


# Homes


def test_a_record_at_home_at_a_hosted_instance_is_that_of_an_orphan() -> None:
    machine = a_machine()
    machine.register(HOSTED, 1.0)
    hear(machine, [a_record("x", home="agent", addresses=())])
    _, effects = machine.receive_call(Push(7, (Rumour("x", 10, State.DEAD, "q"),)), 1.0)
    assert "x" not in machine.records()
    assert not [effect for effect in effects if isinstance(effect, Send)]


def test_what_a_node_hosted_is_orphaned_where_its_id_becomes_a_hosted_instance() -> None:
    machine = a_machine(config=ProtocolConfig(instance_timeout=5.0))
    hear(machine, [a_record("a", 5), a_record("x", home="a", addresses=())])
    effects = hear(machine, [a_record("a", 6, home="me2", addresses=())])
    events = [type(effect.event) for effect in effects if isinstance(effect, Emit)]
    assert events == [InstanceLeft, InstanceJoined]
    run_until(machine, 12.0)
    assert "x" not in machine.records()


def test_a_suspect_whose_id_this_node_hosts_now_is_suspected_no_longer() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", 5), Rumour("a", 5, State.SUSPECT, "b")])
    hear(machine, [a_record("a", 9, home="me", addresses=())])
    assert machine.records()["a"].state is State.ALIVE
    assert not machine._swim.membership.suspicions


# The departed


def test_rumours_about_unknown_ids_push_out_none_of_the_departed_that_were_listed() -> None:
    config = ProtocolConfig(departed_max=80)
    machine = a_machine(config=config)
    known = [f"n{number}" for number in range(40)]
    hear(machine, [a_record(node_id, 5) for node_id in known])
    hear(machine, [Rumour(node_id, 5, State.DEAD, "a") for node_id in known])
    for batch in range(50):
        effects = hear(machine, [Rumour(f"x{batch}-{number}", 5, State.DEAD) for number in range(100)])
        told = [item.id for effect in effects if isinstance(effect, Send) for item in effect.datagram.items]
        assert not [instance_id for instance_id in told if instance_id.startswith("x")], "it is not told on"
    departed = machine._state.members.departed
    assert set(known) <= set(departed)
    assert len(departed) == len(known) + config.departed_max // 8
    assert len(machine._state.members.tags.ids) == len(departed) + len(machine.records())


def test_a_departed_that_was_never_listed_is_not_listed_by_a_late_record() -> None:
    machine = a_machine()
    hear(machine, [Rumour("x", 5, State.DEAD)])
    hear(machine, [a_record("x", 5)])
    assert "x" not in machine.records()
    hear(machine, [a_record("x", 6)])
    assert "x" in machine.records()
    hear(machine, [Rumour("x", 6, State.DEAD)])
    assert machine._state.members.departed["x"].was_listed
