"""The asker's side of queries: a call to the target's node with a deadline, answered once or in parts.

Nothing is stored, and nothing is asked twice. An instance that speaks only HTTP cannot be called: the question is put
into its mailbox, and its Response is the answer.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import trio

from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.errors import (
    ConnectionLost,
    LimitExceeded,
    MeshError,
    NodeClosed,
    NoHandler,
    QueryTimeout,
    Refusal,
    RemoteError,
    RemoteProtocolError,
    Unreachable,
)
from meshp2p.net.open_calls import CallOpener, OutgoingCall, ServeCall
from meshp2p.node.arguments import check_seconds
from meshp2p.node.local_call import open_local_call
from meshp2p.node.reply_parts import ReplyTexts
from meshp2p.node.tracing import NO_SPAN, Span
from meshp2p.wire.queries import (
    PROGRESS_BYTES_MAX,
    ProgressReport,
    QueryFailed,
    QueryPart,
    QueryRefusal,
    QueryRefused,
    QueryRequest,
    decode_query_part_untrusted,
    encode_query,
)

__all__ = ["QUERY_OUTCOMES", "Queries"]

_OUTCOMES: Final[dict[type[MeshError], str]] = {
    RemoteError: "failed",
    NoHandler: "no_handler",
    LimitExceeded: "busy",
    QueryTimeout: "timed_out",
    ConnectionLost: "lost",
    Unreachable: "unreachable",
}

QUERY_OUTCOMES: Final = ("answered", "cancelled", "refused", *_OUTCOMES.values())
"""How a query of this node can end. This closed set is used as a metric label."""

STREAM_SECONDS_MAX: Final = 24 * 3600.0
"""How long an answer in parts may take. Chosen, not measured."""

PROGRESS_TIMEOUT: Final = 1.0
"""Seconds that a task waits for its report to be accepted; then the report is dropped. Chosen, not measured."""

_SLACK: Final = 1.0
"""Seconds by which the deadline of the call is later than ours, because our error says what has happened."""


class _QueryWatch:
    """A query under way, and why it ends."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.began = trio.current_time()
        self.scope = trio.CancelScope()
        self.is_sent = False
        self.failure: MeshError | None = None

    def fail(self, failure: MeshError) -> None:
        self.failure = failure
        self.scope.cancel()


