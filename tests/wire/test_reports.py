"""The reports of nodes about themselves: what is read, and what is refused."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.errors import RemoteProtocolError
from meshp2p.wire.reports import (
    LISTED_MAX,
    REPORT_BYTES_MAX,
    HandlerLoad,
    MailboxLoad,
    NodeReport,
    OpenQuery,
    OpenTask,
    PoorLink,
    RivalSeen,
    WatchedNode,
    decode_report_untrusted,
    encode_report,
)
from tests.node.reports import a_report

FULL = a_report(
    "a",
    mailboxes=(MailboxLoad("b", 2, 1.5),),
    handlers=(HandlerLoad("Query", 1, 0, 16, 3, 1, 0.5, 2.0),),
    queries=(OpenQuery("b", 1.0),),
    tasks=(OpenTask("paint", "", "b", 1.0),),
    links=(PoorLink("b", "unreachable", "", "timed out", 3.0),),
    watches=(WatchedNode("b", 0.001),),
    rivals=(RivalSeen("a", "10.0.0.9", 3.0),),
)


def test_a_report_is_read_as_it_was_written() -> None:
    assert decode_report_untrusted(encode_report(FULL)) == FULL


def test_a_field_of_tomorrow_is_ignored() -> None:
    fields = msgpack.unpackb(encode_report(FULL))
    assert decode_report_untrusted(msgpack.packb([*fields, "more"])) == FULL


WRONG: dict[str, tuple[str, Any]] = {
    "an empty id": ("id", ""),
    "a long id": ("id", "x" * 129),
    "a negative count": ("members", -1),
    "a negative time": ("at", -1),
    "a long text": ("storage_failure", "x" * 1025),
    "too many mailboxes": ("mailboxes", (MailboxLoad("b", 1, 1.0),) * (LISTED_MAX + 1)),
    "a host that is a sentence": ("rivals", (RivalSeen("a", "10.0.0.9; run this", 3.0),)),
    "a long host": ("rivals", (RivalSeen("a", "x" * 65, 3.0),)),
    "a negative age": ("mailboxes", (MailboxLoad("b", 1, -1.0),)),
    "an endless age": ("mailboxes", (MailboxLoad("b", 1, float("inf")),)),
    "an age that is no number": ("mailboxes", (MailboxLoad("b", 1, float("nan")),)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_no_node_reports_is_refused(name: str) -> None:
    field, value = WRONG[name]
    with pytest.raises(RemoteProtocolError):
        decode_report_untrusted(encode_report(msgspec.structs.replace(FULL, **{field: value})))


def test_a_long_report_is_cut_and_one_that_was_not_is_refused() -> None:
    lists = {
        "mailboxes": tuple(MailboxLoad(f"{number:0128}", number, 1.0) for number in range(LISTED_MAX)),
        "tasks": (OpenTask("x" * 1024, "y" * 1024, "z" * 128, 1.0),) * LISTED_MAX,
    }
    long = msgspec.structs.replace(FULL, **lists)
    encoded = encode_report(long)
    assert len(encoded) <= REPORT_BYTES_MAX
    sent = decode_report_untrusted(encoded)
    assert sent.mailboxes
    assert sent.mailboxes == long.mailboxes[: len(sent.mailboxes)]
    with pytest.raises(RemoteProtocolError, match="at most"):
        decode_report_untrusted(msgspec.msgpack.encode(long))


@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 400))
def test_any_bytes_are_read_or_refused(data: bytes, start: int, stop: int) -> None:
    whole = encode_report(FULL)
    for changed in (data, whole[:start] + data + whole[stop:]):
        with contextlib.suppress(RemoteProtocolError):
            report = decode_report_untrusted(changed)
            assert isinstance(report, NodeReport)
            assert decode_report_untrusted(encode_report(report)) == report
