"""The spans of a node as spans of OpenTelemetry, named after its semantic conventions for messaging.

Spans tell who sent what kind of message to whom, its
id and size, and the type of an error. They hold no payloads, and no texts of errors, which may quote payloads.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Literal, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from meshp2p.node.received import QUERY, ReceivedMessage
from meshp2p.node.tracing import Span, Tracing, span_carrier
from meshp2p.version import __version__
from meshp2p.wire.trace_context import join_trace

__all__ = ["RecordedTracing"]

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class _RecordedSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers, trace.set_span_in_context(span, Context()))
        self.trace = join_trace(headers.get("traceparent", ""), headers.get("tracestate", ""))
        self._span = span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error)
        self._span.end()

    def note_id(self, message_id: str) -> None:
        self._span.set_attribute("messaging.message.id", message_id)

    def fail(self, error: BaseException) -> None:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        self._span.set_attribute("error.type", name)
        self._span.set_status(trace.StatusCode.ERROR)


class _HandlerSpan(_RecordedSpan):
    """The span of a handler's call: the current one in its block, and carried to the agent's thread or task."""

    def __enter__(self) -> Self:
        use = functools.partial(trace.use_span, self._span, record_exception=False, set_status_on_exception=False)
        self._entered = ExitStack()
        self._entered.enter_context(use())
        self._token = span_carrier.set(use)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span_carrier.reset(self._token)
        self._entered.close()
        super().__exit__(kind, error, traceback)


class RecordedTracing(Tracing):
    """The spans of a node. They go to the tracer provider that the agent has set for its process."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._tracer = trace.get_tracer("meshp2p", __version__)

    def sending(
        self,
        operation: Literal["send", "query", "delegate"],
        what: str,
        size: int,
        target: str | None = None,
        correlation_id: str | None = None,
    ) -> Span:
        kind = trace.SpanKind.PRODUCER if operation == "send" else trace.SpanKind.CLIENT
        attributes = self._attributes(operation, "send", size, target, correlation_id)
        return _RecordedSpan(self._tracer.start_span(f"{operation} {what}".rstrip(), kind=kind, attributes=attributes))

    def handling(self, message: ReceivedMessage) -> Span:
        attributes = self._attributes("process", "process", len(message.raw), self._own_id, message.correlation_id)
        attributes |= {"messaging.message.id": message.id, "meshp2p.source": message.source}
        span = self._tracer.start_span(
            f"process {message.kind}",
            context=_PROPAGATOR.extract(message.trace_headers, Context()),
            kind=trace.SpanKind.SERVER if message.kind == QUERY else trace.SpanKind.CONSUMER,
            attributes=attributes,
        )
        return _HandlerSpan(span)

    def _attributes(
        self, operation: str, kind: str, size: int, target: str | None, correlation_id: str | None
    ) -> dict[str, str | int]:
        attributes: dict[str, str | int] = {
            "messaging.system": "meshp2p",
            "messaging.operation.name": operation,
            "messaging.operation.type": kind,
            "messaging.client.id": self._own_id,
            "messaging.message.body.size": size,
        }
        if target is not None:
            attributes["messaging.destination.name"] = target
        if correlation_id is not None:
            attributes["messaging.message.conversation_id"] = correlation_id
        return attributes