class Queries:
    """Asks other agents. All payloads are JSON text that was checked.

    ``serve`` answers queries of this node to itself; ``has_node(instance_id)`` says whether an instance is a listed
    node; ``ask_by_mail(target, payload, timeout, trace)`` asks any other instance; ``ids`` makes ids from the
    time of ``wall_ms``.
    """

    def __init__(
        self,
        own_id: str,
        opener: CallOpener,
        serve: ServeCall,
        has_node: Callable[[str], bool],
        ask_by_mail: Callable[[str, bytes, float, str | None], Awaitable[bytes]],
        ids: MessageIds,
        wall_ms: Callable[[], int],
    ) -> None:
        self._own_id = own_id
        self._opener = opener
        self._serve = serve
        self._has_node = has_node
        self._ask_by_mail = ask_by_mail
        self._ids = ids
        self._wall_ms = wall_ms
        self.ended: dict[str, int] = dict.fromkeys(QUERY_OUTCOMES, 0)
        """How many queries ended, by outcome."""
        self.progress_dropped: int = 0
        """How many reports of progress did not reach the delegator."""
        self._under_way: dict[_QueryWatch, None] = {}
        self._nursery: trio.Nursery | None = None
        self._is_ended = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the tasks that fetch answers in parts, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def under_way(self) -> list[tuple[str, float]]:
        """Return the target of each query that has no answer yet, and when it was asked, by trio's clock."""
        return [(watch.target, watch.began) for watch in self._under_way]

    def lose(self, instance_id: str) -> None:
        """End the queries to an instance that died or left."""
        for watch in list(self._under_way):
            if watch.target == instance_id:
                watch.fail(
                    ConnectionLost(f"{instance_id!r} died or left and did not answer: whether it acted is unknown")
                )

    def end(self) -> None:
        """End all queries, because the node leaves."""
        self._is_ended = True
        for watch in list(self._under_way):
            watch.fail(_closed())

    async def query(self, target: str, payload: bytes, timeout: float, trace: str | None = None) -> bytes:
        """Ask, and return the answer. If this is cancelled, the handler that answers is cancelled."""
        deadline = trio.current_time() + _checked(timeout)
        with self._watching(target, deadline) as watch:
            if not self._has_node(target):
                watch.is_sent = True
                return await self._ask_by_mail(target, payload, timeout, trace)
            answer: bytes | None = None
            question = self._question(target, payload, False, trace)
            async with self._open(target, question, deadline + _SLACK) as call:
                watch.is_sent = True
                while (data := await call.receive_part()) is not None:
                    answer = _read(target, data)
            if answer is None:
                raise ConnectionLost(f"{target!r} ended its reply without an answer: whether it acted is unknown")
            return answer
        raise _why(watch, timeout)

    def ask(self, target: str, payload: bytes, timeout: float, span: Span = NO_SPAN) -> ReplyTexts:
        """Ask, and return an iterator of the parts; ``timeout`` is for each of them. The end of the answer ends the
        span. Raises :class:`~meshp2p.errors.ConfigError`; all else the iterator raises."""
        _checked(timeout)

        async def produce(put: Callable[[bytes], Awaitable[None]]) -> None:
            with self._watching(target, math.inf) as watch:
                if self._has_node(target):
                    await self._fetch_parts(watch, payload, timeout, span.trace, put)
                else:
                    watch.is_sent = True
                    watch.scope.deadline = trio.current_time() + timeout
                    await put(await self._ask_by_mail(target, payload, timeout, span.trace))
                return
            raise _why(watch, timeout)

        async def produce_traced(put: Callable[[bytes], Awaitable[None]]) -> None:
            with span:
                await produce(put)

        return ReplyTexts(self._nursery, produce_traced)

    async def _fetch_parts(
        self,
        watch: _QueryWatch,
        payload: bytes,
        timeout: float,
        trace: str | None,
        put: Callable[[bytes], Awaitable[None]],
    ) -> None:
        target = watch.target
        question = self._question(target, payload, True, trace)
        watch.scope.deadline = trio.current_time() + timeout
        async with self._open(target, question, trio.current_time() + STREAM_SECONDS_MAX) as call:
            watch.is_sent = True
            while (data := await call.receive_part()) is not None:
                watch.scope.deadline = math.inf  # a reader may take its time
                await put(_read(target, data))
                watch.scope.deadline = trio.current_time() + timeout

    def _question(self, target: str, payload: bytes, wants_parts: bool, trace: str | None) -> bytes:
        return encode_query(QueryRequest(self._ids.next(self._wall_ms()), target, payload, wants_parts, trace))

    async def tell_progress(self, delegator: str, correlation_id: str, payload: bytes) -> None:
        """Report progress of a task. The report is dropped if the delegator cannot be called, if it does not accept
        the report in time, or if the report is too large."""
        if self._has_node(delegator) and len(payload) <= PROGRESS_BYTES_MAX:
            body = encode_query(ProgressReport(correlation_id, payload))
            deadline = trio.current_time() + PROGRESS_TIMEOUT
            with trio.move_on_at(deadline), contextlib.suppress(Unreachable):
                async with self._open(delegator, body, deadline) as call:
                    await call.receive_part()
                    return
        self.progress_dropped += 1

    def _open(self, target: str, body: bytes, deadline: float) -> contextlib.AbstractAsyncContextManager[OutgoingCall]:
        if target == self._own_id:
            return open_local_call(self._serve, self._own_id, body, deadline)
        return self._opener.open_call(target, body, deadline)

    @contextlib.contextmanager
    def _watching(self, target: str, deadline: float) -> Iterator[_QueryWatch]:
        """End the block early and without an error where :meth:`lose` or :meth:`end` say so, or at the deadline."""
        if self._is_ended:
            raise _closed()
        watch = _QueryWatch(target)
        watch.scope.deadline = deadline
        self._under_way[watch] = None
        outcome = "cancelled"
        try:
            with watch.scope:
                yield watch
                outcome = "answered"
            if watch.scope.cancelled_caught:
                outcome = _outcome_of(_why(watch, 0))
        except MeshError as error:
            outcome = _outcome_of(error)
            raise
        finally:
            del self._under_way[watch]
            self.ended[outcome] += 1


def _read(target: str, data: bytes) -> bytes:
    """Return the payload of a part of a reply. Raises what another part stands for."""
    match decode_query_part_untrusted(data):
        case QueryPart(payload=payload):
            return payload
        case QueryFailed(kind=kind, message=message):
            raise RemoteError(kind, message)
        case QueryRefused(why=QueryRefusal.NO_HANDLER, message=message):
            raise NoHandler(message)
        case QueryRefused(why=QueryRefusal.BUSY, message=message):
            raise LimitExceeded(message)
        case QueryRefused(why=QueryRefusal.MISDIRECTED, message=message):
            raise Unreachable(message)
        case QueryRefused(why=QueryRefusal.ABANDONED, message=message):
            raise ConnectionLost(f"{message}: whether it acted is unknown")
        case QueryRefused(message=message):
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"{target!r} could not read the query: {message}")


def _why(watch: _QueryWatch, timeout: float) -> MeshError:
    if watch.failure is not None:
        return watch.failure
    if watch.is_sent:
        return QueryTimeout(f"{watch.target!r} did not answer within {timeout:g} s")
    return QueryTimeout(f"{watch.target!r} was not reached within {timeout:g} s: it has not seen the query")


def _outcome_of(error: MeshError) -> str:
    return next((name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), "refused")


def _closed() -> NodeClosed:
    return NodeClosed("the node has left the mesh: open a new one")


def _checked(timeout: float) -> float:
    check_seconds("timeout", timeout)
    return timeout
