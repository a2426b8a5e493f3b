"""The mailbox of the agent: which of its parts gets which message.

::

    mailbox ──> an answer that is awaited ──> delegate(), query() of an agent that speaks only HTTP
            ──> a kind with a handler ──────> the handler
            ──> an open inbox ──────────────> its reader
            ──> nobody: it stays, until there is a handler or an inbox
"""

from __future__ import annotations

import itertools
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from meshp2p.core.message import Message
from meshp2p.errors import MeshError, NodeClosed
from meshp2p.node.handlers import TASK_CANCEL, HandlerFunction, Handlers
from meshp2p.node.inbox import Inbox, Unread
from meshp2p.node.payload import EncodedPayload, describe_error
from meshp2p.node.received import RESPONSE, TASK_RESULT, ReceivedMessage
from meshp2p.node.request_client import RequestClient
from meshp2p.node.tracing import Tracing
from meshp2p.node.within import within

__all__ = ["Correspondence"]

_T = TypeVar("_T")

_log = logging.getLogger("meshp2p.node")

PAGE: Final = 100
"""Messages that are read at a time. Chosen, not measured."""

WAIT: Final = 60.0


class Correspondence:
    """Reads the mailbox while a part of the agent wants messages, and gives each message to its receiver.

    ``fetch(after, limit, wait)`` reads the mailbox, ``is_kept(id)`` tells whether a message is in it,
    ``acknowledge(ids)`` acknowledges messages, ``reply(message, payload, is_error)`` answers one, and
    ``tell_progress(delegator, correlation_id, payload)`` reports progress of a task.
    """

    def __init__(
        self,
        fetch: Callable[[str, int, float], Awaitable[tuple[Message, ...]]],
        is_kept: Callable[[str], bool],
        acknowledge: Callable[[tuple[str, ...]], Awaitable[None]],
        reply: Callable[[ReceivedMessage, bytes, bool], Awaitable[str]],
        tell_progress: Callable[[str, str, bytes], Awaitable[None]],
        requests: RequestClient,
        tracing: Tracing,
    ) -> None:
        self._fetch = fetch
        self._is_kept = is_kept
        self._acknowledge_ids = acknowledge
        self._reply = reply
        self._requests = requests
        self.handlers: Handlers = Handlers(reply, self.acknowledge_received, _report, tell_progress, tracing)
        self._unread = Unread(self._offer_again)
        self._open: dict[str, int] = {}
        """The ids of messages that were read and not acknowledged, each with its number in the order of reading."""
        self._numbers = itertools.count()
        self._is_wanted = trio.Event()
        self._nursery: trio.Nursery | None = None

    # What the agent wants

    def handle(self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None) -> None:
        self.handlers.add(kind, function, concurrency, timeout)
        self.want()

    def open_inbox(self) -> Inbox:
        inbox = self._unread.open()
        self.want()
        return inbox

    def want(self) -> None:
        """Note that somebody wants messages from now on."""
        self._is_wanted.set()
        self._offer_again()

    async def acknowledge_received(self, message: ReceivedMessage) -> None:
        await self._acknowledge_ids((message.id,))
        self._forget(message.id)

    def _forget(self, message_id: str) -> None:
        self._open.pop(message_id, None)
        self._unread.forget(message_id)

    async def reply_to(self, message: ReceivedMessage, payload: EncodedPayload) -> str:
        return await self._reply(message, payload.text, False)

    async def wait(self, function: Callable[[], Awaitable[_T]], timeout: float | None, what: str) -> _T:
        return await within(function, timeout, what)

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
        next_sweep = trio.current_time() + WAIT
        while True:
            try:
                messages = await self._fetch(after, PAGE, WAIT)
            except NodeClosed:
                return
            for message in messages:
                after = message.id
                if message.id not in self._open:
                    self._open[message.id] = number = next(self._numbers)
                    self._hand_over(number, ReceivedMessage(message, self))
            if trio.current_time() >= next_sweep:
                next_sweep = trio.current_time() + WAIT
                self._forget_gone()

    def _forget_gone(self) -> None:
        """Forget what is no longer in the mailbox: it has expired, or was acknowledged by another client."""
        for message_id in [one for one in self._open if not self._is_kept(one)]:
            self._forget(message_id)

    def _hand_over(self, number: int, message: ReceivedMessage) -> None:
        if message.kind == TASK_CANCEL:
            self.handlers.cancel(message)
            self._dispose(message)
        elif message.kind in (RESPONSE, TASK_RESULT) and self._requests.has_asked(message.correlation_id):
            self._requests.handle_answer(message)  # a late one is discarded
            self._dispose(message)
        elif not self.handlers.handle(message):
            self._unread.put(number, message)

    def _dispose(self, message: ReceivedMessage) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._acknowledge_quietly, message)

    async def _acknowledge_quietly(self, message: ReceivedMessage) -> None:
        try:
            await self.acknowledge_received(message)
        except MeshError as error:
            _log.debug("%r was not acknowledged: %s", message, error)

    def _offer_again(self) -> None:
        for number, message in self._unread.pop_all():
            self._hand_over(number, message)

    def end(self) -> None:
        """End all inboxes, because the node has left."""
        self._unread.end()


def _report(what: str, error: Exception) -> None:
    kind, said = describe_error(error)
    lines = "".join(traceback.format_exception(error))
    if lines.isascii():
        _log.error("%s: %s: %s", what, kind, said, exc_info=error)
    else:  # a lone surrogate in it can be written to no file in UTF-8
        lines = lines.encode(errors="backslashreplace").decode().rstrip()
        _log.error("%s: %s: %s\n%s", what, kind, said, lines)
