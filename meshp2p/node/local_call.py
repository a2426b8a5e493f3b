"""A call within one process: what :class:`~meshp2p.net.open_calls.CallOpener` promises, without a network."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

from meshp2p.net.open_calls import OutgoingCall, ServeCall
from meshp2p.node.plain_nursery import open_plain_nursery

__all__ = ["open_local_call"]


class _LocalCall:
    """Both sides of it. A part waits until it is read."""

    def __init__(self, source: str, body: bytes, deadline: float) -> None:
        self.source: str = source
        self.body: bytes = body
        self.deadline: float = deadline
        self._sender, self._receiver = trio.open_memory_channel[bytes](0)

    async def run(self, serve: ServeCall) -> None:
        async with self._sender:
            await serve(self)

    async def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        await self._sender.send(data)

    async def receive_part(self) -> bytes | None:
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            return None


@contextlib.asynccontextmanager
async def open_local_call(serve: ServeCall, source: str, body: bytes, deadline: float) -> AsyncIterator[OutgoingCall]:
    """Let ``serve`` answer. Leaving the block cancels it."""
    call = _LocalCall(source, body, deadline)
    async with open_plain_nursery() as nursery:
        nursery.start_soon(call.run, serve)
        yield call
        nursery.cancel_scope.cancel()
