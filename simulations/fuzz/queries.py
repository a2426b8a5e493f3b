"""Fuzzing of bodies of queries and parts of their answers, modified by their structure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from meshp2p.errors import RemoteProtocolError
from meshp2p.wire.queries import (
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
from simulations.fuzz.mutation import Mutator

__all__ = ["feed_query"]

Query = QueryRequest | ProgressReport | ReportRequest | QueryPart | QueryFailed | QueryRefused

_ID: Final = "018bcfe5-6800-7000-8000-000000000000"
_BODIES: Final = (
    QueryRequest(_ID, "me", b"1", True),
    QueryRequest(_ID, "a", b"{}", False),
    ProgressReport(_ID, b"[1]"),
    ReportRequest(),
)
_PARTS: Final = (QueryPart(b"1"), QueryFailed("ValueError", "x"), QueryRefused(QueryRefusal.BUSY, "x"))


def feed_query(draw: random.Random, mutator: Mutator) -> None:
    """Read a modified one. Raises ``AssertionError`` if the result cannot be sent on, and any error that escapes."""
    ways: tuple[tuple[tuple[Query, ...], Callable[[bytes], Query]], ...]
    ways = ((_BODIES, decode_query_untrusted), (_PARTS, decode_query_part_untrusted))
    messages, decode = draw.choice(ways)
    try:
        message = decode(mutator.mutate(encode_query(draw.choice(messages))))
    except RemoteProtocolError:
        return
    assert decode(encode_query(message)) == message
