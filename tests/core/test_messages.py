"""Messages between agents: delivered in order, handed out until they are acknowledged and never after."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.calls import Done, FetchReply, Refused, SendReply, StatusReply, Why
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.message import CopyStatus
from meshp2p.core.requests import Acknowledge, AskStatus, Deregister, Fetch, Heartbeat, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, MailboxFull, UnknownInstance
from tests.core.mesh import Mesh


def a_mesh(*ids: str, disks: bool = True, config: ProtocolConfig | None = None) -> Mesh:
    """A whole mesh of these nodes."""
    mesh = Mesh(config=config)
    for index, node_id in enumerate(ids):
        if disks:
            mesh.disks[node_id] = {}
        mesh.add(node_id, join=None if index == 0 else ids[0])
    mesh.run_until(lambda: mesh.is_whole() and len(mesh.nodes[ids[0]].records()) == len(ids), 10)
    return mesh


def held_on_disk(mesh: Mesh, node: str) -> list[str]:
    """The tables of what a node keeps of messages, beside what became of those that are over."""
    return [table for table, _ in mesh.disks[node] if table != "receipts"]


def host(mesh: Mesh, home: str, agent: str) -> None:
    mesh.do(home, mesh.nodes[home].register(Profile(agent, "h", 1), mesh.now))
    mesh.run_until(lambda: all(agent in machine.records() for machine in mesh.nodes.values()), 10)


def send(mesh: Mesh, node: str, target: str | None, text: str = "hello", source: str = "sender") -> SendReply:
    reply = mesh.answer(node, SendMessage(source, target, "Notification", "", f'"{text}"'.encode()))
    assert isinstance(reply, SendReply), reply
    return reply


def read(mesh: Mesh, node: str, recipient: str, *, limit: int = 100, after: str = "", wait: float = 0.0) -> list[str]:
    reply = mesh.answer(node, Fetch(recipient, limit, after, wait), within=wait + 10)
    assert isinstance(reply, FetchReply), reply
    return [message.payload.decode().strip('"') for message in reply.messages]


def ids_of(mesh: Mesh, node: str, recipient: str) -> tuple[str, ...]:
    reply = mesh.answer(node, Fetch(recipient, 1000))
    assert isinstance(reply, FetchReply), reply
    return tuple(message.id for message in reply.messages)


def acknowledge(mesh: Mesh, node: str, recipient: str, *message_ids: str) -> None:
    assert mesh.answer(node, Acknowledge(recipient, message_ids)) == Done()


def status(mesh: Mesh, node: str, message_id: str) -> dict[str, CopyStatus]:
    reply = mesh.answer(node, AskStatus(message_id))
    assert isinstance(reply, StatusReply), reply
    return {receipt.recipient: receipt.status for receipt in reply.receipts}


def keep_alive(mesh: Mesh, node: str, agent: str) -> None:
    mesh.answer(node, Heartbeat(agent, "", ""))


@pytest.mark.parametrize("disks", [True, False])
def test_a_message_is_read_until_it_is_acknowledged_and_never_after(disks: bool) -> None:
    mesh = a_mesh("a", "b", "c", disks=disks)
    sent = send(mesh, "a", "b")
    assert sent.delivered_to == ("b",)
    mesh.run(0.1)
    assert status(mesh, "c", sent.message_id) == {"b": CopyStatus.DELIVERED}
    for node in ("b", "c", "a"):
        assert read(mesh, node, "b") == ["hello"]
    acknowledge(mesh, "c", "b", sent.message_id)
    assert read(mesh, "b", "b") == []
    assert status(mesh, "b", sent.message_id) == {"b": CopyStatus.ACKNOWLEDGED}
    for disk in mesh.disks.values():
        assert all(table in ("acknowledged", "receipts") for table, _ in disk), "what was acknowledged is on no disk"


def test_messages_of_one_source_are_read_in_the_order_in_which_they_were_accepted() -> None:
    mesh = a_mesh("a", "b")
    tickets = [mesh.ask("a", SendMessage("s", "b", "Query", "", str(n).encode())) for n in range(50)]
    mesh.run(1.0)
    assert all(isinstance(mesh.resolved[ticket], SendReply) for ticket in tickets)
    ids = [mesh.resolved[ticket].message_id for ticket in tickets]  # type: ignore[union-attr]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert read(mesh, "a", "b") == [str(n) for n in range(50)]


def test_a_page_begins_behind_the_message_that_is_named() -> None:
    mesh = a_mesh("a", "b")
    sent = [send(mesh, "a", "b", str(n)).message_id for n in range(5)]
    mesh.run(0.1)
    assert read(mesh, "a", "b", limit=2) == ["0", "1"]
    assert read(mesh, "a", "b", limit=2, after=sent[1]) == ["2", "3"]
    assert read(mesh, "a", "b", limit=2, after=sent[4]) == []
    acknowledge(mesh, "b", "b", sent[1], sent[3], sent[4])
    assert read(mesh, "a", "b", after=sent[1]) == ["2"]
    assert read(mesh, "a", "b", after=sent[3]) == []
    assert read(mesh, "a", "b", after=sent[4]) == []
    assert read(mesh, "a", "b", after="unknown") == ["0", "2"]


def test_a_broadcast_is_acknowledged_by_each_recipient_on_its_own_and_not_read_by_its_source() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", None, source="a")
    assert sent.delivered_to == ("b", "c", "x")
    mesh.run(0.1)
    acknowledge(mesh, "a", "x", sent.message_id)
    assert read(mesh, "a", "x") == []
    assert read(mesh, "a", "b") == ["hello"]
    assert read(mesh, "a", "a") == []
    acknowledge(mesh, "a", "stranger", sent.message_id)
    assert status(mesh, "c", sent.message_id) == {
        "b": CopyStatus.DELIVERED,
        "c": CopyStatus.DELIVERED,
        "x": CopyStatus.ACKNOWLEDGED,
    }


def test_an_instance_reads_no_broadcast_from_before_it_registered() -> None:
    mesh = a_mesh("a", "b")
    send(mesh, "a", None, source="a")
    host(mesh, "a", "x")
    mesh.run(1.0)
    assert read(mesh, "b", "x") == []


def test_a_message_for_nobody_is_refused_and_not_kept() -> None:
    mesh = a_mesh("a", "b")
    with pytest.raises(UnknownInstance, match="Target instance 'x' not found"):
        mesh.ask("a", SendMessage("s", "x", "Query", "", b"1"))
    host(mesh, "a", "x")
    assert read(mesh, "a", "x") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Gossip"},
        {"kind": "Query", "name": "mine"},
        {"kind": "Custom", "name": "x" * 1025},
        {"correlation_id": "x" * 1025},
        {"correlation_id": "\ud800"},
        {"source": ""},
        {"source": "x" * 129},
    ],
    ids=repr,
)
def test_a_message_that_other_nodes_would_refuse_is_refused_at_the_door(changes: dict[str, str]) -> None:
    mesh = a_mesh("a", "b")
    request = msgspec.structs.replace(SendMessage("s", "b", "Query", "", b"1"), **changes)
    with pytest.raises(ConfigError, match=r"expected|surrogate|at most"):
        mesh.ask("a", request)
    assert read(mesh, "b", "b") == []


def test_a_read_that_waits_is_answered_when_a_message_comes() -> None:
    mesh = a_mesh("a", "b", "c")
    ticket = mesh.ask("c", Fetch("b", 10, "", 30.0))
    mesh.run(5.0)
    assert ticket not in mesh.resolved
    send(mesh, "a", "b")
    mesh.run(0.1)
    reply = mesh.resolved[ticket]
    assert isinstance(reply, FetchReply)
    assert len(reply.messages) == 1


def test_a_read_that_waits_in_vain_is_answered_with_nothing() -> None:
    mesh = a_mesh("a", "b")
    begin = mesh.now
    assert read(mesh, "a", "b", wait=3.0) == []
    assert 3.0 <= mesh.now - begin < 3.5


def test_an_unknown_id_has_an_empty_mailbox() -> None:
    mesh = a_mesh("a", "b")
    assert read(mesh, "a", "nobody") == []
    assert read(mesh, "a", "nobody", wait=1.0) == []


def test_the_home_that_was_killed_has_it_again_from_the_holder() -> None:
    mesh = a_mesh("a", "b", disks=False)
    sent = send(mesh, "a", "b")
    mesh.run(0.1)
    mesh.kill("b")
    mesh.run(1.0)
    mesh.add("b", join="a", address=mesh.address("b"))
    mesh.run(10.0)
    assert read(mesh, "b", "b") == ["hello"]
    acknowledge(mesh, "b", "b", sent.message_id)
    assert read(mesh, "b", "b") == []


def test_the_holder_that_was_killed_is_not_needed_once_the_home_has_it() -> None:
    mesh = a_mesh("a", "b", "c", disks=False)
    sent = send(mesh, "a", "b")
    mesh.kill("a")
    mesh.run(30.0)
    assert read(mesh, "c", "b") == ["hello"]
    acknowledge(mesh, "c", "b", sent.message_id)
    assert read(mesh, "c", "b") == []


def test_both_ends_killed_at_once_have_it_from_their_disks() -> None:
    mesh = a_mesh("a", "b", "c")
    first = send(mesh, "a", "b", "one")
    send(mesh, "a", "b", "two")
    mesh.run(0.1)
    acknowledge(mesh, "b", "b", first.message_id)
    mesh.kill("a")
    mesh.kill("b")
    mesh.run(1.0)
    for node in ("a", "b"):
        mesh.add(node, join="c", address=mesh.address(node))
    mesh.run(10.0)
    assert read(mesh, "c", "b") == ["two"]


def test_what_was_acknowledged_just_before_the_home_was_killed_is_not_handed_out_at_the_next_home() -> None:
    mesh = a_mesh("a", "b", "c", disks=False)
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    mesh.run(0.1)
    acknowledge(mesh, "b", "x", sent.message_id)
    mesh.kill("b")
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(10.0)
    keep_alive(mesh, "c", "x")
    assert read(mesh, "c", "x") == []


def test_messages_follow_a_recipient_that_registers_at_another_node() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = [send(mesh, "a", "x", str(n)) for n in range(3)]
    mesh.run(0.1)
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(1.0)
    assert read(mesh, "c", "x") == ["0", "1", "2"]
    assert read(mesh, "b", "x") == ["0", "1", "2"]
    acknowledge(mesh, "a", "x", *(one.message_id for one in sent))
    mesh.run(1.0)
    assert read(mesh, "c", "x") == []
    assert {table for node in "abc" for table in held_on_disk(mesh, node)} <= {"acknowledged"}


def test_a_former_home_holds_what_the_dead_cannot_deliver_again() -> None:
    mesh = a_mesh("a", "b", "c", disks=False)
    host(mesh, "b", "x")
    send(mesh, "a", "x")
    mesh.kill("a")
    mesh.run(12.0)
    keep_alive(mesh, "b", "x")
    mesh.run(12.0)
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(1.0)
    assert read(mesh, "c", "x") == ["hello"]


def test_where_the_direct_way_is_cut_another_node_carries_it() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.is_cut = lambda one, other: {one, other} == {"a", "b"}
    sent = send(mesh, "a", "b")
    mesh.run(6.0)
    assert read(mesh, "b", "b") == ["hello"]
    acknowledge(mesh, "b", "b", sent.message_id)
    mesh.run(3.0)
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.ACKNOWLEDGED}


def test_when_a_partition_heals_what_waited_flows_at_once() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    mesh.is_cut = lambda one, other: (one in "ab") != (other in "ab")
    sent = send(mesh, "a", "c")
    mesh.run(60.0)
    assert "c" not in mesh.nodes["a"].records()
    assert status(mesh, "a", sent.message_id) == {"c": CopyStatus.QUEUED}
    mesh.is_cut = lambda _one, _other: False
    mesh.run_until(lambda: "c" in mesh.nodes["a"].records(), 10)
    mesh.run(0.1)
    assert read(mesh, "c", "c") == ["hello"]


def test_a_deregistered_recipients_copy_is_undeliverable_and_says_why() -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    mesh.answer("a", Deregister("x"))
    mesh.run(1.0)
    reply = mesh.answer("b", AskStatus(sent.message_id))
    assert isinstance(reply, StatusReply)
    assert [(r.status, r.reason) for r in reply.receipts] == [(CopyStatus.UNDELIVERABLE, "it was deregistered")]
    host(mesh, "b", "x")
    assert read(mesh, "b", "x") == []
    assert held_on_disk(mesh, "a") == []
    assert held_on_disk(mesh, "b") == []


def test_a_node_that_left_has_a_while_to_return_before_its_messages_are_undeliverable() -> None:
    mesh = a_mesh("a", "b")
    sent = send(mesh, "a", "b")
    mesh.leave("b")
    mesh.run(1.0)
    mesh.kill("b")
    mesh.run(30.0)
    assert status(mesh, "a", sent.message_id)["b"] in (CopyStatus.QUEUED, CopyStatus.DELIVERED)
    mesh.run(40.0)
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.UNDELIVERABLE}


def test_a_copy_that_nobody_acknowledges_expires_at_both_ends() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(message_timeout=5.0))
    sent = send(mesh, "a", "b")
    mesh.run(6.0)
    assert read(mesh, "b", "b") == []
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.EXPIRED}
    assert held_on_disk(mesh, "a") == []
    assert held_on_disk(mesh, "b") == []


def test_a_full_mailbox_is_refused_at_the_door_and_what_was_accepted_before_arrives() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(mailbox_messages_max=3))
    tickets = [mesh.ask("a", SendMessage("s", "b", "Query", "", str(n).encode())) for n in range(5)]
    mesh.run(0.5)
    assert all(isinstance(mesh.resolved[ticket], SendReply) for ticket in tickets)
    for node in ("a", "b"):
        with pytest.raises(MailboxFull, match="mailbox of 'b'"):
            mesh.ask(node, SendMessage("s", "b", "Query", "", b"5"))
    assert read(mesh, "b", "b") == ["0", "1", "2"]
    acknowledge(mesh, "b", "b", *ids_of(mesh, "b", "b"))
    mesh.run(6.0)
    assert read(mesh, "b", "b") == ["3", "4"]
    send(mesh, "a", "b", "5")
    mesh.run(0.1)
    assert read(mesh, "b", "b") == ["3", "4", "5"]


@pytest.mark.parametrize("source", ["a", "b"])
def test_an_empty_mailbox_takes_a_message_that_is_larger_than_it(source: str) -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(mailbox_bytes_max=1024))
    for text in ("1" * 2000, "2" * 2000):
        send(mesh, source, "b", text)
        mesh.run(6.0)
        assert read(mesh, "b", "b") == [text]
        with pytest.raises(MailboxFull):
            mesh.ask("b", SendMessage("s", "b", "Query", "", b"1"))
        acknowledge(mesh, "b", "b", *ids_of(mesh, "b", "b"))


def test_a_full_outbox_accepts_nothing() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(outbox_copies_max=2))
    send(mesh, "a", "b")
    send(mesh, "a", "b")
    with pytest.raises(MailboxFull, match="at most 2"):
        mesh.ask("a", SendMessage("s", "b", "Query", "", b"1"))


def test_a_full_disk_refuses_new_messages_and_loses_none() -> None:
    mesh = a_mesh("a", "b")
    sent = send(mesh, "a", "b", "before")
    mesh.run(0.1)
    mesh.full = {"a": "no space left", "b": "no space left"}
    reply = mesh.answer("a", SendMessage("s", "b", "Query", "", b"1"))
    assert reply == Refused(Why.STORE_FULL, "no space left")
    assert isinstance(mesh.answer("b", Acknowledge("b", (sent.message_id,))), Refused)
    assert read(mesh, "b", "b") == ["before"]
    mesh.full = {"b": "no space left"}
    send(mesh, "a", "b", "after")
    mesh.run(1.0)
    assert read(mesh, "b", "b") == ["before"]
    mesh.full = {}
    mesh.run(6.0)
    assert read(mesh, "b", "b") == ["before", "after"]


def test_a_node_that_leaves_lets_another_hold_what_could_not_be_delivered() -> None:
    mesh = a_mesh("a", "b", "c", disks=False)
    host(mesh, "a", "x")
    mesh.is_cut = lambda one, other: "b" in (one, other)
    mesh.ask("a", SendMessage("s", "b", "Query", "", b'"far"'))
    send(mesh, "a", "x", "near")
    mesh.run(2.0)
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 5)
    mesh.kill("a")
    mesh.is_cut = lambda _one, _other: False
    mesh.run(5.0)
    keep_alive(mesh, "c", "x")
    mesh.run(5.0)
    assert read(mesh, "c", "b") == ["far"]
    assert read(mesh, "c", "x") == ["near"]


@pytest.mark.parametrize("target", ["b", None])
def test_a_node_that_leaves_hands_over_what_it_was_still_writing_to_disk(target: str | None) -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.is_cut = lambda one, other: "b" in (one, other)
    ticket = mesh.ask("a", SendMessage("s", target, "Notification", "", b'"late"'))
    assert ticket not in mesh.resolved
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 5)
    assert isinstance(mesh.resolved[ticket], SendReply)
    mesh.kill("a")
    mesh.is_cut = lambda _one, _other: False
    mesh.run(10.0)
    assert read(mesh, "b", "b") == ["late"]


def test_a_node_that_leaves_while_its_disk_refuses_a_message_hands_over_the_rest() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.is_cut = lambda one, other: "b" in (one, other)
    send(mesh, "a", "b", "first")
    mesh.full["a"] = "no space left"
    ticket = mesh.ask("a", SendMessage("s", "b", "Notification", "", b'"second"'))
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 5)
    assert isinstance(mesh.resolved[ticket], Refused)
    mesh.kill("a")
    mesh.is_cut = lambda _one, _other: False
    mesh.run(10.0)
    assert read(mesh, "b", "b") == ["first"]


def test_a_message_to_oneself_is_kept_once() -> None:
    mesh = a_mesh("a")
    sent = send(mesh, "a", "a", source="a")
    assert [table for table, _ in mesh.disks["a"]] == ["outgoing"]
    assert read(mesh, "a", "a") == ["hello"]
    mesh.kill("a")
    mesh.add("a")
    mesh.run(2.0)
    assert read(mesh, "a", "a") == ["hello"]
    acknowledge(mesh, "a", "a", sent.message_id)
    assert held_on_disk(mesh, "a") == []


def test_a_read_that_was_abandoned_waits_no_longer() -> None:
    mesh = a_mesh("a", config=ProtocolConfig(waits_max=1))
    abandoned = mesh.ask("a", Fetch("a", 1, wait=60.0))
    at_once = mesh.ask("a", Fetch("a", 1, wait=60.0))
    assert mesh.resolved[at_once] == FetchReply(())  # there was room for one
    for ticket in (abandoned, abandoned, at_once, 12345):
        mesh.nodes["a"].abandon(ticket)
    waiting = mesh.ask("a", Fetch("a", 1, wait=60.0))
    mesh.run(1.0)
    send(mesh, "a", "a")
    assert abandoned not in mesh.resolved
    assert isinstance(mesh.resolved[waiting], FetchReply)
