"""The asyncio loop of an agent beside its node's thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from meshp2p.errors import WrongLoop
from meshp2p.node.received import ReceivedMessage
from meshp2p.threaded.handler_call import HandlerCall

__all__ = ["AsyncioSide"]

_T = TypeVar("_T")


class AsyncioSide:
    """The loop that runs now. What is cancelled is cancelled in the node too, before the cancellation goes on. Raises
    ``RuntimeError`` if no loop runs."""

    def __init__(self) -> None:
        self.is_async: bool = True
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._tasks: dict[HandlerCall, asyncio.Task[None]] = {}
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

    async def wait(self, future: Future[_T], cancel: Callable[[], None]) -> _T:
        await self._wait_for_end(future, cancel)
        return future.result()

    async def wait_shielded(self, future: Future[None]) -> None:
        await self._wait_for_end(future, lambda: None)

    async def _wait_for_end(self, future: Future[Any], cancel: Callable[[], None]) -> None:
        """If this is cancelled, it calls ``cancel``, goes on waiting, and raises the cancellation at the end."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            ended: asyncio.Future[None] = self._loop.create_future()
            future.add_done_callback(partial(self._tell, ended))
            try:
                await ended
                break
            except asyncio.CancelledError as error:  # which cancels ``ended`` too
                cancelled = error
                cancel()
        if cancelled is not None:
            raise cancelled

    def _tell(self, ended: asyncio.Future[None], _: Future[Any]) -> None:
        self._call_soon(_set, ended)

    def start(self, call: HandlerCall) -> None:
        self._call_soon(self._start, call)

    def _start(self, call: HandlerCall) -> None:
        if self._is_ended or call.is_cancelled:
            return
        task = self._loop.create_task(call.perform_async(self.wait), context=self._context.copy())
        self._tasks[call] = task
        task.add_done_callback(lambda _: self._end_call(call))

    def _end_call(self, call: HandlerCall) -> None:
        task = self._tasks.pop(call)
        if task.cancelled() and not call.is_cancelled and not self._is_ended:
            call.end(error=RuntimeError("the handler cancelled itself"))

    def cancel(self, call: HandlerCall) -> None:
        def cancel() -> None:
            task = self._tasks.get(call)
            if task is not None:
                task.cancel()

        self._call_soon(cancel)

    def shown(self, message: ReceivedMessage) -> ReceivedMessage:
        return message

    async def end(self) -> None:
        self._is_ended = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @contextlib.contextmanager
    def cut(self, future: Future[Any]) -> Iterator[None]:
        """It cancels the current task, the way ``asyncio.timeout`` does it."""
        task = asyncio.current_task()
        if task is None:  # a callback of the loop, which nobody can cancel
            yield
            return
        cancelling = task.cancelling()
        is_cut = is_over = False

        def cut() -> None:
            nonlocal is_cut
            if not is_over:
                is_cut = True
                task.cancel()

        future.add_done_callback(lambda _: self._call_soon(cut))
        try:
            yield
        except asyncio.CancelledError:
            if not is_cut or task.cancelling() > cancelling + 1:  # somebody else cancelled it too
                raise
        finally:
            is_over = True
            if is_cut:
                task.uncancel()

    def _call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *arguments)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
