"""Whatever is said to a machine, in any order, it goes on and its tables stay sound."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.core.address import Address
from meshp2p.core.calls import (
    Acknowledged,
    AskInstance,
    CallReply,
    CallRequest,
    Deliver,
    DeliverReply,
    Deposit,
    DeregisterReply,
    Done,
    FetchReply,
    ForwardAcknowledge,
    ForwardDeregister,
    ForwardFetch,
    ForwardHeartbeat,
    ForwardStatus,
    HeartbeatReply,
    InstanceReply,
    Outcome,
    Parcel,
    Passed,
    Pong,
    Probe,
    Push,
    Refused,
    SyncReply,
    SyncRequest,
    Why,
)
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Nack, Ping, PingRequest
from meshp2p.core.effects import Call, CallFailed, Effect, Failure, Persist, Resolve, Send, Store
from meshp2p.core.machine import Machine
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync, MapTaken
from meshp2p.core.map_entry import COUNT_MAX, MapEntry, Stamp
from meshp2p.core.message import Message
from meshp2p.core.record import Item, Record, Rumour, State, tag_of
from meshp2p.core.requests import Acknowledge, Deregister, Fetch, Heartbeat, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import LocalProtocolError, RemoteProtocolError
from meshp2p.wire.codec import Codec
from simulations.fuzz.soundness import check_machine
from tests.core.builders import a_machine

CODEC = Codec("default")
CONFIG = ProtocolConfig(members_max=6, departed_max=4, candidates_max=5, instance_timeout=2.0, departed_retention=20.0)

ids = st.sampled_from(["me", "a", "b", "c", "x", "y", "\U0010ffff", "z" * 128])
tags = st.one_of(ids.map(tag_of), st.sampled_from([0, (1 << 64) - 1]))
numbers = st.sampled_from([0, 1, 2, 3, 1_700_000_000_000, 1_700_000_000_001, 1 << 43, 1 << 62, (1 << 63) - 1])
times = st.sampled_from([0, 1, 1_700_000_000_000, 1 << 43])
addresses = st.builds(Address, st.sampled_from(["10.0.0.9", "10.0.0.8", "::1"]), st.integers(1, 3))
texts = st.sampled_from(["", "busy", "x" * 1024])
metrics = st.sampled_from(["", "{}", '{"a":"' + "x" * 9000 + '"}'])
records = st.builds(
    Record,
    id=ids,
    incarnation=numbers,
    state=st.sampled_from(State),
    home=ids,
    boot=numbers,
    addresses=st.lists(addresses, max_size=2).map(tuple),
    hostname=texts,
    port=st.integers(0, 65535),
    capabilities=st.just(()),
    profiles=st.just(()),
    created_at=times,
    epoch=numbers,
    epoch_since=times,
    status=texts,
    metrics=metrics,
)
rumours = st.builds(Rumour, ids, numbers, st.sampled_from(State), st.one_of(st.just(""), ids))


def can_be_told(item: Item) -> bool:
    """Whether the decoder lets it through."""
    try:
        CODEC.decode_datagram_untrusted(CODEC.encode(Datagram(Gossip(1), (item,))))
    except RemoteProtocolError:
        return False
    return True


items: st.SearchStrategy[tuple[Item, ...]] = st.lists(
    st.one_of(records.filter(can_be_told), rumours.filter(can_be_told)), max_size=4
).map(tuple)
bodies = st.one_of(
    st.builds(Ping, numbers, tags, tags, numbers),
    st.builds(Ack, st.integers(0, 9), tags, numbers),
    st.builds(Nack, st.integers(0, 9), tags),
    st.builds(PingRequest, numbers, tags, tags, addresses),
    st.builds(Gossip, tags),
)
datagrams = st.builds(Datagram, bodies, items, st.lists(st.one_of(tags, numbers), max_size=5).map(tuple))
entries = st.lists(
    st.builds(
        MapEntry,
        st.sampled_from(["k", "l"]),
        st.builds(Stamp, numbers, st.sampled_from([0, 1, COUNT_MAX]), tags),
        st.sampled_from([b"", b"1"]),
    ),
    max_size=3,
).map(tuple)
digests = st.sampled_from([b"", b"\0" * 8, b"\1" * 16, b"\0" * 24])
message_ids = st.integers(0, 5).map(lambda number: uuid7(1_700_000_000_000 + number, tag_of("a") >> 32 << 30))
custom = st.builds(Message, message_ids, ids, ids, st.just("Query"), st.just(""), st.just(b"1"), st.none(), times)
parcels = st.lists(
    st.builds(
        Parcel, custom, st.lists(ids, min_size=1, max_size=3).map(tuple), st.sampled_from([0.0, 1.0, 60.0, 1e300])
    ),
    max_size=3,
).map(tuple)
copies = st.lists(st.tuples(ids, message_ids), max_size=4).map(tuple)
outcomes = st.lists(st.lists(st.sampled_from(Outcome), max_size=3).map(tuple), max_size=4).map(tuple)
passed: st.SearchStrategy[Passed] = st.one_of(
    st.builds(Deliver, ids, parcels, st.sampled_from([0, 1])),
    st.builds(Acknowledged, copies),
    st.builds(
        ForwardFetch, ids, st.sampled_from([0, 1, 100, (1 << 64) - 1]), message_ids, st.sampled_from([0.0, 60.0])
    ),
    st.builds(ForwardAcknowledge, ids, st.lists(message_ids, max_size=4).map(tuple)),
    st.builds(ForwardStatus, message_ids),
)
requests: st.SearchStrategy[CallRequest] = st.one_of(
    st.builds(Probe, tags),
    st.builds(SyncRequest, digests, st.one_of(st.none(), records)),
    st.builds(Push, tags, items),
    st.builds(ForwardHeartbeat, ids, texts, metrics),
    st.builds(ForwardDeregister, ids),
    st.builds(AskInstance, ids),
    st.builds(MapSync, st.sampled_from(["m", "other"]), ids, numbers, digests),
    st.builds(MapPush, st.sampled_from(["m", "other"]), ids, numbers, entries),
    passed,
    st.builds(Deposit, parcels),
)
replies: st.SearchStrategy[CallReply | CallFailed] = st.one_of(
    st.builds(Pong, ids, numbers, numbers),
    st.builds(SyncReply, records, st.booleans(), items, st.lists(numbers, max_size=3).map(tuple)),
    st.just(Done()),
    st.just(HeartbeatReply(True, False)),
    st.just(DeregisterReply(True)),
    st.builds(InstanceReply, st.one_of(st.none(), records), numbers, st.booleans(), st.text(max_size=20)),
    st.builds(
        MapDifference,
        st.booleans(),
        numbers,
        st.sampled_from([1, 4096]),
        st.lists(numbers, max_size=2).map(tuple),
        entries,
        st.booleans(),
        st.lists(ids, max_size=2).map(tuple),
    ),
    st.builds(MapTaken, st.booleans(), numbers, numbers),
    st.builds(DeliverReply, outcomes),
    st.builds(FetchReply, st.just(()), st.booleans()),
    st.builds(Refused, st.sampled_from(Why), st.just("")),
    st.builds(CallFailed, st.sampled_from(Failure), st.just("")),
)


class Driver:
    """Makes a machine do what is drawn for it, and checks it after each step."""

    def __init__(self, seed: int) -> None:
        self.machine: Machine = a_machine(config=CONFIG, is_announced=bool(seed % 2))
        self.machine._state.keeping.is_durable = bool(seed & 2)
        self.stores: list[Store] = []
        self.persists: list[Persist] = []
        self.tickets = 0
        self.answered: set[int] = set()
        self.now = float(seed % 2)
        self.calls: list[Call] = []
        self.random = random.Random(seed)

    def take(self, effects: list[Effect]) -> None:
        self.calls += [effect for effect in effects if isinstance(effect, Call)]
        self.stores += [effect for effect in effects if isinstance(effect, Store)]
        self.persists += [effect for effect in effects if isinstance(effect, Persist)]
        if self.machine._state.keeping.is_durable:
            assert len(self.persists) <= 1
        for effect in effects:
            if isinstance(effect, Resolve):
                assert effect.ticket not in self.answered, "answered twice"
                self.answered.add(effect.ticket)
        for effect in effects:
            if isinstance(effect, Call):
                assert effect.addresses
                assert effect.timeout > 0
                assert CODEC.decode_request_untrusted(CODEC.encode(effect.request)) == effect.request
            if isinstance(effect, Send):
                assert CODEC.decode_datagram_untrusted(CODEC.encode(effect.datagram)) == effect.datagram
            if isinstance(effect, Resolve):
                assert CODEC.decode_reply_untrusted(CODEC.encode(effect.reply)) == effect.reply
        self.check()

    def check(self) -> None:
        check_machine(self.machine, self.now)

    def ticket(self) -> int:
        self.tickets += 1
        return self.tickets


UNREFUSED = ("hear", "call", "reply", "wait", "offer", "store", "abandon")
"""The inputs for which no agent waits, so that they must not raise."""

steps = st.one_of(
    st.tuples(st.just("hear"), datagrams, addresses),
    st.tuples(st.just("call"), requests, st.none()),
    st.tuples(st.just("reply"), replies, st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.5, 1.0, 3.0, 30.0]), st.none()),
    st.tuples(st.just("register"), ids, st.none()),
    st.tuples(st.just("heartbeat"), ids, st.none()),
    st.tuples(st.just("deregister"), ids, st.none()),
    st.tuples(st.just("offer"), ids, addresses),
    st.tuples(st.just("report"), metrics, st.none()),
    st.tuples(st.just("readdress"), st.just(""), addresses),
    st.tuples(st.just("share"), st.sampled_from(["", "k", "l"]), st.none()),
    st.tuples(st.just("leave"), st.just(""), st.none()),
    st.tuples(st.just("send"), st.one_of(st.none(), ids), st.none()),
    st.tuples(st.just("read"), ids, st.none()),
    st.tuples(st.just("acknowledge"), st.tuples(ids, st.lists(message_ids, max_size=3).map(tuple)), st.none()),
    st.tuples(st.just("store"), st.sampled_from([None, "full"]), st.none()),
    st.tuples(st.just("abandon"), st.integers(1, 30), st.none()),
)


@settings(max_examples=300)
@given(st.integers(0, 7), st.lists(steps, max_size=40))
def test_whatever_is_said_to_a_machine_it_goes_on(seed: int, drawn: list[tuple[str, object, Address | None]]) -> None:
    driver = Driver(seed)
    for name, argument, address in drawn:
        if can_arrive(name, argument):
            refusals = () if name in UNREFUSED else (LocalProtocolError,)
            with contextlib.suppress(*refusals):
                step(driver, name, argument, address)
        driver.check()


def share(driver: Driver, key: str) -> None:
    driver.take(driver.machine.open_map("m", None, driver.now)[1])
    if key:
        value = driver.random.choice([b"", b"7"])
        driver.take(driver.machine.write_map("m", key, value, driver.now))


def can_arrive(name: str, argument: object) -> bool:
    """Whether the decoder lets it through: a machine is given nothing else."""
    try:
        match name, argument:
            case "hear", Datagram():
                CODEC.decode_datagram_untrusted(CODEC.encode(argument))
            case "call", _:
                CODEC.decode_request_untrusted(CODEC.encode(argument))  # type: ignore[arg-type]  # a request
            case "reply", _ if not isinstance(argument, CallFailed):
                CODEC.decode_reply_untrusted(CODEC.encode(argument))  # type: ignore[arg-type]  # a reply
    except RemoteProtocolError:
        return False
    return True


def step(driver: Driver, name: str, argument: object, address: Address | None) -> None:
    machine, now = driver.machine, driver.now
    match name, argument:
        case "hear", Datagram():
            assert address is not None
            driver.take(machine.receive(argument, address, now))
        case "reply", _:
            if driver.calls:
                call = driver.calls.pop(driver.random.randrange(len(driver.calls)))
                driver.take(machine.receive_reply(call.call_id, argument, now))  # type: ignore[arg-type]  # a reply
        case "call", _:
            driver.take(machine.receive_call(argument, now, driver.ticket())[1])  # type: ignore[arg-type]  # a request
        case "wait", float():
            until = now + argument
            while machine.next_deadline() <= until:
                driver.now = max(driver.now, machine.next_deadline())
                driver.take(machine.handle_timeouts(driver.now))
            driver.now = until
        case "register", str():
            driver.take(machine.register(Profile(argument, "h", 1), now))
        case "heartbeat", str():
            driver.take(machine.request(driver.ticket(), Heartbeat(argument, "busy", ""), now))
        case "deregister", str():
            driver.take(machine.request(driver.ticket(), Deregister(argument), now))
        case "offer", str():
            assert address is not None
            driver.take(machine.offer("mdns", (address,), argument, now))
        case "report", str():
            driver.take(machine.report("busy", argument, now))
        case "readdress", _:
            assert address is not None
            driver.take(machine.readdress((address,), now))
        case "share", str():
            share(driver, argument)
        case "leave", _:
            driver.take(machine.leave(now))
        case _:
            step_of_messages(driver, name, argument)


def step_of_messages(driver: Driver, name: str, argument: object) -> None:
    machine, now = driver.machine, driver.now
    match name, argument:
        case "send", (str() | None):
            driver.take(machine.request(driver.ticket(), SendMessage("s", argument, "Query", "", b"1"), now))
        case "read", str():
            driver.take(machine.request(driver.ticket(), Fetch(argument, 10, "", 30.0), now))
        case "acknowledge", (str(recipient), tuple(acknowledged)):
            driver.take(machine.request(driver.ticket(), Acknowledge(recipient, acknowledged), now))
        case "store", (str() | None):
            if driver.persists:
                driver.persists.pop()
                driver.take(machine.receive_persisted(argument, now))
            if driver.stores:
                driver.take(machine.receive_stored([driver.stores.pop(0).number], argument, now))
        case "abandon", int():
            machine.abandon(argument)
        case _:
            pytest.fail(f"unknown step {name}")
