"""What a node that means harm, or is broken, may say in a query or in its reply."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgpack
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p import errors
from meshp2p.core.mail.uuid7 import MessageIds, uuid7
from meshp2p.net.open_calls import IncomingCall, OutgoingCall
from meshp2p.node.answering import WAITING_MAX, QueryServer
from meshp2p.node.handlers import Handlers
from meshp2p.node.local_call import open_local_call
from meshp2p.node.queries import Queries
from meshp2p.node.tracing import Tracing
from meshp2p.wire.queries import (
    ProgressReport,
    QueryFailed,
    QueryPart,
    QueryRefusal,
    QueryRefused,
    QueryRequest,
    decode_query_part_untrusted,
    encode_query,
)

ID = uuid7(1_700_000_000_000, 0)


async def ignore(*_: object) -> None:
    """Nobody answers, acknowledges or reports here."""


class Target:
    """A node that is asked, without a network."""

    def __init__(self) -> None:
        self.progress: list[tuple[str, str, bytes]] = []
        self.handlers = Handlers(ignore, ignore, lambda *_: None, ignore, Tracing())
        self.server = QueryServer("b", self.handlers, lambda *report: self.progress.append(report), lambda: 0)
        self.server.open()

    async def ask(self, body: bytes) -> list[Any]:
        """The parts of the reply to this body."""
        parts: list[Any] = []
        async with open_local_call(self.server.serve, "a", body, 1e9) as call:
            while (data := await call.receive_part()) is not None:
                parts.append(decode_query_part_untrusted(data))
        return parts


class Replies:
    """A network on which every call gets this reply."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    @contextlib.asynccontextmanager
    async def open_call(self, _node_id: str, body: bytes, deadline: float) -> AsyncIterator[OutgoingCall]:
        async def serve(call: IncomingCall) -> None:
            for part in self._parts:
                await call.send_part(part)

        async with open_local_call(serve, "a", body, deadline) as call:
            yield call


async def never(*_: object) -> bytes:
    raise AssertionError("it was asked by mail")


def asker(parts: Sequence[bytes]) -> Queries:
    return Queries("a", Replies(parts), ignore, lambda _: True, never, MessageIds(7, random.Random(1)), lambda: 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgpack.packb([9, "x"]),
        msgpack.packb([1, "x" * 36, "b", b"1", False]),
        msgpack.packb([1, ID, "b", "1", False]),
        msgpack.packb({"payload": 1}),
        b"\xdc\xff\xff" * 100,
    ],
    ids=ascii,
)
async def test_what_is_no_query_is_refused_and_reaches_no_handler(body: bytes) -> None:
    target = Target()
    target.handlers.add("Query", refuse_all, 1, None)
    (refused,) = await target.ask(body)
    assert isinstance(refused, QueryRefused)
    assert refused.why is QueryRefusal.MALFORMED


async def refuse_all(message: Any) -> None:
    raise AssertionError(f"{message!r} came through")


async def test_a_query_for_another_node_is_refused() -> None:
    target = Target()
    target.handlers.add("Query", refuse_all, 1, None)
    (refused,) = await target.ask(encode_query(QueryRequest(ID, "c", b"1", wants_parts=False)))
    assert refused.why is QueryRefusal.MISDIRECTED


@pytest.mark.parametrize("payload", [b"nul", b"\xff", b'"\\ud800"', b"[" * 5000, b"[" * 5000 + b"]" * 5000])
async def test_a_payload_that_is_no_json_is_an_error_of_the_handler_and_ends_nothing_else(payload: bytes) -> None:
    target = Target()

    async def answer(payload: Any) -> Any:
        return payload

    target.handlers.add("Query", answer, 1, None)
    (failed,) = await target.ask(encode_query(QueryRequest(ID, "b", payload, wants_parts=False)))
    assert isinstance(failed, QueryFailed)
    assert failed.kind in ("PayloadMismatch", "ConfigError")
    assert await target.ask(encode_query(QueryRequest(ID, "b", b"1", wants_parts=False))) == [QueryPart(b"1")]


async def test_progress_of_a_task_that_nobody_delegated_is_passed_on_with_its_source() -> None:
    target = Target()
    assert await target.ask(encode_query(ProgressReport("c", b"nul"))) == []
    assert target.progress == [("a", "c", b"nul")]


async def test_only_so_many_queries_wait(autojump_clock: trio.testing.MockClock) -> None:
    target = Target()

    async def stuck(_message: Any) -> None:
        await trio.sleep_forever()

    target.handlers.add("Query", stuck, 1, None)
    body = encode_query(QueryRequest(ID, "b", b"1", wants_parts=False))
    async with trio.open_nursery() as nursery:
        for _ in range(WAITING_MAX + 1):
            nursery.start_soon(target.ask, body)
        await trio.testing.wait_all_tasks_blocked()
        (refused,) = await target.ask(body)
        assert refused.why is QueryRefusal.BUSY
        nursery.cancel_scope.cancel()


PARTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [encode_query(QueryPart(b"1")), encode_query(QueryPart(b"nul")), encode_query(QueryFailed("E", "m"))]
    ),
    st.sampled_from(QueryRefusal).map(lambda why: encode_query(QueryRefused(why, "m"))),
)


@settings(max_examples=60)
@given(st.lists(PARTS, max_size=4))
def test_any_reply_is_an_answer_or_an_error_of_ours(parts: list[bytes]) -> None:
    async def main() -> None:
        try:
            answer: bytes | None = await asker(parts).query("b", b"1", 1.0)
        except errors.MeshError:
            answer = None
        assert answer is None or encode_query(QueryPart(answer)) == parts[-1]

    trio.run(main)


async def test_a_reply_without_an_answer_leaves_the_outcome_unknown() -> None:
    with pytest.raises(errors.ConnectionLost, match="without an answer"):
        await asker([]).query("b", b"1", 1.0)


async def test_an_answer_that_is_no_json_is_an_error_where_it_is_used() -> None:
    assert await asker([encode_query(QueryPart(b"nul"))]).query("b", b"1", 1.0) == b"nul"
