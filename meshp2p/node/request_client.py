"""Asking by mail: a message, and the answer that names it. What is delegated goes this way, and what is asked of agents
that speak only HTTP."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from meshp2p.errors import ConnectionLost
from meshp2p.node.payload import decode_error
from meshp2p.node.plain_nursery import open_plain_nursery
from meshp2p.node.received import QUERY, ReceivedMessage

__all__ = ["RequestClient"]

ENDED_MAX: Final = 10_000
"""How many ended questions are remembered, so that late answers are recognized. Chosen, not measured."""


class _Request:
    """A question or task that waits for its answer."""

    def __init__(self, target: str, handle_progress: Callable[[bytes], object] | None) -> None:
        self.target = target
        self.handle_progress = handle_progress
        self.answer: ReceivedMessage | None = None
        self.came = trio.Event()


class RequestClient:
    """Sends questions and tasks as messages, and waits for their answers.

    ``send(target, payload, kind, correlation_id, timeout, trace)`` sends a message that is kept for ``timeout``
    seconds, ``wait_gone(instance_id)`` returns when an instance is no longer listed, and ``new_id`` makes correlation
    ids.
    """

    def __init__(
        self,
        send: Callable[[str, bytes, str, str, float, str | None], Awaitable[object]],
        wait_gone: Callable[[str], Awaitable[None]],
        new_id: Callable[[], str],
    ) -> None:
        self.send: Callable[[str, bytes, str, str, float, str | None], Awaitable[object]] = send
        self.new_id: Callable[[], str] = new_id
        self._wait_gone = wait_gone
        self._asked: dict[str, _Request] = {}
        self._ended: dict[str, None] = {}

    def has_asked(self, correlation_id: str | None) -> bool:
        """Return whether this id is that of an open or a recent question or task of this node."""
        return correlation_id in self._asked or correlation_id in self._ended

    def handle_answer(self, message: ReceivedMessage) -> None:
        """Handle an answer. An answer of an instance that was not asked, and a second answer, are ignored."""
        asked = self._asked.get(message.correlation_id or "")
        if asked is not None and asked.target == message.source and asked.answer is None:
            asked.answer = message
            asked.came.set()

    def handle_progress(self, source: str, correlation_id: str, payload: bytes) -> None:
        """Handle a progress report. A report of an instance that does not do the task is ignored."""
        asked = self._asked.get(correlation_id)
        if asked is not None and asked.target == source and asked.handle_progress is not None:
            asked.handle_progress(payload)

    async def query(self, target: str, payload: bytes, timeout: float, trace: str | None) -> bytes:
        """Put a question into a mailbox and return the answer. After ``timeout`` seconds the question expires, but this
        goes on waiting."""
        return await self.ask(target, payload, QUERY, self.new_id(), timeout, trace=trace)

    async def ask(
        self,
        target: str,
        payload: bytes,
        kind: str,
        correlation_id: str,
        timeout: float = math.inf,
        handle_progress: Callable[[bytes], object] | None = None,
        trace: str | None = None,
    ) -> bytes:
        """Send a question or task, and return the answer.

        Raises :class:`ConnectionLost` if the target dies or leaves before it answers,
        :class:`~meshp2p.errors.RemoteError` if the answer is an error, :class:`~meshp2p.errors.NodeClosed` if this node
        leaves, and the errors of ``send``.
        """
        asked = self._asked[correlation_id] = _Request(target, handle_progress)
        try:
            await self.send(target, payload, kind, correlation_id, timeout, trace)
            async with open_plain_nursery() as nursery:
                nursery.start_soon(self._watch, asked)
                await asked.came.wait()
                nursery.cancel_scope.cancel()
        finally:
            del self._asked[correlation_id]
            self._ended[correlation_id] = None
            if len(self._ended) > ENDED_MAX:
                del self._ended[next(iter(self._ended))]
        if asked.answer is None:
            raise ConnectionLost(f"{target!r} died or left and did not answer: whether it acted is unknown")
        if asked.answer.is_error:
            raise decode_error(asked.answer.raw)
        return asked.answer.raw

    async def _watch(self, asked: _Request) -> None:
        await self._wait_gone(asked.target)
        asked.came.set()
