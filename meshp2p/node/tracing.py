"""Spans of a node: one for each message, query and task that its agent sends, and one for each call of a handler.

A span is sent with the message as text (:mod:`meshp2p.wire.trace_context`), and is the parent of the span of the
handler. By default nothing is recorded; :mod:`meshp2p.node.opentelemetry` records, and is imported only then.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Literal, Self

from meshp2p.node.received import ReceivedMessage

__all__ = ["NO_SPAN", "Span", "Tracing", "span_carrier"]


class Span:
    """A span that is not recorded. A recorded one ends with its block; an exception that leaves the block is its
    error."""

    trace: str | None = None
    """The span as text, to be sent with the message."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def note_id(self, message_id: str) -> None:
        """Note the id of the message that was sent."""

    def fail(self, error: BaseException) -> None:
        """Note the type of an error."""


NO_SPAN: Final = Span()

span_carrier: Final[ContextVar[Callable[[], AbstractContextManager[object]]]] = ContextVar(
    "meshp2p.span_carrier", default=lambda: NO_SPAN
)
"""In the call of a handler: a function that makes its span the current one in another thread or task."""


class Tracing:
    """The spans of a node, none of which is recorded."""

    def sending(
        self,
        operation: Literal["send", "query", "delegate"],
        what: str,
        size: int,
        target: str | None = None,
        correlation_id: str | None = None,
    ) -> Span:
        """Begin the span of something that the agent sends, as a child of the current span. ``what`` is the kind of the
        message, or the capability or profile of the task; ``size`` is that of the payload."""
        return NO_SPAN

    def handling(self, message: ReceivedMessage) -> Span:
        """Begin the span of a handler's call, as a child of the sender's span. It is the current one in its block."""
        return NO_SPAN
