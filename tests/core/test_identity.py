"""Coming back under one's id, and two who hold the same."""

from __future__ import annotations

import random

import pytest

from meshp2p.core.calls import Pong, Probe, Push
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import IdConflictLost, InstanceDied, InstanceJoined, InstanceUpdated
from meshp2p.core.machine import Machine
from meshp2p.core.record import INCARNATION_MAX, INCARNATION_STEP_MAX, Item, Record, Rumour, State, tag_of
from meshp2p.errors import NodeClosed
from tests.core.builders import ELSEWHERE, NOW_MS, a_machine, a_ping, a_record, calls, emitted, hear, run_until, told
from tests.core.mesh import Mesh

HOUR_MS = 3_600_000


def a_mesh(count: int = 5, seed: int = 0) -> Mesh:
    mesh = Mesh(seed)
    for number in range(count):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(3)
    return mesh


def is_alive_on_all(mesh: Mesh, key: str) -> bool:
    own = mesh.nodes[key].own
    return all(
        (held := machine.records().get(own.id)) is not None and (held.boot, held.state) == (own.boot, State.ALIVE)
        for machine in mesh.nodes.values()
    )


# Coming back


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("pause", [0.0, 2.0, 30.0])
def test_who_comes_back_without_its_state_and_with_its_clock_set_back_is_alive_on_all(
    pause: float, moves: bool, seed: int
) -> None:
    mesh = a_mesh(seed=seed)
    address = mesh.address("n2")
    mesh.kill("n2")
    mesh.run(pause + random.Random(seed).random())
    mesh.kept.clear()
    mesh.clock_ahead_ms["n2"] = -HOUR_MS
    mesh.add("n2", join="n0", address=None if moves else address)
    mesh.run_until(lambda: is_alive_on_all(mesh, "n2") and mesh.is_whole(), within=2)
    mesh.run(20)
    assert is_alive_on_all(mesh, "n2")


def test_who_comes_back_after_it_left_is_alive_on_all() -> None:
    mesh = a_mesh()
    mesh.leave("n2")
    mesh.run(1)
    mesh.kill("n2")
    mesh.clock_ahead_ms["n2"] = -HOUR_MS
    mesh.kept.clear()
    mesh.add("n2", join="n0")
    mesh.run_until(lambda: is_alive_on_all(mesh, "n2") and mesh.is_whole(), within=2)


def test_a_node_that_kept_its_state_begins_above_what_it_kept() -> None:
    machine = a_machine(kept=KeptState(NOW_MS + HOUR_MS, 3), is_announced=False)
    assert machine.own.incarnation == NOW_MS + HOUR_MS + 1
    assert a_machine(kept=KeptState(5, 0), is_announced=False).own.incarnation == NOW_MS


def test_a_restart_is_an_update_of_its_record_and_no_death() -> None:
    mesh = a_mesh()
    mesh.kill("n2")
    mesh.events["n0"].clear()
    mesh.add("n2", join="n0", address=mesh.address("n2"))
    mesh.run_until(lambda: is_alive_on_all(mesh, "n2"), within=2)
    kinds = {type(event) for event in mesh.events["n0"] if getattr(event, "id", "") == "n2"}
    assert kinds <= {InstanceUpdated}
    assert not kinds & {InstanceDied, InstanceJoined}


# Two of one id


def test_of_two_live_processes_with_one_id_the_newer_loses_and_is_silent() -> None:
    mesh = a_mesh()
    mesh.add("n2", key="other", join="n3")
    mesh.run(3)
    assert mesh.nodes["other"].has_lost_id
    (lost,) = [event for event in mesh.events["other"] if isinstance(event, IdConflictLost)]
    assert (lost.id, lost.address) == ("n2", str(mesh.address("n2")))
    assert not mesh.nodes["n2"].has_lost_id
    mesh.log.clear()
    mesh.run(60)
    assert not [entry for entry in mesh.log if entry[1] == "other"]
    others = {key: machine for key, machine in mesh.nodes.items() if key != "other"}
    assert all(machine.records()["n2"].boot == mesh.nodes["n2"].own.boot for machine in others.values())
    assert len({machine.view for machine in others.values()}) == 1


