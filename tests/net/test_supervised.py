"""A machine that begins anew after an input that it cannot handle, alone and under a driver."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import msgspec
import pytest

from meshp2p.core.address import Address
from meshp2p.core.calls import Deliver, FetchReply, Parcel, Push, Refused, SyncReply, SyncRequest, Why
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.effects import Call, CallFailed, Effect, Emit, Failure, Persist, Resolve, Send, Store, Unwatch, Watch
from meshp2p.core.events import InstanceJoined
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.message import Message
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.core.requests import Acknowledge, Fetch, Heartbeat, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, InternalError, UnknownInstance
from meshp2p.net.supervised import REBUILDS_MAX, REBUILDS_SECONDS, SupervisedMachine
from tests.core.builders import ELSEWHERE, NOW_MS, a_record

OWN = Address("10.0.0.7", 7)
QUERY = Message(uuid7(NOW_MS, 1 << 40), "a", "agent", "Query", "", b"1", None, NOW_MS)
POISON = Datagram(Gossip(tag_of("poison")))


class Fault(Exception):
    """What a broken invariant raises."""


class Bench:
    """A machine that raises when it hears of ``poison``, after it has changed something."""

    def __init__(self, *, has_disk: bool = False) -> None:
        self.given_up: list[InternalError] = []
        self.machine = SupervisedMachine(
            Profile("me", "h", 1),
            (OWN,),
            ProtocolConfig(),
            random.Random(0),
            lambda: NOW_MS,
            None,
            [] if has_disk else None,
            lease_clock=lambda: 0.0,
            give_up=self.given_up.append,
        )
        self.has_disk = has_disk
        self.effects: list[Effect] = []
        self.now = 0.0
        self.take(self.machine.start(0.0))
        self.run(2.0)
        self.hear(a_record("a"), a_record("b"))

    def take(self, effects: list[Effect]) -> list[Effect]:
        """Perform what a disk would, at once."""
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Persist) and self.has_disk:
                self.take(self.machine.receive_persisted(None, self.now))
            elif isinstance(effect, Store):
                self.take(self.machine.receive_stored([effect.number], None, self.now))
        return effects

    def run(self, until: float) -> None:
        while self.machine.next_deadline() <= until:
            self.now = max(self.now, self.machine.next_deadline())
            self.take(self.machine.handle_timeouts(self.now))
        self.now = max(self.now, until)

    def hear(self, *items: object) -> list[Effect]:
        datagram = Datagram(Gossip(tag_of("a")), items)  # type: ignore[arg-type]
        return self.take(self.machine.receive(datagram, ELSEWHERE, self.now))

    def poison(self, name: str = "membership", method: str = "merge") -> Callable[..., None]:
        """Make this method of a part raise once."""
        part = getattr(self.machine._swim, name)

        def fail(*_arguments: object, **_options: object) -> None:
            self.machine._state.effects.append(Send(ELSEWHERE, POISON, 0))
            raise Fault

        setattr(part, method, fail)
        return fail

    def fault(self) -> list[Effect]:
        self.poison()
        return self.hear(a_record("x"))

    def resolved(self) -> dict[int, object]:
        return {effect.ticket: effect.reply for effect in self.effects if isinstance(effect, Resolve)}


def test_an_input_that_raises_is_dropped_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    before = bench.machine.own
    with caplog.at_level(logging.ERROR, "meshp2p.net"):
        effects = bench.fault()
    assert Send(ELSEWHERE, POISON, 0) not in effects, "what it would have done is discarded"
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert bench.machine.counters.rebuilds == 1
    assert (bench.machine.own.boot, bench.machine.own.incarnation > before.incarnation) == (before.boot, True)
    assert set(bench.machine.records()) == {"me", "a", "b"}
    assert bench.machine.is_announced
    assert not [effect for effect in effects if isinstance(effect, Emit) and isinstance(effect.event, InstanceJoined)]
    told = [item for effect in effects if isinstance(effect, Send) for item in effect.datagram.items]
    assert bench.machine.own in told
    bench.hear(a_record("x"))
    assert "x" in bench.machine.records()
    assert not bench.given_up


def test_what_was_accepted_is_not_lost_and_what_was_acknowledged_not_handed_out_again() -> None:
    bench = Bench()
    bench.take(bench.machine.register(Profile("agent", "h", 1), bench.now))
    second = msgspec.structs.replace(QUERY, id=uuid7(NOW_MS + 1, 1 << 40))
    parcels = tuple(Parcel(message, ("agent",), 60.0) for message in (QUERY, second))
    bench.take(bench.machine.receive_call(Deliver("a", parcels), bench.now, 1)[1])
    bench.take(bench.machine.request(2, SendMessage("agent", "b", "Query", "", b"2"), bench.now))
    bench.take(bench.machine.request(3, SendMessage("b", "agent", "Query", "", b"3"), bench.now))
    bench.take(bench.machine.request(4, Acknowledge("agent", (QUERY.id,)), bench.now))
    bench.fault()
    bench.take(bench.machine.request(5, Fetch("agent", 10, "", 0.0), bench.now))
    reply = bench.resolved()[5]
    assert isinstance(reply, FetchReply)
    assert sorted(message.payload for message in reply.messages) == [b"1", b"3"]
    assert QUERY.id not in [message.id for message in reply.messages]
    bench.run(bench.now + 1.0)
    delivered = [effect.request for effect in bench.effects if isinstance(effect, Call)]
    last = [request for request in delivered if isinstance(request, Deliver)][-1]
    assert [parcel.message.payload for parcel in last.parcels] == [b"2"]
    bench.take(bench.machine.receive_call(Deliver("a", parcels), bench.now, 6)[1])
    bench.take(bench.machine.request(7, Fetch("agent", 10, "", 0.0), bench.now))
    again = bench.resolved()[7]
    assert isinstance(again, FetchReply)
    assert [message.id for message in again.messages] == [message.id for message in reply.messages]


def test_whoever_waits_is_answered() -> None:
    bench = Bench()
    bench.hear(a_record("hosted", home="a", addresses=()))
    bench.take(bench.machine.request(11, Fetch("me", 10, "", 30.0), bench.now))
    bench.take(bench.machine.request(12, SendMessage("me", "a", "Query", "", b"1"), bench.now))
    bench.take(bench.machine.request(13, Heartbeat("hosted", "busy", ""), bench.now))
    bench.take(bench.machine.request(14, Acknowledge("hosted", (QUERY.id,)), bench.now))
    message = SendMessage("me", "a", "Query", "", b"1")
    refused, effects = bench.machine.send({15: message, 16: msgspec.structs.replace(message, target="x")}, bench.now)
    bench.take(effects)
    assert list(refused) == [16]
    bench.fault()
    resolved = bench.resolved()
    assert resolved[11] == FetchReply(())
    assert {type(resolved[ticket]) for ticket in (12, 13, 14, 15)} == {Refused}
    assert 16 not in resolved
    calls = [effect for effect in bench.effects if isinstance(effect, Call)]
    count = len(bench.effects)
    for call in calls:  # what comes later of them means nothing any more
        bench.take(bench.machine.receive_reply(call.call_id, CallFailed(Failure.TIMEOUT, ""), bench.now))
    assert not [effect for effect in bench.effects[count:] if isinstance(effect, Resolve)]


def test_messages_whose_acceptance_raises_are_answered_all() -> None:
    bench = Bench()
    message = SendMessage("me", "a", "Query", "", b"1")
    bench.machine.outbox.create = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    refused, effects = bench.machine.send({7: message, 8: message}, bench.now)
    assert refused == {}
    answers = {effect.ticket: type(effect.reply) for effect in effects if isinstance(effect, Resolve)}
    assert answers == {7: Refused, 8: Refused}
    assert bench.machine.counters.rebuilds == 1


def test_a_call_that_raises_is_refused_and_the_next_one_answered() -> None:
    bench = Bench()
    bench.poison("syncer", "receive_request")
    reply, effects = bench.machine.receive_call(SyncRequest(bytes(8), None), bench.now, 7)
    refused = [effect.reply for effect in effects if isinstance(effect, Resolve) and effect.ticket == 7]
    assert reply is None
    assert [type(answer) for answer in refused] == [Refused]
    assert refused[0].why is Why.UNREACHABLE  # type: ignore[union-attr]
    reply, _ = bench.machine.receive_call(SyncRequest(bytes(8), None), bench.now, 8)
    assert isinstance(reply, SyncReply)


def test_watches_of_the_earlier_life_are_given_up_and_begun_anew() -> None:
    bench = Bench()
    bench.run(bench.now + 1.0)
    before = [effect.watch_id for effect in bench.effects if isinstance(effect, Watch)]
    assert before
    bench.fault()
    assert {effect.watch_id for effect in bench.effects if isinstance(effect, Unwatch)} >= set(before)
    bench.run(bench.now + 1.0)
    after = [effect.watch_id for effect in bench.effects if isinstance(effect, Watch)][len(before) :]
    assert after
    assert not set(after) & set(before)


def test_a_shared_map_stays_the_one_that_the_agent_holds() -> None:
    bench = Bench()
    replica, effects = bench.machine.open_map("m", None, bench.now)
    bench.take(effects)
    bench.take(bench.machine.write_map("m", "k", b"1", bench.now))
    bench.fault()
    bench.take(bench.machine.write_map("m", "k", b"2", bench.now))
    assert replica.value("k") == b"2"
    assert bench.machine.replica("m") is replica


def test_what_the_agent_asks_wrongly_is_no_fault() -> None:
    bench = Bench()
    with pytest.raises(UnknownInstance):
        bench.machine.request(1, SendMessage("me", "nobody", "Query", "", b"1"), bench.now)
    with pytest.raises(ConfigError):
        bench.machine.report("busy", "no JSON", bench.now)
    assert bench.machine.counters.rebuilds == 0


def test_what_the_agent_does_raises_if_it_failed_and_what_follows_is_not_lost() -> None:
    bench = Bench()
    bench.poison("hosting", "register")
    with pytest.raises(InternalError, match="began anew"):
        bench.machine.register(Profile("agent", "h", 1), bench.now)
    effects = bench.take(bench.machine.handle_timeouts(bench.now))
    told = [item for effect in effects if isinstance(effect, Send) for item in effect.datagram.items]
    assert bench.machine.own in told
    bench.take(bench.machine.register(Profile("agent", "h", 1), bench.now))


def test_a_node_that_leaves_goes_on_leaving() -> None:
    bench = Bench()
    bench.take(bench.machine.leave(bench.now))
    effects = bench.fault()
    farewells = [effect for effect in effects if isinstance(effect, Send) and effect.datagram.items]
    assert {item.state for effect in farewells for item in effect.datagram.items} >= {State.LEFT}


def test_too_many_faults_end_the_node() -> None:
    bench = Bench()
    for count in range(REBUILDS_MAX):
        bench.fault()
        assert not bench.given_up, count
    effects = bench.fault()
    assert len(bench.given_up) == 1
    assert [effect for effect in effects if isinstance(effect, Send)], "it is able to say that it leaves"
    assert bench.take(bench.machine.leave(bench.now))
    bench.fault()
    assert bench.fault() == []
    assert len(bench.given_up) == 1
    assert bench.machine.next_deadline() == float("inf")


def test_faults_that_are_far_apart_do_not() -> None:
    bench = Bench()
    for _ in range(3 * REBUILDS_MAX):
        bench.fault()
        bench.run(bench.now + REBUILDS_SECONDS / 2)
    assert not bench.given_up


@pytest.mark.parametrize("has_disk", [False, True])
def test_it_begins_anew_whatever_was_under_way(has_disk: bool) -> None:
    """The same in the middle of much that goes on, at each of many moments."""
    for moment in range(40):
        bench = Bench(has_disk=has_disk)
        bench.take(bench.machine.register(Profile("agent", "h", 1), bench.now))
        bench.take(bench.machine.request(1, SendMessage("agent", None, "Query", "", b"1"), bench.now))
        bench.take(bench.machine.receive_call(Push(7, (Rumour("a", 10, State.DEAD, "q"),)), bench.now, 2)[1])
        bench.run(bench.now + moment * 0.2)
        bench.fault()
        assert set(bench.machine.records()) >= {"me", "agent"}
        assert set(bench.machine._state.members.nodes) <= set(bench.machine.records())
        bench.run(bench.now + 30.0)  # nobody answers: it names a leader when it has checked all
        assert bench.machine.leader_id is not None
        assert bench.machine.counters.rebuilds == 1
