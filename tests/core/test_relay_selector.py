"""Ways to a node: directly, through a relay, or none; which is taken first, and who is told."""

from __future__ import annotations

import itertools

import pytest

from meshp2p.core.calls import Deliver, ForwardStatus, Pong, Probe, StatusReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Unreached
from meshp2p.core.directory.dial_backs import DIAL_BACK_INTERVAL, DIAL_BACKS_MAX, UNREACHABLE_AFTER
from meshp2p.core.directory.relay_selector import ASK_INTERVAL, DIRECT_RETRY_MIN
from meshp2p.core.effects import Call, CallFailed, Failure
from meshp2p.core.events import PeerReachable, PeersCannotCall, PeerUnreachable
from meshp2p.core.machine import Machine
from meshp2p.core.message import CopyStatus
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.core.requests import AskStatus, SendMessage
from tests.core.builders import ELSEWHERE, a_machine, a_record, calls, hear, sends
from tests.core.mesh import Mesh


def a_mesh(*names: str) -> Mesh:
    mesh = Mesh()
    for name in names:
        mesh.add(name, join=None if name == names[0] else names[0])
    mesh.run_until(mesh.is_whole, within=10)
    mesh.run(5)
    return mesh


def closed(name: str, *admitted: str) -> object:
    """Nobody but these can call this node."""
    return lambda caller, called: called == name and caller not in admitted


def hide(mesh: Mesh, *hidden: str) -> None:
    """Nobody can dial these nodes from now on. Over a connection that one of them opens calls go both ways."""
    connected: set[frozenset[str]] = set()

    def is_call_lost(caller: str, called: str) -> bool:
        if called in hidden and frozenset((caller, called)) not in connected:
            return True
        connected.add(frozenset((caller, called)))
        return False

    mesh.is_call_lost = is_call_lost


def send(mesh: Mesh, source: str, target: str) -> str:
    reply = mesh.answer(source, SendMessage(source, target, "Query", "", b"1", None))
    return str(reply.message_id)  # type: ignore[union-attr]


def delivered_by(mesh: Mesh, since: float, sender: str, receiver: str) -> list[float]:
    """When the sender delivered to the receiver directly."""
    address = mesh.address(receiver)
    return [
        when
        for when, by, to, what in mesh.log
        if (by, to) == (sender, address) and isinstance(what, Deliver) and when >= since
    ]


def is_delivered(mesh: Mesh, node: str, message_id: str) -> bool:
    reply = mesh.answer(node, AskStatus(message_id))
    assert isinstance(reply, StatusReply)
    return all(receipt.status is not CopyStatus.QUEUED for receipt in reply.receipts)


def test_a_node_asks_those_whom_the_target_watches_to_pass_a_call_on() -> None:
    mesh = a_mesh("a", "b", "c", "d", "e", "f")
    routes = mesh.nodes["a"].routes("c", mesh.now)
    assert [(route.node_id, route.target) for route in routes] == [("c", ""), ("d", "c"), ("e", "c")]
    assert [route.node_id for route in mesh.nodes["e"].routes("d", mesh.now)][:2] == ["d", "f"]
    assert mesh.nodes["a"].routes("nobody", mesh.now) == []


def test_a_message_to_a_node_that_cannot_be_called_arrives_through_a_relay_and_the_next_one_at_once() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    mesh.is_call_lost = closed("c", "d")  # type: ignore[assignment]  # what c watches, it dialled
    first = send(mesh, "a", "c")
    mesh.run(3.0)
    assert is_delivered(mesh, "a", first)
    began = mesh.now
    second = send(mesh, "a", "c")
    mesh.run(0.1)
    assert is_delivered(mesh, "a", second)
    assert delivered_by(mesh, began, "a", "c") == []


