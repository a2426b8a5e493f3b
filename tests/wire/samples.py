"""One message of each type, and how to make any other: what the tests of the codec share."""

from __future__ import annotations

from typing import Any

import msgspec
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
    LeaseAsk,
    LeaseRelease,
    LeaseReply,
    Outcome,
    Parcel,
    Pong,
    Probe,
    Push,
    Refused,
    SendReply,
    StatusReply,
    SyncReply,
    SyncRequest,
    Why,
)
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Nack, Ping, PingRequest, Unreached
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync, MapTaken
from meshp2p.core.map_entry import COUNT_MAX, MapEntry, Stamp
from meshp2p.core.message import KINDS, CopyReceipt, CopyStatus, Message
from meshp2p.core.record import Proof, Record, Rumour, SignedRecord, SignedRumour, State
from meshp2p.core.validity import TIME_MAX
from meshp2p.wire.beacon import BeaconAnswer, BeaconMessage, BeaconQuestion
from meshp2p.wire.codec import Codec

MESH = "default"
CODEC = Codec(MESH)
WORD_MAX = (1 << 64) - 1
COUNTER_MAX = (1 << 63) - 1

NODE = Record(
    id="0192aaaa-node",
    incarnation=1_700_000_000_000,
    state=State.ALIVE,
    home="0192aaaa-node",
    boot=111_411_200_000_012_345,
    addresses=(Address("192.0.2.7", 7700), Address("2001:db8::7", 7701)),
    hostname="host.example",
    port=7700,
    capabilities=("summarise", "übersetzen"),
    profiles=("writer",),
    created_at=1_699_999_999_999,
    epoch=3,
    epoch_since=1_700_000_000_001,
    status="busy",
    metrics='{"load":0.5}',
)
SUSPECT = msgspec.structs.replace(NODE, state=State.SUSPECT)
HOSTED = Record("agent 1/2", 5, State.ALIVE, NODE.id, 7, (), "", 0, (), (), 0)
SUSPICION = Rumour("0192aaaa-node", COUNTER_MAX, State.SUSPECT, "0192bbbb-node")
DEATH = Rumour("ü", 0, State.DEAD)
LEAVING = Rumour("x" * 128, 1, State.LEFT, "x" * 128)
ITEMS = (NODE, SUSPECT, HOSTED, SUSPICION, DEATH, LEAVING)

OWNER, SIGNATURE, KEYS = bytes(range(32)), bytes(range(72)), (bytes(range(100, 132)), bytes(range(200, 232)))
SIGNED_NODE = SignedRecord(*msgspec.structs.astuple(NODE), Proof(OWNER, SIGNATURE, 300, KEYS))  # type: ignore[call-arg]
SIGNED_HOSTED = SignedRecord(*msgspec.structs.astuple(HOSTED), Proof(OWNER, SIGNATURE))  # type: ignore[call-arg]
SIGNED_DEATH = SignedRumour(NODE.id, 7, State.DEAD, "0192bbbb-node", True, SIGNATURE)
SIGNED = (SIGNED_NODE, SIGNED_HOSTED, SIGNED_DEATH)

MESSAGE_ID = uuid7(1_700_000_000_000, 0)
LATER_ID = uuid7(1_700_000_000_001, (1 << 74) - 1)
QUERY = Message(
    MESSAGE_ID,
    "agent 1/2",
    NODE.id,
    "Query",
    "",
    b'{"b": 1e-400000, "a":18446744073709551617}',
    "c-1",
    1_700_000_000_000,
)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=1"
BROADCAST = Message(LATER_ID, NODE.id, None, "Custom", "invoice.Paid", b" null", None, 253_402_300_799_999)

ENTRIES = (
    MapEntry("ü", Stamp(1_700_000_000_000, 0, WORD_MAX), b'{"a":[1]}'),
    MapEntry("k" * 512, Stamp(TIME_MAX, COUNT_MAX, 0), b""),
)

