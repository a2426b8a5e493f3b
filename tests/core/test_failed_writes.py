"""Each write of messages fails in turn, in everything that writes: what a node then has is what its disk has."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from meshp2p.core.address import Address
from meshp2p.core.calls import (
    Acknowledged,
    CallRequest,
    Deliver,
    DeliverReply,
    Deposit,
    Done,
    ForwardAcknowledge,
    Outcome,
    Refused,
)
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.effects import Store
from meshp2p.core.machine import Machine
from meshp2p.core.mail.machine import Mail
from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.message import CopyStatus
from meshp2p.core.record import tag_of
from meshp2p.core.requests import Acknowledge, SendMessage
from meshp2p.core.swim.hosting import Profile
from tests.core.mesh import EPOCH_MS, Mesh
from tests.core.test_message_faults import a_parcel
from tests.core.test_messages import a_mesh, acknowledge, host, ids_of, read, send, status

TIGHT = ProtocolConfig(remembered_max=2, receipts_max=2)
"""So that each acknowledgement lets something be forgotten."""


class Held(NamedTuple):
    """What a node has of messages, as far as it is to be on its disk."""

    copies: dict[tuple[str, str], CopyStatus]
    """By recipient and message id; those that are not final count as queued."""
    mail: dict[str, list[str]]
    """By recipient, the ids of what other nodes hold, in order."""
    acknowledged: set[tuple[str, str]]
    """What holders are still to be told."""


def held(mail: Mail, node: str) -> Held:
    copies = {
        (recipient, message_id): copy.status if copy.status.is_final else CopyStatus.QUEUED
        for message_id, outgoing in mail.outbox.by_id.items()
        for recipient, copy in outgoing.copies.items()
    }
    waiting = {
        recipient: [one.message.id for one in mailbox.pending.values() if set(one.holders) - {node}]
        for recipient, mailbox in mail.mailboxes.by_recipient.items()
    }
    untold = {
        (recipient, message_id)
        for recipient, mailbox in mail.mailboxes.by_recipient.items()
        for message_id, holders in mailbox.acknowledged.items()
        if holders
    }
    return Held(copies, {recipient: ids for recipient, ids in waiting.items() if ids}, untold)


def held_on_disk(mesh: Mesh, node: str) -> Held:
    """What a process that begins now takes up."""
    rows = [(table, key, value) for (table, key), value in sorted(mesh.disks[node].items())]
    address = Address("10.0.0.9", 9)
    machine = Machine(
        Profile(node, "h", 9),
        (address,),
        mesh.config,
        random.Random(0),
        lambda: EPOCH_MS,
        None,
        rows,
        age=mesh.now,
        lease_clock=lambda: 0.0,
    )
    machine.start(mesh.now)
    return held(machine._mail, node)


def check_tables(mail: Mail, own_bits: int) -> None:
    """What is counted and indexed beside the messages agrees with them."""
    outbox = mail.outbox
    is_open = [outgoing for outgoing in outbox.by_id.values() if outgoing.open]
    assert outbox.copies == sum(outgoing.open for outgoing in is_open)
    assert outbox.bytes == sum(outgoing.size for outgoing in is_open)
    assert all(outgoing.open == len(outgoing.pending) for outgoing in outbox.by_id.values())
    in_lines = {
        (recipient, outgoing.message.id)
        for recipient, line in outbox.lines.items()
        for outgoing in (*line.waiting.values(), *line.delivered.values())
    }
    assert in_lines == {(to, outgoing.message.id) for outgoing in is_open for to in outgoing.pending}
    assert len(set(outbox._finished)) == len(outbox._finished)
    assert {id_ for id_, outgoing in outbox.by_id.items() if not outgoing.open} <= set(outbox._finished)
    others = {id_ for ids in outbox._from_others.values() for id_ in ids}
    makers = {outgoing.message.id: node_bits_of(outgoing.message.id) for outgoing in is_open}
    assert others == {message_id for message_id, bits in makers.items() if bits not in (None, own_bits)}
    for mailbox in mail.mailboxes.by_recipient.values():
        assert mailbox.bytes == sum(one.message.size for one in mailbox.pending.values())
        assert not mailbox.pending.keys() & mailbox.acknowledged.keys()
        assert mailbox._withheld <= mailbox.pending.keys()
        numbers = [one.number for one in mailbox.pending.values()]
        assert numbers == sorted(numbers)


# What writes: each case makes a mesh, and returns what is to be done in it while writes of "a" fail

Act = Callable[[], object]


def call(mesh: Mesh, node: str, *requests: CallRequest) -> None:
    """What other nodes ask; nobody waits for the answers."""
    for request in requests:
        mesh.do(node, mesh.nodes[node].receive_call(request, mesh.now, -900)[1])


def cut_off(mesh: Mesh, node: str) -> None:
    mesh.is_cut = lambda sender, receiver: node in (sender, receiver)


def register(mesh: Mesh, node: str, agent: str) -> None:
    mesh.do(node, mesh.nodes[node].register(Profile(agent, "h", 1), mesh.now))


def sending(mesh: Mesh) -> Act:
    return lambda: [mesh.ask("a", SendMessage("s", target, "Query", "", b"1")) for target in ("b", "a", None)]


def sending_together(mesh: Mesh) -> Act:
    return lambda: mesh.send("a", *(SendMessage("s", target, "Query", "", b"1") for target in ("b", "a", None)))


def acknowledging_what_others_hold(mesh: Mesh) -> Act:
    ids = [send(mesh, "b", "a").message_id for _ in range(4)]
    return lambda: [mesh.ask("a", Acknowledge("a", (one, ids[0]))) for one in ids]


def acknowledging_while_the_holders_are_away(mesh: Mesh) -> Act:
    ids = [send(mesh, "b", "a").message_id for _ in range(4)]
    mesh.run(0.1)
    cut_off(mesh, "b")
    return lambda: [mesh.ask("a", Acknowledge("a", (one,))) for one in ids]


def acknowledging_what_this_node_holds(mesh: Mesh) -> Act:
    ids = [send(mesh, "a", "a").message_id for _ in range(4)]
    return lambda: [mesh.ask("a", Acknowledge("a", (one,))) for one in ids]


def acknowledging_one_copy_of_a_broadcast(mesh: Mesh) -> Act:
    host(mesh, "a", "x")
    sent = send(mesh, "a", None).message_id
    return lambda: [mesh.ask("a", Acknowledge(who, (sent,))) for who in ("a", "x")]


def acknowledging_what_was_not_delivered(mesh: Mesh) -> Act:
    host(mesh, "b", "x")
    sent = send(mesh, "b", "x").message_id
    cut_off(mesh, "b")
    register(mesh, "a", "x")
    return lambda: mesh.ask("a", Acknowledge("x", (sent,)))


def taking_a_forwarded_acknowledgement(mesh: Mesh) -> Act:
    ids = tuple(send(mesh, node, "a").message_id for node in "ab")
    mesh.run(0.1)
    return lambda: call(mesh, "a", ForwardAcknowledge("a", ids))


def taking_a_delivery(mesh: Mesh) -> Act:
    deliver = Deliver("b", (a_parcel("a", number=1), a_parcel("a", number=2)))
    return lambda: call(mesh, "a", deliver, Deliver("c", deliver.parcels))


def taking_a_delivery_that_is_acknowledged_at_once(mesh: Mesh) -> Act:
    parcel = a_parcel("a")
    ack = ForwardAcknowledge("a", (parcel.message.id,))
    return lambda: call(mesh, "a", Deliver("b", (parcel,)), ack, Acknowledged((("a", parcel.message.id),), "c"))


def taking_a_deposit(mesh: Mesh) -> Act:
    return lambda: call(mesh, "a", Deposit((a_parcel("b", number=1), a_parcel("gone", number=2))))


def taking_a_deposit_of_a_message_that_is_held(mesh: Mesh) -> Act:
    call(mesh, "a", Deposit((a_parcel("gone"),)))
    mesh.run(0.1)
    return lambda: call(mesh, "a", Deposit((a_parcel("lost"),)))


def taking_a_deposit_of_a_message_that_was_held(mesh: Mesh) -> Act:
    ids = [send(mesh, "a", "b").message_id for _ in range(2)]
    call(mesh, "a", Deposit((a_parcel("b"),)))
    mesh.run(0.1)
    acknowledge(mesh, "b", "b", *ids_of(mesh, "b", "b"))
    assert ids[0] not in mesh.nodes["a"]._mail.outbox.by_id or mesh.config.receipts_max > 2
    return lambda: call(mesh, "a", Deposit((a_parcel("lost"),)))


def hearing_of_an_acknowledgement(mesh: Mesh) -> Act:
    ids = [send(mesh, "a", "b").message_id for _ in range(4)]
    mesh.run(0.1)
    return lambda: [mesh.ask("b", Acknowledge("b", (one,))) for one in ids]


def hearing_of_an_acknowledgement_of_what_was_taken_over(mesh: Mesh) -> Act:
    call(mesh, "a", Deposit((a_parcel("b"),)))
    mesh.run(0.1)
    sent = ids_of(mesh, "b", "b")
    return lambda: call(mesh, "a", Acknowledged((("b", sent[0]),), "b"))


def hearing_as_another_home_of_an_acknowledgement(mesh: Mesh) -> Act:
    host(mesh, "a", "x")
    mail = [("x", send(mesh, node, "x").message_id) for node in "ab"]
    mesh.run(0.1)
    unknown = ("x", a_parcel("x").message.id)
    told = Acknowledged((*mail, unknown), "c")
    return lambda: call(mesh, "a", told, told)


def hearing_from_a_home_that_it_was_acknowledged_before(mesh: Mesh) -> Act:
    sent = send(mesh, "a", "b").message_id
    mesh.run(0.1)
    mesh.is_call_lost = lambda caller, called: (caller, called) == ("b", "a")
    acknowledge(mesh, "b", "b", sent)
    mesh.kill("b")
    return lambda: mesh.add("b", join="c", address=mesh.address("b"))


def asking_a_holder_after_a_cut(mesh: Mesh) -> Act:
    host(mesh, "a", "x")
    sent = send(mesh, "b", "x").message_id
    mesh.run(0.1)
    cut_off(mesh, "a")
    register(mesh, "b", "x")
    acknowledge(mesh, "b", "x", sent)
    mesh.kill("b")
    mesh.add("b", join="c", address=mesh.address("b"))
    mesh.run(20.0)
    register(mesh, "a", "x")
    register(mesh, "a", "x")

    def heal() -> None:
        mesh.is_cut = lambda _one, _other: False

    return heal


def losing_the_home_of_a_recipient_whose_holder_is_gone(mesh: Mesh) -> Act:
    host(mesh, "a", "x")
    for _ in range(2):
        send(mesh, "b", "x")
    mesh.run(0.1)
    mesh.kill("b")
    mesh.run_until(lambda: "b" not in mesh.nodes["a"].records(), 30)
    return lambda: register(mesh, "c", "x")


CASES = (
    sending,
    sending_together,
    acknowledging_what_others_hold,
    acknowledging_while_the_holders_are_away,
    acknowledging_what_this_node_holds,
    acknowledging_one_copy_of_a_broadcast,
    acknowledging_what_was_not_delivered,
    taking_a_forwarded_acknowledgement,
    taking_a_delivery,
    taking_a_delivery_that_is_acknowledged_at_once,
    taking_a_deposit,
    taking_a_deposit_of_a_message_that_is_held,
    taking_a_deposit_of_a_message_that_was_held,
    hearing_of_an_acknowledgement,
    hearing_of_an_acknowledgement_of_what_was_taken_over,
    hearing_as_another_home_of_an_acknowledgement,
    hearing_from_a_home_that_it_was_acknowledged_before,
    asking_a_holder_after_a_cut,
    losing_the_home_of_a_recipient_whose_holder_is_gone,
)


class Watched:
    """One run of a case. Whenever no write of "a" is under way it has what its disk has."""

    def __init__(self, case: Callable[[Mesh], Act], config: ProtocolConfig, fails: Callable[[int], bool]) -> None:
        self.mesh = a_mesh("a", "b", "c", config=config)
        self.writes = 0
        self._has_written = False
        act = case(self.mesh)
        self._fails = fails
        self.mesh.is_write_failing = self._is_failing
        self.mesh.after_step = self._after_step  # type: ignore[method-assign]
        act()
        self.mesh.run(20.0)
        self._compare()

    def _is_failing(self, key: str, store: Store) -> bool:
        if key != "a" or not store.writes:
            return False
        self._has_written = True
        self.writes += 1
        return self._fails(self.writes)

    def _after_step(self) -> None:
        if self._has_written and not self.mesh.storing["a"]:
            self._has_written = False
            self._compare()

    def _compare(self) -> None:
        mail = self.mesh.nodes["a"]._mail
        check_tables(mail, tag_of("a") >> 32)
        has, disk = held(mail, "a"), held_on_disk(self.mesh, "a")
        assert has.copies == disk.copies
        for recipient, ids in disk.mail.items():  # a delete may fail once the outbox holds it: it is given back again
            assert has.mail.get(recipient, []) == [id_ for id_ in ids if (recipient, id_) not in has.copies]
        assert has.acknowledged <= disk.acknowledged, "what holders know by now stays on disk until it is forgotten"
        for recipient, message_id in has.acknowledged:
            for holder in mail.mailboxes.by_recipient[recipient].acknowledged[message_id]:
                assert (recipient, message_id) in mail.notifier.untold[holder]


@pytest.mark.parametrize("config", [ProtocolConfig(), TIGHT], ids=["default", "tight"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_node_has_what_its_disk_has_whichever_write_failed(
    case: Callable[[Mesh], Act], config: ProtocolConfig
) -> None:
    well = Watched(case, config, lambda _number: False)
    assert well.writes
    for failed in range(1, well.writes + 1):
        Watched(case, config, lambda number, failed=failed: number == failed)  # type: ignore[misc]  # bound at once
    Watched(case, config, lambda _number: True)


@pytest.mark.parametrize("times", [1, 2])
def test_what_another_home_acknowledged_is_withheld_if_that_cannot_be_written_and_done_only_when_it_is(
    times: int,
) -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "a", "x")
    first, second = (send(mesh, "b", "x", text).message_id for text in ("one", "two"))
    mesh.run(0.1)
    told = Acknowledged((("x", first),), "c")
    mesh.full["a"] = "no room"
    for _ in range(times):
        call(mesh, "a", told)
        mesh.run(0.1)
        assert isinstance(mesh.resolved.pop(-900), Refused)
        assert read(mesh, "a", "x") == ["two"]
    mesh.full.clear()
    call(mesh, "a", told)
    mesh.run(0.1)
    assert mesh.resolved[-900] == Done()
    assert held_on_disk(mesh, "a").mail == {"x": [second]}


@pytest.mark.parametrize("failed", [(), (1,), (2,), (1, 2)])
def test_a_refused_acknowledgement_changes_nothing_though_it_repeats_one_that_is_being_written(
    failed: tuple[int, ...],
) -> None:
    mesh = a_mesh("a", "b")
    first, second = (send(mesh, "b", "a", text).message_id for text in ("one", "two"))
    mesh.run(0.1)
    writes = itertools.count(1)
    mesh.is_write_failing = lambda key, store: key == "a" and bool(store.writes) and next(writes) in failed
    tickets = [mesh.ask("a", Acknowledge("a", ids)) for ids in ((first,), (first, second))]
    mesh.run(1.0)
    assert [isinstance(mesh.resolved[ticket], Refused) for ticket in tickets] == [1 in failed, 2 in failed]
    is_first, is_second = not {1, 2} <= {*failed}, 2 not in failed
    assert read(mesh, "a", "a") == [text for text, is_kept in (("one", is_first), ("two", is_second)) if not is_kept]
    names = {True: CopyStatus.ACKNOWLEDGED, False: CopyStatus.DELIVERED}
    assert status(mesh, "b", first) == {"a": names[is_first]}
    assert status(mesh, "b", second) == {"a": names[is_second]}


def test_mail_that_neither_its_holder_nor_its_last_home_could_take_is_delivered_once_one_can() -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "a", "x")
    send(mesh, "b", "x")
    mesh.run(0.1)
    mesh.kill("b")
    mesh.run_until(lambda: "b" not in mesh.nodes["a"].records(), 30)
    mesh.full["a"] = "no room"
    register(mesh, "c", "x")
    mesh.run(3.0)
    mesh.full.clear()
    mesh.run(10.0)
    assert read(mesh, "c", "x") == ["hello"]


@pytest.mark.parametrize("failed", [(1, 2), (2,), (1,), ()])
def test_a_home_calls_acknowledged_only_what_it_could_keep_as_such(failed: tuple[int, ...]) -> None:
    mesh = a_mesh("a", "b")
    parcel = a_parcel("a")
    deliver = Deliver("b", (parcel,))
    writes = itertools.count(1)
    mesh.is_write_failing = lambda key, store: key == "a" and bool(store.writes) and next(writes) in failed
    requests: tuple[CallRequest, ...] = (deliver, ForwardAcknowledge("a", (parcel.message.id,)), deliver)
    for ticket, request in zip((-901, -902, -903), requests, strict=True):
        mesh.do("a", mesh.nodes["a"].receive_call(request, mesh.now, ticket)[1])
    mesh.run(0.1)
    is_refused = isinstance(mesh.resolved[-902], Refused)
    assert is_refused == (2 in failed)
    assert mesh.resolved[-903] == DeliverReply(((Outcome.FULL if is_refused else Outcome.ACKNOWLEDGED,),))
    mesh.do("a", mesh.nodes["a"].receive_call(deliver, mesh.now, -904)[1])
    mesh.run(0.1)
    assert mesh.resolved[-904] == DeliverReply(((Outcome.TAKEN if is_refused else Outcome.ACKNOWLEDGED,),))
    assert read(mesh, "a", "a") == (["hello"] if is_refused else [])


@pytest.mark.parametrize("is_holder_gone", [False, True])
@pytest.mark.parametrize("is_failing", [False, True])
def test_a_new_home_hears_of_an_acknowledgement_that_was_being_written_once_that_is_certain(
    is_failing: bool, is_holder_gone: bool
) -> None:
    mesh = a_mesh("a", "b", "c")
    host(mesh, "a", "x")
    send(mesh, "b", "x")
    mesh.run(0.1)
    (message_id,) = ids_of(mesh, "a", "x")
    if is_holder_gone:
        mesh.kill("b")
        mesh.run_until(lambda: "b" not in mesh.nodes["a"].records(), 30)
    writes = itertools.count(1)
    mesh.is_write_failing = lambda key, store: key == "a" and bool(store.writes) and is_failing and next(writes) == 1
    mesh.is_cut = lambda _sender, receiver: receiver == "a"
    register(mesh, "c", "x")
    mesh.is_cut = lambda _sender, _receiver: False
    ticket = mesh.ask("a", Acknowledge("x", (message_id,)))
    moved = Datagram(Gossip(tag_of("c")), (mesh.nodes["c"].records()["x"],))
    mesh.do("a", mesh.nodes["a"].receive(moved, mesh.address("c"), mesh.now))
    assert mesh.storing["a"], "the acknowledgement is still being written"
    mesh.run(5.0)
    assert isinstance(mesh.resolved[ticket], Refused) == is_failing
    assert mesh.nodes["c"]._mail.mailboxes.knows("x", message_id)
    assert read(mesh, "c", "x") == (["hello"] if is_failing else [])
    assert not mesh.nodes["a"]._mail.mailboxes.is_pending(("x", message_id))