def test_a_node_that_only_one_node_can_call_is_reached_whichever_that_is() -> None:
    """Two sides of a cut that reach one node in common, which the target need not watch."""
    for bridge in "bdefgh":
        mesh = a_mesh("a", "b", "c", "d", "e", "f", "g", "h")
        mesh.is_call_lost = closed("c", bridge)  # type: ignore[assignment]
        sent = send(mesh, "a", "c")
        mesh.run_until(lambda mesh=mesh, sent=sent: is_delivered(mesh, "a", sent), within=300)  # type: ignore[misc]


def test_while_a_detour_is_taken_the_direct_way_is_probed_beside_it_and_no_message_waits() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    mesh.is_call_lost = closed("c", "d")  # type: ignore[assignment]
    send(mesh, "a", "c")
    mesh.run(DIRECT_RETRY_MIN + 2)
    began = mesh.now
    sent = send(mesh, "a", "c")
    mesh.run(0.1)
    assert is_delivered(mesh, "a", sent)
    probes = [what for when, by, to, what in mesh.log if when >= began and by == "a" and to == mesh.address("c")]
    assert "Probe" in [type(what).__name__ for what in probes]
    mesh.is_call_lost = lambda _caller, _called: False
    mesh.run(2 * DIRECT_RETRY_MIN + 1)
    send(mesh, "a", "c")
    mesh.run(1.0)
    began = mesh.now
    send(mesh, "a", "c")
    mesh.run(1.0)
    assert delivered_by(mesh, began, "a", "c")


def test_when_there_is_no_path_both_sides_and_the_status_say_so_until_there_is_one() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.is_call_lost = closed("c")  # type: ignore[assignment]
    sent = send(mesh, "a", "c")
    mesh.run(UNREACHABLE_AFTER + 20)
    told = [event for event in mesh.events["a"] if isinstance(event, PeerUnreachable)]
    assert [event.id for event in told] == ["c"]
    assert [event.id for event in mesh.events["c"] if isinstance(event, PeersCannotCall)] == ["a"]
    assert mesh.nodes["a"].unreachable.keys() == {"c"}
    reply = mesh.answer("a", AskStatus(sent))
    assert isinstance(reply, StatusReply)
    (receipt,) = reply.receipts
    assert (receipt.status, receipt.reason.split(":")[0]) == (CopyStatus.QUEUED, "no path to node 'c'")
    mesh.is_call_lost = lambda _caller, _called: False
    mesh.run(10.0)
    assert is_delivered(mesh, "a", sent)
    assert [event.id for event in mesh.events["a"] if isinstance(event, PeerReachable)] == ["c"]
    assert mesh.nodes["a"].unreachable == {}


def test_a_node_that_crashed_is_not_said_to_be_unreachable() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.kill("c")
    mesh.do("a", mesh.nodes["a"].request(99, SendMessage("a", "c", "Query", "", b"1", None), mesh.now))
    mesh.run(60.0)
    assert not any(isinstance(event, PeerUnreachable) for event in mesh.events["a"])


def test_what_came_of_the_drivers_own_calls_counts_alike() -> None:
    mesh = a_mesh("a", "b", "c")
    machine = mesh.nodes["a"]
    mesh.do("a", machine.note_route("c", "b", "", mesh.now))
    assert [route.via for route in machine.routes("c", mesh.now)][:2] == ["b", ""]
    mesh.do("a", machine.note_route("c", "", "refused", mesh.now))
    assert machine.routes("c", mesh.now)[0].via == ""
    mesh.run(UNREACHABLE_AFTER)
    mesh.do("a", machine.note_route("c", "", "refused", mesh.now))
    assert machine.unreachable == {"c": "refused"}
    mesh.do("a", machine.note_route("c", "", "", mesh.now))
    assert machine.unreachable == {}


def test_a_relay_that_was_stopped_passes_nothing_on() -> None:
    mesh = a_mesh("a", "b", "c")
    assert mesh.nodes["b"].relay_route("c") is not None
    assert mesh.nodes["b"].relay_route("b") is None
    assert mesh.nodes["b"].relay_route("nobody") is None
    mesh.nodes["b"]._state.is_guarded = True
    assert mesh.nodes["b"].relay_route("c") is None


