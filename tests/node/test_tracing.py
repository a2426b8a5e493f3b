"""What becomes of the trace context of messages: from peers, from HTTP callers, on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from opentelemetry import trace

import meshp2p
from meshp2p import ConfigError
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.message import Message
from meshp2p.node.opentelemetry import RecordedTracing
from meshp2p.node.received import ReceivedMessage
from tests.http.meshes import QUICK
from tests.spans import parent_of, record_spans

OPTIONS: dict[str, Any] = {"id": "a", "port": 0, "mdns": False, "protocol": QUICK, "in_loop": True}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HOSTILE = [
    "",
    "x",
    TRACEPARENT[:-1],
    TRACEPARENT.upper(),
    TRACEPARENT + "\n",
    TRACEPARENT.replace("00-", "ff-", 1),
    TRACEPARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
    TRACEPARENT.replace("00f067aa0ba902b7", "0" * 16),
    TRACEPARENT + "-more",
    "٠" * 55,
    "\ud7ff" * 1024,
    "0" * 1024,
]
HOSTILE_STATES = ["a\n=1", "x" * 513, "=", "a=1,a=2", ",".join(f"k{n}=1" for n in range(60)), "é=1", "\0"]


def _handled(text: str | None) -> Any:
    """The span of a handler whose message has this trace, and whether it is the current span in its block."""
    message = Message(uuid7(0, 0), "peer", "a", "Notification", "", b"1", None, 0, trace=text)
    with RecordedTracing("a").handling(ReceivedMessage(message, None)) as span:  # type: ignore[arg-type]
        assert trace.get_current_span().get_span_context().span_id == int((span.trace or "")[36:52], 16)
    return trace.get_current_span()


@pytest.mark.parametrize("text", [None, *HOSTILE])
def test_a_hostile_trace_of_a_peer_is_ignored(text: str | None, caplog: pytest.LogCaptureFixture) -> None:
    spans = record_spans()
    with trace.get_tracer("agent").start_as_current_span("of the caller"):
        _handled(text)
    (process,) = (one for one in spans.wait_for(2) if one.name == "process Notification")
    assert process.parent is None
    assert not caplog.records


@pytest.mark.parametrize("state", HOSTILE_STATES)
def test_a_hostile_state_of_a_trace_is_ignored_and_the_trace_is_not(state: str) -> None:
    spans = record_spans()
    _handled(f"{TRACEPARENT} {state}")
    (process,) = spans.wait_for(1)
    assert process.parent is not None
    assert process.parent.span_id == 0x00F067AA0BA902B7
    assert not (process.context and "\n" in process.context.trace_state.to_header())


async def test_the_trace_of_an_http_caller_is_taken_over_if_it_is_valid_and_never_shown() -> None:
    async with meshp2p.open_node(**OPTIONS) as node, httpx.AsyncClient(base_url=node.url) as client:
        body = {"target_instance": "a", "message_type": "Notification", "payload": 1}
        sent = [
            ({"traceparent": TRACEPARENT, "tracestate": "vendor=1"}, f"{TRACEPARENT} vendor=1"),
            ({"traceparent": TRACEPARENT, "tracestate": "x" * 513}, TRACEPARENT),
            ({"tracestate": "vendor=1"}, None),
            ({}, None),
            *(({"traceparent": value}, None) for value in HOSTILE if value.isascii() and "\n" not in value),
        ]
        for headers, _ in sent:
            answer = await client.post("/messages/send/somebody", json=body, headers=headers)
            assert answer.status_code == 200
        messages = await node._node.fetch("a", 100)
        assert [message.trace for message in messages] == [expected for _, expected in sent]
        for path in ("/messages/a", "/messages/a?detail=true"):
            assert "4bf92f" not in (await client.get(path)).text


async def test_a_message_that_survives_a_restart_keeps_its_trace(tmp_path: Path) -> None:
    spans = record_spans()
    options = {**OPTIONS, "data_dir": tmp_path, "tracing": True}
    async with meshp2p.open_node(**options) as node:
        await node.send("a", 1, kind="Kept")
    async with meshp2p.open_node(**options) as node:

        @node.handler("Kept")
        async def handle(_message: meshp2p.ReceivedMessage) -> None: ...

        found = await trio.to_thread.run_sync(spans.wait_for, 2)
    assert [(one.name, parent_of(one, found)) for one in found] == [("send Kept", None), ("process Kept", "send Kept")]


async def test_tracing_without_opentelemetry_is_an_error_that_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "meshp2p.node.opentelemetry")
    with pytest.raises(ConfigError, match=r"tracing = True: .*pip install meshp2p\[otel\]"):
        async with meshp2p.open_node(**OPTIONS, tracing=True):
            pytest.fail("it was opened")
