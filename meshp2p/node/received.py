"""A message, as the agent that received it sees it; and what an agent may send."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, Protocol, TypeVar

import msgspec

from meshp2p.core.message import CUSTOM, KINDS, PAYLOAD_BYTES_MAX, Message
from meshp2p.errors import ConfigError, LimitExceeded, PayloadMismatch
from meshp2p.wire.plain_json import NotPlainJson, decode_plain_json

__all__ = [
    "QUERY",
    "REPLY_KINDS",
    "RESPONSE",
    "TASK",
    "TASK_RESULT",
    "Answering",
    "MessageView",
    "ReceivedMessage",
    "encode_payload",
    "split_kind",
]

T = TypeVar("T")

QUERY: Final = "Query"
RESPONSE: Final = "Response"
TASK: Final = "TaskDelegation"
TASK_RESULT: Final = "TaskResult"
REPLY_KINDS: Final = {QUERY: RESPONSE, TASK: TASK_RESULT}
"""What answers which kind; any other is answered by a Response."""


class Answering(Protocol):
    """What a received message does with its node."""

    async def acknowledge_received(self, message: ReceivedMessage) -> None: ...
    async def reply_to(self, message: ReceivedMessage, payload: object) -> str: ...


class MessageView:
    """What a received message says.

    ``kind`` is one of the contract's names (``"Query"``, ``"Notification"``, ...) or what its sender calls its own
    kind. ``target`` is None for a broadcast. ``created_at`` is in UTC.
    """

    __slots__ = ("message",)

    def __init__(self, message: Message) -> None:
        self.message: Message = message

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.kind!r} from {self.source!r}>"

    @property
    def id(self) -> str:
        return self.message.id

    @property
    def source(self) -> str:
        return self.message.source

    @property
    def target(self) -> str | None:
        return self.message.target

    @property
    def kind(self) -> str:
        return self.message.name if self.message.kind == CUSTOM else self.message.kind

    @property
    def correlation_id(self) -> str | None:
        return self.message.correlation_id

    @property
    def created_at(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.message.created_at / 1000, dt.UTC)

    @property
    def raw(self) -> bytes:
        """The payload as JSON text, byte for byte what was sent."""
        return self.message.payload

    @property
    def payload(self) -> Any:
        """The payload as plain values: dict, list, str, int, float, bool, None. Decoded anew each time."""
        return msgspec.json.decode(self.message.payload)

    def payload_as(self, shape: type[T]) -> T:
        """The payload as a Struct, dataclass, TypedDict, or whatever msgspec converts to.

        Raises :class:`~meshp2p.errors.PayloadMismatch` where it is something else.
        """
        try:
            return msgspec.json.decode(self.message.payload, type=shape)
        except msgspec.MsgspecError as error:
            raise PayloadMismatch(f"payload of {self.kind!r} from {self.source!r}: {error}") from None


class ReceivedMessage(MessageView):
    """One message. It is handed out again, after a restart too, until it is acknowledged."""

    __slots__ = ("_answering",)

    def __init__(self, message: Message, answering: Answering) -> None:
        super().__init__(message)
        self._answering = answering

    async def acknowledge(self) -> None:
        """It is done with: it is never handed out again. Raises :class:`~meshp2p.errors.StoreFull`."""
        await self._answering.acknowledge_received(self)

    async def reply(self, payload: object) -> str:
        """Answer its source, with a Response, or a TaskResult for a TaskDelegation; the answer's message id.

        Does not acknowledge. Raises what :meth:`~meshp2p.node.mesh_node.MeshNode.send` raises.
        """
        return await self._answering.reply_to(self, payload)


def split_kind(kind: str) -> tuple[str, str]:
    """A kind as the contract has it: its name, and what a sender calls its own."""
    if kind == CUSTOM:
        raise ConfigError(f"kind {kind!r}: name your own kind; any text that is none of the contract's kinds is one")
    return (kind, "") if kind in KINDS else (CUSTOM, kind)


def encode_payload(payload: object) -> bytes:
    """The payload as JSON text.

    Raises :class:`~meshp2p.errors.ConfigError` for what JSON has no form for, or what not every client can read, and
    :class:`~meshp2p.errors.LimitExceeded` for what is too large.
    """
    try:
        text = msgspec.json.encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"payload: {error}; expected what JSON has a form for") from None
    if len(text) > PAYLOAD_BYTES_MAX:
        raise LimitExceeded(f"payload of {len(text)} bytes: at most {PAYLOAD_BYTES_MAX} are allowed")
    try:
        decode_plain_json(text)
    except NotPlainJson as error:
        raise ConfigError(f"payload {error}") from None
    return text
