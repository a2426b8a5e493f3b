"""What an agent outside of the node's thread has of its node: iterators, and the runs of its handlers."""

from __future__ import annotations

import collections
import contextlib
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import trio

from meshp2p.errors import MeshError
from meshp2p.node.handlers import Parameters, name_of
from meshp2p.node.payload import EncodedPayload
from meshp2p.node.received import MessageView, ReceivedMessage
from meshp2p.node.thread import NodeThread, Operation

__all__ = ["Errand", "Feed", "forwarded"]

_T = TypeVar("_T")
_Item_co = TypeVar("_Item_co", covariant=True)
_Message = TypeVar("_Message", bound=MessageView)


class Source(Protocol[_Item_co]):
    """An iterator in the node's thread."""

    async def __anext__(self) -> _Item_co: ...
    def take_nowait(self) -> _Item_co | None: ...


class Feed(Generic[_T]):
    """What comes from an iterator in the node's thread, for one reader outside.

    :meth:`fill` it whenever ``waiting`` is empty. What a cancelled ``fill`` had taken is in ``waiting`` and nothing is
    lost. It is closed when nobody refers to it any more, at the latest. ``ends_with_node``: whoever iterates is done
    when the node has left; what else there should be is cut off then, and that is an error.
    """

    def __init__(
        self,
        thread: NodeThread,
        open_source: Callable[[], tuple[Source[_T], Callable[[], None]]],
        *,
        ends_with_node: bool = True,
    ) -> None:
        def open_and_keep() -> tuple[Source[_T], Callable[[], None]]:
            source, close = open_source()
            return source, thread.keep(source, close)

        self.waiting: collections.deque[_T] = collections.deque()
        self._ends_with_node = ends_with_node
        self._thread = thread
        self._lock = trio.Lock()
        self.close: Callable[[], None]
        self._source, self.close = thread.call(open_and_keep)
        weakref.finalize(self, self.close).atexit = False

    @property
    def is_over(self) -> bool:
        """Whether all is well where the node is closed: not in a child of the process that the node runs in."""
        return self._ends_with_node and not self._thread.is_forked

    def fill(self) -> Operation[bool]:
        """Wait until something is in ``waiting``; False where nothing will be any more."""
        return self._thread.submit(self._fill)

    async def _fill(self) -> bool:
        async with self._lock:  # of several readers the next looks whether the one before left something
            if not self.waiting:
                try:
                    self.waiting.append(await self._source.__anext__())
                except StopAsyncIteration:
                    return False
                while (item := self._source.take_nowait()) is not None:
                    self.waiting.append(item)
            return True


class Errand(Generic[_Message]):
    """One run of a handler, on behalf of the node and at the agent's side, which :meth:`perform` or
    :meth:`perform_async` it, unless ``is_cancelled``, or call :meth:`end`."""

    def __init__(
        self, thread: NodeThread, function: Callable[..., Any], parameters: Parameters, message: _Message
    ) -> None:
        self.message = message
        self._thread = thread
        self._function = function
        self._parameters = parameters
        self._ended = trio.Event()
        self._sender, self._parts = trio.open_memory_channel[EncodedPayload](0)
        self._answer: object = None
        self._error: Exception | None = None

    @property
    def is_cancelled(self) -> bool:
        """The node no longer wants it: see :class:`~meshp2p.node.received.MessageView`."""
        return self.message.is_cancelled

    # In the node's thread

    async def run(self, start: Callable[[Errand[_Message]], None], cancel: Callable[[Errand[_Message]], None]) -> Any:
        """Have it performed and return the answer, or raise what the handler raised. Cancelled, it does not wait for
        the handler to end. ``start`` and ``cancel`` must not wait."""
        start(self)
        try:
            await self._ended.wait()
        finally:
            self._abandon(cancel)
        if self._error is not None:
            raise self._error
        return self._answer

    async def stream(
        self, start: Callable[[Errand[_Message]], None], cancel: Callable[[Errand[_Message]], None]
    ) -> AsyncGenerator[EncodedPayload, None]:
        """The same for a generator: what it yields. It goes on when a part was taken; closed, it is cancelled."""
        start(self)
        try:
            async for part in self._parts:
                yield part
        finally:
            self._parts.close()
            self._abandon(cancel)
        if self._error is not None:
            raise self._error

    def _abandon(self, cancel: Callable[[Errand[_Message]], None]) -> None:
        if not self._ended.is_set():
            self.message.is_cancelled = True
            cancel(self)

    # At the agent's side

    async def perform_async(self, wait: Callable[[Operation[None]], Awaitable[None]]) -> None:
        """``wait`` waits for the end of an operation in the node's thread."""
        answer: object = None
        try:
            arguments = self._parameters.of(self.message)
            if self._parameters.is_stream:
                async with contextlib.aclosing(self._function(*arguments)) as parts:
                    async for part in parts:
                        await wait(self._hand_over(part))
            else:
                answer = await self._function(*arguments)
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self.end(None, error)
        else:
            self.end(answer, None)

    def perform(self) -> None:
        answer: object = None
        try:
            arguments = self._parameters.of(self.message)
            if self._parameters.is_stream:
                with contextlib.closing(self._function(*arguments)) as parts:
                    for part in parts:
                        self._hand_over(part).future.result()
            else:
                answer = self._function(*arguments)
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self.end(None, error)
        else:
            self.end(answer, None)

    def _hand_over(self, part: object) -> Operation[None]:
        """Ends when the part was taken; it fails where nobody takes it any more."""
        payload = EncodedPayload(part)
        return self._thread.submit(lambda: self._sender.send(payload))

    def end(self, answer: object, error: Exception | None) -> None:
        """Say how it ended."""
        try:
            self._answer = None if answer is None else EncodedPayload(answer)
            self._error = error
        except MeshError as refused:
            self._error = refused

        def tell() -> None:
            self._ended.set()
            self._sender.close()

        self._thread.post_quietly(tell)  # where the node is gone a message that is kept is handed out again


def forwarded(
    function: Callable[..., Any],
    parameters: Parameters,
    make: Callable[[ReceivedMessage], Errand[_Message]],
    start: Callable[[Errand[_Message]], None],
    cancel: Callable[[Errand[_Message]], None],
) -> Callable[[ReceivedMessage], Any]:
    """The handler in the node's thread that has ``function`` run at the agent's side."""
    if parameters.is_stream:

        async def stream(message: ReceivedMessage) -> AsyncGenerator[EncodedPayload, None]:
            async with contextlib.aclosing(make(message).stream(start, cancel)) as parts:
                async for part in parts:
                    yield part

        forward: Callable[[ReceivedMessage], Any] = stream
    else:

        async def run(message: ReceivedMessage) -> Any:
            return await make(message).run(start, cancel)

        forward = run
    forward.__qualname__ = name_of(function)
    return forward
