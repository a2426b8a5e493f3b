"""The target's side of queries: each is one call, which the agent's handler answers while the asker waits."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from meshp2p.core.message import Message
from meshp2p.errors import LocalProtocolError, RemoteProtocolError
from meshp2p.net.open_calls import IncomingCall
from meshp2p.node.handlers import Handler, Handlers
from meshp2p.node.payload import EncodedPayload, describe_error
from meshp2p.node.received import QUERY, ReceivedMessage
from meshp2p.node.within import within
from meshp2p.wire.queries import (
    ERROR_TEXT_MAX,
    ProgressReport,
    QueryFailed,
    QueryPart,
    QueryRefusal,
    QueryRefused,
    QueryRequest,
    ReportRequest,
    decode_query_untrusted,
    encode_query,
)

__all__ = ["HANDLER_TIMEOUT", "SERVE_OUTCOMES", "QueryServer"]

_T = TypeVar("_T")

_log = logging.getLogger("meshp2p.node")

HANDLER_TIMEOUT: Final = 1.0
"""Seconds since the node was opened in which a query waits for a handler to be added."""

SERVE_OUTCOMES: Final = ("answered", "failed", "cancelled", *(why.name.lower() for why in QueryRefusal))
"""How a query of another agent can end. This closed set is used as a metric label."""

WAITING_MAX: Final = 1024
"""Queries that wait for their turn. Chosen, not measured."""


class QueryServer:
    """Serves the calls of other nodes, and of this one to itself.

    ``handle_progress(source, correlation_id, payload)`` receives progress reports of tasks that this node delegated.
    """

    def __init__(
        self,
        own_id: str,
        handlers: Handlers,
        handle_progress: Callable[[str, str, bytes], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self._own_id = own_id
        self._handlers = handlers
        self._handle_progress = handle_progress
        self._wall_ms = wall_ms
        self._opened = trio.Event()
        self._opened_at = 0.0
        self.served: dict[str, int] = dict.fromkeys(SERVE_OUTCOMES, 0)
        """How many queries ended, by outcome."""
        self._under_way: dict[trio.CancelScope, str] = {}
        self.report: Callable[[], bytes] = bytes
        """Returns the encoded report of this node; set by the runner, which has all parts."""

    def open(self) -> None:
        """Note that the agent has its node from now on, and can add handlers."""
        self._opened_at = trio.current_time()
        self._opened.set()

    def lose(self, instance_id: str) -> None:
        """Cancel the handlers that work for a dead asker, even if no connection broke."""
        for scope, source in list(self._under_way.items()):
            if source == instance_id:
                scope.cancel()

    async def serve(self, call: IncomingCall) -> None:
        """Answer one call. If this is cancelled, the handler is cancelled."""
        try:
            message = decode_query_untrusted(call.body)
        except RemoteProtocolError as error:
            _log.debug("refused a query from %r: %s", call.source, error)
            await self._refuse(call, QueryRefusal.MALFORMED, str(error))
            return
        if isinstance(message, ReportRequest):
            await call.send_part(encode_query(QueryPart(self.report())), is_last=True)
        elif isinstance(message, ProgressReport):
            self._handle_progress(call.source, message.correlation_id, message.payload)
        elif message.target != self._own_id:
            why = f"node {message.target!r} is not there: {self._own_id!r} answers at its address"
            await self._refuse(call, QueryRefusal.MISDIRECTED, why)
        elif (handler := await self._find_handler()) is None:
            await self._refuse(call, QueryRefusal.NO_HANDLER, f"{self._own_id!r} has no handler for queries")
        elif handler.turns.waiting >= WAITING_MAX:
            why = f"{WAITING_MAX} queries wait at {self._own_id!r}: try again later"
            await self._refuse(call, QueryRefusal.BUSY, why)
        else:
            await self._answer(call, message, handler)

    async def _find_handler(self) -> Handler | None:
        handler = self._handlers.get(QUERY)
        if handler is None:
            await self._opened.wait()
            with trio.move_on_at(self._opened_at + HANDLER_TIMEOUT):
                handler = await self._handlers.wait_for(QUERY)
        return handler

    async def _answer(self, call: IncomingCall, question: QueryRequest, handler: Handler) -> None:
        message = ReceivedMessage(
            Message(
                question.id,
                call.source,
                self._own_id,
                QUERY,
                "",
                question.payload,
                None,
                self._wall_ms(),
                trace=question.trace,
            ),
            _OF_CALLS,
        )

        async def emit(payload: bytes) -> None:
            await call.send_part(encode_query(QueryPart(payload)))

        is_told_parts = question.wants_parts and handler.parameters.is_stream
        turn, scope = handler.turns.join(), trio.CancelScope()
        self._under_way[scope] = call.source
        ending = "cancelled"
        try:
            with scope:
                await handler.turns.begin(turn)
                outcome = await handler.perform(message, emit if is_told_parts else None)
                self._handlers.note(message, outcome)
                if outcome.error is not None:
                    failed = QueryFailed(*describe_error(outcome.error))
                    await call.send_part(encode_query(failed), is_last=True)
                elif not is_told_parts:
                    answer = QueryPart(b"null" if outcome.payload is None else outcome.payload)
                    await call.send_part(encode_query(answer), is_last=True)
                ending = "answered" if outcome.error is None else "failed"
        finally:
            if not scope.cancelled_caught:
                self.served[ending] += 1
            del self._under_way[scope]
            handler.turns.leave(turn)
        if scope.cancelled_caught:
            await self._refuse(call, QueryRefusal.ABANDONED, f"{self._own_id!r} held {call.source!r} dead")

    async def _refuse(self, call: IncomingCall, why: QueryRefusal, message: str) -> None:
        self.served[why.name.lower()] += 1
        await call.send_part(encode_query(QueryRefused(why, message[:ERROR_TEXT_MAX])), is_last=True)


class _OfCalls:
    """The link from a received call to its node. Its answer is the return value of its handler."""

    async def acknowledge_received(self, message: ReceivedMessage) -> None:
        """Do nothing: a call is not kept, so there is nothing to acknowledge."""

    async def reply_to(self, message: ReceivedMessage, payload: EncodedPayload) -> str:
        raise LocalProtocolError(f"{message!r} is a call: the return value of its handler is the answer")

    async def wait(self, function: Callable[[], Awaitable[_T]], timeout: float | None, what: str) -> _T:
        return await within(function, timeout, what)


_OF_CALLS: Final = _OfCalls()
