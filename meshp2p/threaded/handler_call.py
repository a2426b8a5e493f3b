"""Handlers that run at the agent's side on behalf of a node in another thread."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol

import trio

from meshp2p.node.handlers import Parameters, name_of
from meshp2p.node.payload import EncodedPayload
from meshp2p.node.received import MessageView, ReceivedMessage
from meshp2p.node.tracing import span_carrier
from meshp2p.threaded.node_thread import NodeThread, Operation

__all__ = ["HandlerCall", "HandlerRunner", "forwarded"]


class HandlerRunner(Protocol):
    """The agent's side, as a call sees it. Both are called in the node's thread, and never wait."""

    def start(self, call: HandlerCall) -> None:
        """Run a handler, soon."""

    def cancel(self, call: HandlerCall) -> None:
        """Cancel what was started."""


class HandlerCall:
    """One run of a handler. Unless it ``is_cancelled``, the agent's side calls :meth:`perform`, :meth:`perform_async`
    or :meth:`end`."""

    def __init__(
        self,
        thread: NodeThread,
        side: HandlerRunner,
        function: Callable[..., Any],
        parameters: Parameters,
        message: MessageView,
    ) -> None:
        self.message: MessageView = message
        self._thread = thread
        self._side = side
        self._function = function
        self._parameters = parameters
        self._ended = trio.Event()
        self._sender, self._parts = trio.open_memory_channel[EncodedPayload](0)
        self._enter_span = span_carrier.get()
        self._answer: object = None
        self._error: Exception | None = None

    @property
    def is_cancelled(self) -> bool:
        """The node no longer wants it: see :class:`~meshp2p.node.received.MessageView`."""
        return self.message.is_cancelled

    # In the node's thread

    async def run(self) -> Any:
        """Have it performed and return the answer, or raise what the handler raised. If this is cancelled, it does not
        wait for the handler to end."""
        self._side.start(self)
        try:
            await self._ended.wait()
        finally:
            self._abandon()
        if self._error is not None:
            raise self._error
        return self._answer

    async def stream(self) -> AsyncGenerator[EncodedPayload, None]:
        """The same for a generator: what it yields. The generator goes on when a part was taken. Closing this cancels
        it."""
        self._side.start(self)
        try:
            async for part in self._parts:
                yield part
        finally:
            self._parts.close()
            self._abandon()
        if self._error is not None:
            raise self._error

    def _abandon(self) -> None:
        if not self._ended.is_set():
            self.message.is_cancelled = True
            self._side.cancel(self)

    # At the agent's side

    async def perform_async(self, wait: Callable[[Future[None], Callable[[], None]], Awaitable[None]]) -> None:
        """``wait`` is that of the agent's side."""
        with self._enter_span(), self._reporting():
            arguments = self._parameters.of(self.message)
            if not self._parameters.is_stream:
                self.end(await self._function(*arguments))
                return
            async with contextlib.aclosing(self._function(*arguments)) as parts:
                async for part in parts:
                    handed = self._hand_over(part)
                    await wait(handed.future, handed.cancel)
            self.end()

    def perform(self) -> None:
        with self._enter_span(), self._reporting():
            arguments = self._parameters.of(self.message)
            if not self._parameters.is_stream:
                self.end(self._function(*arguments))
                return
            with contextlib.closing(self._function(*arguments)) as parts:
                for part in parts:
                    self._hand_over(part).future.result()
            self.end()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """An exception of the handler, or of its answer's encoding, is its end."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it becomes the answer
            self.end(error=error)

    def _hand_over(self, part: object) -> Operation[None]:
        """Ends when the part was taken; fails if nobody takes parts any more."""
        payload = EncodedPayload(part)
        return self._thread.submit(lambda: self._sender.send(payload))

    def end(self, answer: object = None, error: Exception | None = None) -> None:
        """Say how it ended. Raises what encoding the answer raises; then nothing was said."""
        self._answer = None if answer is None else EncodedPayload(answer)
        self._error = error

        def tell() -> None:
            self._ended.set()
            self._sender.close()

        self._thread.post_quietly(tell)  # if the node is gone, a message that is kept is handed out again


def forwarded(
    function: Callable[..., Any],
    parameters: Parameters,
    make: Callable[[ReceivedMessage], HandlerCall],
) -> Callable[[ReceivedMessage], Any]:
    """The handler in the node's thread that has ``function`` run at the agent's side."""
    if parameters.is_stream:

        async def stream(message: ReceivedMessage) -> AsyncGenerator[EncodedPayload, None]:
            async with contextlib.aclosing(make(message).stream()) as parts:
                async for part in parts:
                    yield part

        forward: Callable[[ReceivedMessage], Any] = stream
    else:

        async def run(message: ReceivedMessage) -> Any:
            return await make(message).run()

        forward = run
    forward.__qualname__ = name_of(function)
    return forward