def test_the_newer_of_two_loses_also_where_both_were_announced_on_two_sides_of_a_partition() -> None:
    mesh = a_mesh()
    mesh.is_cut = lambda sender, receiver: (sender in ("x", "y")) != (receiver in ("x", "y"))
    mesh.add("x")
    mesh.add("n2", key="y", join="x")
    mesh.run(10)
    assert mesh.nodes["y"].is_announced
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.join("x", "n0")
    mesh.run(10)
    assert mesh.nodes["y"].has_lost_id
    assert not mesh.nodes["n2"].has_lost_id
    del mesh.nodes["y"]
    mesh.run_until(mesh.is_whole, within=30)


def test_a_machine_that_lost_its_id_does_nothing_more_and_bids_nobody_farewell() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))])
    rival = _a_rival(machine, incarnation_ahead=5, boot=1)
    (call,) = calls(hear(machine, [rival]), Probe)
    assert call.addresses == rival.addresses
    events = emitted(machine.receive_reply(call.call_id, Pong("me", 1, 0), 1.0))
    assert IdConflictLost("me", str(rival.addresses[0])) in events
    assert machine.next_deadline() == float("inf")
    assert machine.leader_id is None
    assert machine.receive(a_ping("a", "me"), ELSEWHERE, 2.0) == []
    assert machine.handle_timeouts(100.0) == []
    assert machine.leave(100.0) == []
    assert machine.has_left
    with pytest.raises(NodeClosed):
        machine.report("busy", "", 100.0)


def _a_rival(machine: Machine, *, incarnation_ahead: int, boot: int) -> Record:
    return a_record("me", machine.own.incarnation + incarnation_ahead, boot=boot, addresses=(ELSEWHERE,))


@pytest.mark.parametrize(
    "reply",
    [CallFailed(Failure.REFUSED, ""), CallFailed(Failure.TIMEOUT, ""), Pong("me", 99, 0), Pong("somebody", 1, 0)],
)
def test_a_rival_that_is_gone_is_outbid(reply: Pong | CallFailed) -> None:
    machine = a_machine()
    rival = _a_rival(machine, incarnation_ahead=5, boot=1)
    (call,) = calls(hear(machine, [rival]), Probe)
    machine.receive_reply(call.call_id, reply, 1.0)
    assert not machine.has_lost_id
    assert machine.own.incarnation == rival.incarnation + 1


def test_a_rival_that_began_later_is_outbid_and_loses_by_itself() -> None:
    machine = a_machine()
    rival = _a_rival(machine, incarnation_ahead=5, boot=(1 << 62))
    (call,) = calls(hear(machine, [rival]), Probe)
    machine.receive_reply(call.call_id, Pong("me", 1 << 62, 0), 1.0)
    assert not machine.has_lost_id
    assert machine.own.incarnation == rival.incarnation + 1


def test_a_rival_that_did_not_prevail_is_not_asked() -> None:
    machine = a_machine()
    assert calls(hear(machine, [_a_rival(machine, incarnation_ahead=-5, boot=1)]), Probe) == []


def test_no_more_than_a_few_rivals_are_asked_at_once() -> None:
    machine = a_machine()
    rivals = [_a_rival(machine, incarnation_ahead=5, boot=boot) for boot in range(1, 100)]
    assert len(calls(hear(machine, rivals), Probe)) == 8


def test_a_node_that_left_meanwhile_does_not_outbid_its_rival() -> None:
    machine = a_machine()
    (call,) = calls(hear(machine, [_a_rival(machine, incarnation_ahead=5, boot=1)]), Probe)
    incarnation = machine.own.incarnation
    machine.leave(1.0)
    machine.receive_reply(call.call_id, CallFailed(Failure.REFUSED, ""), 1.1)
    assert machine.own.incarnation == incarnation


