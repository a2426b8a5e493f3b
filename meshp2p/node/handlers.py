"""Handlers of an agent, for messages and calls of one kind."""

from __future__ import annotations

import collections
import contextlib
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import trio

from meshp2p.errors import ConfigError, HandlerConflict, MeshError, NodeClosed, PayloadMismatch
from meshp2p.node.arguments import check_count, check_seconds
from meshp2p.node.payload import encode_error, encode_payload
from meshp2p.node.received import REPLY_KINDS, TASK, MessageView, ReceivedMessage, split_kind
from meshp2p.node.tracing import Tracing
from meshp2p.node.values import check_shape

__all__ = [
    "CONCURRENCY",
    "TASK_CANCEL",
    "Declined",
    "Emit",
    "Handler",
    "HandlerFunction",
    "HandlerResult",
    "Handlers",
    "check_handlers",
]

CONCURRENCY: Final = 16
"""How many messages of one kind are handled at the same time by default. Chosen, not measured."""

TASK_CANCEL: Final = "TaskCancel"
"""The kind of the message that withdraws a delegated task. Its correlation id is the task's."""

HandlerFunction = Callable[..., Any]
"""An async function, or an async generator function."""

Emit = Callable[[bytes], Awaitable[None]]
"""Receives each part that a handler yields, as JSON text. It may wait."""


class Declined(Exception):
    """Raised by a handler that does not want a delegated task. The task is offered to another agent."""


class HandlerResult(msgspec.Struct):
    """How a handler ended: with a payload (None if it returned None), or with an error."""

    payload: bytes | None
    error: Exception | None = None


class Parameters:
    """The parameters of a handler: the payload as some type, the message, or both.

    Raises :class:`ConfigError` if the function is not a valid handler; ``is_async`` says which kind of function is
    valid. A generator function answers in parts: ``is_stream``.
    """

    def __init__(self, kind: str, function: Callable[..., Any], *, is_async: bool = True) -> None:
        name = name_of(function)
        plain = inspect.unwrap(function)
        self.is_stream: bool = inspect.isasyncgenfunction(plain) if is_async else inspect.isgeneratorfunction(plain)
        is_coroutine = inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)
        if is_coroutine is not is_async:
            expected = "an async function" if is_async else "a plain function, not an async one"
            raise ConfigError(f"handler {name} for kind {kind!r}: expected {expected}")
        signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(plain)
        except NameError as error:
            raise ConfigError(
                f"handler {name} for kind {kind!r}: {error}; annotate it with what its module knows"
            ) from None
        wanted = [one for one in signature.parameters.values() if one.default is one.empty]
        if not 1 <= len(wanted) <= 2 or any(
            one.kind not in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in wanted
        ):
            raise ConfigError(
                f"handler {name} for kind {kind!r}: expected (message), (payload: SHAPE) or (payload: SHAPE, message)"
            )
        first = hints.get(wanted[0].name, MessageView)
        is_message = _is_message(first)
        self._takes_message = len(wanted) == 2 or is_message
        self._shape: Any = None
        """None if the handler does not take the payload."""
        if len(wanted) == 2:
            second = hints.get(wanted[1].name, MessageView)
            if (is_message and wanted[0].name in hints) or not (second in (Any, object) or _is_message(second)):
                raise ConfigError(
                    f"handler {name} for kind {kind!r}: expected (payload: SHAPE, message), in this order"
                )
            self._shape = Any if is_message else first
        elif not is_message:
            self._shape = first
        if self._shape is not None:
            try:
                check_shape(self._shape)
            except ConfigError as error:
                raise ConfigError(f"handler {name} for kind {kind!r}, parameter {wanted[0].name!r}: {error}") from None

    def of(self, message: MessageView) -> list[Any]:
        """Return the arguments for this message. Raises :class:`~meshp2p.errors.PayloadMismatch`."""
        arguments: list[Any] = [] if self._shape is None else [message.payload_as(self._shape)]
        if self._takes_message:
            arguments.append(message)
        return arguments


