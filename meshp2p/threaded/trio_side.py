"""The trio loop of an agent beside its node's thread."""

from __future__ import annotations

import contextlib
import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio

from meshp2p.node.received import ReceivedMessage
from meshp2p.threaded.agent_side import Block
from meshp2p.threaded.handler_call import HandlerCall
from meshp2p.threaded.node_thread import Waitable
from meshp2p.threaded.trio_loop import TrioLoop

__all__ = ["TrioSide"]

_log = logging.getLogger("meshp2p.node")

_T = TypeVar("_T")


class TrioSide:
    """The loop that runs now. Handlers run in a system task of it, so that a node needs no nursery of the agent's."""

    def __init__(self) -> None:
        self.is_async: bool = True
        self._loop = TrioLoop()
        self._token = trio.lowlevel.current_trio_token()
        self._context = contextvars.copy_context()
        self._running: dict[HandlerCall[Any], trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._host, context=self._context)

    def check(self) -> None:
        self._loop.check()

    async def wait(self, operation: Waitable[_T]) -> _T:
        ended = self._event_of(operation.future)
        try:
            await ended.wait()
        except trio.Cancelled:
            operation.cancel()
            with trio.CancelScope(shield=True):
                await ended.wait()
            raise
        return operation.future.result()

    async def wait_shielded(self, future: Future[None]) -> None:
        with trio.CancelScope(shield=True):
            await self._event_of(future).wait()

    def _event_of(self, future: Future[Any]) -> trio.Event:
        event = trio.Event()

        def tell(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(event.set)

        future.add_done_callback(tell)
        return event

    async def _host(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    await trio.sleep_forever()
        finally:
            self._nursery = None
            self._ended.set()

    def start(self, call: HandlerCall[Any]) -> None:
        self._post(lambda: self._start(call))

    def _start(self, call: HandlerCall[Any]) -> None:
        if self._nursery is None or self._scope.cancel_called or call.is_cancelled:
            return
        self._running[call] = trio.CancelScope()
        self._context.copy().run(self._nursery.start_soon, self._perform, call)

    async def _perform(self, call: HandlerCall[Any]) -> None:
        try:
            with self._running[call]:
                await call.perform_async(self.wait)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - it would end the program as an internal error of trio
            _log.exception("a handler raised what is no Exception")
            call.end(None, RuntimeError(f"the handler raised {type(error).__name__}"))
        finally:
            del self._running[call]

    def cancel(self, call: HandlerCall[Any]) -> None:
        def cancel() -> None:
            scope = self._running.get(call)
            if scope is not None:
                scope.cancel()

        self._post(cancel)

    def _post(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    def shown(self, message: ReceivedMessage) -> ReceivedMessage:
        return message

    async def end(self) -> None:
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    def open_block(self) -> Block:
        return cast("Block", _TrioBlock(self._token))


class _TrioBlock:
    """A block of a trio task that can be cut short."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._scope = trio.CancelScope()

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return bool(self._scope.__exit__(kind, error, traceback))

    def cut(self, _: object = None) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
