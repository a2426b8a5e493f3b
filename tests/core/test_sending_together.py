"""Messages that a node accepts together: one transaction writes them, and each may be refused."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Refused, SendReply, Why
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Resolve, Store
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.core.requests import SendMessage
from meshp2p.errors import ConfigError, LimitExceeded, MailboxFull, NodeClosed, UnknownInstance
from tests.core.mesh import Mesh
from tests.core.test_messages import a_mesh, held_on_disk, read


def to(target: str | None, text: str = "1", kind: str = "Query") -> SendMessage:
    return SendMessage("s", target, kind, "", text.encode())


def count_stores(mesh: Mesh, node: str) -> list[int]:
    """Return a list that gets the number of writes of each transaction from now on."""
    counts: list[int] = []

    def note(key: str, store: Store) -> bool:
        counts.extend([len(store.writes)] if key == node else ())
        return False

    mesh.is_write_failing = note
    return counts


@pytest.mark.parametrize("disks", [True, False])
def test_all_are_answered_and_delivered_in_their_order_with_one_transaction(disks: bool) -> None:
    mesh = a_mesh("a", "b", "c", disks=disks)
    stores = count_stores(mesh, "a")
    texts = [str(number) for number in range(20)]
    tickets, refused = mesh.send("a", *(to("b", text) for text in texts))
    mesh.run(0.5)
    assert refused == {}
    assert [type(mesh.resolved[ticket]) for ticket in tickets] == [SendReply] * 20
    assert read(mesh, "b", "b") == texts
    assert stores == ([20] if disks else [])


def test_each_is_refused_for_itself() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(outbox_copies_max=4))
    tickets, refused = mesh.send(
        "a",
        to("b", "first"),
        to("nobody"),
        to("b", kind="Gossip"),
        to("b", "1" * (PAYLOAD_BYTES_MAX + 1)),
        to("b", "second"),
        to(None, "third"),
        to("b", "too many"),
    )
    mesh.run(0.5)
    errors = (UnknownInstance, ConfigError, LimitExceeded, MailboxFull)
    assert {tickets.index(ticket): type(error) for ticket, error in refused.items()} == dict(
        zip((1, 2, 3, 6), errors, strict=True)
    )
    assert read(mesh, "b", "b") == ["first", "second", "third"]
    assert not mesh.resolved.keys() & refused.keys()


def test_a_broadcast_without_recipients_is_answered_at_once() -> None:
    machine = a_mesh("a").nodes["a"]
    refused, effects = machine.send({7: SendMessage("a", None, "Query", "", b"1")}, 20.0)
    assert refused == {}
    assert [type(effect.reply) for effect in effects if isinstance(effect, Resolve)] == [SendReply]
    assert not [effect for effect in effects if isinstance(effect, Store)]


def test_if_they_cannot_be_written_together_each_is_written_alone() -> None:
    mesh = a_mesh("a", "b")
    mesh.is_write_failing = lambda key, store: (
        key == "a"
        and (len(store.writes) > 1 or any(b"large" in getattr(write, "value", b"") for write in store.writes))
    )
    tickets, _ = mesh.send("a", to("b", "one"), to("b", "large"), to("b", "two"))
    mesh.run(0.5)
    assert [type(mesh.resolved[ticket]) for ticket in tickets] == [SendReply, Refused, SendReply]
    assert read(mesh, "b", "b") == ["one", "two"]
    assert mesh.nodes["a"].outbox.reserved == 0


def test_a_full_disk_refuses_all_and_keeps_none() -> None:
    mesh = a_mesh("a", "b")
    mesh.full = {"a": "no space left"}
    tickets, _ = mesh.send("a", *(to("b") for _ in range(3)))
    mesh.run(0.5)
    assert [mesh.resolved[ticket] for ticket in tickets] == [Refused(Why.STORE_FULL, "no space left")] * 3
    assert held_on_disk(mesh, "a") == []
    assert mesh.nodes["a"].outbox.reserved == mesh.nodes["a"].outbox.copies == 0


def test_a_node_that_leaves_refuses_all() -> None:
    mesh = a_mesh("a", "b")
    mesh.leave("a")
    _, refused = mesh.send("a", to("b"), to(None))
    assert [type(error) for error in refused.values()] == [NodeClosed, NodeClosed]
