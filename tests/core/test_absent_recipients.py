"""Messages for an instance that is not listed: refused, or kept if the mesh remembers that it died."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Refused, SendReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.message import CopyStatus, IfAbsent
from meshp2p.core.requests import Deregister, Heartbeat, SendMessage
from meshp2p.errors import MailboxFull, UnknownInstance
from tests.core.mesh import Mesh
from tests.core.test_messages import a_mesh, acknowledge, host, ids_of, read, send, status


def queue(mesh: Mesh, node: str, target: str | None, text: str = "hello", source: str = "sender") -> SendReply:
    """Send with ``if_absent``, answered without any wait for a home that is not there."""
    message = SendMessage(source, target, "Notification", "", f'"{text}"'.encode(), if_absent="queue")
    reply = mesh.answer(node, message, within=0.1)
    assert isinstance(reply, SendReply), reply
    return reply


def cut_off(mesh: Mesh, *side: str) -> None:
    """Cut these off until each side holds the other dead."""
    mesh.is_cut = lambda one, other: (one in side) != (other in side)
    others = set(mesh.nodes) - set(side)
    mesh.run_until(
        lambda: (
            not any(mesh.nodes[name].records().keys() & set(side) for name in others)
            and not any(mesh.nodes[name].records().keys() & others for name in side)
        ),
        within=60,
    )


def heal(mesh: Mesh) -> None:
    mesh.is_cut = lambda _one, _other: False
    mesh.run_until(mesh.is_whole, within=30)
    mesh.run(5)


@pytest.mark.parametrize("disks", [True, False])
def test_what_is_sent_across_a_cut_arrives_in_order_when_it_heals(disks: bool) -> None:
    mesh = a_mesh("a", "b", "c", disks=disks)
    send(mesh, "a", "b", "before")
    mesh.run(1)
    acknowledge(mesh, "b", "b", *ids_of(mesh, "b", "b"))
    cut_off(mesh, "b")
    sent = [queue(mesh, "a", "b", text) for text in ("one", "two", "three")]
    assert [reply.delivered_to for reply in sent] == [("b",)] * 3
    assert status(mesh, "a", sent[0].message_id) == {"b": CopyStatus.QUEUED}
    heal(mesh)
    send(mesh, "a", "b", "four")
    mesh.run(1)
    assert read(mesh, "b", "b") == ["one", "two", "three", "four"]
    assert status(mesh, "a", sent[0].message_id) == {"b": CopyStatus.DELIVERED}


def test_without_it_the_message_is_refused_and_nothing_is_kept() -> None:
    mesh = a_mesh("a", "b", "c")
    cut_off(mesh, "b")
    with pytest.raises(UnknownInstance, match="Target instance 'b' not found"):
        mesh.ask("a", SendMessage("sender", "b", "Notification", "", b"1"))
    heal(mesh)
    assert read(mesh, "b", "b") == []


@pytest.mark.parametrize("if_absent", ["refuse", "queue"])
def test_a_broadcast_is_for_those_that_are_listed(if_absent: IfAbsent) -> None:
    mesh = a_mesh("a", "b", "c")
    cut_off(mesh, "b")
    reply = mesh.answer("a", SendMessage("a", None, "Notification", "", b'"all"', if_absent=if_absent))
    assert isinstance(reply, SendReply)
    assert reply.delivered_to == ("c",)
    heal(mesh)
    assert (read(mesh, "b", "b"), read(mesh, "c", "c")) == ([], ["all"])


def test_who_left_was_deregistered_or_was_never_heard_of_is_not_waited_for() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "agent")
    mesh.answer("a", Deregister("agent"))
    mesh.leave("c")
    mesh.run_until(lambda: mesh.nodes["a"].records().keys() == {"a", "b"}, within=5)
    for target in ("agent", "c", "nobody"):
        with pytest.raises(UnknownInstance):
            queue(mesh, "a", target)


def test_an_agent_whose_home_died_gets_it_when_it_registers_again() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "agent")
    mesh.kill("b")
    mesh.run_until(lambda: "agent" not in mesh.nodes["a"].records(), within=60)
    sent = queue(mesh, "a", "agent", "hello")
    assert sent.delivered_to == ("agent",)
    host(mesh, "c", "agent")
    mesh.run(1)
    assert read(mesh, "c", "agent") == ["hello"]


def test_an_agent_that_sent_no_heartbeat_gets_it_when_it_registers_again() -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "a", "agent")
    mesh.answer("a", Heartbeat("agent", "ok", ""))
    mesh.run(20)
    assert "agent" not in mesh.nodes["b"].records()
    queue(mesh, "b", "agent", "hello")
    host(mesh, "a", "agent")
    mesh.run(1)
    assert read(mesh, "a", "agent") == ["hello"]


def test_it_expires_like_any_other() -> None:
    mesh = a_mesh("a", "b", "c", config=ProtocolConfig(message_timeout=30.0))
    cut_off(mesh, "b")
    sent = queue(mesh, "a", "b")
    mesh.run(31)
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.EXPIRED}
    heal(mesh)
    assert read(mesh, "b", "b") == []


def test_it_survives_a_restart_of_the_node_that_accepted_it() -> None:
    mesh = a_mesh("a", "b", "c")
    cut_off(mesh, "b")
    sent = queue(mesh, "a", "b")
    mesh.kill("a")
    mesh.add("a", join="c", address=mesh.address("a"))
    mesh.run(120)  # it knows nobody of that id any more, and waits all the same
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.QUEUED}
    heal(mesh)
    assert read(mesh, "b", "b") == ["hello"]


def test_a_recipient_that_is_started_again_gets_it() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.kill("b")
    mesh.run_until(lambda: "b" not in mesh.nodes["a"].records(), within=30)
    queue(mesh, "a", "b")
    mesh.add("b", join="c", address=mesh.address("b"))
    mesh.run(10)
    assert read(mesh, "b", "b") == ["hello"]


def test_the_room_of_an_outbox_is_the_same_for_it() -> None:
    mesh = a_mesh("a", "b", "c", config=ProtocolConfig(outbox_copies_max=2))
    cut_off(mesh, "b")
    for _ in range(2):
        queue(mesh, "a", "b")
    with pytest.raises(MailboxFull):
        queue(mesh, "a", "b")


def test_a_disk_that_keeps_nothing_refuses_it() -> None:
    mesh = a_mesh("a", "b", "c")
    cut_off(mesh, "b")
    mesh.full["a"] = "no space"
    reply = mesh.answer("a", SendMessage("s", "b", "Notification", "", b"1", if_absent="queue"))
    assert isinstance(reply, Refused)
