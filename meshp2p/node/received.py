"""Received messages, as agents see them, and the kinds that an agent may send."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from meshp2p.core.message import CUSTOM, KINDS, Message
from meshp2p.errors import ConfigError
from meshp2p.node.instance import from_unix_ms
from meshp2p.node.payload import EncodedPayload, decode_payload
from meshp2p.wire.trace_context import split_trace_untrusted

__all__ = [
    "QUERY",
    "REPLY_KINDS",
    "RESPONSE",
    "TASK",
    "TASK_RESULT",
    "Answering",
    "MessageView",
    "ReceivedMessage",
    "split_kind",
]

T = TypeVar("T")

QUERY: Final = "Query"
RESPONSE: Final = "Response"
TASK: Final = "TaskDelegation"
TASK_RESULT: Final = "TaskResult"
REPLY_KINDS: Final = {QUERY: RESPONSE, TASK: TASK_RESULT}
"""The kind of the answer to each kind; any other is answered by a Response."""


class Answering(Protocol):
    """The link from a received message to its node."""

    async def acknowledge_received(self, message: ReceivedMessage) -> None: ...
    async def reply_to(self, message: ReceivedMessage, payload: EncodedPayload) -> str: ...
    async def wait(self, function: Callable[[], Awaitable[T]], timeout: float | None, what: str) -> T:
        """Run one of the other two in the node's loop."""


class MessageView:
    """The content of a received message.

    ``kind`` is a standard kind (``"Query"``, ``"Notification"``, ...) or the sender's own. ``target`` is None for a
    broadcast. ``created_at`` is in UTC. ``is_cancelled`` is set when the handler should stop: the asker gave up or is
    gone, the task was withdrawn, the timeout expired, or the node leaves. An async handler is also cancelled; a plain
    function must check it.
    """

    __slots__ = ("_message", "is_cancelled")

    def __init__(self, message: Message) -> None:
        self._message = message
        self.is_cancelled: bool = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.kind!r} from {self.source!r}>"

    @property
    def id(self) -> str:
        """The UUIDv7 that the accepting node gave the message."""
        return self._message.id

    @property
    def source(self) -> str:
        """The id of the instance that sent it."""
        return self._message.source

    @property
    def target(self) -> str | None:
        """The id of the instance it was sent to; None for a broadcast."""
        return self._message.target

    @property
    def kind(self) -> str:
        """A standard kind, or the sender's own."""
        return self._message.name if self._message.kind == CUSTOM else self._message.kind

    @property
    def correlation_id(self) -> str | None:
        """The id of what the message refers to; for an answer, that of the question."""
        return self._message.correlation_id

    @property
    def is_error(self) -> bool:
        """Whether it is an answer that is an error. If a node made it, its payload is ``{"error": {"type": ...,
        "message": ...}}``."""
        return self._message.is_error

    @property
    def created_at(self) -> dt.datetime:
        """When it was accepted, in UTC, by the clock of the accepting node."""
        return from_unix_ms(self._message.created_at)

    @property
    def trace_headers(self) -> dict[str, str]:
        """The sender's W3C Trace Context: ``traceparent``, and ``tracestate`` if it has one. Empty without a trace."""
        return split_trace_untrusted(self._message.trace)

    @property
    def raw(self) -> bytes:
        """The payload as JSON text, byte for byte as sent."""
        return self._message.payload

    @property
    def payload(self) -> Any:
        """The payload as plain values: dict, list, str, int, float, bool, None. Decoded on each access.

        Raises :class:`~meshp2p.errors.PayloadMismatch` if a node passed on invalid JSON.
        """
        return self._decoded(None)

    def payload_as(self, shape: type[T]) -> T:
        """Return the payload as a Struct, dataclass, TypedDict, Pydantic model, or any type that msgspec converts to.

        Raises :class:`~meshp2p.errors.PayloadMismatch` if it does not fit.
        """
        decoded: T = self._decoded(shape)
        return decoded

    def _decoded(self, shape: type[Any] | None) -> Any:
        return decode_payload(self._message.payload, shape, f"payload of {self.kind!r} from {self.source!r}")


class ReceivedMessage(MessageView):
    """A received message. It is delivered again, even after a restart, until it is acknowledged."""

    __slots__ = ("_answering",)

    def __init__(self, message: Message, answering: Answering) -> None:
        super().__init__(message)
        self._answering = answering

    async def acknowledge(self, *, timeout: float | None = None) -> None:
        """Mark the message as done: it is never delivered again.

        Raises :class:`~meshp2p.errors.StoreFull`, and :class:`~meshp2p.errors.WaitTimeout` after ``timeout`` seconds;
        whether it is acknowledged is then unknown.
        """
        node = self._answering
        await node.wait(lambda: node.acknowledge_received(self), timeout, f"{self!r} was not acknowledged")

    async def reply(self, payload: object, *, timeout: float | None = None) -> str:
        """Answer the source with a Response, or a TaskResult for a TaskDelegation, and return the message id of the
        answer.

        Does not acknowledge. Raises the errors of :meth:`MeshNode.send() <meshp2p.MeshNode.send>`, and
        :class:`~meshp2p.errors.LocalProtocolError` for a query, whose answer is the return value of its handler.
        """
        text, node = EncodedPayload(payload), self._answering
        return await node.wait(lambda: node.reply_to(self, text), timeout, "the reply was not accepted")


def check_kind(kind: object) -> None:
    """Raise :class:`~meshp2p.errors.ConfigError` if the value cannot be a kind."""
    if callable(kind):
        raise ConfigError(f"kind = {kind!r:.80}: expected text: write @node.handler(KIND), with parentheses")
    if not isinstance(kind, str) or not kind:
        raise ConfigError(
            f"kind = {kind!r:.80}: expected a standard kind such as 'Notification', or a name of your own"
        )


def split_kind(kind: str) -> tuple[str, str]:
    """Split a kind as in the contract: its name, and the sender's own name."""
    check_kind(kind)
    if kind == CUSTOM:
        raise ConfigError(f"kind {kind!r}: expected a name of your own: any text that is not a standard kind")
    return (kind, "") if kind in KINDS else (CUSTOM, kind)