def test_a_call_through_a_relay_names_the_relay_and_the_target() -> None:
    mesh = a_mesh("a", "b", "c")
    relay_selector = mesh.nodes["a"]._relay_selector
    relay_selector.note_answered("c", "b", mesh.now)
    relay_selector.call("c", ForwardStatus("0192aaaa"), lambda _reply, _now: None, 1.0, mesh.now)
    (call,) = [effect for effect in mesh.nodes["a"]._state.effects if isinstance(effect, Call)]
    assert (call.node_id, call.addresses, call.target) == ("b", (mesh.address("b"),), "c")


def test_a_call_that_fails_late_does_not_end_a_detour_that_worked_since_it_began() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    machine, began = mesh.nodes["a"], mesh.now

    def call_of(now: float) -> int:
        machine._relay_selector.call("c", ForwardStatus("0192aaaa"), lambda _reply, _now: None, 1.0, now)
        calls = [effect for effect in machine._state.effects if isinstance(effect, Call)]
        machine._state.effects.clear()
        return calls[-1].call_id

    machine._relay_selector.note_answered("c", "d", began)
    early = call_of(began + 0.1)
    machine._relay_selector.note_answered("c", "d", began + 0.2)
    late = call_of(began + 0.3)
    failed = CallFailed(Failure.TIMEOUT, "no answer")
    machine.receive_reply(early, failed, began + 2.1)
    assert machine.detours == {"c": "d"}
    machine.receive_reply(late, failed, began + 2.3)
    assert machine.detours == {}


@pytest.mark.parametrize("sender", ["a", "b"], ids=["a caller that can be dialled", "a hidden caller"])
def test_a_hidden_node_whose_successors_are_hidden_dials_back(sender: str) -> None:
    """Of six nodes two can be dialled, and neither is watched by the target."""
    mesh = a_mesh("a", "b", "c", "d", "e", "f")
    hide(mesh, "b", "c", "d", "e")
    first = send(mesh, sender, "c")
    mesh.run_until(lambda: is_delivered(mesh, sender, first), within=30)
    second = send(mesh, sender, "c")
    mesh.run(0.1)
    assert is_delivered(mesh, sender, second), "the connection is there now"
    assert not any(isinstance(event, PeersCannotCall) for event in mesh.events["c"])


def test_a_node_is_not_asked_to_dial_back_if_a_relay_has_a_connection_to_it() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    mesh.is_call_lost = closed("c", "d")  # type: ignore[assignment]
    began = mesh.now
    sent = send(mesh, "a", "c")
    mesh.run_until(lambda: is_delivered(mesh, "a", sent), within=10)
    said = [what.body for when, _, _, what in mesh.log if when >= began and isinstance(what, Datagram)]
    assert not any(isinstance(body, Unreached) for body in said)


def test_a_node_that_does_not_dial_back_is_asked_rarely_and_each_time_with_another_relay() -> None:
    mesh = a_mesh("a", "b", "c", "d", "e")
    mesh.is_call_lost = lambda _caller, called: called == "c"
    mesh.log.clear()
    for _ in range(20):
        send(mesh, "a", "c")
    mesh.run(60)
    asked = [
        (when, what.body.relay)
        for when, by, _, what in mesh.log
        if by == "a" and isinstance(what, Datagram) and isinstance(what.body, Unreached)
    ]
    assert len(asked) > 3
    for (before, relay), (after, another) in itertools.pairwise(asked):
        assert after - before >= ASK_INTERVAL
        assert relay != another


def asked_to_dial(machine: Machine, now: float) -> tuple[str, list[str]]:
    """Which relay node d is asked to dial when all routes to it fail, and whom the next call to it goes to."""
    effects = machine.note_route("d", "", "no answer", now)
    (relay,) = [send.datagram.body.relay for send in sends(effects) if isinstance(send.datagram.body, Unreached)]
    machine._relay_selector.call("d", ForwardStatus("0192aaaa"), lambda _reply, _now: None, 1.0, now)
    names = {tag_of(name): name for name in machine.records()}
    return names[relay], [call.node_id for call in calls(machine._state.effects, ForwardStatus)]