DATAGRAMS: dict[str, Datagram] = {
    "ping": Datagram(Ping(1, 2, WORD_MAX, 0)),
    "ack": Datagram(Ack(WORD_MAX, 127, 128)),
    "nack": Datagram(Nack(255, 65_536)),
    "ping-request-ipv4": Datagram(PingRequest(1, 2, 3, Address("127.0.0.1", 65_535))),
    "ping-request-ipv6": Datagram(PingRequest(1, 2, 3, Address("::1", 1))),
    "gossip": Datagram(Gossip(42), ITEMS),
    "gossip-signed": Datagram(Gossip(42), SIGNED),
    "unreached": Datagram(Unreached(42, 43, 44)),
    "ping-with-items-and-ages": Datagram(Ping(1, 2, 3, 4), (SUSPICION, HOSTED), (WORD_MAX, 0, 5, 36_000)),
}
REQUESTS: dict[str, CallRequest] = {
    "probe": Probe(WORD_MAX),
    "sync-request": SyncRequest(bytes(range(16)), NODE, (3, "0192aaaa-node")),
    "sync-request-unsure": SyncRequest(b"\0" * 8, None),
    "push": Push(7, ITEMS),
    "push-signed": Push(7, SIGNED),
    "sync-request-signed": SyncRequest(b"\0" * 8, SIGNED_NODE),
    "forward-heartbeat": ForwardHeartbeat("agent 1/2", "busy", '{"load":0.5}'),
    "forward-deregister": ForwardDeregister("agent 1/2"),
    "ask-instance": AskInstance("agent 1/2"),
    "deliver": Deliver(NODE.id, (Parcel(QUERY, ("agent 1/2",), 86_400.0), Parcel(BROADCAST, ("ü", "x" * 128), 0.5))),
    "acknowledged": Acknowledged((("agent 1/2", MESSAGE_ID), ("ü", LATER_ID)), "painter"),
    "deliver-traced": Deliver(NODE.id, (Parcel(msgspec.structs.replace(QUERY, trace=TRACE), ("ü",), 1.0),)),
    "deposit": Deposit((Parcel(QUERY, ("ü",), 0.0),)),
    "forward-fetch": ForwardFetch("ü", 1000, "", 60.0),
    "forward-fetch-after": ForwardFetch("ü", 1, MESSAGE_ID, 0.0),
    "forward-acknowledge": ForwardAcknowledge("ü", (MESSAGE_ID, LATER_ID)),
    "forward-status": ForwardStatus(MESSAGE_ID),
    "lease-ask": LeaseAsk("a", "home", 7, 3, 3.0, 2),
    "lease-release": LeaseRelease("a", "home", 7, 3),
    "map-sync": MapSync("plan", NODE.id, 1_700_000_000_000, bytes(range(16))),
    "map-push": MapPush("plan", NODE.id, TIME_MAX, ENTRIES),
}
REPLIES: dict[str, CallReply] = {
    "lease-reply": LeaseReply(is_granted=True),
    "pong": Pong("0192aaaa-node", 12_345, 678),
    "sync-reply": SyncReply(NODE, True, ITEMS[1:], (0, 1, 4095), (3, "0192aaaa-node"), True),
    "sync-reply-signed": SyncReply(SIGNED_NODE, True, SIGNED, ()),
    "instance-reply-signed": InstanceReply(SIGNED_HOSTED, 5),
    "sync-reply-same": SyncReply(NODE, False, (), ()),
    "done": Done(),
    "heartbeat-reply": HeartbeatReply(True, False),
    "deregister-reply": DeregisterReply(True),
    "instance-reply": InstanceReply(HOSTED, 1_250),
    "instance-reply-owned": InstanceReply(HOSTED, 1_250, True, "0123abcd/translator-1"),
    "instance-reply-elsewhere": InstanceReply(None, 0, False),
    "deliver-reply": DeliverReply(
        ((Outcome.TAKEN,), (Outcome.ACKNOWLEDGED, Outcome.FULL), (Outcome.ELSEWHERE,)),
    ),
    "fetch-reply": FetchReply((QUERY, BROADCAST)),
    "fetch-reply-elsewhere": FetchReply((), False),
    "status-reply": StatusReply(tuple(CopyReceipt(f"to-{status}", status, "", 1) for status in CopyStatus)),
    "refused": Refused(Why.MAILBOX_FULL, "the mailbox of 'ü' is full"),
    "send-reply": SendReply(MESSAGE_ID, ("agent 1/2", "ü")),
    "map-difference": MapDifference(True, 1_700_000_000_000, 4096, (0, 4095), ENTRIES, False, ("ü", NODE.id)),
    "map-difference-absent": MapDifference(False),
    "map-taken": MapTaken(True, 1_700_000_000_000, 2),
}
BEACONS: dict[str, BeaconMessage] = {
    "beacon-question": BeaconQuestion(WORD_MAX, 12_345, "0192aaaa-node", NODE.addresses),
    "beacon-question-of-no-node": BeaconQuestion(1, 2),
    "beacon-answer": BeaconAnswer(WORD_MAX, "0192bbbb-node", NODE.addresses[1:]),
}
SAMPLES: dict[str, Any] = {**DATAGRAMS, **REQUESTS, **REPLIES, **BEACONS}


