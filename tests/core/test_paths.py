"""Where a node is reached whose packets come from another address than it published."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Ack, Body, Datagram, Gossip, Nack, Ping, PingRequest, Unreached
from meshp2p.core.events import InstanceDied, InstanceSuspected
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.errors import RemoteProtocolError
from meshp2p.wire.codec import Codec
from tests.core.builders import ELSEWHERE, a_machine, a_record, answer_from, checks_of, hear, run_until, sends
from tests.core.mesh import Mesh

A = tag_of("a")
FAR = Address("192.0.2.1", 9)
BODIES: list[Body] = [
    Ping(7, A, tag_of("me"), 0),
    Nack(7, A),
    PingRequest(7, A, tag_of("b"), ELSEWHERE),
    Gossip(A),
    Unreached(A, tag_of("me")),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_packet_from_elsewhere_alone_moves_nobody(body: Body) -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    machine.receive(Datagram(body), ELSEWHERE, 1.0)
    run_until(machine, 20.0)
    assert machine._state.reach == {}


def test_a_node_that_answers_elsewhere_and_not_where_it_was_is_reached_there() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    answer_from(machine, "a", ELSEWHERE, 1.0)
    assert machine._state.reach == {}
    run_until(machine, 1.5)
    assert machine._state.address_of(machine.records()["a"]) == ELSEWHERE
    hear(machine, [a_record("a", 2, boot=2)])
    assert machine._state.reach == {}


def test_a_node_that_answers_where_it_was_is_reached_there_whoever_answers_elsewhere() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    place = machine.records()["a"].addresses[0]
    numbers = checks_of(machine.receive(Datagram(Gossip(A)), ELSEWHERE, 1.0))
    for address in (ELSEWHERE, place):
        machine.receive(Datagram(Ack(numbers[address], A, 0)), address, 1.1)
    run_until(machine, 2.0)
    assert machine._state.reach == {}


def test_only_the_answer_from_there_with_its_number_counts() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("b")])
    number = checks_of(machine.receive(Datagram(Gossip(A)), ELSEWHERE, 1.0))[ELSEWHERE]
    machine.receive(Datagram(Ack(number, A, 0)), FAR, 1.1)
    machine.receive(Datagram(Ack(number, tag_of("b"), 0)), ELSEWHERE, 1.1)
    machine.receive(Datagram(Ack(number ^ 1, A, 0)), ELSEWHERE, 1.1)
    run_until(machine, 2.0)
    assert machine._state.reach == {}


def test_a_node_that_answers_where_it_says_that_it_is_is_reached_there_at_once() -> None:
    machine = a_machine()
    hear(machine, [a_record("a")])
    machine._state.reach["a"] = ELSEWHERE
    place = machine.records()["a"].addresses[0]
    numbers = checks_of(machine.receive(Datagram(Gossip(A)), place, 1.0))
    machine.receive(Datagram(Ack(numbers[place], A, 0)), place, 1.1)
    assert machine._state.address_of(machine.records()["a"]) == place


@pytest.mark.parametrize(
    "item", [Rumour("a", 1, State.DEAD, "b", True), a_record("a", 2, home="b"), a_record("a", 2, boot=9)]
)
def test_who_is_gone_or_another_process_meanwhile_is_not_moved(item: Rumour) -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("b")])
    answer_from(machine, "a", ELSEWHERE, 1.0)
    hear(machine, [item], 1.1)
    run_until(machine, 2.0)
    assert machine._state.reach == {}


def test_a_forged_source_draws_few_and_small_packets() -> None:
    """Whoever names another's address as its own lets nodes send there: less than it sends itself."""
    machine = a_machine()
    hear(machine, [a_record(node_id) for node_id in "abcdefgh"])
    codec = Codec("default")
    sent = drawn = 0
    for number in range(1000):
        forged = Datagram(Gossip(tag_of("abcdefgh"[number % 8])))
        sent += len(codec.encode(forged))
        effects = machine.receive(forged, FAR, 1.0 + number / 1000)
        effects += run_until(machine, 1.0 + number / 1000)
        drawn += sum(len(codec.encode(one.datagram)) for one in sends(effects) if one.address == FAR)
    assert 0 < drawn < sent / 10


