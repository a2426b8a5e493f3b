"""The asyncio loop of an agent beside its node's thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from meshp2p.errors import WrongLoop
from meshp2p.node.received import ReceivedMessage
from meshp2p.threaded.agent_side import Block
from meshp2p.threaded.handler_call import HandlerCall
from meshp2p.threaded.node_thread import Waitable

__all__ = ["AsyncioSide"]

_T = TypeVar("_T")


class AsyncioSide:
    """The loop that runs now. What is cancelled is cancelled in the node too, before the cancellation goes on."""

    def __init__(self) -> None:
        self.is_async: bool = True
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._tasks: dict[HandlerCall[Any], asyncio.Task[None]] = {}
        self._is_ended = False

    def check(self) -> None:
        try:
            if asyncio.get_running_loop() is self._loop:
                return
        except RuntimeError:
            pass
        raise WrongLoop(
            "the node was opened in another asyncio loop: await it there, as with"
            " asyncio.run_coroutine_threadsafe(...), or open a node for any thread with meshp2p.blocking.open_node()"
        )

    async def wait(self, operation: Waitable[_T]) -> _T:
        await self._wait_for_end(operation.future, operation.cancel)
        return operation.future.result()

    async def wait_shielded(self, future: Future[None]) -> None:
        await self._wait_for_end(future, lambda: None)

    async def _wait_for_end(self, future: Future[Any], cancel: Callable[[], None]) -> None:
        """Cancelled, it calls ``cancel`` and goes on waiting, and raises that in the end."""
        ended = self._future_of(future)
        cancelled: asyncio.CancelledError | None = None
        while not ended.done():
            try:
                await asyncio.wait((ended,))
            except asyncio.CancelledError as error:
                cancelled = error
                cancel()
        if cancelled is not None:
            raise cancelled

    def _future_of(self, future: Future[Any]) -> asyncio.Future[None]:
        ended: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(lambda _: _call_soon(self._loop, _set, ended))
        return ended

    def start(self, call: HandlerCall[Any]) -> None:
        _call_soon(self._loop, self._start, call)

    def _start(self, call: HandlerCall[Any]) -> None:
        if self._is_ended or call.is_cancelled:
            return
        task = self._loop.create_task(call.perform_async(self.wait), context=self._context.copy())
        self._tasks[call] = task
        task.add_done_callback(lambda _: self._end_call(call))

    def _end_call(self, call: HandlerCall[Any]) -> None:
        task = self._tasks.pop(call)
        if task.cancelled() and not call.is_cancelled and not self._is_ended:
            call.end(None, RuntimeError("the handler cancelled itself"))

    def cancel(self, call: HandlerCall[Any]) -> None:
        def cancel() -> None:
            task = self._tasks.get(call)
            if task is not None:
                task.cancel()

        _call_soon(self._loop, cancel)

    def shown(self, message: ReceivedMessage) -> ReceivedMessage:
        return message

    async def end(self) -> None:
        self._is_ended = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def open_block(self) -> Block:
        return cast("Block", _AsyncioBlock(self._loop))


class _AsyncioBlock:
    """A block of the current task that can be cut short, the way ``asyncio.timeout`` does it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._is_cut = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> bool:
        task, self._task = self._task, None
        if task is None or not self._is_cut:
            return False
        return task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError)

    def cut(self, _: object = None) -> None:
        _call_soon(self._loop, self._cut)

    def _cut(self) -> None:
        if self._task is not None and not self._is_cut:
            self._is_cut = True
            self._task.cancel()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(function, *arguments)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
