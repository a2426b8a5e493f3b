"""Spans of OpenTelemetry in the memory of this process, for tests."""

from __future__ import annotations

import functools
import threading
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TIMEOUT: Final = 30.0
"""Seconds that a test waits at most for what comes at once."""


class Spans(SpanProcessor):
    """The spans that ended, which the exporter of the SDK keeps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.exporter = InMemorySpanExporter()

    def on_end(self, span: ReadableSpan) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[ReadableSpan]:
        """Wait in this thread until so many spans have ended, and return them in the order of their starts."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.exporter.get_finished_spans()) >= count, TIMEOUT):
                raise TimeoutError(
                    f"expected {count} spans: {[one.name for one in self.exporter.get_finished_spans()]}"
                )
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


@functools.cache
def _install() -> Spans:
    """The provider of a process can be set once."""
    spans = Spans()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    provider.add_span_processor(spans)
    trace.set_tracer_provider(provider)
    return spans


def record_spans() -> Spans:
    """Begin to record the spans of this process."""
    spans = _install()
    spans.exporter.clear()
    return spans


def parent_of(span: ReadableSpan, spans: list[ReadableSpan]) -> str | None:
    """Return the name of the parent of a span, or None if it is a root."""
    if span.parent is None:
        return None
    name: str = next(one.name for one in spans if one.context and one.context.span_id == span.parent.span_id)
    return name
