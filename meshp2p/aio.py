"""The node for agents on asyncio: the same names as on trio, and nothing of trio in sight.

::

    async with meshp2p.aio.open_node(capabilities=["summarise"]) as node:

        @node.handler("Query")
        async def answer(message): ...

        reply = await node.query("planner-1", {"question": "what next?"})

The node runs in a thread of its own, so that it stays alive to the others while the loop is blocked. Handlers run in
the loop that the node was opened in. What is cancelled is cancelled in the node too, before the cancellation goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from meshp2p.node.agent_side import Block, IsolatedIterator
from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction
from meshp2p.node.isolated import IsolatedDelegation, IsolatedNode, open_isolated
from meshp2p.node.isolated_map import IsolatedSharedMap
from meshp2p.node.leadership import Lease
from meshp2p.node.outside import Errand
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.thread import Waitable

__all__ = ["Delegation", "Lease", "MeshNode", "NodeIterator", "ReceivedMessage", "SharedMap", "open_node"]

_T = TypeVar("_T")

Delegation = IsolatedDelegation
NodeIterator = IsolatedIterator
SharedMap = IsolatedSharedMap


class MeshNode(IsolatedNode):
    """A running node. Made by :func:`open_node`; to be used in the loop that it was opened in."""


def open_node(
    config: NodeConfig | None = None, *, handlers: Mapping[str, HandlerFunction] | None = None, **options: Any
) -> contextlib.AbstractAsyncContextManager[MeshNode]:
    """Join a mesh: run a node for as long as the block does, and leave properly at its end.

    ``options`` are those of :func:`meshp2p.open_node`. The block begins when the node serves and its id is
    known to be its own. ``handlers`` are added before it begins. It is cancelled where the node fails, and what it
    failed with comes out.

    Raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is started, and
    :class:`~meshp2p.errors.IdConflict`, at any time, where another live node holds this id for longer.
    """
    return open_isolated(config, handlers or {}, options, _AsyncioSide, MeshNode)


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


class _AsyncioSide:
    """The running loop of an agent."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._tasks: dict[Errand[ReceivedMessage], asyncio.Task[None]] = {}
        self._is_ended = False

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

    def start(self, errand: Errand[ReceivedMessage]) -> None:
        _call_soon(self._loop, self._start, errand)

    def _start(self, errand: Errand[ReceivedMessage]) -> None:
        if self._is_ended or errand.is_cancelled:
            return
        task = self._loop.create_task(errand.perform_async(self.wait), context=self._context.copy())
        self._tasks[errand] = task
        task.add_done_callback(lambda _: self._end_errand(errand))

    def _end_errand(self, errand: Errand[ReceivedMessage]) -> None:
        task = self._tasks.pop(errand)
        if task.cancelled() and not errand.is_cancelled and not self._is_ended:
            errand.end(None, RuntimeError("the handler cancelled itself"))

    def cancel(self, errand: Errand[ReceivedMessage]) -> None:
        def cancel() -> None:
            task = self._tasks.get(errand)
            if task is not None:
                task.cancel()

        _call_soon(self._loop, cancel)

    async def end(self) -> None:
        self._is_ended = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def open_block(self) -> Block:
        return cast("Block", _AsyncioBlock(self._loop))


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(function, *arguments)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
