"""Indirect probes: what relays answer, and what a prober concludes of the target and of itself (Lifeguard §IV-A)."""

from __future__ import annotations

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Nack, Ping, PingRequest
from meshp2p.core.machine import Machine
from meshp2p.core.record import tag_of
from tests.core.builders import ELSEWHERE, HERE, a_machine, a_record, hear, sends
from tests.core.mesh import Mesh

OTHERS = ("a", "b", "c", "d", "e")


def a_prober() -> Machine:
    machine = a_machine("m", ProtocolConfig(watches=0, look_delay=3600.0))
    hear(machine, [a_record(other) for other in OTHERS])
    return machine


def next_bodies(machine: Machine, kind: type[Ping | PingRequest]) -> tuple[float, list[Ping | PingRequest]]:
    """Let time pass until the machine sends this: when, and all of it."""
    while True:
        now = machine.next_deadline()
        found = [one.datagram.body for one in sends(machine.handle_timeouts(now))]
        if bodies := [body for body in found if isinstance(body, kind)]:
            return now, bodies


def blame_after(nacks: int, *, earlier: int = 0, answering: int = 3) -> int:
    """How slow a prober finds itself after a round without an ack, in which so many relays sent their nack, and so many
    nacks of an earlier round came. So many of the other relays answer when they are checked after that."""
    machine = a_prober()
    machine._state.local_health.score = 0
    now, requests = next_bodies(machine, PingRequest)
    machine._state.local_health.score = 0
    assert len(requests) == 3
    relays = relays_asked(machine)
    for number in range(nacks + earlier):
        sequence = requests[0].sequence - (number >= nacks)
        machine.receive(Datagram(Nack(sequence, tag_of(relays[number % 3]))), ELSEWHERE, now)
    now, pings = next_bodies(machine, Ping)
    living = [tag_of(relay) for relay in relays[nacks : nacks + answering]]
    probe = machine._swim.prober._round
    assert probe is not None
    for ping in pings:
        if isinstance(ping, Ping) and ping.target in living and ping.sequence != probe.sequence:
            machine.receive(Datagram(Ack(ping.sequence, ping.target, 0)), ELSEWHERE, now)
    return machine.local_health


def relays_asked(machine: Machine) -> list[str]:
    """Those of the round under way."""
    under_way = machine._swim.prober._round
    assert under_way is not None
    return list(under_way.owing.values())


@pytest.mark.parametrize(("nacks", "blame"), [(3, 0), (2, 1), (0, 3)])
def test_a_prober_finds_itself_slow_by_the_nacks_that_relays_owe_it_which_live(nacks: int, blame: int) -> None:
    assert blame_after(nacks) == blame


@pytest.mark.parametrize("answering", [0, 1, 2])
def test_relays_that_are_gone_owe_no_nack(answering: int) -> None:
    assert blame_after(0, answering=answering) == answering


def test_nacks_of_an_earlier_round_excuse_nothing() -> None:
    assert blame_after(0, earlier=3) == 3


def test_relays_are_told_both_where_the_target_answered_and_where_it_says_that_it_is() -> None:
    machine = a_prober()
    for other in OTHERS:
        machine._state.reach[other] = ELSEWHERE
    _, requests = next_bodies(machine, PingRequest)
    published = a_record(OTHERS[0]).addresses[0]
    assert {request.address for request in requests if isinstance(request, PingRequest)} == {ELSEWHERE, published}


def test_a_relay_passes_an_ack_on_as_the_targets() -> None:
    relay = a_prober()
    request = PingRequest(77, tag_of("a"), tag_of("b"), ELSEWHERE)
    [ping] = [one for one in sends(relay.receive(Datagram(request), HERE, 1.0)) if one.address == ELSEWHERE]
    assert isinstance(ping.datagram.body, Ping)
    ack = Ack(ping.datagram.body.sequence, tag_of("b"), 5, 2)
    [passed] = [one for one in sends(relay.receive(Datagram(ack), ELSEWHERE, 1.1)) if one.address == HERE]
    assert passed.datagram.body == Ack(77, tag_of("b"), 5, 2)


def test_a_node_that_only_relays_reach_is_not_suspected() -> None:
    mesh = Mesh()
    for name in OTHERS:
        mesh.add(name, join=None if name == "a" else "a")
    mesh.run_until(mesh.is_whole, within=3)
    mesh.is_cut = lambda one, other: {one, other} == {"a", "b"}
    mesh.run(30)
    assert not mesh.nodes["a"].counters.suspicions
    assert not mesh.nodes["b"].counters.suspicions
