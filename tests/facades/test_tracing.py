"""One trace through several agents, on each face of a node: real nodes on loopback, and the SDK's spans in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

import meshp2p
import meshp2p.aio
import meshp2p.blocking
from meshp2p.errors import RemoteError
from tests.facades.meshes import LONG, open_pair, options
from tests.spans import Spans, parent_of, record_spans

SECRET = "what-nobody-may-see"
TRACER = trace.get_tracer("agent")
CHAIN = [
    ("plan", None),
    ("send Notification", trace.SpanKind.PRODUCER),
    ("process Notification", trace.SpanKind.CONSUMER),
    ("think", None),
    ("query", trace.SpanKind.CLIENT),
    ("process Query", trace.SpanKind.SERVER),
    ("delegate paint", trace.SpanKind.CLIENT),
    ("process TaskDelegation", trace.SpanKind.CONSUMER),
]
"""The spans of :func:`_use`, each the parent of the next."""


@pytest.fixture
def spans() -> Spans:
    return record_spans()


def _check_chain(found: list[ReadableSpan]) -> None:
    by_name = {span.name: span for span in found}
    assert len({span.context.trace_id for span in found if span.context}) == 1
    assert [parent_of(by_name[name], found) for name, _ in CHAIN] == [None, *(name for name, _ in CHAIN[:-1])]
    for name, kind in CHAIN:
        span = by_name[name]
        assert span.status.status_code is trace.StatusCode.UNSET
        assert SECRET not in span.to_json()
        if kind is not None:
            assert span.kind is kind
            assert (span.attributes or {})["messaging.system"] == "meshp2p"
    sent, taken = by_name["send Notification"].attributes or {}, by_name["process Notification"].attributes or {}
    assert sent["messaging.message.id"] == taken["messaging.message.id"]
    assert sent["messaging.destination.name"] == taken["messaging.destination.name"] == "b"
    assert (sent["messaging.client.id"], taken["meshp2p.source"]) == ("a", "a")
    assert sent["messaging.message.body.size"] == taken["messaging.message.body.size"] == len(SECRET) + 2


async def _use(a: Any, b: Any, c: Any) -> None:
    """What agents do on asyncio and on trio alike: a tells b, which asks c, which lets b paint."""

    async def note(_message: meshp2p.ReceivedMessage) -> None:
        with TRACER.start_as_current_span("think"):
            assert await b.query("c", SECRET) == SECRET

    async def answer(_message: meshp2p.ReceivedMessage) -> Any:
        return await c.delegate(SECRET, capability="paint")

    async def paint(message: meshp2p.ReceivedMessage) -> Any:
        return message.payload

    b.handler("Notification")(note)
    b.handler("TaskDelegation")(paint)
    c.handler("Query")(answer)
    with TRACER.start_as_current_span("plan"):
        await a.send("b", SECRET)


def test_a_trace_goes_through_three_agents_on_asyncio(spans: Spans) -> None:
    async def main() -> None:
        async with (
            meshp2p.aio.open_node(tracing=True, **options("a")) as a,
            meshp2p.aio.open_node(tracing=True, **options("b", a, capabilities=["paint"])) as b,
            meshp2p.aio.open_node(tracing=True, **options("c", a)) as c,
        ):
            for node in (a, b, c):
                await node.wait_for_members(3)
            await _use(a, b, c)
            _check_chain(await asyncio.to_thread(spans.wait_for, len(CHAIN)))

    asyncio.run(main())


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_trace_goes_through_three_agents_on_trio(spans: Spans, in_loop: bool) -> None:
    async def main() -> None:
        async with (
            meshp2p.open_node(tracing=True, in_loop=in_loop, **options("a")) as a,
            meshp2p.open_node(tracing=True, in_loop=in_loop, **options("b", a, capabilities=["paint"])) as b,
            meshp2p.open_node(tracing=True, in_loop=in_loop, **options("c", a)) as c,
        ):
            for node in (a, b, c):
                await node.wait_for_members(3)
            await _use(a, b, c)
            _check_chain(await trio.to_thread.run_sync(spans.wait_for, len(CHAIN)))

    trio.run(main)


def test_a_trace_goes_through_agents_in_threads(spans: Spans) -> None:
    with (
        open_pair(tracing=True, capabilities=["paint"]) as (_, b),
        meshp2p.blocking.open_node(tracing=True, **options("c", b)) as c,
    ):
        b.wait_for_members(3, timeout=LONG)
        c.wait_for_members(3, timeout=LONG)

        @c.handler("Query")
        def answer(message: meshp2p.blocking.ReceivedMessage) -> Any:
            return c.delegate(message.payload, capability="paint", timeout=LONG)

        @b.handler("TaskDelegation")
        def paint(message: meshp2p.blocking.ReceivedMessage) -> Any:
            return message.payload

        with TRACER.start_as_current_span("plan"):
            assert b.query("c", SECRET, timeout=LONG) == SECRET
        found = spans.wait_for(5)
    names = ["plan", "query", "process Query", "delegate paint", "process TaskDelegation"]
    assert [span.name for span in found] == names
    assert [parent_of(span, found) for span in found] == [None, *names[:-1]]


def test_a_handler_of_an_untraced_message_begins_a_trace_even_if_the_node_was_opened_in_one(spans: Spans) -> None:
    async def main() -> None:
        with TRACER.start_as_current_span("program"):
            async with meshp2p.open_node(tracing=True, **options("a")) as a:

                @a.handler("Notification")
                async def note(_message: meshp2p.ReceivedMessage) -> None:
                    TRACER.start_span("work").end()

                await a._bridge.run(lambda: a._node.send("a", b"1", "Notification", None))
                (work, process) = await asyncio.to_thread(spans.wait_for, 2)
                assert {work.name: work.parent, process.name: process.parent}["process Notification"] is None
                assert parent_of(max(work, process, key=lambda span: span.name), [work, process]) == (
                    "process Notification"
                )

    asyncio.run(main())


def test_parts_and_progress_have_one_span_each_and_errors_are_told_by_type(spans: Spans) -> None:
    async def main() -> None:
        async with (
            meshp2p.open_node(tracing=True, **options("a")) as a,
            meshp2p.open_node(tracing=True, **options("b", a)) as b,
        ):
            await a.wait_for_members(2)

            @b.handler("Query")
            async def answer(_message: meshp2p.ReceivedMessage) -> AsyncIterator[int]:
                yield 1
                TRACER.start_span("between").end()
                yield 2
                raise ValueError(SECRET)

            parts = a.ask("b", 1)
            assert [await anext(parts), await anext(parts)] == [1, 2]
            with pytest.raises(RemoteError):
                await anext(parts)
            found = await trio.to_thread.run_sync(spans.wait_for, 3)
            assert [span.name for span in found] == ["query", "process Query", "between"]
            assert [parent_of(span, found) for span in found] == [None, "query", "process Query"]
            types = [(span.attributes or {}).get("error.type") for span in found]
            assert types == ["meshp2p.errors.RemoteError", "ValueError", None]
            assert [span.status.is_ok for span in found] == [False, False, True]
            assert not any(SECRET in span.to_json() for span in found)

    trio.run(main)


def test_a_node_without_tracing_carries_a_trace_and_never_loads_opentelemetry() -> None:
    program = """
import sys, meshp2p.blocking
with meshp2p.blocking.open_node(id="a", port=0, mdns=False) as node:
    @node.handler("Query")
    def answer(message):
        return message.trace_headers
    assert node.query("a", 1) == {}
    assert not any(name.split(".")[0] == "opentelemetry" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=LONG)
