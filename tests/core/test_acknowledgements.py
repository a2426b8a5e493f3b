"""An acknowledgement is answered when it is kept, wherever it comes and whenever it comes again; what became of a
message is known after a restart; time is what passed, whatever a wall clock shows."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Acknowledged, Done, Refused, Why
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.message import CopyStatus
from meshp2p.core.requests import Acknowledge, Deregister
from meshp2p.core.swim.hosting import Profile
from tests.core.mesh import Mesh
from tests.core.test_messages import a_mesh, acknowledge, held_on_disk, host, ids_of, read, send, status

DAY_MS = 86_400_000


def refusal(mesh: Mesh, node: str, recipient: str, *message_ids: str) -> Why:
    reply = mesh.answer(node, Acknowledge(recipient, message_ids))
    assert isinstance(reply, Refused), reply
    return reply.why


def restart(mesh: Mesh, node: str, join: str) -> None:
    mesh.kill(node)
    mesh.add(node, join=join, address=mesh.address(node))


# Answered when it is kept


@pytest.mark.parametrize("asked", ["b", "a"])
@pytest.mark.parametrize("is_full", [True, False])
def test_an_acknowledgement_that_comes_again_while_the_first_is_written_is_answered_with_it(
    asked: str, is_full: bool
) -> None:
    mesh = a_mesh("a", "b")
    sent = send(mesh, "a", "b")
    mesh.run(0.1)
    if is_full:
        mesh.full["b"] = "no room"
    tickets = [mesh.ask(asked, Acknowledge("b", (sent.message_id,))) for _ in range(3)]
    assert not set(tickets) & set(mesh.resolved)
    mesh.run(1.0)
    kinds = {type(mesh.resolved[ticket]) for ticket in tickets}
    assert kinds == ({Refused} if is_full else {Done})
    mesh.full.clear()
    assert read(mesh, "b", "b") == (["hello"] if is_full else [])


def test_one_that_repeats_some_and_brings_others_is_refused_if_what_it_repeats_was_not_kept() -> None:
    mesh = a_mesh("a", "b")
    sent = [send(mesh, "a", "b", text).message_id for text in "xy"]
    mesh.run(0.1)
    mesh.full["b"] = "no room"
    first = mesh.ask("b", Acknowledge("b", (sent[0],)))
    second = mesh.ask("b", Acknowledge("b", tuple(sent)))
    mesh.run_until(lambda: first in mesh.resolved and second in mesh.resolved, 1)
    assert {type(mesh.resolved[first]), type(mesh.resolved[second])} == {Refused}
    mesh.full.clear()
    acknowledge(mesh, "b", "b", *sent)
    assert read(mesh, "b", "b") == []


def test_a_holder_that_cannot_keep_it_says_so_and_is_told_again_until_it_can() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    mesh.run(0.1)
    mesh.full["a"] = "no room"
    acknowledge(mesh, "b", "x", sent)  # it is kept at the home
    mesh.run(3)
    assert status(mesh, "a", sent) == {"x": CopyStatus.DELIVERED}
    del mesh.full["a"]
    mesh.run(30)
    assert status(mesh, "a", sent) == {"x": CopyStatus.ACKNOWLEDGED}
    mesh.kill("b")
    restart(mesh, "a", "c")
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(10)
    assert read(mesh, "c", "x") == []


def test_a_home_that_leaves_tells_holders_once_more_what_they_could_not_keep() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    mesh.run(0.1)
    mesh.full["a"] = "no room"
    acknowledge(mesh, "b", "x", sent)
    mesh.run(5)
    del mesh.full["a"]
    mesh.leave("b")
    mesh.run_until(lambda: mesh.nodes["b"].has_left, 5)
    mesh.kill("b")
    assert status(mesh, "a", sent) == {"x": CopyStatus.ACKNOWLEDGED}


def test_a_holder_that_is_told_twice_while_it_writes_answers_both_with_what_came_of_it() -> None:
    mesh = a_mesh("a", "b")
    sent = send(mesh, "a", "b").message_id
    mesh.run(0.1)
    mesh.full["a"] = "no room"
    node = mesh.nodes["a"]
    for ticket in (-900, -901):
        mesh.do("a", node.receive_call(Acknowledged((("b", sent),), "b"), mesh.now, ticket)[1])
    mesh.run(0.1)
    assert {type(mesh.resolved[-900]), type(mesh.resolved[-901])} == {Refused}
    del mesh.full["a"]
    mesh.do("a", node.receive_call(Acknowledged((("b", sent),), "b"), mesh.now, -902)[1])
    mesh.run(0.1)
    assert mesh.resolved[-902] == Done()
    assert status(mesh, "a", sent) == {"b": CopyStatus.ACKNOWLEDGED}


# While the recipient is not listed


@pytest.mark.parametrize("how", ["killed", "left"])
def test_a_recipient_whose_node_is_away_is_told_to_try_again_and_reads_nothing_twice(how: str) -> None:
    mesh = a_mesh("a", "b", "c")
    sent = send(mesh, "b", "a").message_id
    mesh.run(0.1)
    if how == "left":
        mesh.leave("a")
        mesh.run(1)
    mesh.kill("a")
    mesh.run_until(lambda: all("a" not in mesh.nodes[node].records() for node in "bc"), 30)
    for node in "bc":
        assert refusal(mesh, node, "a", sent) is Why.UNREACHABLE
    mesh.add("a", join="b", address=mesh.address("a"))
    mesh.run(5)
    acknowledge(mesh, "c", "a", sent)
    assert read(mesh, "a", "a") == []


@pytest.mark.parametrize("asked", ["b", "a", "c"])
def test_an_agent_that_expired_is_acknowledged_at_the_home_it_had(asked: str) -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    mesh.run(20)
    assert "x" not in mesh.nodes[asked].records()
    acknowledge(mesh, asked, "x", sent)
    mesh.run(1)
    assert status(mesh, "a", sent) == {"x": CopyStatus.ACKNOWLEDGED}
    restart(mesh, "b", "a")
    mesh.run(2)
    host(mesh, "b", "x")
    mesh.run(2)
    assert read(mesh, "b", "x") == []


def test_an_agent_that_expired_is_refused_if_its_home_cannot_keep_it() -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    mesh.run(20)
    mesh.full["b"] = "no room"
    assert refusal(mesh, "a", "x", sent) is Why.STORE_FULL
    mesh.full.clear()
    host(mesh, "a", "x")
    mesh.run(1)
    assert ids_of(mesh, "a", "x") == (sent,)


def test_an_agent_whose_home_died_is_told_to_register_and_then_reads_nothing_twice() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    mesh.run(0.1)
    mesh.kill("b")
    mesh.run(40)
    assert "x" not in mesh.nodes["c"].records()
    assert refusal(mesh, "c", "x", sent) is Why.UNREACHABLE
    host(mesh, "c", "x")
    acknowledge(mesh, "c", "x", sent)
    mesh.add("b", join="a", address=mesh.address("b"))
    mesh.run(5)
    host(mesh, "b", "x")
    mesh.run(5)
    assert read(mesh, "b", "x") == []


def test_one_that_nobody_has_heard_of_or_that_was_deregistered_is_answered() -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    acknowledge(mesh, "a", "nobody", sent)
    mesh.answer("b", Deregister("x"))
    mesh.run(1)
    for node in "ab":
        acknowledge(mesh, node, "x", sent)


def test_a_node_that_has_just_begun_does_not_answer_for_recipients_it_has_not_heard_of() -> None:
    mesh = a_mesh("a", "b")
    sent = send(mesh, "a", "b").message_id
    mesh.run(0.1)
    mesh.disks["c"] = {}
    mesh.add("c")
    assert refusal(mesh, "c", "b", sent) is Why.UNREACHABLE
    mesh.join("c", "a")
    mesh.run(5)
    acknowledge(mesh, "c", "b", sent)
    assert read(mesh, "b", "b") == []


def test_a_node_that_was_started_again_and_is_cut_off_answers_for_nobody_whom_it_may_not_know() -> None:
    mesh = a_mesh("a", "b", "c")
    sent = send(mesh, "a", "b").message_id
    mesh.run(0.1)
    mesh.kill("c")
    mesh.is_cut = lambda one, other: "c" in (one, other)
    mesh.add("c", join="a", address=mesh.address("c"))
    mesh.run(30)
    assert mesh.nodes["c"].is_settled, "it is alone"
    assert refusal(mesh, "c", "b", sent) is Why.UNREACHABLE
    mesh.is_cut = lambda _one, _other: False
    mesh.run(60)
    acknowledge(mesh, "c", "b", sent)
    acknowledge(mesh, "c", "nobody", sent)
    assert read(mesh, "b", "b") == []


def test_one_that_comes_before_the_message_is_remembered_over_a_restart_whoever_holds_it() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x").message_id
    mesh.run(0.1)
    mesh.kill("a")
    mesh.kill("c")
    mesh.kill("b")
    mesh.add("c", address=mesh.address("c"))
    mesh.run(3)
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    acknowledge(mesh, "c", "x", sent)  # whoever accepted it is not known here
    restart(mesh, "c", "c")
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.add("a", join="c", address=mesh.address("a"))
    mesh.run(10)
    assert read(mesh, "c", "x") == []
    assert status(mesh, "a", sent) == {"x": CopyStatus.ACKNOWLEDGED}


def test_a_node_that_is_back_holds_alone_what_it_handed_over() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "c", "x")
    mesh.kill("c")
    sent = send(mesh, "a", "x").message_id
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 10)
    mesh.kill("a")
    assert "outgoing" in held_on_disk(mesh, "b")
    mesh.add("a", join="b", address=mesh.address("a"))
    mesh.run(10)
    assert "outgoing" not in held_on_disk(mesh, "b")
    assert status(mesh, "b", sent) == {"x": CopyStatus.QUEUED}
    mesh.do("a", mesh.nodes["a"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(1)
    acknowledge(mesh, "a", "x", sent)
    mesh.kill("a")
    mesh.do("b", mesh.nodes["b"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(10)
    assert read(mesh, "b", "x") == []


def test_a_home_that_is_back_asks_the_holder_what_was_acknowledged_elsewhere() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "c", "x")
    first, second = (send(mesh, "a", "x", text).message_id for text in ("first", "second"))
    third = send(mesh, "b", "x", "third").message_id
    mesh.run(0.5)
    mesh.kill("c")
    mesh.do("a", mesh.nodes["a"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(2)
    acknowledge(mesh, "a", "x", first, third)
    mesh.kill("a")
    mesh.kill("b")  # and nobody knows any more where x was at home
    mesh.add("a", address=mesh.address("a"))
    for node in ("b", "c"):
        mesh.add(node, join="a", address=mesh.address(node))
    mesh.run(10)
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(5)
    assert ids_of(mesh, "c", "x") == (second,)


# What became of it


def test_what_became_of_a_message_is_known_after_a_restart_of_the_node_that_accepted_it() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(message_timeout=60))
    host(mesh, "b", "x")
    host(mesh, "b", "y")
    sent = {
        name: send(mesh, "a", target, name).message_id
        for name, target in [("acknowledged", "b"), ("undeliverable", "x"), ("expired", "b"), ("all", None)]
    }
    mesh.run(0.1)
    acknowledge(mesh, "b", "b", sent["acknowledged"])
    mesh.answer("b", Deregister("x"))
    mesh.run(70)
    before = {name: mesh.nodes["a"]._mail.receipts.status(sent[name]).receipts for name in sent}
    assert {receipt.status for receipt in before["all"]} == {CopyStatus.EXPIRED, CopyStatus.UNDELIVERABLE}
    restart(mesh, "a", "b")
    mesh.run(5)
    for name, message_id in sent.items():
        assert mesh.nodes["a"]._mail.receipts.status(message_id).receipts == before[name]
        assert status(mesh, "b", message_id) == {receipt.recipient: receipt.status for receipt in before[name]}


def test_receipts_on_disk_are_bounded_as_those_in_memory_are() -> None:
    mesh = a_mesh("a", config=ProtocolConfig(receipts_max=3))
    ids = [send(mesh, "a", "a", str(number), source="s").message_id for number in range(8)]
    for message_id in ids:
        acknowledge(mesh, "a", "a", message_id)
    mesh.run(0.1)
    assert len(mesh.disks["a"]) == 3
    mesh.kill("a")
    mesh.add("a")
    mesh.run(2)
    known = [message_id for message_id in ids if status(mesh, "a", message_id)]
    assert known == ids[-3:]
    again = send(mesh, "a", "a", source="s").message_id
    acknowledge(mesh, "a", "a", again)
    mesh.run(0.1)
    assert len(mesh.disks["a"]) == 3
    assert status(mesh, "a", ids[-3]) == {}


# Time


@pytest.mark.parametrize("step_ms", [3 * DAY_MS, -400 * DAY_MS, 400 * DAY_MS, 20 * 365 * DAY_MS])
@pytest.mark.parametrize("is_running", [True, False])
def test_a_wall_clock_that_is_set_expires_nothing(step_ms: int, is_running: bool) -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "a", "x")
    first = send(mesh, "b", "x", "first").message_id
    mesh.run(0.1)
    for node in "ab":
        if not is_running:
            mesh.kill(node)
        mesh.clock_ahead_ms[node] = step_ms
    if is_running:
        mesh.run(5)
        for node in "ab":
            mesh.kill(node)
    mesh.add("a", address=mesh.address("a"))
    mesh.add("b", join="a", address=mesh.address("b"))
    mesh.run(3)
    host(mesh, "a", "x")
    mesh.run(1)
    assert read(mesh, "a", "x") == ["first"]
    assert status(mesh, "b", first) == {"x": CopyStatus.DELIVERED}


def test_what_is_kept_expires_by_the_time_that_passed_also_while_its_node_was_down() -> None:
    mesh = a_mesh("a", config=ProtocolConfig(message_timeout=100))
    send(mesh, "a", "a", "early", source="s")
    mesh.run(60)
    send(mesh, "a", "a", "late", source="s")
    mesh.kill("a")
    mesh.run(50)
    mesh.add("a")
    mesh.run(2)
    assert read(mesh, "a", "a") == ["late"]
    mesh.run(60)
    assert read(mesh, "a", "a") == []
