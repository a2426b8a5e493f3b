"""The trio loop of an agent beside its node's thread."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import trio

from meshp2p.node.handlers import Turns
from meshp2p.node.received import ReceivedMessage
from meshp2p.threaded.handler_call import HandlerCall
from meshp2p.threaded.trio_loop import TrioLoop

__all__ = ["TrioSide"]

_log = logging.getLogger("meshp2p.node")

_T = TypeVar("_T")


class TrioSide:
    """The loop that runs now. Handlers run in a system task of it, so that a node needs no nursery of the agent's."""

    def __init__(self) -> None:
        self.is_async: bool = True
        self._loop = TrioLoop()
        self._context = contextvars.copy_context()
        self._running: dict[HandlerCall, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._turns = Turns(sys.maxsize)  # calls begin in their order; how many run at a time, the node decides
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._host, context=self._context)

    def check(self) -> None:
        self._loop.check()

    async def wait(self, future: Future[_T], cancel: Callable[[], None]) -> _T:
        ended = self._event_of(future)
        try:
            await ended.wait()
        except trio.Cancelled:
            cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()
            raise
        return future.result()

    async def wait_shielded(self, future: Future[None]) -> None:
        with trio.CancelScope(shield=True):
            await self._event_of(future).wait()

    def _event_of(self, future: Future[Any]) -> trio.Event:
        event = trio.Event()
        future.add_done_callback(lambda _: self._post(event.set))
        return event

    async def _host(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    await trio.sleep_forever()
        finally:
            self._nursery = None
            self._ended.set()

    def start(self, call: HandlerCall) -> None:
        self._post(lambda: self._start(call))

    def _start(self, call: HandlerCall) -> None:
        if self._nursery is None or self._scope.cancel_called or call.is_cancelled:
            return
        self._running[call] = trio.CancelScope()
        self._context.copy().run(self._nursery.start_soon, self._perform, call, self._turns.join())

    async def _perform(self, call: HandlerCall, turn: trio.Event) -> None:
        try:
            with self._running[call]:
                await self._turns.begin(turn)
                await call.perform_async(self.wait)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it would end the program as an internal error of trio
            _log.exception("a handler raised a BaseException that is no Exception")
            call.end(error=RuntimeError(f"the handler raised {type(error).__name__}"))
        finally:
            self._turns.leave(turn)
            del self._running[call]

    def cancel(self, call: HandlerCall) -> None:
        def cancel() -> None:
            scope = self._running.get(call)
            if scope is not None:
                scope.cancel()

        self._post(cancel)

    def _post(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._loop.token.run_sync_soon(function)

    def shown(self, message: ReceivedMessage) -> ReceivedMessage:
        return message

    async def end(self) -> None:
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    @contextlib.contextmanager
    def cut(self, future: Future[Any]) -> Iterator[None]:
        with trio.CancelScope() as scope:
            future.add_done_callback(lambda _: self._post(scope.cancel))
            yield
