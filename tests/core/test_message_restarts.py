"""Messages across restarts: what the disk says is what the process did before."""

from __future__ import annotations

from meshp2p.core.message import CopyStatus
from meshp2p.core.requests import Acknowledge
from tests.core.mesh import Mesh
from tests.core.test_messages import a_mesh, acknowledge, ids_of, read, send, status


def restart(mesh: Mesh, *ids: str, join: str | None = None) -> None:
    for node_id in ids:
        mesh.kill(node_id)
        mesh.add(node_id, join=join, address=mesh.address(node_id))


def a_broadcast_that_one_acknowledged() -> tuple[Mesh, str]:
    """A mesh of a, b and c, in which a has sent to all, b acknowledged it, and c is cut off."""
    mesh = a_mesh("a", "b", "c")
    mesh.is_cut = lambda one, other: "c" in (one, other)
    sent = send(mesh, "a", None, source="a")
    mesh.run(0.1)
    acknowledge(mesh, "b", "b", sent.message_id)
    mesh.run(0.1)
    return mesh, sent.message_id


def test_a_broadcast_that_one_recipient_acknowledged_is_on_disk_for_the_others() -> None:
    mesh, message_id = a_broadcast_that_one_acknowledged()
    restart(mesh, "a", join="c")
    mesh.is_cut = lambda _one, _other: False
    mesh.run(15.0)
    assert read(mesh, "c", "c") == ["hello"]
    assert status(mesh, "a", message_id) == {"b": CopyStatus.ACKNOWLEDGED, "c": CopyStatus.DELIVERED}


def test_a_copy_that_was_acknowledged_before_a_restart_is_final_after_it() -> None:
    mesh, message_id = a_broadcast_that_one_acknowledged()
    restart(mesh, "a")
    assert status(mesh, "a", message_id) == {"b": CopyStatus.ACKNOWLEDGED, "c": CopyStatus.QUEUED}


def test_a_message_keeps_the_time_that_it_has_left_when_its_holder_restarts() -> None:
    mesh = a_mesh("a", "b")
    mesh.kill("b")
    sent = send(mesh, "a", "b")
    restart(mesh, "a")
    mesh.run(3600.0)
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.QUEUED}
    mesh.add("b", join="a", address=mesh.address("b"))
    mesh.run(15.0)
    assert read(mesh, "b", "b") == ["hello"]


def test_mail_keeps_the_time_that_it_has_left_when_its_home_restarts() -> None:
    mesh = a_mesh("a", "b")
    send(mesh, "a", "b")
    mesh.run(0.1)
    mesh.kill("a")
    restart(mesh, "b")
    mesh.run(3600.0)
    assert read(mesh, "b", "b") == ["hello"]


def test_messages_accepted_after_a_restart_take_no_place_of_those_before_it() -> None:
    mesh = a_mesh("a")
    for text in ("one", "two"):
        send(mesh, "a", "a", text)
    restart(mesh, "a")
    mesh.run(2.0)
    send(mesh, "a", "a", "three")
    restart(mesh, "a")
    mesh.run(2.0)
    assert read(mesh, "a", "a") == ["one", "two", "three"]


def test_what_is_acknowledged_after_a_restart_is_gone_after_the_next() -> None:
    mesh = a_mesh("a", "b")
    for text in ("one", "two", "three"):
        send(mesh, "a", "b", text)
    mesh.run(0.1)
    mesh.kill("a")
    acknowledge(mesh, "b", "b", ids_of(mesh, "b", "b")[0])
    for left in (["two", "three"], ["three"]):
        restart(mesh, "b")
        mesh.run(2.0)
        assert read(mesh, "b", "b") == left
        ticket = mesh.ask("b", Acknowledge("b", ids_of(mesh, "b", "b")[:1]))
        mesh.run_until(lambda ticket=ticket: ticket in mesh.resolved, 5)  # type: ignore[misc]  # bound at once


def test_mail_for_the_dead_is_kept_though_its_holder_restarts() -> None:
    mesh = a_mesh("a", "b", "c")
    sent = send(mesh, "a", "b")
    mesh.kill("b")
    mesh.run_until(lambda: "b" not in mesh.nodes["c"].records(), 30)
    restart(mesh, "a", join="c")
    mesh.run(120.0)
    assert status(mesh, "a", sent.message_id)["b"] is not CopyStatus.UNDELIVERABLE
