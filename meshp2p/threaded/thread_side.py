"""Plain threads of an agent beside its node's thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from meshp2p.errors import InternalError, WrongLoop
from meshp2p.node.received import MessageView, ReceivedMessage
from meshp2p.threaded.handler_call import HandlerCall
from meshp2p.threaded.node_thread import NodeThread
from meshp2p.threaded.pool import Pool

__all__ = ["ThreadSide", "complete"]

_T = TypeVar("_T")

HANDLER_THREADS: Final = 16
"""Threads in which handlers of one node run, at most; they are made as they are needed. Chosen, not measured."""


def complete(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never suspends: on a :class:`ThreadSide` whatever waits blocks."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: _T = ended.value
        return result
    raise InternalError("a call that waits for a node in a plain thread was suspended")


class ThreadSide:
    """Any number of threads. What is awaited blocks the calling thread; Ctrl-C ends each wait."""

    def __init__(self, thread: NodeThread, show: Callable[[ReceivedMessage], MessageView]) -> None:
        self.is_async: bool = False
        self._thread = thread
        self._show = show
        self._pool = Pool(HANDLER_THREADS)

    def check(self) -> None:
        if self._thread.is_current:
            raise WrongLoop("this is the node's own thread, as in a merge function: use the node in another thread")

    async def wait(self, future: Future[_T], cancel: Callable[[], None]) -> _T:
        try:
            return future.result()
        except BaseException:
            if not future.done():  # Ctrl-C
                cancel()
                with contextlib.suppress(Exception):
                    future.result()
            raise

    async def wait_shielded(self, future: Future[None]) -> None:
        future.result()

    def start(self, call: HandlerCall) -> None:
        def perform() -> None:
            if not call.is_cancelled:
                call.perform()

        self._pool.start(perform)

    def cancel(self, call: HandlerCall) -> None:
        """Nobody can interrupt a thread: ``message.is_cancelled`` is set."""

    def shown(self, message: ReceivedMessage) -> MessageView:
        return self._show(message)

    async def end(self) -> None:
        """Handlers that still run are not awaited, and their results are discarded."""
        self._pool.close()

    def cut(self, future: Future[Any]) -> contextlib.AbstractContextManager[object]:
        """The block goes on: nobody can interrupt a thread."""
        return contextlib.nullcontext()