PING, REQUEST = Ping(7, A, tag_of("me"), 0), PingRequest(7, A, tag_of("b"), FAR)


@pytest.mark.parametrize("sender", ["a", "gone", "nobody"])
@pytest.mark.parametrize("body", [PING, REQUEST], ids=lambda body: type(body).__name__)
def test_gossip_goes_only_to_where_a_listed_node_is_known_to_be(sender: str, body: Body) -> None:
    """Else anybody would draw it from those for whom it is, and send large packets to anybody."""
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("b"), a_record("gone"), Rumour("gone", 1, State.DEAD, "a")])
    hear(machine, [a_record(f"n{number}") for number in range(30)])
    forged = msgspec.structs.replace(body, sender=tag_of(sender))
    effects = machine.receive(Datagram(forged), ELSEWHERE, 1.5)
    effects += run_until(machine, 2.5)  # a relay says that it had no answer
    answers = [one.datagram for one in sends(effects) if one.address in (FAR, ELSEWHERE)]
    assert answers
    assert [item for one in answers for item in one.items if item.id != "gone"] == []


def test_gossip_goes_with_an_answer_to_a_listed_node() -> None:
    machine = a_machine()
    hear(machine, [a_record("a"), *(a_record(f"n{number}") for number in range(30))])
    place = machine.records()["a"].addresses[0]
    [ack] = [one.datagram for one in sends(machine.receive(Datagram(PING), place, 1.0)) if one.address == place]
    assert isinstance(ack.body, Ack)
    assert ack.items


class Impostor(Mesh):
    """Answers each ping that comes to an address at which no node is, and takes each node's name from there."""

    def pose(self, seconds: float) -> list[Body]:
        """What came to the impostor, who begins anew ten times a second."""
        got: list[Body] = []
        until = self.now + seconds
        seen = len(self.log)
        while self.now < until:
            for victim in self.nodes:
                for target in self.nodes:
                    if victim != target:
                        ping = Ping(7, tag_of(victim), tag_of(target), 0)
                        self.do(target, self.nodes[target].receive(Datagram(ping), FAR, self.now))
            self.run(0.05)
            new, seen = self.log[seen:], len(self.log)
            for _, key, address, what in new:
                if address == FAR and isinstance(what, Datagram):
                    got.append(what.body)
                    body = what.body
                    if isinstance(body, Ping):
                        ack = Ack(body.sequence, body.target, body.view)
                        self.do(key, self.nodes[key].receive(Datagram(ack), FAR, self.now))
            self.run(0.05)
        return got


def test_an_impostor_who_answers_gets_no_packets_of_a_node_that_answers_too() -> None:
    mesh = Impostor()
    for node_id in "abcd":
        mesh.add(node_id, join=None if node_id == "a" else "a")
    mesh.run_until(mesh.is_whole, within=10)
    got = mesh.pose(30.0)
    assert all(machine._state.reach == {} for machine in mesh.nodes.values())
    assert {type(body) for body in got} == {Ack, Ping}, "answers to its pings, and checks"
    assert mesh.is_whole()
    happened = [event for events in mesh.events.values() for event in events]
    assert not [event for event in happened if isinstance(event, InstanceSuspected | InstanceDied)]


def test_the_number_of_a_check_is_one_that_peers_read() -> None:
    codec = Codec("default")
    for seed in range(20):
        machine = a_machine(f"me{seed}")
        hear(machine, [a_record("a")])
        for number in checks_of(machine.receive(Datagram(Gossip(A)), ELSEWHERE, 1.0)).values():
            ack = Datagram(Ack(number, A, 0))
            try:
                assert codec.decode_datagram_untrusted(codec.encode(ack)) == ack
            except RemoteProtocolError as error:
                pytest.fail(str(error))
