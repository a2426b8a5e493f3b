"""What a stranger may send about messages, beacons and maps, and that each of it is refused for what it is."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest

from meshp2p.core.calls import Deliver
from meshp2p.core.map_entry import MAP_VALUE_BYTES_MAX
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.core.validity import TIME_MAX
from meshp2p.errors import Refusal
from meshp2p.wire.beacon import BEACON_BYTES_MAX
from tests.wire.hostile import (
    ADDRESS,
    HEADER,
    refusal,
)
from tests.wire.samples import CODEC

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