class Turns:
    """A limited number of turns at a time, which begin in the order of joining.

    Trio runs tasks that become ready together in any order, so a turn is given only once the one before has begun.
    """

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self._free = limit
        self._queue: collections.deque[trio.Event] = collections.deque()
        self._next: trio.Event | None = None
        """A turn that was given and has not begun."""

    @property
    def waiting(self) -> int:
        """How many wait until another leaves."""
        return max(0, len(self._queue) - self._free)

    def join(self) -> trio.Event:
        """Join the queue. Wait for the turn with :meth:`begin`, and call :meth:`leave` afterwards, whether it began or
        not."""
        turn = trio.Event()
        self._queue.append(turn)
        self._give_turn()
        return turn

    async def begin(self, turn: trio.Event) -> None:
        """Wait for the turn. What the caller does before its next checkpoint comes before the next turn."""
        if not turn.is_set():
            await turn.wait()
        self._next = None
        self._give_turn()

    def leave(self, turn: trio.Event) -> None:
        if not turn.is_set():
            self._queue.remove(turn)
            return
        if self._next is turn:
            self._next = None
        self._free += 1
        self._give_turn()

    def _give_turn(self) -> None:
        if self._next is None and self._free and self._queue:
            self._free -= 1
            self._next = self._queue.popleft()
            self._next.set()


class Handler:
    """A handler, and the messages that wait for it."""

    def __init__(
        self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None, tracing: Tracing
    ) -> None:
        self.kind: str = kind
        self.function: HandlerFunction = function
        self.timeout: float | None = timeout
        self.parameters: Parameters = Parameters(kind, function)
        self.turns: Turns = Turns(concurrency)
        self.running: dict[object, float] = {}
        """When each call of the function began, by trio's clock."""
        self.done: int = 0
        self.failed: int = 0
        self.seconds: float = 0.0
        """How long the calls that ended took, together."""
        self._tracing = tracing

    async def perform(self, message: ReceivedMessage, emit: Emit | None) -> HandlerResult:
        """Call the function with this message. Each value it yields goes to ``emit``, and the last one is the answer.

        Raises only what is no ``Exception``. When cancelled, or after ``timeout`` seconds, it sets
        ``message.is_cancelled``.
        """
        call = object()
        self.running[call] = trio.current_time()
        try:
            with self._tracing.handling(message) as span:
                result = await self._perform_in_time(message, emit)
                if result.error is not None:
                    self.failed += 1
                    span.fail(result.error)
            return result
        finally:
            self.done += 1
            self.seconds += trio.current_time() - self.running.pop(call)

    async def _perform_in_time(self, message: ReceivedMessage, emit: Emit | None) -> HandlerResult:
        if self.timeout is None:
            return await self._perform(message, emit)
        with trio.move_on_after(self.timeout):
            return await self._perform(message, emit)
        return HandlerResult(None, TimeoutError(f"not handled within {self.timeout:g} s"))

    async def _perform(self, message: ReceivedMessage, emit: Emit | None) -> HandlerResult:
        try:
            arguments = self.parameters.of(message)
            if not self.parameters.is_stream:
                answer = await self.function(*arguments)
                return HandlerResult(None if answer is None else encode_payload(answer))
            last: bytes | None = None
            async with contextlib.aclosing(self.function(*arguments)) as parts:
                async for part in parts:
                    last = encode_payload(part)
                    if emit is not None:
                        await emit(last)
            return HandlerResult(last)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything, and its message has an end
            return HandlerResult(None, error)
        except BaseException:
            message.is_cancelled = True
            raise


