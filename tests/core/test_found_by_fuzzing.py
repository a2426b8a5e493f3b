"""What the fuzzer found in the machine: each is a fault that was there."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.calls import Pong
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Call, CallFailed, Failure, Resolve, Watch, WatchOpened
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.map_entry import COUNT_MAX, Stamp
from meshp2p.core.maps.hybrid_clock import HybridClock
from meshp2p.core.message import Message
from meshp2p.core.record import INCARNATION_MAX, Item, Rumour, State
from meshp2p.core.requests import Acknowledge, Deregister, Fetch, Heartbeat, Request
from meshp2p.core.swim.hosting import Profile
from meshp2p.core.validity import TIME_MAX
from meshp2p.errors import LimitExceeded
from simulations.fuzz.soundness import check_machine
from tests.core.builders import NOW_MS, a_machine, a_record, hear, run_until


def test_a_stamp_never_grows_past_what_others_read() -> None:
    clock = HybridClock(7)
    clock.note(Stamp(5, COUNT_MAX, 1))
    assert clock.tick(3) == Stamp(6, 0, 7)
    clock.note(Stamp(TIME_MAX, COUNT_MAX, 1))
    assert clock.tick(3) == Stamp(TIME_MAX, COUNT_MAX, 7)
    assert HybridClock(7).tick(TIME_MAX + 5) == Stamp(TIME_MAX, 0, 7)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Stamp(1, COUNT_MAX + 1, 7)), type=Stamp)


def test_a_watch_that_stands_too_late_does_not_bring_signs_of_life_of_who_is_gone() -> None:
    machine = a_machine()
    effects = hear(machine, [a_record("a", 5, boot=9)])
    effects += run_until(machine, 3.0)
    watch = next(effect for effect in effects if isinstance(effect, Watch))
    hear(machine, [Rumour("a", 5, State.DEAD, "b")], 3.0)
    machine.receive_watch(watch.watch_id, WatchOpened(watch.addresses[0], Pong("a", 9, 0)), 3.0)
    assert machine._state.life["a"] is None


def test_an_instance_that_departed_is_registered_again_only_if_there_is_room() -> None:
    machine = a_machine(config=ProtocolConfig(members_max=3))
    hear(machine, [a_record("a", 5), Rumour("a", 5, State.DEAD, "b"), a_record("b", 5), a_record("c", 5)])
    with pytest.raises(LimitExceeded):
        machine.register(Profile("a", "h", 1), 2.0)
    assert len(machine.records()) == 3


def test_copies_wait_in_the_order_of_their_numbers_whenever_they_were_kept() -> None:
    outbox = Outbox(a_machine()._state)
    for number in (2, 1, 3):
        message = Message(uuid7(NOW_MS, number), "s", "a", "Query", "", b"1", None, NOW_MS)
        outbox.add(Outgoing.of(number, message, ["a"], 60.0, NOW_MS), 0.0)
    assert list(outbox.lines["a"].waiting) == [1, 2, 3]


@pytest.mark.parametrize("home", ["gone", "a"])
@pytest.mark.parametrize(
    "request_",
    [Fetch("agent", 1, "", 0.0), Acknowledge("agent", ("x",)), Heartbeat("agent", "busy", ""), Deregister("agent")],
    ids=lambda request: type(request).__name__,
)
def test_what_is_asked_of_an_instance_that_nobody_can_adopt_is_refused_once(home: str, request_: Request) -> None:
    """Its home is not there, and the claim that it is at home there cannot be outbid: adopting it changes nothing."""
    machine = a_machine()
    hear(machine, [a_record("a"), a_record("agent", INCARNATION_MAX, home=home)])
    waiting = machine.request(7, request_, 1.0)
    resolved: list[int] = []
    for _ in range(20):
        effects, waiting = waiting, []
        for effect in effects:
            if isinstance(effect, Resolve):
                resolved.append(effect.ticket)
            elif isinstance(effect, Call):
                waiting += machine.receive_reply(effect.call_id, CallFailed(Failure.REFUSED, ""), 1.0)
    assert resolved == [7]
    assert machine.records()["agent"].home == home


@pytest.mark.parametrize("home", ["b", "gone", "me"])
def test_an_instance_of_which_the_greatest_incarnation_was_claimed_is_registered_under_another_id(home: str) -> None:
    machine = a_machine()
    hear(machine, [a_record("b")])
    machine.register(Profile("agent", "h", 1), 1.0)
    hear(machine, [a_record("agent", INCARNATION_MAX, home=home)])
    assert machine.records()["agent"].incarnation == INCARNATION_MAX
    with pytest.raises(LimitExceeded, match="another id"):
        machine.register(Profile("agent", "h", 2), 1.0)
    assert machine.records()["agent"].port == 1
    check_machine(machine, 1.0)


@pytest.mark.parametrize("earlier", [(), (Rumour("agent", 5, State.DEAD, "b"),), (a_record("agent", 5, home="b"),)])
def test_a_node_goes_on_if_it_hears_the_greatest_incarnation_of_its_own_instance(
    earlier: tuple[Item, ...],
) -> None:
    machine = a_machine()
    hear(machine, [a_record("b"), *earlier, a_record("agent", INCARNATION_MAX, home="me"), a_record("c")])
    assert "c" in machine.records()
    check_machine(machine, 1.0)
