"""Messages where several things go wrong in an unlucky order: nothing is lost, stuck or kept for ever."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from meshp2p.core.calls import (
    Acknowledged,
    CallReply,
    Deliver,
    DeliverReply,
    Deposit,
    FetchReply,
    ForwardFetch,
    Outcome,
    Parcel,
    Refused,
    SendReply,
)
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.message import CopyStatus, Message
from meshp2p.core.requests import Acknowledge, Deregister, Fetch, SendMessage
from meshp2p.core.swim.hosting import Profile
from tests.core.test_messages import a_mesh, acknowledge, held_on_disk, host, keep_alive, read, send, status


def a_parcel(recipient: str, *, text: str = "hello", number: int = 0, seconds: float = 60.0) -> Parcel:
    message = Message(
        f"00000000-0000-7000-8000-{number:012x}", "s", recipient, "Query", "", f'"{text}"'.encode(), None, 1
    )
    return Parcel(message, (recipient,), seconds)


def test_an_acknowledgement_that_comes_before_the_message_is_remembered() -> None:
    mesh = a_mesh("a", "b", "c", disks=False)
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    assert read(mesh, "c", "x") == ["hello"]
    mesh.kill("b")
    acknowledge(mesh, "c", "x", sent.message_id)
    mesh.run(5.0)
    assert read(mesh, "c", "x") == []
    assert status(mesh, "a", sent.message_id) == {"x": CopyStatus.ACKNOWLEDGED}


def test_a_recipient_that_moved_while_its_mailbox_was_full_does_not_stop_its_former_home() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(message_timeout=8.0, mailbox_messages_max=1))
    host(mesh, "a", "x")
    host(mesh, "a", "y")
    tickets = [mesh.ask("a", SendMessage("s", "x", "Query", "", b"1")) for _ in range(2)]
    mesh.run(0.1)
    assert all(isinstance(mesh.resolved[ticket], SendReply) for ticket in tickets)
    keep_alive(mesh, "a", "x")
    mesh.run(8.0)
    mesh.do("b", mesh.nodes["b"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(1.0)
    mesh.is_cut = lambda one, other: {one, other} == {"a", "b"}
    mesh.ask("a", SendMessage("s", "x", "Query", "", b"1"))
    mesh.run(0.01)
    send(mesh, "a", "y")


def test_what_a_disk_refused_is_not_taken_for_delivered_when_it_comes_again_meanwhile() -> None:
    mesh = a_mesh("a", "b")
    node = mesh.nodes["b"]
    deliver = Deliver("a", (a_parcel("b"),))
    mesh.full["b"] = "no space left"
    for ticket in (-900, -901):
        _, effects = node.receive_call(deliver, mesh.now, ticket)
        mesh.do("b", effects)
    mesh.run(0.1)
    assert mesh.resolved[-900] == mesh.resolved[-901] == DeliverReply(((Outcome.FULL,),))


def test_what_was_acknowledged_while_it_was_written_is_not_told_before_that_is_kept() -> None:
    mesh = a_mesh("a", "b")
    node = mesh.nodes["b"]
    parcel = a_parcel("b")
    mesh.full["b"] = "no space left"
    mesh.do("b", node.receive_call(Deliver("a", (parcel,)), mesh.now, -900)[1])
    ticket = mesh.ask("b", Acknowledge("b", (parcel.message.id,)))
    mesh.run(0.1)
    assert isinstance(mesh.resolved[ticket], Refused)
    assert mesh.resolved[-900] == DeliverReply(((Outcome.FULL,),))


def test_a_message_for_a_recipient_that_left_while_it_was_written_becomes_undeliverable() -> None:
    mesh = a_mesh("a", "b")
    host(mesh, "a", "x")
    ticket = mesh.ask("a", SendMessage("s", "x", "Query", "", b"1"))
    mesh.ask("a", Deregister("x"))
    mesh.run_until(lambda: ticket in mesh.resolved, 5)
    reply = mesh.resolved[ticket]
    assert isinstance(reply, SendReply)
    mesh.run(70.0)
    assert status(mesh, "b", reply.message_id) == {"x": CopyStatus.UNDELIVERABLE}


def test_an_acknowledgement_that_a_full_disk_refused_holds_once_it_is_repeated() -> None:
    mesh = a_mesh("a")
    sent = send(mesh, "a", "a", source="s")
    mesh.full["a"] = "no space left"
    assert isinstance(mesh.answer("a", Acknowledge("a", (sent.message_id,))), Refused)
    assert status(mesh, "a", sent.message_id) == {"a": CopyStatus.DELIVERED}
    mesh.full = {}
    acknowledge(mesh, "a", "a", sent.message_id)
    mesh.run(0.1)
    assert held_on_disk(mesh, "a") == []


def test_an_acknowledgement_that_a_full_disk_refused_lets_no_earlier_one_be_forgotten() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(remembered_max=2))
    sent = [send(mesh, "a", "b", str(number)).message_id for number in range(4)]
    mesh.run(0.1)
    mesh.is_cut = lambda _one, _other: True
    for message_id in sent[:2]:
        mesh.ask("b", Acknowledge("b", (message_id,)))
    mesh.run(0.1)
    mailbox = mesh.nodes["b"]._mail.mailboxes.by_recipient["b"]
    assert mailbox.acknowledged == dict.fromkeys(sent[:2], ("a",))
    mesh.full["b"] = "no space left"
    assert isinstance(mesh.answer("b", Acknowledge("b", tuple(sent[2:]))), Refused)
    assert mailbox.acknowledged == dict.fromkeys(sent[:2], ("a",))
    assert mesh.nodes["b"]._mail.notifier.untold["a"].keys() == {("b", message_id) for message_id in sent[:2]}


def test_nothing_grows_with_what_was_acknowledged() -> None:
    mesh = a_mesh("a", "b", disks=False, config=ProtocolConfig(remembered_max=10, receipts_max=10))
    for number in range(400):
        sent = send(mesh, "a", "b", str(number))
        acknowledge(mesh, "b", "b", sent.message_id)
    assert len(mesh.nodes["a"]._mail.outbox._expiries) < 200
    assert len(mesh.nodes["b"]._mail.mailboxes._expiries) < 200


def test_what_a_gone_recipient_acknowledged_is_forgotten_when_it_cannot_come_again() -> None:
    mesh = a_mesh("a", "b", config=ProtocolConfig(message_timeout=30.0, instance_timeout=2.0))
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    mesh.run(0.1)
    acknowledge(mesh, "b", "x", sent.message_id)
    mesh.run(5.0)
    assert "x" not in mesh.nodes["a"].records()
    assert mesh.nodes["b"]._mail.mailboxes.by_recipient
    mesh.run(40.0)
    assert not mesh.nodes["b"]._mail.mailboxes.by_recipient
    assert held_on_disk(mesh, "b") == []


def test_what_a_gone_node_was_to_be_told_is_forgotten_with_it() -> None:
    mesh = a_mesh("a", "b", "c", disks=False, config=ProtocolConfig(message_timeout=30.0))
    sent = send(mesh, "a", "b")
    send(mesh, "b", "a")
    mesh.run(0.1)
    mesh.kill("a")
    acknowledge(mesh, "b", "b", sent.message_id)
    mesh.run(10.0)
    mail = mesh.nodes["b"]._mail
    assert "a" in mail.notifier.untold
    mesh.run(60.0)
    assert "a" not in mail.notifier.untold
    assert "a" not in mail.notifier.queues
    assert "a" not in mail.delivery.queues
    assert "a" not in mail.delivery.ready


def test_many_recipients_of_many_small_messages_fit_into_a_call() -> None:
    mesh = a_mesh("a", "b", disks=False, config=ProtocolConfig(instance_timeout=300.0))
    ids = [f"{number:03}" + "x" * 125 for number in range(300)]
    for one in ids:
        mesh.do("b", mesh.nodes["b"].register(Profile(one, "h", 1), mesh.now))
    mesh.run_until(lambda: len(mesh.nodes["a"].records()) == 302, 30)
    mesh.log.clear()
    tickets = [mesh.ask("a", SendMessage("a", None, "Query", "", b"1")) for _ in range(100)]
    mesh.run_until(lambda: all(ticket in mesh.resolved for ticket in tickets), 10)
    sizes = [len(msgspec.msgpack.encode(sent)) for _, _, _, sent in mesh.log if isinstance(sent, Deliver)]
    assert max(sizes) < 1 << 20
    assert len(read(mesh, "b", ids[7], limit=1000)) == 100


def test_a_read_that_waits_through_another_node_waits_as_long() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    mesh.is_cut = lambda one, other: {one, other} == {"a", "b"}
    ticket = mesh.ask("a", Fetch("x", 10, "", 10.0))
    for _ in range(10):
        mesh.run(2.0)
        keep_alive(mesh, "b", "x")
    assert mesh.resolved[ticket] == FetchReply(())
    assert mesh.nodes["a"].records()["x"].home == "b"


def test_a_read_that_waits_at_a_home_that_hangs_goes_on_at_the_next() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    ticket = mesh.ask("a", Fetch("x", 10, "", 60.0))
    mesh.run(1.0)
    mesh.pause("b")
    mesh.run(6.0)
    keep_alive(mesh, "c", "x")
    mesh.ask("c", SendMessage("s", "x", "Query", "", b"1"))
    mesh.run(12.0)
    reply = mesh.resolved[ticket]
    assert isinstance(reply, FetchReply)
    assert len(reply.messages) == 1


def test_a_strange_time_or_number_of_a_peer_stops_nobody() -> None:
    mesh = a_mesh("a", "b", disks=True)
    host(mesh, "a", "x")
    node = mesh.nodes["a"]
    for number, seconds in enumerate((float("inf"), 1e300, 0.0)):
        mesh.do("a", node.receive_call(Deposit((a_parcel("x", number=number, seconds=seconds),)), mesh.now, -900)[1])
        mesh.do(
            "a", node.receive_call(Deliver("b", (a_parcel("a", number=number, seconds=seconds),)), mesh.now, -901)[1]
        )
    mesh.do("a", node.receive_call(ForwardFetch("x", (1 << 64) - 1, "", 1.0), mesh.now, -902)[1])
    mesh.do("a", node.receive_call(ForwardFetch("y", (1 << 64) - 1, "", 60.0), mesh.now, -903)[1])
    host(mesh, "a", "y")
    mesh.do("a", node.receive_call(ForwardFetch("y", (1 << 64) - 1, "", 60.0), mesh.now, -904)[1])
    send(mesh, "a", "y")
    mesh.run(1.0)
    assert isinstance(mesh.resolved[-904], FetchReply)


def test_what_an_earlier_life_of_a_home_took_is_delivered_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = a_mesh("a", "b", disks=False)
    late: list[Callable[[], None]] = []
    reply = mesh._reply

    def hold_back(key: str, call: Call, answer: CallReply | CallFailed, when: float, by: str = "") -> None:
        if isinstance(answer, DeliverReply):
            late.append(lambda: reply(key, call, answer, mesh.now))
        else:
            reply(key, call, answer, when, by)

    monkeypatch.setattr(mesh, "_reply", hold_back)
    mesh.ask("a", SendMessage("s", "b", "Query", "", b'"hello"'))
    mesh.run(0.1)
    mesh.kill("b")
    mesh.add("b", join="a", address=mesh.address("b"))
    boot = mesh.nodes["b"].own.boot
    mesh.run_until(lambda: mesh.nodes["a"].records()["b"].boot == boot, 5)
    stopped = mesh.pause("b")  # and so the next call comes to nothing
    mesh.run(0.1)
    assert len(late) == 1
    late.pop()()
    monkeypatch.undo()
    mesh.resume("b", stopped)
    mesh.run(5.0)
    assert read(mesh, "b", "b") == ["hello"]


def test_a_home_that_was_started_again_takes_nothing_before_what_it_forgot() -> None:
    mesh = a_mesh("a", "b", disks=False)
    for number in range(3):
        send(mesh, "a", "b", str(number))
    mesh.kill("b")
    mesh.run(0.1)
    send(mesh, "a", "b", "3")
    mesh.is_dropped = lambda _sender, _receiver, _datagram: True  # so that a does not hear that it is another life
    mesh.add("b", address=mesh.address("b"))
    mesh.run(1.0)
    assert mesh.nodes["a"].records()["b"].boot != mesh.nodes["b"].own.boot
    assert read(mesh, "b", "b") == []
    mesh.is_dropped = lambda _sender, _receiver, _datagram: False
    mesh.join("b", "a")
    mesh.run(5.0)
    assert read(mesh, "b", "b") == ["0", "1", "2", "3"]


def test_a_recipient_that_a_deposit_names_twice_has_one_copy() -> None:
    mesh = a_mesh("a", disks=False)
    node = mesh.nodes["a"]
    twice = msgspec.structs.replace(a_parcel("x", seconds=10.0), recipients=("x", "x"))
    for parcel in (a_parcel("y", seconds=10.0), twice):
        mesh.do("a", node.receive_call(Deposit((parcel,)), mesh.now, -900)[1])
    outbox = node._mail.outbox
    assert outbox.copies == 2
    mesh.run(15.0)
    assert outbox.copies == 0


@pytest.mark.parametrize("disks", [True, False])
@pytest.mark.parametrize("pause", [0.0, 0.0015, 0.003, 0.1])
@pytest.mark.parametrize("adopter", ["a", "c"])
def test_what_a_former_home_acknowledged_is_not_handed_out_by_the_present_one(
    disks: bool, pause: float, adopter: str
) -> None:
    mesh = a_mesh("a", "b", "c", disks=disks)
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    mesh.run(1.0)
    assert read(mesh, "b", "x") == ["hello"]
    # the adopter takes the home for gone, and the home does not hear of that
    mesh.is_dropped = lambda _sender, receiver, _datagram: receiver == "b"
    mesh.is_cut = lambda sender, receiver: {sender, receiver} == {adopter, "b"} and adopter == "c"
    machine = mesh.nodes[adopter]
    machine._swim.hosting.adopt("x", mesh.now)
    mesh.do(adopter, machine._conclude(mesh.now))
    mesh.run(pause)
    assert mesh.nodes["b"].records()["x"].home == "b"
    acknowledge(mesh, "b", "x", sent.message_id)
    assert read(mesh, adopter, "x") == []
    mesh.run(5.0)
    assert read(mesh, adopter, "x") == []


def test_what_an_adopter_acknowledged_that_the_holder_never_knew_of_is_not_handed_out_by_the_home() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    mesh.run(1.0)
    mesh.is_dropped = lambda sender, _receiver, _datagram: sender == "c"
    machine = mesh.nodes["c"]
    machine._swim.hosting.adopt("x", mesh.now)
    mesh.do("c", machine._conclude(mesh.now))
    acknowledge(mesh, "c", "x", sent.message_id)
    assert mesh.nodes["a"].records()["x"].home == "b"
    assert read(mesh, "b", "x") == []


@pytest.mark.parametrize("disks", [True, False])
@pytest.mark.parametrize("holder", ["a", "c"])
@pytest.mark.parametrize("rivals", [("c",), ("c", "d")])
def test_a_home_that_was_cut_off_learns_what_was_acknowledged_at_others_when_it_meets_them(
    disks: bool, holder: str, rivals: tuple[str, ...]
) -> None:
    """The agent is registered at it again before it has heard that it was not the home for a while."""
    mesh = a_mesh("a", "b", "c", "d", disks=disks)
    host(mesh, "b", "x")
    sent = send(mesh, holder, "x")
    mesh.run(1.0)
    assert read(mesh, "b", "x") == ["hello"]
    mesh.is_cut = lambda sender, receiver: "b" in (sender, receiver)
    for rival in rivals:
        mesh.do(rival, mesh.nodes[rival].register(Profile("x", "h", 1), mesh.now))
        mesh.run(1.0)
        if rival == rivals[0]:
            assert read(mesh, rival, "x") == ["hello"]
            acknowledge(mesh, rival, "x", sent.message_id)
        assert read(mesh, rival, "x") == []
    for port in range(2, 8):  # so that its record prevails
        mesh.do("b", mesh.nodes["b"].register(Profile("x", "h", port), mesh.now))
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.run_until(lambda: all(machine.records()["x"].home == "b" for machine in mesh.nodes.values()), 60)
    mesh.run(1.0)
    assert read(mesh, "b", "x") == []
    assert status(mesh, holder, sent.message_id) == {"x": CopyStatus.ACKNOWLEDGED}
    mesh.kill("b")
    mesh.add("b", join="a", address=mesh.address("b"))
    mesh.run(5.0)
    mesh.do("b", mesh.nodes["b"].register(Profile("x", "h", 9), mesh.now))
    mesh.run(1.0)
    assert read(mesh, "b", "x") == []


def test_a_home_that_was_cut_off_asks_the_holders_of_what_it_has_when_it_meets_them() -> None:
    """The home in between is the holder, and was started again: it remembers what became of the message, and no more
    that it was the home."""
    mesh = a_mesh("a", "b", "c")
    host(mesh, "b", "x")
    sent = send(mesh, "c", "x")
    mesh.run(1.0)
    assert read(mesh, "b", "x") == ["hello"]
    mesh.is_cut = lambda sender, receiver: "b" in (sender, receiver)
    mesh.do("c", mesh.nodes["c"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(1.0)
    acknowledge(mesh, "c", "x", sent.message_id)
    mesh.kill("c")
    mesh.add("c", join="a", address=mesh.address("c"))
    mesh.run(20.0)
    mesh.do("b", mesh.nodes["b"].register(Profile("x", "h", 2), mesh.now))
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.run_until(lambda: all({"b", "x"} <= set(machine.records()) for machine in mesh.nodes.values()), 60)
    mesh.run(1.0)
    assert read(mesh, "b", "x") == []


@pytest.mark.parametrize("disks", [True, False])
def test_a_present_home_that_does_not_answer_the_holder_is_told_again(disks: bool) -> None:
    mesh = a_mesh("a", "b", "c", disks=disks)
    host(mesh, "b", "x")
    sent = send(mesh, "a", "x")
    mesh.run(1.0)
    mesh.is_dropped = lambda sender, _receiver, _datagram: sender == "c"
    machine = mesh.nodes["c"]
    machine._swim.hosting.adopt("x", mesh.now)  # which nobody hears of
    mesh.do("c", machine._conclude(mesh.now))
    mesh.is_call_lost = lambda _caller, called: called == "b"
    acknowledge(mesh, "c", "x", sent.message_id)
    assert status(mesh, "a", sent.message_id) == {"x": CopyStatus.ACKNOWLEDGED}
    assert mesh.nodes["a"].records()["x"].home == "b"
    mesh.is_cut = lambda sender, receiver: "c" in (sender, receiver)
    mesh.run(3.0)
    mesh.is_call_lost = lambda _caller, _called: False
    mesh.run(8.0)
    assert read(mesh, "b", "x") == []


def test_what_is_forgotten_is_not_kept_for_the_next_home() -> None:
    mesh = a_mesh("a", "b", disks=False, config=ProtocolConfig(remembered_max=10))
    for number in range(30):
        acknowledge(mesh, "b", "b", send(mesh, "a", "b", str(number)).message_id)
    mailbox = mesh.nodes["b"]._mail.mailboxes.by_recipient["b"]
    assert mailbox.pop_passing() == list(mailbox.acknowledged)


def test_what_is_told_to_the_next_home_is_bounded_and_told_once() -> None:
    mesh = a_mesh("a", "b", disks=False)
    host(mesh, "a", "x")
    mesh.run(1.0)
    ids = tuple(f"00000000-0000-7000-8000-{number:012x}" for number in range(5000))
    acknowledge(mesh, "a", "x", *ids)
    for home in ("b", "a", "b"):
        mesh.do(home, mesh.nodes[home].register(Profile("x", "h", 1), mesh.now))
        mesh.run(2.0)
    told = [len(what.copies) for _, _, _, what in mesh.log if isinstance(what, Acknowledged)]
    assert told == [4096, 4096], "the first home knew what it was told back"
    assert list(mesh.nodes["b"]._mail.mailboxes.by_recipient["x"].acknowledged) == list(ids[-4096:])