def decode(name: str, data: bytes) -> Any:
    """Read a sample's bytes as what it is."""
    if name in DATAGRAMS:
        return CODEC.decode_datagram_untrusted(data)
    if name in BEACONS:
        return CODEC.decode_beacon_untrusted(data)
    return CODEC.decode_request_untrusted(data) if name in REQUESTS else CODEC.decode_reply_untrusted(data)


# Any message

words = st.integers(0, WORD_MAX)
counters = st.integers(0, COUNTER_MAX)
times = st.integers(0, TIME_MAX)
ids = st.text(min_size=1, max_size=128).filter(lambda text: len(text.encode()) <= 128)
shorts = st.text(max_size=40)
metrics = st.sampled_from(["", "{}", '{"load":0.5}', '{"a":[{"b":null}],"c":"\u00e9"}'])
addresses = st.builds(
    Address,
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
    .filter(lambda ip: not ip.is_multicast and not ip.is_unspecified and not _is_odd(ip))
    .map(str),
    st.integers(1, 65_535),
)


def _is_odd(address: Any) -> bool:
    """Broadcast, and IPv6 addresses that stand for IPv4 ones."""
    return str(address) == "255.255.255.255" or getattr(address, "ipv4_mapped", None) is not None


def _records(is_node: bool) -> st.SearchStrategy[Record]:
    def build(own: str, home: str, places: tuple[Address, ...], rest: tuple[Any, ...]) -> Record:
        incarnation, state, boot, hostname, port, names, profiles, *more = rest
        home = own if is_node else home
        return Record(own, incarnation, state, home, boot, places, hostname, port, names, profiles, *more)

    names = st.lists(shorts, max_size=3).map(tuple)
    rest = st.tuples(
        counters,
        st.sampled_from([State.ALIVE, State.SUSPECT]),
        counters,
        shorts,
        st.integers(0, 65_535),
        names,
        names,
        times,
        counters,
        times,
        shorts,
        st.sampled_from(["", "{}", '{"a":[1,{"b":null}]}']),
    )
    places = st.lists(addresses, min_size=1, max_size=3).map(tuple) if is_node else st.just(())
    return st.builds(build, ids, ids, places, rest).filter(lambda record: record.is_node == is_node)


