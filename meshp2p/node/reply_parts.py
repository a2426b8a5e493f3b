"""The parts of an answer, for whoever iterates over them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from meshp2p.errors import NodeClosed

__all__ = ["ReplyTexts"]

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
    """The parts of an answer as JSON text. A part is asked for when the one before was taken. It is to be closed: then
    the agent that answers is cancelled."""

    def __init__(self, nursery: trio.Nursery | None, produce: Produce) -> None:
        self._pump = _Pump(produce)
        if nursery is None:
            self._pump.parts.close()
        else:
            nursery.start_soon(self._pump.run)

    async def __anext__(self) -> bytes:
        pump = self._pump
        try:
            return await pump.parts.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            failure, pump.failure = pump.failure, None
            if failure is not None:
                raise failure from None
            raise StopAsyncIteration from None

    def receive_nowait(self) -> None:
        """Return None. A part arrives only when it is waited for, so that the agent that answers is not ahead of the
        reader."""

    def close(self) -> None:
        """Stop receiving parts. Does nothing if the answer is complete."""
        self._pump.failure = None
        self._pump.scope.cancel()
