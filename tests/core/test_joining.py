"""How nodes find one another and become one mesh."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.address import Address
from meshp2p.core.calls import Probe, SyncReply, SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.keeping import INCARNATION_RESERVE
from meshp2p.core.effects import Persist
from meshp2p.core.events import InstanceJoined
from meshp2p.core.record import State
from tests.core.builders import ELSEWHERE, HERE, a_machine, a_ping, a_record, calls, hear, run_until, sends
from tests.core.mesh import Mesh


def test_a_node_alone_lists_itself_and_leads_when_it_has_looked_around() -> None:
    mesh = Mesh()
    machine = mesh.add("a")
    mesh.run(0.5)
    assert machine.leader_id is None
    assert not machine.is_announced
    mesh.run(1)
    assert list(machine.records()) == ["a"]
    assert mesh.leaders("a") == ["a"]
    assert machine.leader_epoch > 0
    assert machine.is_settled
    mesh.run(100)
    assert mesh.sent == 0
    assert machine.local_health == 0


@pytest.mark.parametrize("count", [2, 3, 16, 64])
def test_nodes_that_start_at_once_with_one_seed_are_whole_in_a_moment(count: int) -> None:
    mesh = Mesh(count)
    for number in range(count):
        mesh.add(f"n{number:02}", join="n00" if number else None)
    assert mesh.run_until(mesh.is_whole, within=2.0) <= 2.0
    assert {machine.leader_id for machine in mesh.nodes.values()} == {"n00"}


def test_two_nodes_that_dial_each_other_at_the_same_time_are_whole() -> None:
    mesh = Mesh()
    mesh.add("a")
    mesh.add("b", join="a")
    mesh.join("a", "b")
    mesh.run_until(mesh.is_whole, within=2)
    mesh.run(10)
    assert mesh.is_whole()


def test_a_newcomer_knows_the_leader_of_a_settled_mesh_at_once_and_each_is_told_of_it() -> None:
    mesh = Mesh()
    mesh.add("a")
    mesh.add("b", join="a")
    mesh.run(5)
    mesh.add("c", join="b")
    assert mesh.run_until(mesh.is_whole, within=1) < 0.1
    assert mesh.nodes["c"].leader_id == "a"
    assert [event.id for event in mesh.events["a"] if isinstance(event, InstanceJoined)] == ["a", "b", "c"]


def test_a_newcomer_with_a_lower_id_is_the_next_leader() -> None:
    mesh = Mesh()
    mesh.add("b")
    mesh.run(5)
    before = mesh.nodes["b"].leader_epoch
    mesh.add("a", join="b")
    mesh.run_until(mesh.is_whole, within=2)
    mesh.run(1)
    [(leader_id, epoch)] = {(each.leader_id, each.leader_epoch) for each in mesh.nodes.values()}
    assert leader_id == "a"
    assert epoch > before


def test_a_seed_that_comes_up_later_is_found() -> None:
    mesh = Mesh()
    mesh.add("b")
    mesh.add("a")
    mesh.kill("a")
    mesh.join("b", "a")
    mesh.run(100)
    mesh.add("a", address=mesh.address("a"))
    assert mesh.run_until(mesh.is_whole, within=13) < 13


PATIENT = ProtocolConfig(dial_interval_min=1.0, dial_interval_max=30.0, call_timeout=10.0)
"""As over a WAN."""


@pytest.mark.parametrize("is_silent", [False, True], ids=["refused", "silent"])
@pytest.mark.parametrize("config", [ProtocolConfig(), PATIENT], ids=["lan", "wan"])
@pytest.mark.parametrize("late", [7, 55, 290, 1000, 3000])
def test_a_seed_that_comes_up_late_is_met_within_five_seconds(
    late: int, config: ProtocolConfig, is_silent: bool
) -> None:
    mesh = Mesh(late, config=config)
    seed = Address("10.0.0.2", 77)
    mesh.add("b")
    mesh.do("b", mesh.nodes["b"].offer("seed", (seed,), None, mesh.now))
    if is_silent:  # a host is at the address, and drops what comes
        mesh.add("a", address=seed)
        mesh.is_cut = lambda _sender, _receiver: True
    mesh.run(late)
    if is_silent:
        mesh.is_cut = lambda _sender, _receiver: False
    else:
        mesh.add("a", address=seed)
    lost = config.call_timeout if is_silent else 0.0  # the attempt under way
    mesh.run_until(lambda: "a" in mesh.nodes["b"].records(), within=5.0 + lost + 0.1)


def test_a_node_that_lost_all_others_dials_its_seeds_as_often_as_one_that_never_met_any() -> None:
    mesh = Mesh(config=PATIENT)
    seed = Address("10.0.0.2", 77)
    mesh.add("b")
    mesh.add("c", join="b")
    mesh.do("b", mesh.nodes["b"].offer("seed", (seed,), None, mesh.now))
    mesh.run(1000)
    mesh.leave("c")
    mesh.run(1)
    mesh.kill("c")
    assert list(mesh.nodes["b"].records()) == ["b"]
    mesh.add("a", address=seed)
    mesh.run_until(lambda: "a" in mesh.nodes["b"].records(), within=5.1)


def test_a_packet_of_an_unknown_node_makes_it_a_candidate_and_it_is_asked_who_it_is() -> None:
    machine = a_machine()
    machine.receive_call(Probe(machine._state.tag), 1.0)
    effects = machine.receive(a_ping("stranger", "me"), ELSEWHERE, 1.0)
    effects += machine.handle_timeouts(1.0)
    assert [call.addresses for call in calls(effects, SyncRequest)] == [(ELSEWHERE,)]


def test_a_packet_that_brings_its_senders_record_makes_no_candidate_of_it() -> None:
    machine = a_machine()
    record = a_record("b", addresses=(ELSEWHERE,))
    hear(machine, [record], sender="b")
    assert list(machine.candidates()) == []
    assert "b" in machine.records()


def test_nothing_of_a_node_is_told_before_it_knows_that_its_id_is_its_own() -> None:
    machine = a_machine(is_announced=False)
    hear(machine, [a_record("b", addresses=(ELSEWHERE,))], now=0.1)
    effects = machine.receive(a_ping("b", "me"), ELSEWHERE, 0.1)
    (ack,) = sends(effects)
    assert ack.datagram.items == ()
    reply, _ = machine.receive_call(SyncRequest(b"\0" * 8, None), 0.1)
    assert machine.leader_id is None
    assert not machine.is_announced
    assert isinstance(reply, SyncReply)
    assert "me" not in [item.id for item in reply.items]


def test_nothing_of_its_instances_is_told_before_either() -> None:
    machine = a_machine(is_announced=False)
    hear(machine, [a_record("x", home="me"), a_record("b", addresses=(ELSEWHERE,))], now=0.1)
    reply, _ = machine.receive_call(SyncRequest(b"\0" * 8, None), 0.1)
    assert isinstance(reply, SyncReply)
    assert [item.id for item in reply.items] == ["b"]
    run_until(machine, 1.0)
    reply, _ = machine.receive_call(SyncRequest(b"\0" * 8, None), 1.0)
    assert isinstance(reply, SyncReply)
    assert sorted(item.id for item in reply.items) == ["b", "me", "x"]


def test_what_a_node_will_say_is_on_disk_before_it_says_it() -> None:
    machine = a_machine(is_announced=False)
    effects = run_until(machine, 1.0)
    persisted = [number for number, effect in enumerate(effects) if isinstance(effect, Persist)]
    told = [number for number, effect in enumerate(effects) if not isinstance(effect, Persist)]
    assert persisted
    assert min(persisted) < min(told)
    assert effects[persisted[0]] == Persist(machine.own.incarnation - 1 + INCARNATION_RESERVE, machine.own.epoch)


def test_a_node_that_calls_itself_takes_no_notice_and_does_not_call_again() -> None:
    mesh = Mesh()
    machine = mesh.add("a")
    mesh.join("a", "a")
    mesh.run(100)
    assert list(machine.records()) == ["a"]
    assert len([what for _, _, _, what in mesh.log if isinstance(what, SyncRequest)]) == 1


def test_a_suspect_that_is_heard_of_by_a_newcomer_is_suspect_there_too() -> None:
    machine = a_machine()
    hear(machine, [a_record("b", state=State.SUSPECT)])
    assert machine.records()["b"].state is State.SUSPECT


def test_no_packet_exceeds_its_bound_even_where_the_accused_is_told() -> None:
    config = ProtocolConfig(packet_bytes_max=600)
    machine = a_machine(config=config)
    for number in range(40):
        hear(machine, [a_record(f"{number:03}{'x' * 100}", addresses=(HERE,))])
    hear(machine, [a_record("b" * 128, state=State.SUSPECT, addresses=(ELSEWHERE,))])
    sent = []
    for second in range(200):
        sent += sends(machine.handle_timeouts(1.0 + second / 10))
    assert any(len(send.datagram.items) > 1 for send in sent)
    assert (
        max(len(msgspec.msgpack.encode(send.datagram)) for send in sent) <= 600 - 12 - 16 - 12
    )  # the frame, its seal and nonce


def test_gossip_of_an_own_packet_that_came_back_is_ignored() -> None:
    machine = a_machine()
    assert hear(machine, [a_record("b")], sender="me") == []
    assert "b" not in machine.records()


def test_a_node_that_meets_one_that_knows_as_little_names_no_leader_for_it() -> None:
    for is_settled in (False, True):
        machine = a_machine("m", is_announced=False)
        machine.offer("seed", (ELSEWHERE,), None, 0.1)
        [call] = calls(run_until(machine, 0.15), SyncRequest)
        machine.receive_reply(call.call_id, SyncReply(a_record("b"), is_settled, (a_record("b"),), ()), 0.2)
        assert (machine.leader_id is not None) == is_settled
