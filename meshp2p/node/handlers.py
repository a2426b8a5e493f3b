"""Handlers: what an agent does with the messages of one kind."""

from __future__ import annotations

import collections
import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from meshp2p.errors import ConfigError, HandlerConflict, MeshError, NodeClosed
from meshp2p.node.received import REPLY_KINDS, MessageView, ReceivedMessage, split_kind

__all__ = ["CONCURRENCY", "TASK_CANCEL", "Declined", "HandlerFunction", "Handlers", "Parameters", "error_payload"]

CONCURRENCY: Final = 16
"""How many messages of one kind are handled at the same time, unless the handler says otherwise. Chosen, not
measured."""

TASK_CANCEL: Final = "TaskCancel"
"""The kind of the message that withdraws a delegated task; its correlation id is the task's."""

HandlerFunction = Callable[..., Awaitable[Any]]


class Declined(Exception):
    """Raised by a handler that will not do a delegated task: it is offered to another agent."""


class _Handler:
    """One handler and what waits for it."""

    def __init__(self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None) -> None:
        self.kind = kind
        self.function = function
        self.concurrency = concurrency
        self.timeout = timeout
        self.parameters = Parameters(kind, function)
        self.waiting: collections.deque[ReceivedMessage] = collections.deque()
        self.running: dict[Any, trio.CancelScope] = {}


class Handlers:
    """All handlers of a node. Each message is handled once to completion: then it is answered, where an answer is
    wanted, and acknowledged. A crash in the middle hands it out again.

    ``reply`` answers a message, ``acknowledge`` acknowledges it, ``report`` is told of errors that nobody else hears
    of.
    """

    def __init__(
        self,
        reply: Callable[[ReceivedMessage, object], Awaitable[object]],
        acknowledge: Callable[[ReceivedMessage], Awaitable[None]],
        report: Callable[[ReceivedMessage, Exception], None],
    ) -> None:
        self._reply = reply
        self._acknowledge = acknowledge
        self._report = report
        self._handlers: dict[str, _Handler] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what is handed over, until cancelled: what is under way is then cut short and handed out again."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def add(self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None) -> None:
        """Raises :class:`HandlerConflict` where there is one for this kind, :class:`ConfigError` for what is no
        handler."""
        split_kind(kind)
        if kind in self._handlers:
            raise HandlerConflict(
                f"kind {kind!r} has a handler already, {_name(self._handlers[kind].function)}: use one for each kind"
            )
        if concurrency < 1:
            raise ConfigError(f"concurrency = {concurrency!r} for kind {kind!r}: expected a whole number from 1")
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"timeout = {timeout!r} for kind {kind!r}: expected seconds above 0, or None")
        self._handlers[kind] = _Handler(kind, function, concurrency, timeout)

    def take(self, message: ReceivedMessage) -> bool:
        """Handle a message; whether there is a handler for it."""
        handler = self._handlers.get(message.kind)
        if handler is None or self._nursery is None:
            return False
        handler.waiting.append(message)
        self._start_next(handler)
        return True

    def cancel(self, task: ReceivedMessage) -> None:
        """The source of a delegated task withdraws it: the handler is cancelled, or never begins."""
        for handler in self._handlers.values():
            for message in list(handler.waiting):
                if _is_withdrawn(message, task):
                    handler.waiting.remove(message)
                    if self._nursery is not None:
                        self._nursery.start_soon(self._dispose, message)
            for key, scope in handler.running.items():
                if key == _key(task):
                    scope.cancel()

    def _start_next(self, handler: _Handler) -> None:
        while handler.waiting and len(handler.running) < handler.concurrency and self._nursery is not None:
            message = handler.waiting.popleft()
            scope = trio.CancelScope()
            handler.running[_key(message)] = scope
            self._nursery.start_soon(self._handle, handler, message, scope)

    async def _handle(self, handler: _Handler, message: ReceivedMessage, scope: trio.CancelScope) -> None:
        answer: object = None
        is_error = False
        try:
            with scope, trio.move_on_after(handler.timeout or float("inf")) as limit:
                try:
                    answer = await handler.function(*handler.parameters.of(message))
                except Exception as error:  # noqa: BLE001 - a handler may raise anything, and its message has an end
                    answer, is_error = error_payload(error), True
                    if message.kind not in REPLY_KINDS or not isinstance(error, (MeshError, Declined)):
                        self._report(message, error)
            if limit.cancelled_caught:
                answer, is_error = error_payload(TimeoutError(f"not handled within {handler.timeout:g} s")), True
            if not scope.cancelled_caught:
                await self._finish(message, answer, is_error=is_error)
            await self._dispose(message)
        finally:
            handler.running.pop(_key(message), None)
            self._start_next(handler)

    async def _dispose(self, message: ReceivedMessage) -> None:
        """It is done with. Where that cannot be kept, since the node leaves or its disk is full, it is handed out again
        after a restart."""
        try:
            await self._acknowledge(message)
        except NodeClosed:
            pass
        except MeshError as error:
            self._report(message, error)

    async def _finish(self, message: ReceivedMessage, answer: object, *, is_error: bool) -> None:
        if message.kind not in REPLY_KINDS and (answer is None or is_error):
            return
        try:
            await self._reply(message, answer)
        except MeshError as error:  # too large, or its source is gone
            self._report(message, error)
            if not is_error:
                await self._finish(message, error_payload(error), is_error=True)


def _key(message: ReceivedMessage) -> Any:
    return (message.source, message.correlation_id) if message.correlation_id else message.id


def _is_withdrawn(message: ReceivedMessage, task: ReceivedMessage) -> bool:
    return bool(task.correlation_id) and _key(message) == _key(task)


def error_payload(error: Exception) -> dict[str, Any]:
    """What an answer holds instead of a result."""
    return {"error": {"type": type(error).__name__, "message": str(error)}}


class Parameters:
    """What a handler takes: the payload in some shape, the message, or both.

    Raises :class:`ConfigError` for what is no handler: ``is_async`` says which kind of function is one.
    """

    def __init__(self, kind: str, function: Callable[..., Any], *, is_async: bool = True) -> None:
        name = _name(function)
        if inspect.iscoroutinefunction(inspect.unwrap(function)) is not is_async:
            expected = "an async function" if is_async else "a plain function, not an async one"
            raise ConfigError(f"handler {name} for kind {kind!r}: expected {expected}")
        signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(inspect.unwrap(function))
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
        is_message = isinstance(first, type) and issubclass(first, MessageView)
        self._takes_message = len(wanted) == 2 or is_message
        self._shape: Any = None
        """None where the payload is not taken."""
        if len(wanted) == 2:
            self._shape = Any if is_message else first
        elif not is_message:
            self._shape = first

    def of(self, message: MessageView) -> list[Any]:
        """The arguments for this message. Raises :class:`~meshp2p.errors.PayloadMismatch`."""
        arguments: list[Any] = [] if self._shape is None else [message.payload_as(self._shape)]
        if self._takes_message:
            arguments.append(message)
        return arguments


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
