"""The agent's side of its node's mailbox: who gets which message.

::

    mailbox ──> an answer that is awaited ──> delegate(), query() of an agent that speaks only HTTP
            ──> a kind with a handler ──────> the handler
            ──> an open inbox ──────────────> whoever reads it
            ──> nobody: it stays, until there is a handler or an inbox
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Self

import trio

from meshp2p.core.message import Message
from meshp2p.errors import MeshError, NodeClosed
from meshp2p.node.asking import Asking
from meshp2p.node.handlers import TASK_CANCEL, HandlerFunction, Handlers
from meshp2p.node.payload import describe_error, encode_payload
from meshp2p.node.received import REPLY_KINDS, RESPONSE, TASK_RESULT, ReceivedMessage

__all__ = ["Correspondence", "Inbox"]

_log = logging.getLogger("meshp2p.node")

PAGE: Final = 100
"""Messages that are read at a time. Chosen, not measured."""

WAIT: Final = 60.0


class Inbox:
    """An asynchronous iterator of messages that no handler takes, from the oldest that is not acknowledged.

    What was iterated over and not acknowledged is handed out again by the next inbox, not by this one. Of several open
    inboxes each message goes to one. It ends when the node has left; :meth:`close` it, or leave its ``async with``,
    when it is no longer read.
    """

    def __init__(self, close: Callable[[Inbox], None]) -> None:
        self._buffer: collections.deque[ReceivedMessage] = collections.deque()
        self._handed: list[ReceivedMessage] = []
        self._arrived = trio.Event()
        self._is_ended = False
        self._close = close

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> ReceivedMessage:
        await trio.lowlevel.checkpoint()
        while (message := self.take_nowait()) is None:
            if self._is_ended:
                raise StopAsyncIteration
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        return message

    def take_nowait(self) -> ReceivedMessage | None:
        """The next message where it is there already, None where it is not."""
        if not self._buffer:
            return None
        message = self._buffer.popleft()
        self._handed.append(message)
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No further message comes here; what was not acknowledged is for the next inbox or handler."""
        if not self._is_ended:
            self.end()
            self._close(self)

    def put(self, message: ReceivedMessage) -> None:
        self._buffer.append(message)
        self._arrived.set()

    def end(self) -> None:
        self._is_ended = True
        self._arrived.set()

    def unfinished(self) -> list[ReceivedMessage]:
        """What this inbox had, in order."""
        return [*self._handed, *self._buffer]


class Correspondence:
    """Reads the mailbox while somebody wants messages, and hands each to who it is for.

    ``fetch(after, limit, wait)`` reads the own mailbox, ``acknowledge(ids)`` acknowledges, ``reply(message, payload,
    is_error)`` answers, ``tell_progress(delegator, correlation_id, payload)`` tells how far a task is.
    """

    def __init__(
        self,
        fetch: Callable[[str, int, float], Awaitable[tuple[Message, ...]]],
        acknowledge: Callable[[tuple[str, ...]], Awaitable[None]],
        reply: Callable[[ReceivedMessage, bytes, bool], Awaitable[str]],
        tell_progress: Callable[[str, str, bytes], Awaitable[None]],
        asking: Asking,
    ) -> None:
        self._fetch = fetch
        self._acknowledge_ids = acknowledge
        self._reply = reply
        self._asking = asking
        self.handlers: Handlers = Handlers(reply, self.acknowledge_received, _report, tell_progress)
        self._inboxes: list[Inbox] = []
        self._unclaimed: dict[str, ReceivedMessage] = {}
        self._open: dict[str, None] = {}
        self._is_wanted = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._is_ended = False

    # What the agent wants

    def handle(self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None) -> None:
        self.handlers.add(kind, function, concurrency, timeout)
        self.want()

    def open_inbox(self) -> Inbox:
        inbox = Inbox(self._close_inbox)
        if self._is_ended:
            inbox.end()
        else:
            self._inboxes.append(inbox)
            self.want()
        return inbox

    def _close_inbox(self, inbox: Inbox) -> None:
        if inbox in self._inboxes:
            self._inboxes.remove(inbox)
        for message in inbox.unfinished():
            if message.id in self._open:
                self._unclaimed[message.id] = message
        self._offer_again()

    def want(self) -> None:
        """Somebody wants messages from now on."""
        self._is_wanted.set()
        self._offer_again()

    async def acknowledge_received(self, message: ReceivedMessage) -> None:
        await self._acknowledge_ids((message.id,))
        self._open.pop(message.id, None)

    async def reply_to(self, message: ReceivedMessage, payload: object) -> str:
        return await self._reply(message, encode_payload(payload), False)

    # The reader

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled, or until the node has left."""
        try:
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self.handlers.run)
                task_status.started()
                await self._is_wanted.wait()
                await self._read()
        finally:
            self.end()

    async def _read(self) -> None:
        after = ""
        while True:
            try:
                messages = await self._fetch(after, PAGE, WAIT)
            except NodeClosed:
                return
            for message in messages:
                after = message.id
                if message.id not in self._open:
                    self._open[message.id] = None
                    self._hand_over(ReceivedMessage(message, self))

    def _hand_over(self, message: ReceivedMessage) -> None:
        if message.kind == TASK_CANCEL:
            self.handlers.cancel(message)
            self._dispose(message)
        elif message.kind in (RESPONSE, TASK_RESULT) and self._asking.has_asked(message.correlation_id):
            self._asking.take(message)  # where nobody waits for it any more it is thrown away
            self._dispose(message)
        elif not self.handlers.take(message):
            if self._inboxes:
                self._inboxes[0].put(message)
            else:
                self._unclaimed[message.id] = message

    def _dispose(self, message: ReceivedMessage) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._acknowledge_quietly, message)

    async def _acknowledge_quietly(self, message: ReceivedMessage) -> None:
        try:
            await self.acknowledge_received(message)
        except MeshError as error:
            _log.debug("%r was not acknowledged: %s", message, error)

    def _offer_again(self) -> None:
        unclaimed, self._unclaimed = self._unclaimed, {}
        for message in unclaimed.values():
            self._hand_over(message)

    def end(self) -> None:
        """The node has left: whoever reads is told."""
        self._is_ended = True
        for inbox in self._inboxes:
            inbox.end()


def _report(message: ReceivedMessage, error: Exception) -> None:
    is_answered = message.kind in REPLY_KINDS
    kind, said = describe_error(error)
    _log.error("handling %r: %s: %s", message, kind, said, exc_info=None if is_answered else error)