rumours = st.builds(
    Rumour,
    ids,
    counters,
    st.sampled_from([State.SUSPECT, State.DEAD, State.LEFT]),
    st.one_of(st.just(""), ids),
)
items = st.one_of(_records(True), _records(False), rumours)
lead_claims = st.tuples(counters, ids)
item_lists = st.lists(items, max_size=4).map(tuple)
bodies = st.one_of(
    st.builds(Ping, words, words, words, words),
    st.builds(Ack, words, words, words),
    st.builds(Nack, words, words),
    st.builds(PingRequest, words, words, words, addresses),
    st.builds(Gossip, words),
    st.builds(Unreached, words, words, words),
)
datagrams = st.builds(Datagram, bodies, item_lists, st.lists(words, max_size=6).map(tuple))
message_ids = st.builds(uuid7, st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 74) - 1))
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
).map(msgspec.json.encode)
named = st.one_of(st.tuples(st.sampled_from(KINDS), st.just("")), st.tuples(st.just("Custom"), shorts))
messages = st.builds(
    lambda message_id, source, target, kind_and_name, *rest: Message(message_id, source, target, *kind_and_name, *rest),
    message_ids,
    ids,
    st.none() | ids,
    named,
    payloads,
    st.none() | shorts,
    times,
    st.booleans(),
    st.none() | shorts,
)
parcels = st.builds(
    Parcel,
    messages,
    st.lists(ids, min_size=1, max_size=3).map(tuple),
    st.floats(0, allow_infinity=False, allow_nan=False),
)
parcel_lists = st.lists(parcels, max_size=3).map(tuple)
passed = st.one_of(
    st.builds(Deliver, ids, parcel_lists),
    st.builds(Acknowledged, st.lists(st.tuples(ids, message_ids), max_size=3).map(tuple)),
    st.builds(ForwardFetch, ids, words, st.just("") | message_ids, st.floats(0, 60)),
    st.builds(ForwardAcknowledge, ids, st.lists(message_ids, max_size=3).map(tuple)),
    st.builds(ForwardStatus, message_ids),
)
entry_lists = st.lists(
    st.builds(
        MapEntry,
        st.text(min_size=1, max_size=9),
        st.builds(Stamp, times, st.integers(0, COUNT_MAX), words),
        st.just(b"") | payloads,
    ),
    max_size=3,
).map(tuple)
requests = st.one_of(
    st.builds(MapSync, ids, ids, times, st.binary(max_size=64)),
    st.builds(MapPush, ids, ids, times, entry_lists),
    st.builds(Probe, words),
    st.builds(SyncRequest, st.binary(max_size=64), st.one_of(st.none(), _records(True)), lead_claims),
    st.builds(Push, words, item_lists),
    st.builds(ForwardHeartbeat, ids, shorts, metrics),
    st.builds(ForwardDeregister, ids),
    st.builds(AskInstance, ids),
    passed,
    st.builds(Deposit, parcel_lists),
    st.builds(LeaseAsk, ids, ids, words, words, st.floats(0, 1e9, exclude_min=True), words),
    st.builds(LeaseRelease, ids, ids, words, words),
)
replies = st.one_of(
    st.builds(
        MapDifference,
        st.booleans(),
        times,
        st.sampled_from([1, 2, 4096]),
        st.lists(words, max_size=3).map(tuple),
        entry_lists,
        st.booleans(),
        st.lists(ids, max_size=3).map(tuple),
    ),
    st.builds(MapTaken, st.booleans(), times, words),
    st.builds(Pong, ids, words, words),
    st.builds(
        SyncReply,
        _records(True),
        st.booleans(),
        item_lists,
        st.lists(words, max_size=4).map(tuple),
        lead_claims,
        st.booleans(),
    ),
    st.builds(Done),
    st.builds(HeartbeatReply, st.booleans(), st.booleans()),
    st.builds(DeregisterReply, st.booleans()),
    st.builds(InstanceReply, st.one_of(st.none(), _records(True)), words, st.booleans(), st.text(max_size=200)),
    st.builds(LeaseReply, st.booleans()),
    st.builds(DeliverReply, st.lists(st.lists(st.sampled_from(Outcome)).map(tuple), max_size=3).map(tuple)),
    st.builds(FetchReply, st.lists(messages, max_size=3).map(tuple), st.booleans()),
    st.builds(
        StatusReply,
        st.lists(st.builds(CopyReceipt, ids, st.sampled_from(CopyStatus), shorts, times), max_size=3).map(tuple),
    ),
    st.builds(Refused, st.sampled_from(Why), shorts),
    st.builds(SendReply, message_ids, st.lists(ids, max_size=3).map(tuple)),
)
places = st.lists(addresses, min_size=1, max_size=16).map(tuple)
beacons = st.one_of(
    st.builds(BeaconQuestion, words, words),
    st.builds(BeaconQuestion, words, words, ids, places),
    st.builds(BeaconAnswer, words, ids, places),
)
