"""A node in a thread of its own, so that an agent that blocks stays alive to the others.

The thread runs trio. What the agent wants done is an :class:`Operation`: it runs in the node's thread, and its end is a
:class:`concurrent.futures.Future`, which any thread or loop can wait for. Nothing of the agent's ever runs in the
node's thread, but for the merge functions of shared maps.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import trio

from meshp2p.errors import NodeClosed
from meshp2p.node.config import NodeConfig
from meshp2p.node.local_node import LocalNode
from meshp2p.node.platform import SystemPlatform
from meshp2p.node.runner import open_node_on

__all__ = ["Hold", "NodeThread", "Operation"]

_log = logging.getLogger("meshp2p.node")

_T = TypeVar("_T")

EXIT_TIMEOUT: Final = 3.0
"""Seconds that the interpreter's exit waits for nodes that nobody closed to leave the mesh. Chosen, not measured."""


class Operation(Generic[_T]):
    """An asynchronous function that runs in the node's thread.

    ``future`` is done when the function has ended. If it was cancelled, the future raises
    :class:`concurrent.futures.CancelledError`.
    """

    def __init__(self, thread: NodeThread, function: Callable[[], Awaitable[_T]]) -> None:
        self.future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self._thread = thread
        self._function = function
        self._scope = trio.CancelScope()

    def cancel(self) -> None:
        """Ask for its end. Nothing happens if it has ended."""
        self._thread.post_quietly(self._scope.cancel)

    async def run(self) -> None:
        """Called in the node's thread. It raises only what ends the node; then the thread ends the future."""
        try:
            with self._scope:
                self.future.set_result(await self._function())
        except Exception as error:  # noqa: BLE001 - it is the caller's
            self.future.set_exception(_plain(error))
        if not self.future.done() and self._scope.cancelled_caught:
            self.future.set_exception(concurrent.futures.CancelledError())


class Hold(Generic[_T]):
    """An asynchronous context manager that is entered in the node's thread and left there, once it is released."""

    def __init__(self, thread: NodeThread, make: Callable[[], contextlib.AbstractAsyncContextManager[_T]]) -> None:
        self.future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        """The value of the context manager, when it was entered."""
        self._thread = thread
        self._make = make
        self._released = trio.Event()
        self.block: Operation[None] = thread.submit(self._run)
        """Ends when the context manager was left: released, or by itself."""
        self.block.future.add_done_callback(self._end)

    async def _run(self) -> None:
        async with self._make() as given:
            self.future.set_result(given)
            await self._released.wait()

    def _end(self, block: concurrent.futures.Future[None]) -> None:
        if not self.future.done():
            self.future.set_exception(block.exception() or concurrent.futures.CancelledError())

    def cancel(self) -> None:
        self.block.cancel()

    def release(self) -> None:
        """Leave the context manager; ``block`` ends when that is done."""
        self._thread.post_quietly(self._released.set)


class NodeThread:
    """One node and its thread, a daemon: it does not hold up an agent that ends without closing its node.

    :meth:`start` it, wait for ``opened``, and :meth:`stop` it, whatever came of it; ``ended`` is done when the node has
    left and the thread is gone. What the node failed with is raised by each call from then on.
    """

    def __init__(self, config: NodeConfig) -> None:
        self.opened: concurrent.futures.Future[LocalNode] = concurrent.futures.Future()
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.failure: BaseException | None = None
        """The error with which the node failed, or None."""
        self._config = config
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="meshp2p-node", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._token_came = threading.Event()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._unended: dict[Operation[Any], None] = {}
        self._kept: dict[int, tuple[Any, Callable[[], None]]] = {}

    def start(self) -> None:
        _running[self] = None
        self._thread.start()

    def stop(self) -> None:
        """Let the node leave. Nothing happens if it has left, or in a forked child."""
        self.post_quietly(self._scope.cancel)

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that the node runs in."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise what the node failed with, or :class:`~meshp2p.errors.NodeClosed` if it has left or runs in another
        process."""
        if self.is_forked:
            raise NodeClosed(
                f"the node runs in process {self._pid}, and this one is a fork of it: open another node here"
            )
        if self.ended.done():
            raise self._reason()

    @property
    def is_current(self) -> bool:
        """Whether the caller is in the node's thread, where a wait for the node would never end."""
        return threading.current_thread() is self._thread

    def post(self, function: Callable[[], object]) -> None:
        """Run a function in the node's thread, soon; from any thread. Raises what :meth:`check` raises."""
        self.check()
        self._token_came.wait()  # the thread may just have been started
        try:
            if self._token is not None:
                self._token.run_sync_soon(function)
                return
        except trio.RunFinishedError:
            pass
        self.ended.result()
        self.check()

    def post_quietly(self, function: Callable[[], object]) -> None:
        """The same, but nothing happens if the thread is gone."""
        with contextlib.suppress(Exception):
            self.post(function)

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a function in the node's thread, which takes a moment, and return what it returns."""
        if self.is_current:
            return function()
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)

        self.post(run)
        return future.result()

    def submit(self, function: Callable[[], Awaitable[_T]]) -> Operation[_T]:
        """Start an operation. Raises what :meth:`check` raises."""
        operation = Operation(self, function)
        self.post(lambda: self._begin(operation))
        return operation

    def keep(self, thing: Any, dispose: Callable[[], None]) -> Callable[[], None]:
        """Called in the node's thread: keep something of the node's for the agent's side. What is returned disposes of
        it, from any thread, as often as one likes, and from a finalizer too."""
        self._kept[id(thing)] = (thing, dispose)

        def drop() -> None:
            kept = self._kept.pop(id(thing), None)
            if kept is not None:
                try:
                    kept[1]()
                except Exception:  # noqa: BLE001 - posted functions must not raise
                    _log.exception("closing %r", thing)

        return lambda: self.post_quietly(drop)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _reason(self) -> BaseException:
        if self.failure is not None:
            return self.failure.with_traceback(None)
        return NodeClosed("the node has left the mesh: open a new one")

    # In the node's thread

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - there is nobody above to hear of it
            failure = _plain(error)
        self.failure = failure
        _running.pop(self, None)
        for operation in list(self._unended):
            operation.future.set_exception(self._reason())
        if not self.opened.done():
            self.opened.set_exception(self._reason())
        self.ended.set_result(None)
        self._token_came.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._token_came.set()
        with self._scope:
            async with open_node_on(SystemPlatform(), self._config) as node:
                try:
                    async with trio.open_nursery() as self._nursery:
                        self.opened.set_result(node)
                        await trio.sleep_forever()
                finally:
                    self._nursery = None

    def _begin(self, operation: Operation[Any]) -> None:
        self._unended[operation] = None
        if self._nursery is not None:
            with contextlib.suppress(RuntimeError):  # it has just closed, and the operation ends with the thread
                self._nursery.start_soon(self._see_through, operation)

    async def _see_through(self, operation: Operation[Any]) -> None:
        await operation.run()
        del self._unended[operation]  # nothing here refers to it any more, so that a forgotten iterator is closed


def _plain(error: Any) -> Any:
    """The error in a group of one: such groups come from our own nurseries."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


_running: Final[dict[NodeThread, None]] = {}


@atexit.register
def _leave_at_exit() -> None:
    """Let nodes that nobody closed leave the mesh, for ``EXIT_TIMEOUT`` seconds at most."""
    left = [thread for thread in list(_running) if not thread.is_forked]
    deadline = time.monotonic() + EXIT_TIMEOUT
    for thread in left:
        thread.stop()
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
