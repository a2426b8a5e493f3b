"""Opening a node in an agent's trio program."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, cast, overload

import trio

from meshp2p.errors import ConfigError
from meshp2p.node.agent_side import Block
from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction, check_handlers
from meshp2p.node.isolated import IsolatedNode, open_isolated
from meshp2p.node.mesh_node import MeshNode
from meshp2p.node.outside import Errand
from meshp2p.node.plain_nursery import open_plain_nursery
from meshp2p.node.platform import SystemPlatform
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.runner import open_node_on
from meshp2p.node.settings import choose_config
from meshp2p.node.thread import Waitable

__all__ = ["node_opener", "open_node"]

_T = TypeVar("_T")

node_opener: Final[ContextVar[Callable[[NodeConfig], contextlib.AbstractAsyncContextManager[MeshNode]] | None]] = (
    ContextVar("meshp2p.node_opener", default=None)
)
"""What opens the nodes of :func:`open_node` in this context: a hook for :mod:`meshp2p.testing`, so that an agent's own
code can run on a virtual network. None: they are opened on this machine."""


@overload
def open_node(
    config: NodeConfig | None = None,
    *,
    isolation: None = None,
    handlers: Mapping[str, HandlerFunction] | None = None,
    **options: Any,
) -> contextlib.AbstractAsyncContextManager[MeshNode]: ...
@overload
def open_node(
    config: NodeConfig | None = None,
    *,
    isolation: Literal["thread"],
    handlers: Mapping[str, HandlerFunction] | None = None,
    **options: Any,
) -> contextlib.AbstractAsyncContextManager[IsolatedNode]: ...


def open_node(
    config: NodeConfig | None = None,
    *,
    isolation: Literal["thread"] | None = None,
    handlers: Mapping[str, HandlerFunction] | None = None,
    **options: Any,
) -> contextlib.AbstractAsyncContextManager[Any]:
    """Join a mesh: run a node for as long as the block does, and leave properly at its end.

    ``options`` are the fields of :class:`NodeConfig`, and ``preset``. A ``config`` is complete; without one, what the
    options leave out is what :func:`~meshp2p.node.settings.load_config` finds in the environment. The block begins when
    the node serves and its id is known to be its own, which takes until it met a peer, or ``settle_timeout`` where
    there is none. ``handlers`` are added before it begins, one for each kind, so that no query comes before them.

    The node runs in the agent's own trio loop, and is silent while that is blocked. With ``isolation="thread"`` it runs
    in a thread of its own, and stays alive to the others: the page on embedding says what is promised. On the virtual
    network of :mod:`meshp2p.testing`, where nothing blocks, ``isolation`` changes nothing.

    Raises :class:`~meshp2p.errors.ConfigError` and :class:`~meshp2p.errors.StartError` before anything is started, and
    :class:`~meshp2p.errors.IdConflict`, at any time, where another live node holds this id for longer.
    """
    return _open(config, isolation, handlers or {}, options)


@contextlib.asynccontextmanager
async def _open(
    config: NodeConfig | None, isolation: str | None, handlers: Mapping[str, HandlerFunction], options: dict[str, Any]
) -> AsyncIterator[Any]:
    if isolation not in (None, "thread"):
        raise ConfigError(f"isolation = {isolation!r}: expected None or 'thread'")
    opener = node_opener.get()
    if opener is None and isolation == "thread":
        async with (
            open_plain_nursery() as nursery,
            open_isolated(config, handlers, options, lambda: _TrioSide(nursery), IsolatedNode) as isolated,
        ):
            yield isolated
        return
    check_handlers(handlers)
    chosen = choose_config(config, options, None if opener is None else {})  # a virtual machine has no environment
    async with open_node_on(SystemPlatform(), chosen) if opener is None else opener(chosen) as node:
        for kind, function in handlers.items():
            node.handler(kind)(function)
        yield node


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


class _TrioSide:
    """The loop of an agent on trio. Its handlers run in ``nursery``."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()
        self._running: dict[Errand[ReceivedMessage], trio.CancelScope] = {}

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

    def start(self, errand: Errand[ReceivedMessage]) -> None:
        self._post(lambda: self._start(errand))

    def _start(self, errand: Errand[ReceivedMessage]) -> None:
        self._running[errand] = trio.CancelScope()
        with contextlib.suppress(RuntimeError):  # the block has just ended
            self._nursery.start_soon(self._perform, errand)

    async def _perform(self, errand: Errand[ReceivedMessage]) -> None:
        with self._running[errand]:
            await errand.perform_async(self.wait)
        del self._running[errand]

    def cancel(self, errand: Errand[ReceivedMessage]) -> None:
        def cancel() -> None:
            scope = self._running.get(errand)
            if scope is not None:
                scope.cancel()

        self._post(cancel)

    def _post(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    async def end(self) -> None:
        self._nursery.cancel_scope.cancel()  # which waits for them

    def open_block(self) -> Block:
        return cast("Block", _TrioBlock(self._token))
