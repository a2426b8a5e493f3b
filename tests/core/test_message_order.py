"""Messages of one source are read in their order, and limits are kept, whatever happens to homes and holders."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import (
    Acknowledged,
    Deliver,
    DeliverReply,
    Deposit,
    FetchReply,
    ForwardAcknowledge,
    Outcome,
    Refused,
    Why,
)
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.mail.mailbox import Mailbox, MailboxEntry
from meshp2p.core.message import CopyStatus, Message
from meshp2p.core.requests import Fetch, SendMessage
from meshp2p.core.swim.hosting import Profile
from tests.core.mesh import Mesh
from tests.core.test_message_faults import a_parcel
from tests.core.test_messages import a_mesh, acknowledge, host, ids_of, keep_alive, read, send, status


def cut(mesh: Mesh, *links: set[str]) -> None:
    mesh.is_cut = lambda one, other: {one, other} in links


def sent_by(mesh: Mesh, kind: type, since: float = 0.0) -> list[str]:
    return [sender for when, sender, _, message in mesh.log if isinstance(message, kind) and when >= since]


# In order


def test_what_was_delivered_to_a_home_that_is_gone_comes_before_what_was_sent_later() -> None:
    mesh = a_mesh("a", "b", "c", config=ProtocolConfig(delivery_bytes_max=1024))
    host(mesh, "b", "x")
    for number in range(3):
        send(mesh, "a", "x", f"{number}" * 600)
    mesh.run(0.5)
    mesh.kill("b")
    for number in range(3, 6):
        send(mesh, "a", "x", f"{number}" * 600)
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(5.0)
    assert [text[0] for text in read(mesh, "c", "x")] == ["0", "1", "2", "3", "4", "5"]


def test_a_message_that_fits_waits_behind_one_that_does_not() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(mailbox_bytes_max=2048))
    parcels = tuple(
        a_parcel("b", text="x" * size, number=number) for number, size in enumerate((1000, 1000, 10), start=1)
    )
    _, effects = mesh.nodes["b"].receive_call(Deliver("a", parcels), mesh.now, -900)
    mesh.do("b", effects)
    mesh.run(0.1)
    assert mesh.resolved[-900] == DeliverReply(((Outcome.TAKEN,), (Outcome.FULL,), (Outcome.FULL,)))


def test_one_call_at_a_time_is_under_way_to_a_home() -> None:
    mesh = a_mesh("a", "b", disks=False)
    mesh.delay = 0.2
    since = mesh.now
    for number in range(5):
        mesh.ask("a", SendMessage("s", "b", "Query", "", b"%d" % number))
        mesh.run(0.01)
    assert len(sent_by(mesh, Deliver, since)) == 1
    mesh.run(2.0)
    assert read(mesh, "b", "b") == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("is_back", [False, True])
def test_what_a_leaving_node_hands_over_is_read_behind_what_it_had_delivered(is_back: bool) -> None:
    mesh = a_mesh("a", "b", "c", "d")
    host(mesh, "d", "x")
    send(mesh, "a", "x", "0")
    mesh.run(0.5)
    mesh.is_cut = lambda one, other: "d" in (one, other)
    send(mesh, "a", "x", "1")
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 10)
    mesh.kill("a")
    if is_back:
        mesh.add("a", join="b", address=mesh.address("a"))
        mesh.run(3)
        send(mesh, "a", "x", "2")
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(10)
    texts = ["0", "1", "2"] if is_back else ["0", "1"]
    assert read(mesh, "c", "x") == texts
    cut(mesh)
    keep_alive(mesh, "c", "x")
    mesh.run(10)
    assert read(mesh, "c", "x") == texts


def test_a_node_that_takes_over_from_one_that_was_asked_before_holds_all_in_order() -> None:
    mesh = a_mesh("a", "b", "c", "d", "e", config=ProtocolConfig(delivery_bytes_max=1024))
    host(mesh, "e", "x")
    mesh.kill("e")
    texts = [str(number) * 600 for number in range(4)]
    for text in texts:
        send(mesh, "a", "x", text)
    since, first = mesh.now, ""

    def is_cut(one: str, other: str) -> bool:
        nonlocal first
        deposits = [address for when, _, address, sent in mesh.log if isinstance(sent, Deposit) and when >= since]
        first = first or (mesh.key_at(deposits[0]) if deposits else "")
        return len(deposits) > 1 and first in (one, other)

    mesh.is_cut = is_cut
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, 10)
    mesh.kill("a")
    home = next(node for node in "bcd" if node != first)
    mesh.do(home, mesh.nodes[home].register(Profile("x", "h", 1), mesh.now))
    mesh.run(5)
    assert read(mesh, home, "x") == texts
    cut(mesh)
    keep_alive(mesh, home, "x")
    mesh.run(10)
    assert read(mesh, home, "x") == texts


def test_a_former_home_that_cannot_return_all_to_their_holder_holds_all_in_order() -> None:
    mesh = a_mesh("a", "b", "c", config=ProtocolConfig(delivery_bytes_max=1024))
    host(mesh, "b", "x")
    texts = [str(number) * 600 for number in range(4)]
    for text in texts:
        send(mesh, "a", "x", text)
    mesh.run(0.5)
    since = mesh.now

    def is_cut(one: str, other: str) -> bool:
        asked = [1 for when, _, _, sent in mesh.log if isinstance(sent, Deposit) and when >= since]
        return {one, other} == {"a", "c"} or (len(asked) > 1 and "a" in (one, other))

    mesh.is_cut = is_cut
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(10)
    assert read(mesh, "c", "x") == texts
    cut(mesh)
    keep_alive(mesh, "c", "x")
    mesh.run(10)
    assert read(mesh, "c", "x") == texts


# Mailboxes


def an_incoming(number: int, *, payload: bytes = b"1") -> MailboxEntry:
    text = f"00000000-0000-7000-8000-{number:012x}"
    return MailboxEntry(number, Message(text, "s", "b", "Query", "", payload, None, 1), ("a",), 60.0)


def a_mailbox(*incoming: MailboxEntry) -> Mailbox:
    mailbox = Mailbox()
    for one in incoming:
        mailbox.put(one)
    return mailbox


def test_reading_goes_on_behind_a_message_that_was_acknowledged() -> None:
    first, second, third = (an_incoming(number) for number in (1, 2, 3))
    mailbox = a_mailbox(first, second, third)
    mailbox.acknowledge(second.message.id, ())
    assert mailbox.read(second.message.id, 10, 1000) == (third.message,)


def test_a_message_that_is_larger_than_a_read_is_read_alone() -> None:
    large, small = an_incoming(1, payload=b"1" * 5000), an_incoming(2)
    assert a_mailbox(large, small).read("", 10, 1000) == (large.message,)


def test_ids_that_all_holders_know_are_forgotten_before_those_that_may_come_again() -> None:
    mailbox = a_mailbox()
    untold, told, newest = (an_incoming(number) for number in (1, 2, 3))
    mailbox.acknowledge(untold.message.id, ("a",))
    mailbox.acknowledge(told.message.id, ())
    assert mailbox.choose_forgotten({newest.message.id: ("a",)}, 2) == {told.message.id: ()}
    assert mailbox.choose_forgotten({newest.message.id: ("a",)}, 1) == {told.message.id: (), untold.message.id: ("a",)}
    mailbox.forget(told.message.id)
    assert mailbox.knows(untold.message.id)
    assert not mailbox.knows(told.message.id)


def test_a_mailbox_that_is_read_and_acknowledged_never_fills() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(mailbox_bytes_max=1024))
    send(mesh, "a", "b", "kept")  # a mailbox that is empty takes anything
    for number in range(12):
        sent = send(mesh, "a", "b", str(number))
        mesh.run(0.1)
        assert read(mesh, "b", "b") == ["kept", str(number)]
        acknowledge(mesh, "b", "b", sent.message_id)


def test_a_mailbox_that_was_full_is_filled_in_batches_again() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(mailbox_messages_max=40))
    for number in range(45):
        mesh.ask("a", SendMessage("s", "b", "Query", "", b"%d" % number))
    mesh.run(5.0)
    acknowledge(mesh, "b", "b", *ids_of(mesh, "b", "b")[:30])
    mesh.run(15.0)
    assert len(ids_of(mesh, "b", "b")) == 15
    cut(mesh, {"a", "b"})
    for number in range(20):
        mesh.ask("a", SendMessage("s", "b", "Query", "", b"%d" % number))
    mesh.run(0.5)
    since = mesh.now
    cut(mesh)
    mesh.run(10.0)
    assert len(ids_of(mesh, "b", "b")) == 35
    assert len(sent_by(mesh, Deliver, since)) <= 4


def test_a_call_carries_no_more_bytes_than_are_allowed() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(delivery_bytes_max=4096))
    cut(mesh, {"a", "b"})
    for number in range(20):
        mesh.ask("a", SendMessage("s", "b", "Query", "", b'"%d"' % (10**998 + number)))
    mesh.run(0.5)
    cut(mesh)
    mesh.run(10.0)
    batches = [message for _, _, _, message in mesh.log if isinstance(message, Deliver)]
    assert len(ids_of(mesh, "b", "b")) == 20
    assert max(sum(len(parcel.message.payload) for parcel in batch.parcels) for batch in batches) <= 4096


def test_a_read_that_waits_is_answered_by_a_message_that_its_own_node_accepts() -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "a", "x")
    ticket = mesh.ask("a", Fetch("x", 10, "", 30.0))
    mesh.run(1.0)
    assert ticket not in mesh.resolved
    send(mesh, "a", "x")
    mesh.run(0.1)
    reply = mesh.resolved[ticket]
    assert isinstance(reply, FetchReply)
    assert [message.payload for message in reply.messages] == [b'"hello"']


# Holders


def test_each_holder_of_a_message_hears_that_it_was_acknowledged() -> None:
    mesh = a_mesh("a", "b", "c")
    parcel = a_parcel("b")
    for ticket, holder in ((-900, "a"), (-901, "c")):
        mesh.do("b", mesh.nodes["b"].receive_call(Deliver(holder, (parcel,)), mesh.now, ticket)[1])
        mesh.run(0.1)
    acknowledge(mesh, "b", "b", parcel.message.id)
    mesh.run(1.0)
    asked = {mesh.key_at(address) for _, _, address, message in mesh.log if isinstance(message, Acknowledged)}
    assert asked == {"a", "c"}


def test_a_holder_that_did_not_answer_is_told_again() -> None:
    mesh = a_mesh("a", "b")
    sent = send(mesh, "a", "b")
    mesh.run(0.1)
    cut(mesh, {"a", "b"})
    acknowledge(mesh, "b", "b", sent.message_id)
    mesh.run(2.0)
    cut(mesh)
    mesh.run(10.0)
    assert status(mesh, "a", sent.message_id) == {"b": CopyStatus.ACKNOWLEDGED}


def test_a_former_home_holds_what_a_holder_does_not_answer_for() -> None:
    mesh = a_mesh("a", "b", "c", disks=False)
    host(mesh, "b", "x")
    send(mesh, "a", "x")
    mesh.run(0.1)
    mesh.kill("a")
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(10.0)
    keep_alive(mesh, "c", "x")
    mesh.run(10.0)
    assert read(mesh, "c", "x") == ["hello"]


@pytest.mark.parametrize("silent", [("c", "d"), ("b", "d"), ("b", "c")])
def test_a_leaving_node_asks_others_until_one_takes_over_before_its_time_ends(silent: tuple[str, str]) -> None:
    mesh = a_mesh("a", "b", "c", "d", "e")
    cut(mesh, {"a", "e"}, *({"a", one} for one in silent))
    mesh.ask("a", SendMessage("s", "e", "Query", "", b'"far"'))
    mesh.run(0.1)
    mesh.kill("e")
    mesh.run_until(lambda: "e" not in mesh.nodes["a"].records(), 30)
    mesh.leave("a")
    mesh.run_until(lambda: mesh.nodes["a"].has_left, ProtocolConfig().leave_timeout)
    mesh.kill("a")
    cut(mesh)
    mesh.add("e", join="d", address=mesh.address("e"))
    mesh.run(10.0)
    assert read(mesh, "e", "e") == ["far"]


def test_a_node_acknowledges_nothing_for_whom_it_is_not_the_home_of() -> None:
    mesh = a_mesh("a", "b")
    _, effects = mesh.nodes["b"].receive_call(ForwardAcknowledge("a", (a_parcel("a").message.id,)), mesh.now, -900)
    mesh.do("b", effects)
    reply = mesh.resolved[-900]
    assert isinstance(reply, Refused)
    assert reply.why is Why.NOT_HOME