def test_a_node_whose_id_an_instance_bears_outbids_it() -> None:
    mesh = a_mesh(3)
    hosted = a_record("n9", NOW_MS + 2 * HOUR_MS, home="n1", boot=mesh.nodes["n1"].own.boot)
    mesh.do("n1", hear(mesh.nodes["n1"], [hosted], mesh.now))
    mesh.run(1)
    assert mesh.nodes["n0"].records()["n9"].home == "n1"
    mesh.add("n9", join="n0")
    mesh.run_until(lambda: is_alive_on_all(mesh, "n9") and mesh.is_whole(), within=2)
    assert mesh.nodes["n1"].records()["n9"].is_node


# Hostile claims about us


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_whatever_is_said_of_us_we_are_alive_and_say_so(state: State) -> None:
    machine = a_machine()
    said = machine.own.incarnation + 10
    effects = hear(machine, [a_record("a"), Rumour("me", said, state, "a")])
    assert machine.records()["me"].state is State.ALIVE
    assert machine.own.incarnation == said + 1
    assert [item.incarnation for item in told(effects) if item.id == "me"] == [said + 1]


def test_an_own_record_that_says_dead_or_an_incarnation_that_nobody_believes_is_no_claim_at_all() -> None:
    machine = a_machine()
    own = machine.own
    items: list[Item] = [
        a_record("me", own.incarnation + 5, state=State.DEAD, boot=own.boot),
        a_record("me", own.incarnation + 5, boot=own.boot, addresses=()),
        Rumour("me", INCARNATION_MAX + 1, State.DEAD, "x"),
        Rumour("me", (1 << 63) - 1, State.LEFT, "x"),
        Rumour("me", own.incarnation + 1, State.ALIVE, "x"),
    ]
    assert hear(machine, items, sender="me2") is not None
    assert machine.own == own
    assert machine.counters.items_refused == len(items)


def test_what_is_absurd_of_others_is_refused_and_counted() -> None:
    machine = a_machine()
    hear(machine, [a_record("a", NOW_MS)])
    before = (dict(machine.records()), machine.view, dict(machine._state.members.departed))
    items: list[Item] = [
        Rumour("a", NOW_MS + INCARNATION_STEP_MAX + 1, State.DEAD),
        Rumour("a", NOW_MS + 1, State.ALIVE),
        Rumour("nobody", (1 << 63) - 1, State.LEFT),
        a_record("a", NOW_MS + 1, addresses=()),
        a_record("b", addresses=()),
        a_record("b", epoch=(1 << 63) - 1),
        a_record("b", state=State.LEFT),
    ]
    hear(machine, items)
    machine.receive_call(Push(1, tuple(items)), 1.0)
    assert (dict(machine.records()), machine.view, dict(machine._state.members.departed)) == before
    assert machine.counters.items_refused == 2 * len(items)


def test_a_node_outbids_the_greatest_incarnation_that_is_taken() -> None:
    machine = a_machine()
    for _ in range(50):
        hear(machine, [Rumour("me", machine.own.incarnation + INCARNATION_STEP_MAX, State.DEAD, "x")])
    assert machine.records()["me"].state is State.ALIVE
    assert machine.own.incarnation < 1 << 62


def test_a_departed_without_addresses_is_neither_called_nor_in_the_way() -> None:
    machine = a_machine()
    hear(machine, [Rumour("a", 5, State.DEAD, "x")])
    run_until(machine, 10.0)
    machine.receive(a_ping("a", "me"), ELSEWHERE, 10.0)
    machine.receive(Datagram(Gossip(tag_of("a"))), ELSEWHERE, 10.0)
    hear(machine, [a_record("a", 6)], 10.0)
    assert "a" in machine.records()
