"""The parts of an answer, for whoever iterates over them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Self

import trio

from meshp2p.errors import NodeClosed
from meshp2p.node.payload import decode_payload

__all__ = ["ReplyParts", "ReplyTexts"]

Produce = Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
"""Asks, and hands each part to the function that it is given, which waits until the part is taken."""


class _Pump:
    """The task that asks on behalf of an iterator. It lives on in the node's nursery until the reader is done."""

    def __init__(self, produce: Produce) -> None:
        self.scope = trio.CancelScope()
        self.failure: Exception | None = NodeClosed("the node has left the mesh, and the answer is not complete")
        self._produce = produce
        self._sender, self.parts = trio.open_memory_channel[bytes](0)

    async def run(self) -> None:
        with self._sender:
            try:
                with self.scope:
                    await self._produce(self._sender.send)
                self.failure = None
            except Exception as error:  # noqa: BLE001 - it is the reader's
                self.failure = error


class ReplyTexts:
    """An asynchronous iterator of the parts of an answer, as JSON text.

    A part is asked for when the one before was taken. :meth:`close` it, leave its ``async with``, or forget it, when it
    is no longer read: then the agent that answers is cancelled.
    """

    def __init__(self, nursery: trio.Nursery | None, produce: Produce) -> None:
        self._pump = pump = _Pump(produce)
        token = trio.lowlevel.current_trio_token()

        def forget() -> None:  # perhaps in another thread
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(pump.scope.cancel)

        weakref.finalize(self, forget).atexit = False
        if nursery is None:
            pump.parts.close()
        else:
            nursery.start_soon(pump.run)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        pump = self._pump
        try:
            return await pump.parts.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            failure, pump.failure = pump.failure, None
            if failure is not None:
                raise failure from None
            raise StopAsyncIteration from None

    def take_nowait(self) -> None:
        """None: a part comes only when it is waited for, so that the agent that answers is not ahead of the reader."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No further part comes. Nothing where the answer is complete."""
        self._pump.failure = None
        self._pump.scope.cancel()


class ReplyParts(ReplyTexts):
    """An asynchronous iterator of the parts of an answer: tokens, steps, whatever a handler yields. The last one is the
    answer.

    A part is asked for when the one before was taken, so a slow reader slows the agent that answers. :meth:`close` it,
    leave its ``async with``, or forget it, when it is no longer read: then that agent is cancelled.
    """

    async def __anext__(self) -> Any:
        return decode_payload(await super().__anext__())