def test_a_node_is_asked_to_dial_a_relay_that_answered_on_no_connection_of_a_watch() -> None:
    """What the caller watches, and what watches it, may have dialled the caller and be hidden itself."""
    names = [f"n{number}" for number in range(8)]
    for seed in range(20):
        machine = a_machine("n4x")
        machine._state.random.seed(seed)  # type: ignore[attr-defined]
        hear(machine, [a_record(name) for name in (*names, "d")])
        for name in names:
            machine._relay_selector.note_direct(name, 2.0)
        assert asked_to_dial(machine, 3.0)[0] in ("n0", "n1", "n2", "n7")


def test_a_call_to_a_node_that_was_asked_to_dial_a_relay_begins_with_that_relay() -> None:
    machine = a_machine("n4x")
    hear(machine, [a_record(name) for name in ("a", "b", "d")])
    machine._relay_selector.note_direct("a", 2.0)
    assert asked_to_dial(machine, 3.0) == ("a", ["a"]), "there is no other than one that it watches"
    machine.note_route("a", "", "no answer", 4.0)
    machine._relay_selector.call("d", ForwardStatus("0192aaaa"), lambda _reply, _now: None, 1.0, 5.0)
    assert [call.node_id for call in calls(machine._state.effects, ForwardStatus)] == ["d"], "the relay is silent now"


def a_member(*names: str) -> Machine:
    machine = a_machine("me", ProtocolConfig(watches=0, pause_threshold=3600.0))
    hear(machine, [a_record(name) for name in names])
    return machine


def dialled(machine: Machine, sender: str, relay: int, now: float) -> list[str]:
    """Whom a node calls when a packet says that it is called in vain."""
    effects = machine.receive(Datagram(Unreached(tag_of(sender), tag_of("me"), relay)), ELSEWHERE, now)
    return [call.node_id for call in calls(effects, Probe)]


def test_a_node_dials_back_to_members_alone_and_rarely() -> None:
    machine = a_member("a", "b")
    assert dialled(machine, "stranger", tag_of("b"), 2.0) == []
    assert dialled(machine, "a", tag_of("b"), 2.0) == ["a", "b"]
    for hundredths in range(1, 100):
        assert dialled(machine, "a", tag_of("b"), 2.0 + DIAL_BACK_INTERVAL * hundredths / 100) == []
    assert dialled(machine, "a", tag_of("stranger"), 2.0 + DIAL_BACK_INTERVAL) == ["a"]
    assert dialled(machine, "b", tag_of("me"), 2.0 + DIAL_BACK_INTERVAL) == ["b"]
    assert dialled(machine, "a", 0, 2.0 + 2 * DIAL_BACK_INTERVAL) == ["a"]


def test_forged_packets_make_a_node_dial_few_members_at_a_time() -> None:
    names = [f"n{number:02}" for number in range(40)]
    machine = a_member(*names)
    called: list[str] = []
    for name in names:
        called += dialled(machine, name, 0, 2.0)
    assert len(called) == DIAL_BACKS_MAX
    probe = min(machine._state._calls)
    machine.receive_reply(probe, CallFailed(Failure.TIMEOUT, "no answer"), 2.5)
    assert dialled(machine, names[-1], 0, 2.6) == [names[-1]]


def test_what_is_remembered_of_a_call_in_vain_goes_with_the_node() -> None:
    machine = a_member("a", "b", "c")
    selector = machine._relay_selector
    dialled(machine, "a", tag_of("b"), 2.0)
    machine.note_route("a", "", "refused", 2.0)
    machine.receive_reply(max(machine._state._calls), Pong("a", 1, 0), 2.1)
    assert selector.dial_backs._complaints.keys() == selector._requests.keys() == selector._answered_at.keys() == {"a"}
    hear(machine, [Rumour("a", 1, State.DEAD, "b", True)], 2.2)
    assert not selector.dial_backs._complaints
    assert not selector._requests
    assert not selector._answered_at
