"""What a stranger may send, and that each of it is refused for what it is, at a bounded cost."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import msgpack
import pytest

from meshp2p.core.calls import COPIES_MAX, ITEMS_PER_CALL_MAX, Deliver
from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX, ITEMS_PER_PACKET_MAX
from meshp2p.core.map_calls import ENTRIES_MAX
from meshp2p.core.map_entry import MAP_VALUE_BYTES_MAX
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.core.record import State
from meshp2p.core.validity import TIME_MAX
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.beacon import BEACON_BYTES_MAX
from meshp2p.wire.codec import CALL_BYTES_MAX
from meshp2p.wire.frame import frame_header, mesh_tag
from tests.wire.samples import CODEC, MESH, SAMPLES

HEADER = frame_header(mesh_tag(MESH))
PING = [1, 1, 2, 3, 4]
ADDRESS = ["127.0.0.1", 7700]
AS_NODE = ["id", 1, 0, "id", 1, [ADDRESS], "h", 7700, [], [], 1, 0, 0, "", ""]
AS_HOSTED = ["id", 1, 0, "home", 1, [], "h", 7700, [], [], 1, 0, 0, "", ""]
(ID, INCARNATION, STATE, HOME, BOOT, ADDRESSES, HOSTNAME, PORT, CAPABILITIES) = range(9)
CREATED_AT, EPOCH_SINCE, METRICS = 10, 12, 14


def record(position: int, value: object, of: list[object] | None = None) -> list[object]:
    """A record as it stands on the wire, with one field changed."""
    fields = list(AS_NODE if of is None else of)
    fields[position] = value
    return [1, *fields]


def refusal(data: bytes, decode: Callable[[bytes], object] = CODEC.decode_datagram_untrusted) -> Refusal:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    assert str(caught.value).startswith(f"{caught.value.reason}: ")
    assert len(str(caught.value)) < 2000
    return caught.value.reason


def refused_datagram(value: object) -> Refusal:
    return refusal(HEADER + msgpack.packb(value))


def refused_item(item: object) -> Refusal:
    """In a packet, and in a call alike."""
    reasons = {
        refused_datagram([PING, [item]]),
        refusal(HEADER + msgpack.packb([3, 7, [item]]), CODEC.decode_request_untrusted),
        refusal(HEADER + msgpack.packb([2, [1, *AS_NODE], True, [item], []]), CODEC.decode_reply_untrusted),
    }
    (reason,) = reasons
    return reason


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


# Messages between agents

UUID = "018bcfe5-6800-7000-8000-000000000000"
MESSAGE = [UUID, "from", None, "Query", "", b"{}", None, 1]
(MESSAGE_ID, SOURCE, TARGET, KIND, NAME, PAYLOAD, CORRELATION_ID, MADE_AT) = range(8)


def message(position: int, value: object) -> list[object]:
    """A message as it stands on the wire, with one field changed."""
    fields = list[object](MESSAGE)
    fields[position] = value
    return fields


def refused_request(value: object) -> Refusal:
    return refusal(HEADER + msgpack.packb(value), CODEC.decode_request_untrusted)


def refused_reply(value: object) -> Refusal:
    return refusal(HEADER + msgpack.packb(value), CODEC.decode_reply_untrusted)


def refused_message(fields: object) -> Refusal:
    """Delivered, deposited and fetched alike."""
    parcels = [[fields, ["to"], 1.0]]
    reasons = {refused_request([16, "by", parcels]), refused_request([18, parcels]), refused_reply([19, [fields]])}
    (reason,) = reasons
    return reason


def test_the_messages_that_these_tests_change_are_right_as_they_are() -> None:
    request = HEADER + msgpack.packb([16, "by", [[MESSAGE, ["to"], 1]]])
    assert isinstance(CODEC.decode_request_untrusted(request), Deliver)


UNREADABLE = {
    "nothing": b"",
    "blanks": b" ",
    "half of it": b'{"a":',
    "two values": b"1 2",
    "a byte-order mark": b"\xef\xbb\xbf1",
    "invalid UTF-8": b'"\xff"',
    "invalid UTF-8 in a key": b'{"\xff":1}',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a lone surrogate": rb'"\ud800"',
    "a lone surrogate in a key": rb'{"\udc00":1}',
    "NaN": b"NaN",
    "Infinity": b"[-Infinity]",
    "a number past a double": b"1e309",
    "an integer past a double": b"1" + b"0" * 309,
    "121 levels": b"[" * 121 + b"]" * 121,
    "121 levels of objects": b'{"a":' * 121 + b"1" + b"}" * 121,
    "more levels than any stack": b"[" * 1_000_000,
    "a NUL at the end": b"1\0",
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
def test_no_payload_comes_in_that_would_make_a_mailbox_unreadable(payload: bytes) -> None:
    assert refused_message(message(PAYLOAD, payload)) is Refusal.BAD_VALUE


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b' {"b" : 1E5,\n"a":18446744073709551617, "a":-0.0} ',
        b"[" * 120 + b"]" * 120,
        b"9" * 308,
        b'"\xc3\xbc"',
    ],
    ids=lambda payload: ascii(payload[:40]),
)
def test_a_payload_comes_in_byte_for_byte(payload: bytes) -> None:
    request = HEADER + msgpack.packb([16, "by", [[message(PAYLOAD, payload), ["to"], 1.0]]])
    deliver = CODEC.decode_request_untrusted(request)
    assert isinstance(deliver, Deliver)
    assert deliver.parcels[0].message.payload == payload


def test_a_payload_may_fill_two_mebibytes_in_a_call_and_in_no_packet() -> None:
    payload = b'"' + b"x" * (PAYLOAD_BYTES_MAX - 2) + b'"'
    request = HEADER + msgpack.packb([16, "by", [[message(PAYLOAD, payload), ["to"], 1.0]]])
    assert isinstance(CODEC.decode_request_untrusted(request), Deliver)
    assert refused_message(message(PAYLOAD, payload + b" ")) is Refusal.BAD_SHAPE
    assert refusal(request) is Refusal.TOO_LARGE


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (MESSAGE_ID, UUID.upper()),
        (MESSAGE_ID, "018bcfe5-6800-4000-8000-000000000000"),
        (MESSAGE_ID, "018bcfe5-6800-7000-c000-000000000000"),
        (MESSAGE_ID, "018bcfe568007000800000000000000000xx"),
        (MESSAGE_ID, UUID[:-1] + "\n"),
        (MESSAGE_ID, "018bcfe5-6800-7000-8000-00000000000\u0660"),
        (SOURCE, "ü" * 65),
        (TARGET, "ü" * 65),
        (KIND, ""),
        (KIND, "query"),
        (KIND, "Question"),
        (KIND, "x" * 1024),
        (NAME, "named"),
        (MADE_AT, 253_402_300_800_000),
    ],
)
def test_a_message_with_a_value_that_no_node_would_send_is_refused(position: int, value: object) -> None:
    assert refused_message(message(position, value)) is Refusal.BAD_VALUE


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (MESSAGE_ID, UUID + "0"),
        (MESSAGE_ID, ""),
        (SOURCE, ""),
        (SOURCE, None),
        (SOURCE, "x" * 129),
        (TARGET, ""),
        (KIND, None),
        (KIND, "x" * 1025),
        (NAME, None),
        (NAME, "x" * 1025),
        (PAYLOAD, "{}"),
        (PAYLOAD, None),
        (CORRELATION_ID, "x" * 1025),
        (CORRELATION_ID, 1),
        (MADE_AT, -1),
        (MADE_AT, 1.5),
        (MADE_AT, 1 << 63),
    ],
)
def test_a_message_of_another_shape_is_refused(position: int, value: object) -> None:
    assert refused_message(message(position, value)) is Refusal.BAD_SHAPE


def test_a_custom_message_has_any_name_even_none() -> None:
    for name in ("", "invoice.Paid", "Query", "x" * 1024):
        fields = message(NAME, name)
        fields[KIND] = "Custom"
        CODEC.decode_request_untrusted(HEADER + msgpack.packb([18, [[fields, ["to"], 0]]]))


@pytest.mark.parametrize(
    "value",
    [
        [16, "ü" * 65, []],
        [16, "by", [[MESSAGE, ["to", "ü" * 65], 1.0]]],
        [16, "by", [[MESSAGE, ["to"], float("inf")]]],
        [17, [["ü" * 65, UUID]]],
        [17, [["to", "1"]]],
        [18, [[MESSAGE, ["ü" * 65], 1.0]]],
        [19, "ü" * 65, 1, "", 0.0],
        [19, "to", 1, "1", 0.0],
        [20, "ü" * 65, []],
        [20, "to", [UUID, ""]],
        [21, ""],
        [21, UUID + " "],
    ],
    ids=str,
)
def test_a_call_about_messages_with_a_value_that_no_node_would_send_is_refused(value: list[object]) -> None:
    assert refused_request(value) is Refusal.BAD_VALUE


@pytest.mark.parametrize(
    "value",
    [
        [16, "", []],
        [16, "by", [[MESSAGE, [], 1.0]]],
        [16, "by", [[MESSAGE, [""], 1.0]]],
        [16, "by", [[MESSAGE, ["to"], -1.0]]],
        [16, "by", [[MESSAGE, ["to"], float("nan")]]],
        [16, "by", [[MESSAGE, ["to"], "1"]]],
        [17, [["", UUID]]],
        [17, [["to"]]],
        [17, [["to", "x" * 1025]]],
        [19, "to", -1, "", 0.0],
        [19, "to", 1, "", 60.1],
        [19, "to", 1, "", -0.1],
        [19, "to", 1, "", float("nan")],
        [20, "to", "x"],
        [24, "to", [21, UUID]],
        [25],
    ],
    ids=str,
)
def test_a_call_about_messages_of_another_shape_is_refused(value: object) -> None:
    assert refusal(HEADER + msgpack.packb(value), CODEC.decode_request_untrusted) is Refusal.BAD_SHAPE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([16, [[4]]], Refusal.BAD_SHAPE),
        ([16, [[True]]], Refusal.BAD_SHAPE),
        ([21, [["to", "lost", "", 1]]], Refusal.BAD_SHAPE),
        ([21, [["ü" * 65, "queued", "", 1]]], Refusal.BAD_VALUE),
        ([21, [["to", "queued", "", 253_402_300_800_000]]], Refusal.BAD_VALUE),
        ([22, 0, ""], Refusal.BAD_SHAPE),
        ([22, 1, "x" * 1025], Refusal.BAD_SHAPE),
        ([23, "1", []], Refusal.BAD_VALUE),
        ([23, UUID, ["ü" * 65]], Refusal.BAD_VALUE),
    ],
    ids=str,
)
def test_a_reply_about_messages_that_no_node_would_give_is_refused(value: object, reason: Refusal) -> None:
    assert refused_reply(value) is reason


BEACON_SHAPES = [
    *([], [0], [1, 1, 2], [33], [33, 1], [33, -1, 2], [33, 1, 1 << 63, "x" * 129, [ADDRESS]], [34, 1], [34, 1, "id"]),
    *([33, 1, 2, "id", [ADDRESS] * 17], [33, 1, 2, "id", ["127.0.0.1"]], [33, 1, 2, b"id", [ADDRESS]], [[33, 1, 2]]),
]
BEACON_VALUES = [
    *([33, 1, 2, "id"], [33, 1, 2, "", [ADDRESS]], [34, 1, "", []], [34, 1, "id", []], [34, 1, "", [ADDRESS]]),
    *([34, 1, "ü" * 65, [ADDRESS]], [34, 1, "id", [["name.example", 1]]], [34, 1, "id", [["127.0.0.1", 0]]]),
    *([34, 1, "id", [["255.255.255.255", 7700]]], [34, 1, "id", [["239.255.77.99", 7700]]]),
]


@pytest.mark.parametrize("value", BEACON_SHAPES)
def test_what_is_no_beacon_is_refused(value: object) -> None:
    assert refusal(HEADER + msgpack.packb(value), CODEC.decode_beacon_untrusted) is Refusal.BAD_SHAPE


@pytest.mark.parametrize("value", BEACON_VALUES)
def test_a_beacon_names_a_node_and_where_it_is_or_neither(value: object) -> None:
    assert refusal(HEADER + msgpack.packb(value), CODEC.decode_beacon_untrusted) is Refusal.BAD_VALUE


def test_a_beacon_is_small() -> None:
    assert refusal(HEADER + b"\xc0" * BEACON_BYTES_MAX, CODEC.decode_beacon_untrusted) is Refusal.TOO_LARGE


def test_no_beacon_is_a_call() -> None:
    for value in ([33, 1, 2], [34, 1, "id", [ADDRESS]]):
        data = HEADER + msgpack.packb(value)
        CODEC.decode_beacon_untrusted(data)
        for decode in (CODEC.decode_datagram_untrusted, CODEC.decode_request_untrusted, CODEC.decode_reply_untrusted):
            assert refusal(data, decode) is Refusal.BAD_SHAPE


# Shared maps

ENTRY = ["k", [1, 0, 7], b"1"]


def refused_entry(entry: object) -> Refusal:
    """In a request, and in a reply alike."""
    reasons = {
        refusal(HEADER + msgpack.packb([49, "m", "id", 1, [entry]]), CODEC.decode_request_untrusted),
        refusal(HEADER + msgpack.packb([48, True, 1, 1, [], [entry], True, []]), CODEC.decode_reply_untrusted),
    }
    (reason,) = reasons
    return reason


def test_the_entry_that_these_tests_change_is_right_as_it_is() -> None:
    CODEC.decode_request_untrusted(HEADER + msgpack.packb([49, "m", "id", 1, [ENTRY]]))
    CODEC.decode_reply_untrusted(HEADER + msgpack.packb([48, True, 1, 1, [], [ENTRY], True, []]))


@pytest.mark.parametrize(
    "entry",
    [
        ["ü" * 257, [1, 0, 7], b"1"],
        ["k", [TIME_MAX + 1, 0, 7], b"1"],
        ["k", [1, 0, 7], b"NaN"],
        ["k", [1, 0, 7], b"[" * 121 + b"]" * 121],
    ],
)
def test_an_entry_that_no_node_would_send_is_refused(entry: object) -> None:
    assert refused_entry(entry) is Refusal.BAD_VALUE


@pytest.mark.parametrize(
    "entry",
    [
        ["", [1, 0, 7], b"1"],
        ["k" * 513, [1, 0, 7], b"1"],
        ["k", [-1, 0, 7], b"1"],
        ["k", [1, 0], b"1"],
        ["k", [1, 0, 7], "1"],
        ["k", [1, 0, 7], b"1" * (1 + MAP_VALUE_BYTES_MAX)],
    ],
)
def test_an_entry_of_another_shape_is_refused(entry: object) -> None:
    assert refused_entry(entry) is Refusal.BAD_SHAPE


@pytest.mark.parametrize(
    ("value", "decode"),
    [
        ([48, "", "id", 1, b""], CODEC.decode_request_untrusted),
        ([48, "m" * 129, "id", 1, b""], CODEC.decode_request_untrusted),
        ([48, "ü" * 65, "id", 1, b""], CODEC.decode_request_untrusted),
        ([48, "m", "ü" * 65, 1, b""], CODEC.decode_request_untrusted),
        ([48, "m", "id", TIME_MAX + 1, b""], CODEC.decode_request_untrusted),
        ([48, True, TIME_MAX + 1], CODEC.decode_reply_untrusted),
        ([48, True, 1, 0], CODEC.decode_reply_untrusted),
        ([48, True, 1, 3], CODEC.decode_reply_untrusted),
        ([48, True, 1, 8192], CODEC.decode_reply_untrusted),
        ([48, True, 1, (1 << 64) - 1], CODEC.decode_reply_untrusted),
        ([48, True, 1, 1, [], [], True, ["ü" * 65]], CODEC.decode_reply_untrusted),
        ([49, True, TIME_MAX + 1, 0], CODEC.decode_reply_untrusted),
    ],
)
def test_a_call_about_maps_with_a_value_that_no_node_would_send_is_refused(
    value: list[object], decode: Callable[[bytes], object]
) -> None:
    assert refusal(HEADER + msgpack.packb(value), decode) in (Refusal.BAD_VALUE, Refusal.BAD_SHAPE)
