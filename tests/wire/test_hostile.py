"""What a stranger may send, and that each of it is refused for what it is, at a bounded cost."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import msgpack
import pytest

from meshp2p.core.calls import COPIES_MAX, ITEMS_PER_CALL_MAX
from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX, ITEMS_PER_PACKET_MAX
from meshp2p.core.map_calls import ENTRIES_MAX
from meshp2p.core.record import State
from meshp2p.errors import Refusal
from meshp2p.wire.codec import CALL_BYTES_MAX
from meshp2p.wire.frame import frame_header, mesh_tag
from tests.wire.hostile import (
    ADDRESS,
    ADDRESSES,
    AS_HOSTED,
    BOOT,
    CAPABILITIES,
    CREATED_AT,
    EPOCH_SINCE,
    HEADER,
    HOME,
    HOSTNAME,
    ID,
    INCARNATION,
    METRICS,
    PING,
    PORT,
    STATE,
    record,
    refusal,
    refused_datagram,
    refused_item,
)
from tests.wire.samples import CODEC, SAMPLES


def test_the_fields_that_these_tests_change_are_right_as_they_are() -> None:
    items = [record(ID, "id"), record(ID, "id", AS_HOSTED)]
    assert len(CODEC.decode_datagram_untrusted(HEADER + msgpack.packb([PING, items])).items) == 2


# The frame


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Refusal.TOO_SHORT),
        (HEADER[:-1], Refusal.TOO_SHORT),
        (b"M" + HEADER[1:], Refusal.BAD_MAGIC),
        (HEADER[:2] + b"\1" + HEADER[3:], Refusal.BAD_VERSION),
        (HEADER[:3] + b"\1" + HEADER[4:], Refusal.BAD_FLAGS),
        (frame_header(mesh_tag("another")), Refusal.OTHER_MESH),
        (HEADER, Refusal.BAD_ENCODING),
        (HEADER + b"\x90", Refusal.BAD_SHAPE),
        (HEADER + msgpack.packb([[4, 1, 2, 3, ["name.example", 1]]]), Refusal.BAD_VALUE),
        (HEADER + b"\xc0" * DATAGRAM_BYTES_MAX, Refusal.TOO_LARGE),
    ],
)
def test_each_reason_is_reached(data: bytes, reason: Refusal) -> None:
    assert refusal(data) is reason


def test_no_reason_was_forgotten_above() -> None:
    (parameters,) = (mark.args[1] for mark in test_each_reason_is_reached.pytestmark)  # type: ignore[attr-defined]
    # of certificates, seals and signatures: tests/net/test_tls.py, tests/net/test_guard.py
    of_secured = {
        Refusal.UNTRUSTED,
        Refusal.REVOKED,
        Refusal.UNKNOWN,
        Refusal.NOT_SEALED,
        Refusal.NOT_OPENED,
        Refusal.TOO_MANY,
        Refusal.REPLAYED,
    }
    assert {reason for _, reason in parameters} == set(Refusal) - of_secured


@pytest.mark.parametrize("decode", [CODEC.decode_request_untrusted, CODEC.decode_reply_untrusted])
def test_a_call_may_be_larger_than_a_packet_but_has_a_bound(decode: Callable[[bytes], object]) -> None:
    assert refusal(HEADER + b"\xc0" * (DATAGRAM_BYTES_MAX + 1), decode) is Refusal.BAD_ENCODING
    assert refusal(HEADER + b"\xc0" * CALL_BYTES_MAX, decode) is Refusal.TOO_LARGE


# The encoding

LARGEST = DATAGRAM_BYTES_MAX - len(HEADER)


def repeated(unit: bytes) -> bytes:
    return (unit * LARGEST)[:LARGEST]


HOSTILE_ENCODINGS = {
    "nested arrays of one": repeated(b"\x91"),
    "nested arrays that announce 65,535": repeated(b"\xdc\xff\xff"),
    "nested arrays that announce 65,536": repeated(b"\xdd\x00\x01\x00\x00"),
    "nested arrays that announce 4 billion": repeated(b"\xdd\xff\xff\xff\xff"),
    "nested maps": repeated(b"\x81\xa1a"),
    "nested maps that announce 65,535": repeated(b"\xde\xff\xff\xa1a"),
    "an array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "a string of 4 billion": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 billion": b"\xc6\xff\xff\xff\xff",
    "an extension of 4 billion": b"\xc9\xff\xff\xff\xff\x01",
    "the byte that is never used": b"\xc1",
    "more after the end": msgpack.packb([PING]) + b"\x00",
    "two packets in one": msgpack.packb([PING]) * 2,
}


@pytest.mark.parametrize("name", HOSTILE_ENCODINGS)
def test_what_is_no_messagepack_is_refused(name: str) -> None:
    for decode in (CODEC.decode_datagram_untrusted, CODEC.decode_request_untrusted, CODEC.decode_reply_untrusted):
        assert refusal(HEADER + HOSTILE_ENCODINGS[name], decode) is Refusal.BAD_ENCODING


STRANGE_VALUES = {
    "an extension": b"\xd4\x01\x00",
    "a timestamp": b"\xd6\xff\x00\x00\x00\x01",
    "a map": b"\x81\xa1a\x01",
    "invalid UTF-8": b"\xa2\xff\xfe",
    "an overlong slash": b"\xa2\xc0\xaf",
    "a lone surrogate": b"\xa3\xed\xa0\x80",
}


@pytest.mark.parametrize("name", STRANGE_VALUES)
def test_what_the_protocol_has_no_use_for_is_refused_wherever_it_is_read(name: str) -> None:
    value = STRANGE_VALUES[name]
    for decode in (CODEC.decode_datagram_untrusted, CODEC.decode_request_untrusted, CODEC.decode_reply_untrusted):
        assert refusal(HEADER + value, decode) is Refusal.BAD_SHAPE
    assert refusal(HEADER + b"\x92\x05" + value, CODEC.decode_request_untrusted) is Refusal.BAD_SHAPE


# What is ignored


def cost(decode: Callable[[bytes], object], data: bytes) -> int:
    """The most bytes that were allocated at a time."""
    tracemalloc.start()
    try:
        decode(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "unknown",
    [
        b"\xdd" + struct.pack("!I", 3_000_000) + b"\x90" * 3_000_000,
        b"\xdd" + struct.pack("!I", 1_000_000) + b"\x92\xa1a\x01" * 1_000_000,
        b"\xdf" + struct.pack("!I", 1_000_000) + b"\xa1a\xc0" * 1_000_000,
        b"\xc6" + struct.pack("!I", 3_000_000) + bytes(3_000_000),
    ],
    ids=["empty arrays", "pairs", "one map", "bytes"],
)
def test_a_field_that_is_not_known_costs_no_memory_however_much_is_in_it(unknown: bytes) -> None:
    call = HEADER + b"\x93\x05\xa1x" + unknown
    assert len(call) < CALL_BYTES_MAX
    assert cost(CODEC.decode_request_untrusted, call) < 64 * 1024


@pytest.mark.parametrize(
    "call",
    [
        [3, 7, [[2, "a", 0, 2]] * (ITEMS_PER_CALL_MAX + 1)],
        [2, bytes(8 * 4097), None],
        [18, [[["x"], ["a"], 1.0]] * (COPIES_MAX + 1)],
        [17, [["a", "b"]] * (COPIES_MAX + 1)],
        [49, "m", "id", 1, [["k", [1, 0, 7], b""]] * (ENTRIES_MAX + 1)],
    ],
    ids=["items", "digest", "parcels", "copies", "entries"],
)
def test_more_elements_than_an_array_may_have_are_refused_before_one_is_built(call: list[object]) -> None:
    data = HEADER + msgpack.packb(call)
    assert len(data) < CALL_BYTES_MAX
    assert cost(lambda data: refusal(data, CODEC.decode_request_untrusted), data) < 64 * 1024


def test_a_datagram_has_a_bounded_number_of_items() -> None:
    rumours = [[2, "a", 0, 2]] * ITEMS_PER_PACKET_MAX
    assert len(CODEC.decode_datagram_untrusted(HEADER + msgpack.packb([PING, rumours])).items) == ITEMS_PER_PACKET_MAX
    assert refused_datagram([PING, [*rumours, rumours[0]]]) is Refusal.BAD_SHAPE


@pytest.mark.parametrize("name", SAMPLES)
def test_a_packet_that_was_cut_is_refused_wherever_it_was_cut(name: str) -> None:
    data = CODEC.encode(SAMPLES[name])
    for size in range(len(HEADER), len(data)):
        for decode in (CODEC.decode_datagram_untrusted, CODEC.decode_request_untrusted, CODEC.decode_reply_untrusted):
            assert refusal(data[:size], decode) is Refusal.BAD_ENCODING


def peak_bytes(data: bytes, decode: Callable[[bytes], object]) -> int:
    tracemalloc.start()
    try:
        refusal(data, decode)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "unit",
    [b"\x91", b"\xdc\xff\xff", b"\xdd\x00\x01\x00\x00", b"\xde\xff\xff", b"\x81\xa1a", b"\x92\x90", b"\x91\x90"],
    ids=lambda unit: unit.hex(),
)
def test_a_packet_of_nested_headers_costs_no_more_than_a_few_times_its_size(unit: bytes) -> None:
    packet = (unit * LARGEST)[:LARGEST]
    assert peak_bytes(HEADER + packet, CODEC.decode_datagram_untrusted) < 4 * DATAGRAM_BYTES_MAX
    call = (unit * CALL_BYTES_MAX)[: CALL_BYTES_MAX - len(HEADER)]
    assert peak_bytes(HEADER + call, CODEC.decode_request_untrusted) < 4 * CALL_BYTES_MAX


def test_a_packet_whose_headers_all_hold_what_they_announce_costs_a_bounded_multiple_of_its_size() -> None:
    """Each empty string in an array of one: the most that can be made of two bytes."""
    elements = (LARGEST - 5) // 2
    packet = b"\xdd" + struct.pack("!I", elements) + b"\x91\xa0" * elements
    assert peak_bytes(HEADER + packet, CODEC.decode_datagram_untrusted) < 100 * DATAGRAM_BYTES_MAX


# The shape


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "ping",
        [],
        [[]],
        [PING[:-1]],
        [[0, 1, 2, 3, 4]],
        [[7, 1, 2, 3, 4]],
        [["1", 1, 2, 3, 4]],
        [[1, True, 2, 3, 4]],
        [[1, False, 2, 3, 4]],
        [[1, -1, 2, 3, 4]],
        [[1, 1.0, 2, 3, 4]],
        [[1, float("nan"), 2, 3, 4]],
        [[1, float("inf"), 2, 3, 4]],
        [[1, "1", 2, 3, 4]],
        [[1, b"1", 2, 3, 4]],
        [[1, None, 2, 3, 4]],
        [[1, [1], 2, 3, 4]],
        [PING, None],
        [PING, 7],
        [PING, "items"],
        [PING, [None]],
        [PING, [[]]],
        [PING, [[3, "id", 1, 2]]],
        [PING, [], [-1]],
        [PING, [], [1.5]],
        [PING, [], [True]],
        [PING, [], "ages"],
        [[4, 1, 2, 3, "127.0.0.1:1"]],
        [[4, 1, 2, 3, ["127.0.0.1"]]],
        [[4, 1, 2, 3, ["127.0.0.1", 65_536]]],
        [[4, 1, 2, 3, ["127.0.0.1", "1"]]],
        [[4, 1, 2, 3, ["", 1]]],
        [[4, 1, 2, 3, ["1" * 254, 1]]],
    ],
    ids=repr,
)
def test_what_is_no_datagram_is_refused(value: object) -> None:
    assert refused_datagram(value) is Refusal.BAD_SHAPE


def test_a_word_has_64_bits_and_no_more_can_be_written() -> None:
    largest = CODEC.decode_datagram_untrusted(HEADER + msgpack.packb([[5, (1 << 64) - 1]]))
    assert largest.body.sender == (1 << 64) - 1
    with pytest.raises(OverflowError):
        msgpack.packb(1 << 64)


@pytest.mark.parametrize(
    "item",
    [
        record(ID, ""),
        record(ID, "x" * 129),
        record(ID, 7),
        record(ID, b"id"),
        record(INCARNATION, -1),
        record(INCARNATION, 1 << 63),
        record(INCARNATION, True),
        record(INCARNATION, 1.0),
        record(STATE, 4),
        record(STATE, -1),
        record(STATE, False),
        record(STATE, "ALIVE"),
        record(STATE, None),
        record(HOME, ""),
        record(BOOT, 1 << 63),
        record(ADDRESSES, ADDRESS),
        record(ADDRESSES, [[1, 2]]),
        record(HOSTNAME, "x" * 1025),
        record(PORT, 65_536),
        record(PORT, -1),
        record(CAPABILITIES, ["x" * 1025]),
        record(CAPABILITIES, [1]),
        record(CAPABILITIES, "abc"),
        record(METRICS, {}),
        [2, "id", 1, 4],
        [2, "id", 1, True],
        [2, "id", 1, 1.0],
        [2, "id", -1, 1],
        [2, "", 1, 1],
        [2, "id", 1, 1, "x" * 129],
        [2, "id", 1],
    ],
    ids=repr,
)
def test_an_item_of_the_wrong_shape_is_refused(item: object) -> None:
    assert refused_item(item) is Refusal.BAD_SHAPE


# The values

NO_HOSTS = [
    "localhost",
    "name.example",
    "127.1",
    "0177.0.0.1",
    "127.0.0.1 ",
    "127.0.0.1\n",
    "[::1]",
    "0.0.0.0",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.251",
    "239.255.255.255",
    "255.255.255.255",
    "ff02::fb",
    "::ffff:224.0.0.1",
    "::ffff:255.255.255.255",
    "fe80::1%eth0",
    "::1%name.example",
    "１２７.0.0.1",
]


@pytest.mark.parametrize("host", NO_HOSTS)
def test_an_address_that_is_not_a_literal_one_of_one_host_is_refused(host: str) -> None:
    assert refused_datagram([[4, 1, 2, 3, [host, 7700]]]) is Refusal.BAD_VALUE
    assert refused_item(record(ADDRESSES, [ADDRESS, [host, 7700]])) is Refusal.BAD_VALUE


def test_port_0_is_no_address() -> None:
    assert refused_datagram([[4, 1, 2, 3, ["127.0.0.1", 0]]]) is Refusal.BAD_VALUE
    assert refused_item(record(ADDRESSES, [["127.0.0.1", 0]])) is Refusal.BAD_VALUE


@pytest.mark.parametrize(
    "item",
    [
        record(ID, "ü" * 65, AS_HOSTED),
        record(HOME, "ü" * 65, AS_HOSTED),
        record(HOME, "😀" * 33, AS_HOSTED),
        [2, "ü" * 65, 1, 1],
        [2, "id", 1, 1, "ü" * 65],
    ],
    ids=repr,
)
def test_an_id_of_more_than_128_bytes_is_refused_though_it_has_fewer_characters(item: object) -> None:
    assert refused_item(item) is Refusal.BAD_VALUE


@pytest.mark.parametrize("position", [CREATED_AT, EPOCH_SINCE])
def test_a_time_that_cannot_be_shown_is_refused(position: int) -> None:
    """One such record would make the list of all instances unreadable at every node."""
    assert refused_item(record(position, 253_402_300_800_000)) is Refusal.BAD_VALUE
    latest = HEADER + msgpack.packb([PING, [record(position, 253_402_300_799_999)]])
    assert CODEC.decode_datagram_untrusted(latest).items


def test_ids_in_calls_are_bounded_in_bytes_too() -> None:
    for request in ([4, "ü" * 65, "", ""], [5, "ü" * 65], [4, "", "", ""], [5, ""]):
        assert refusal(HEADER + msgpack.packb(request), CODEC.decode_request_untrusted) is Refusal.BAD_VALUE
    assert refusal(HEADER + msgpack.packb([1, "ü" * 65, 1, 1]), CODEC.decode_reply_untrusted) is Refusal.BAD_VALUE


def test_a_node_has_addresses_and_a_hosted_instance_has_none() -> None:
    assert refused_item(record(ADDRESSES, [])) is Refusal.BAD_VALUE
    assert refused_item(record(ADDRESSES, [ADDRESS], AS_HOSTED)) is Refusal.BAD_VALUE


@pytest.mark.parametrize("state", [State.DEAD, State.LEFT])
def test_that_somebody_is_dead_or_left_is_told_by_a_rumour_alone(state: State) -> None:
    assert refused_item(record(STATE, int(state))) is Refusal.BAD_VALUE
    assert CODEC.decode_datagram_untrusted(HEADER + msgpack.packb([PING, [[2, "id", 1, int(state)]]])).items


def test_that_somebody_is_alive_is_told_by_its_record_alone() -> None:
    assert refused_item([2, "id", 1, int(State.ALIVE)]) is Refusal.BAD_VALUE


@pytest.mark.parametrize(
    "metrics", ["x", "[]", "1", "null", "{", '{"a":NaN}', '{"a":1}x', '{"a":"\\ud800"}', '{"a":' * 200, "{1:2}"]
)
def test_metrics_that_are_no_json_object_are_refused(metrics: str) -> None:
    """Whoever asks a node for the details of an instance is given them as JSON."""
    assert refused_item(record(METRICS, metrics)) is Refusal.BAD_VALUE
    assert refused_item(record(METRICS, metrics, AS_HOSTED)) is Refusal.BAD_VALUE


def test_the_sender_of_a_sync_is_checked_like_any_record() -> None:
    fields = record(HOME, "ü" * 65, AS_HOSTED)
    request = HEADER + msgpack.packb([2, b"\0" * 8, fields])
    assert refusal(request, CODEC.decode_request_untrusted) is Refusal.BAD_VALUE
    reply = HEADER + msgpack.packb([2, fields, True, [], []])
    assert refusal(reply, CODEC.decode_reply_untrusted) is Refusal.BAD_VALUE


@pytest.mark.parametrize("value", [[0], [6], [1], [2, "text", None], [2, b"", 7], [3, 1], [4, "id", "s" * 1025, ""]])
def test_what_is_no_request_is_refused(value: object) -> None:
    assert refusal(HEADER + msgpack.packb(value), CODEC.decode_request_untrusted) is Refusal.BAD_SHAPE


@pytest.mark.parametrize("value", [[0], [6], [1, "id"], [2, None, True, [], []], [4, 1, 0], [5, None], [1, "id", -1]])
def test_what_is_no_reply_is_refused(value: object) -> None:
    assert refusal(HEADER + msgpack.packb(value), CODEC.decode_reply_untrusted) is Refusal.BAD_SHAPE
