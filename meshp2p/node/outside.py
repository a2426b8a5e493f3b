"""What an agent outside of the node's thread has of its node: iterators, and the runs of its handlers."""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import trio

from meshp2p.errors import MeshError
from meshp2p.node.handlers import Parameters
from meshp2p.node.received import MessageView, encode_payload
from meshp2p.node.thread import NodeThread, Operation

__all__ = ["Errand", "Feed", "encoded"]

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
    lost. It is closed when nobody refers to it any more, at the latest.
    """

    def __init__(self, thread: NodeThread, open_source: Callable[[], tuple[Source[_T], Callable[[], None]]]) -> None:
        def open_and_keep() -> tuple[Source[_T], Callable[[], None]]:
            source, close = open_source()
            return source, thread.keep(source, close)

        self.waiting: collections.deque[_T] = collections.deque()
        self._thread = thread
        self._lock = trio.Lock()
        self.close: Callable[[], None]
        self._source, self.close = thread.call(open_and_keep)
        weakref.finalize(self, self.close).atexit = False

    @property
    def is_forked(self) -> bool:
        """Whether this is a child of the process that the node runs in."""
        return self._thread.is_forked

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
        self.is_cancelled: bool = False
        """The node no longer wants it: its time is over, the task was withdrawn, or the node leaves."""
        self._thread = thread
        self._function = function
        self._parameters = parameters
        self._ended = trio.Event()
        self._answer: object = None
        self._error: Exception | None = None

    # In the node's thread

    async def run(self, start: Callable[[Errand[_Message]], None], cancel: Callable[[Errand[_Message]], None]) -> Any:
        """Have it performed and return the answer, or raise what the handler raised. Cancelled, it does not wait for
        the handler to end. ``start`` and ``cancel`` must not wait."""
        start(self)
        try:
            await self._ended.wait()
        finally:
            if not self._ended.is_set():
                self.is_cancelled = True
                cancel(self)
        if self._error is not None:
            raise self._error
        return self._answer

    # At the agent's side

    async def perform_async(self) -> None:
        try:
            answer = await self._function(*self._parameters.of(self.message))
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self.end(None, error)
        else:
            self.end(answer, None)

    def perform(self) -> None:
        try:
            answer = self._function(*self._parameters.of(self.message))
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self.end(None, error)
        else:
            self.end(answer, None)

    def end(self, answer: object, error: Exception | None) -> None:
        """Say how it ended."""
        self._answer = None if answer is None else _encoded_if_possible(answer)
        self._error = error
        self._thread.post_quietly(self._ended.set)  # where the node is gone the message is handed out again


def encoded(payload: object) -> msgspec.Raw:
    """The payload as JSON: what the agent goes on changing is not looked at in the node's thread. Raises what
    :func:`~meshp2p.node.received.encode_payload` raises."""
    return msgspec.Raw(encode_payload(payload))


def _encoded_if_possible(answer: object) -> object:
    try:
        return encoded(answer)
    except MeshError:
        return answer  # refused by the node, which answers as it does to all such