class Handlers:
    """All handlers of a node.

    Each stored message is handled once to completion. Then it is answered, if an answer is wanted, and acknowledged.
    After a crash in between it is delivered again. ``reply(message, payload, is_error)`` answers a message,
    ``acknowledge`` acknowledges it, ``report(what, error)`` logs an error, and ``tell_progress(delegator,
    correlation_id, payload)`` sends what a task's handler yields.
    """

    def __init__(
        self,
        reply: Callable[[ReceivedMessage, bytes, bool], Awaitable[object]],
        acknowledge: Callable[[ReceivedMessage], Awaitable[None]],
        report: Callable[[str, Exception], None],
        tell_progress: Callable[[str, str, bytes], Awaitable[None]],
        tracing: Tracing,
    ) -> None:
        self._reply = reply
        self._acknowledge = acknowledge
        self._report = report
        self._tell_progress = tell_progress
        self._tracing = tracing
        self._handlers: dict[str, Handler] = {}
        self._added = trio.Event()
        self._tasks: dict[tuple[str, str], trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the handlers until cancelled. Unfinished work is then cancelled, and its messages are delivered again."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def add(self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None) -> None:
        """Add a handler. Raises :class:`HandlerConflict` if this kind has one, and :class:`ConfigError` if it is
        invalid."""
        split_kind(kind)
        if kind in self._handlers:
            raise HandlerConflict(
                f"kind {kind!r} has a handler already, {name_of(self._handlers[kind].function)}: use one for each kind"
            )
        check_count("concurrency", concurrency, 1)
        if timeout is not None:
            check_seconds("timeout", timeout)
        self._handlers[kind] = Handler(kind, function, concurrency, timeout, self._tracing)
        self._added.set()
        self._added = trio.Event()

    def get(self, kind: str) -> Handler | None:
        """Return the handler of this kind, if there is one."""
        return self._handlers.get(kind)

    def all(self) -> list[Handler]:
        """Return all handlers."""
        return list(self._handlers.values())

    async def wait_for(self, kind: str) -> Handler:
        """Wait until there is a handler of this kind."""
        while kind not in self._handlers:
            await self._added.wait()
        return self._handlers[kind]

    def handle(self, message: ReceivedMessage) -> bool:
        """Handle a stored message. Return whether there is a handler for it."""
        handler = self._handlers.get(message.kind)
        if handler is None or self._nursery is None:
            return False
        scope = trio.CancelScope()
        if message.kind == TASK and message.correlation_id:
            self._tasks[message.source, message.correlation_id] = scope
        self._nursery.start_soon(self._handle, handler, handler.turns.join(), scope, message)
        return True

    def cancel(self, withdrawal: ReceivedMessage) -> None:
        """Cancel a delegated task that its source withdrew: the handler is cancelled, or never starts."""
        scope = self._tasks.get((withdrawal.source, withdrawal.correlation_id or ""))
        if scope is not None:
            scope.cancel()

    async def _handle(
        self, handler: Handler, turn: trio.Event, scope: trio.CancelScope, message: ReceivedMessage
    ) -> None:
        outcome: HandlerResult | None = None
        try:
            with scope:
                await handler.turns.begin(turn)
                outcome = await handler.perform(message, self._progress_of(message))
            if outcome is not None:
                await self._finish(message, outcome)
            await self._dispose(message)
        finally:
            key = (message.source, message.correlation_id or "")
            if self._tasks.get(key) is scope:
                del self._tasks[key]
            handler.turns.leave(turn)

    def _progress_of(self, message: ReceivedMessage) -> Emit | None:
        correlation_id = message.correlation_id
        if message.kind != TASK or not correlation_id:
            return None
        return lambda payload: self._tell_progress(message.source, correlation_id, payload)

    async def _dispose(self, message: ReceivedMessage) -> None:
        """Acknowledge the message. If that cannot be stored, because the node leaves or its disk is full, it is
        delivered again after a restart."""
        try:
            await self._acknowledge(message)
        except NodeClosed:
            pass
        except MeshError as error:
            self._report(f"{message!r} was not acknowledged", error)

    async def _finish(self, message: ReceivedMessage, outcome: HandlerResult) -> None:
        self.note(message, outcome)
        is_question = message.kind in REPLY_KINDS
        error, payload = outcome.error, outcome.payload
        if error is not None and is_question:
            payload = encode_error(error)
        elif payload is None and is_question:
            payload = b"null"
        if payload is None:
            return
        try:
            await self._reply(message, payload, error is not None)
        except MeshError as failure:  # its source is gone, or has no room
            self._report(f"the answer to {message!r} was not accepted", failure)

    def note(self, message: ReceivedMessage, outcome: HandlerResult) -> None:
        """Log an exception of a handler, with its traceback.

        Errors that only concern the caller, and of which it is told, are not logged: a payload of the wrong type, or a
        declined task.
        """
        error = outcome.error
        if error is not None and not (message.kind in REPLY_KINDS and isinstance(error, (PayloadMismatch, Declined))):
            self._report(f"the handler of {message!r} failed", error)


def check_handlers(handlers: Mapping[str, HandlerFunction], *, is_async: bool = True) -> None:
    """Raise :class:`ConfigError` if one of these is not a valid handler."""
    if not isinstance(handlers, Mapping):
        raise ConfigError(f"handlers = {handlers!r:.80}: expected a mapping of kinds to functions")
    for kind, function in handlers.items():
        split_kind(kind)
        Parameters(kind, function, is_async=is_async)


def _is_message(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, MessageView)


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
