"""Asking somebody whether all was heard, once the mesh has changed and is quiet."""

from __future__ import annotations

from meshp2p.core.calls import SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Ping
from meshp2p.core.effects import CallFailed, Effect, Failure
from meshp2p.core.machine import Machine
from meshp2p.core.record import tag_of
from meshp2p.core.swim.convergence_check import LOOKS_MAX
from tests.core.builders import ELSEWHERE, a_machine, a_record, calls, hear, run_until, sends

CONFIG = ProtocolConfig(probe_interval=3600, probe_timeout=1.0)
DELAY = CONFIG.look_delay


def who_heard_of_a() -> Machine:
    """At 1.0. It does not probe within the hour, so that whatever it pings is a look."""
    machine = a_machine(config=CONFIG)
    hear(machine, [a_record("a", addresses=(ELSEWHERE,))], 1.0, sender="a")
    return machine


def pings(effects: list[Effect]) -> list[Ping]:
    return [send.datagram.body for send in sends(effects) if isinstance(send.datagram.body, Ping)]


def answer(machine: Machine, ping: Ping, view: int, now: float) -> list[Effect]:
    return machine.receive(Datagram(Ack(ping.sequence, tag_of("a"), view)), ELSEWHERE, now)


def test_a_look_comes_when_nobody_came_for_a_while() -> None:
    machine = who_heard_of_a()
    hear(machine, [a_record("b")], 1.2)
    assert pings(run_until(machine, 1.2 + 0.9 * DELAY)) == []
    (ping,) = pings(run_until(machine, 1.2 + DELAY))
    assert ping.target in (tag_of("a"), tag_of("b"))


def test_who_agrees_ends_it() -> None:
    machine = who_heard_of_a()
    (ping,) = pings(run_until(machine, 1.0 + DELAY))
    unasked = machine.counters.datagrams_unasked
    assert calls(answer(machine, ping, machine.view, 1.5), SyncRequest) == []
    assert machine.counters.datagrams_unasked == unasked
    assert pings(run_until(machine, 60.0)) == []


def test_who_differs_is_synced_with_at_once_and_somebody_is_asked_again() -> None:
    machine = who_heard_of_a()
    (ping,) = pings(run_until(machine, 1.0 + DELAY))
    (call,) = calls(answer(machine, ping, machine.view ^ 1, 1.31), SyncRequest)
    assert call.addresses == (ELSEWHERE,)
    machine.receive_reply(call.call_id, CallFailed(Failure.TIMEOUT, ""), 1.4)
    assert len(pings(run_until(machine, 1.0 + 2 * DELAY))) == 1


def test_an_ack_of_another_node_or_number_answers_no_look() -> None:
    machine = who_heard_of_a()
    (ping,) = pings(run_until(machine, 1.0 + DELAY))
    other = Ping(ping.sequence + 1, ping.sender, ping.target, ping.view)
    assert calls(answer(machine, other, machine.view ^ 1, 1.31), SyncRequest) == []


def test_without_an_answer_it_gives_up_and_who_comes_later_is_a_reason_again() -> None:
    machine = who_heard_of_a()
    assert len(pings(run_until(machine, 60.0))) == LOOKS_MAX
    hear(machine, [a_record("b", home="a")], 60.0)
    assert len(pings(run_until(machine, 60.0 + DELAY))) == 1


def test_news_of_who_is_listed_is_no_reason_to_look() -> None:
    machine = who_heard_of_a()
    (ping,) = pings(run_until(machine, 1.0 + DELAY))
    answer(machine, ping, machine.view, 1.5)
    hear(machine, [a_record("a", 2, addresses=(ELSEWHERE,), status="busy")], 1.6, sender="a")
    assert pings(run_until(machine, 60.0)) == []
