"""The bodies of queries and the parts of their replies, as bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.queries import (
    PROGRESS_BYTES_MAX,
    ProgressReport,
    QueryFailed,
    QueryPart,
    QueryRefusal,
    QueryRefused,
    QueryRequest,
    ReportRequest,
    decode_query_part_untrusted,
    decode_query_untrusted,
    encode_query,
)

ID = uuid7(1_700_000_000_000, 0)
GOLDEN: dict[str, tuple[Any, str]] = {
    "a question": (
        QueryRequest(ID, "b", b"[1]", wants_parts=True),
        "9601d92430313862636665352d363830302d373030302d383030302d303030303030303030303030a162c4035b315dc3c0",
    ),
    "a question with a trace": (
        QueryRequest(ID, "b", b"[1]", wants_parts=True, trace="t"),
        "9601d92430313862636665352d363830302d373030302d383030302d303030303030303030303030a162c4035b315dc3a174",
    ),
    "a progress report": (ProgressReport("c", b"1"), "9302a163c40131"),
    "a request for a report": (ReportRequest(), "9103"),
    "a part": (QueryPart(b"null"), "9201c4046e756c6c"),
    "an error": (QueryFailed("E", "ü"), "9302a145a2c3bc"),
    "a refusal": (QueryRefused(QueryRefusal.NO_HANDLER, ""), "930301a0"),
}
"""Nodes of two versions must go on understanding each other: fields may only be appended."""


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_of_a_query_are_pinned(name: str) -> None:
    message, expected = GOLDEN[name]
    assert encode_query(message).hex() == expected
    is_body = isinstance(message, QueryRequest | ProgressReport | ReportRequest)
    decode: Callable[[bytes], object] = decode_query_untrusted if is_body else decode_query_part_untrusted
    assert decode(bytes.fromhex(expected)) == message


def test_a_question_of_an_earlier_version_is_read_for_ever() -> None:
    body = "9501d92430313862636665352d363830302d373030302d383030302d303030303030303030303030a162c4035b315dc3"
    assert decode_query_untrusted(bytes.fromhex(body)) == QueryRequest(ID, "b", b"[1]", wants_parts=True)


def test_a_field_of_tomorrow_is_ignored() -> None:
    assert decode_query_part_untrusted(msgpack.packb([1, b"1", "more"])) == QueryPart(b"1")


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=40) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=12,
)


@given(st.binary(max_size=60) | values.map(msgpack.packb))
@example(msgpack.packb([1, "x" * 36, "b", b"1", False]))
@example(b"\xdd\xff\xff\xff\xff" * 9)
@example(b"\x91" * 5000)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (decode_query_untrusted, decode_query_part_untrusted):
        with contextlib.suppress(RemoteProtocolError):
            message: Any = decode(data)
            assert decode(encode_query(message)) == message


@given(st.sampled_from(sorted(GOLDEN)), st.data())
def test_bytes_that_were_changed_are_read_or_refused(name: str, data: st.DataObject) -> None:
    packet = bytearray.fromhex(GOLDEN[name][1])
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_read_or_refused.hypothesis.inner_test(bytes(packet))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([1, "x" * 36, "b", b"1", False], Refusal.BAD_VALUE),
        ([1, ID, "", b"1", False], Refusal.BAD_SHAPE),
        ([1, ID, "b", "1", False], Refusal.BAD_SHAPE),
        ([1, ID, "b", b"", False], Refusal.BAD_SHAPE),
        ([1, ID, "b", b"1" * (PAYLOAD_BYTES_MAX + 1), False], Refusal.BAD_SHAPE),
        ([1, ID, "b"], Refusal.BAD_SHAPE),
        ([1, ID, "b", b"1", False, 7], Refusal.BAD_SHAPE),
        ([1, ID, "b", b"1", False, "x" * 1025], Refusal.BAD_SHAPE),
        ([2, "c", b"1" * (PROGRESS_BYTES_MAX + 1)], Refusal.BAD_SHAPE),
        ([4], Refusal.BAD_SHAPE),
        ({}, Refusal.BAD_SHAPE),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_query_is_refused(body: Any, reason: Refusal) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_query_untrusted(msgpack.packb(body))
    assert caught.value.reason is reason
