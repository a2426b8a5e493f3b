"""Calls from node to node: one POST with one reply, over connections that are kept."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, Self

import trio

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure, WatchOpened
from meshp2p.core.messages import CallReply, CallRequest, Pong, Probe
from meshp2p.errors import RemoteProtocolError
from meshp2p.net.peer_http import Connect, NoHttp, PeerConnections, connect_tcp
from meshp2p.wire.calls import CALL_PATH, WATCH_PATH
from meshp2p.wire.codec import CALL_BYTES_MAX, Codec

__all__ = ["CallClient"]


_PONG_BYTES_MAX: Final = 4096


class CallClient:
    """The asker's side. An async context manager; a call under way when it ends fails.

    ``connect`` stands for the network, where that is not this machine's.
    """

    def __init__(self, codec: Codec, *, connect: Connect = connect_tcp) -> None:
        self._codec = codec
        self._connections = PeerConnections(connect)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self._connections.close()

    async def call(
        self, addresses: tuple[Address, ...], request: CallRequest, timeout: float
    ) -> CallReply | CallFailed:
        """Call at all of these addresses at the same time; the first reply ends the others.

        Never raises but for cancellation. It failed as ``REFUSED`` only where every address refused.
        """
        body = self._codec.encode(request)
        if len(addresses) == 1:
            return await self._call_one(addresses[0], body, timeout)
        failures: list[CallFailed] = []
        replies: list[CallReply] = []
        async with trio.open_nursery() as nursery:

            async def try_one(address: Address) -> None:
                outcome = await self._call_one(address, body, timeout)
                if isinstance(outcome, CallFailed):
                    failures.append(outcome)
                else:
                    replies.append(outcome)
                    nursery.cancel_scope.cancel()

            for address in addresses:
                nursery.start_soon(try_one, address)
        if replies:
            return replies[0]
        return _worst(failures)

    async def watch(
        self,
        addresses: tuple[Address, ...],
        request: Probe,
        timeout: float,
        opened: Callable[[WatchOpened], None],
    ) -> CallFailed:
        """Connect to all of these addresses at the same time, keep the first that answers until it breaks, and say why
        it did, or why none stood within ``timeout`` seconds. ``opened`` is told when one stands.

        Never raises but for cancellation, which closes it.
        """
        body = self._codec.encode(request)
        failures: list[CallFailed] = []
        others: dict[Address, trio.CancelScope] = {address: trio.CancelScope() for address in addresses}
        kept: trio.CancelScope | None = None

        async with trio.open_nursery() as nursery:

            async def try_one(address: Address, scope: trio.CancelScope) -> None:
                def stands(pong: Pong) -> None:
                    nonlocal kept
                    if kept is not None:
                        return  # both answered at once, and this one is cancelled already
                    kept = scope
                    for other in others.values():
                        if other is not scope:
                            other.cancel()
                    opened(WatchOpened(address, pong))

                with scope:
                    failures.append(await self._watch_one(address, body, timeout, stands))

            for address, scope in others.items():
                nursery.start_soon(try_one, address, scope)
        return _worst(failures)

    async def _watch_one(
        self, address: Address, body: bytes, timeout: float, opened: Callable[[Pong], None]
    ) -> CallFailed:
        begun = bytearray()
        pong: CallReply | None = None
        with trio.move_on_after(timeout) as waiting:
            try:
                connection = await self._connections.open(address)
                try:
                    status = await connection.send(WATCH_PATH, body)
                    if status != 200:
                        return CallFailed(Failure.UNREACHABLE, f"{address}: status {status}")
                    while chunk := await connection.read():
                        if pong is None:
                            begun += chunk
                            pong = self._decode_pong(begun)
                            if isinstance(pong, Pong):
                                waiting.deadline = float("inf")
                                opened(pong)
                        if (pong is not None and not isinstance(pong, Pong)) or len(begun) > _PONG_BYTES_MAX:
                            break
                finally:
                    await connection.close()
            except _FAILURES as error:
                return _failed(address, error)
        if waiting.cancelled_caught:
            return CallFailed(Failure.TIMEOUT, f"{address}: no watch in {timeout:g} s")
        return CallFailed(Failure.UNREACHABLE, f"{address}: it closed the connection")

    def _decode_pong(self, data: bytearray) -> CallReply | None:
        """What a watch connection begins with; None where it is not whole yet."""
        try:
            return self._codec.decode_reply_untrusted(bytes(data))
        except RemoteProtocolError:
            return None

    async def _call_one(self, address: Address, body: bytes, timeout: float) -> CallReply | CallFailed:
        with trio.move_on_after(timeout):
            try:
                status, reply = await self._connections.post(address, CALL_PATH, body, CALL_BYTES_MAX)
                if status != 200:
                    return CallFailed(Failure.UNREACHABLE, f"{address}: status {status}")
                return self._codec.decode_reply_untrusted(reply)
            except RemoteProtocolError as error:
                return CallFailed(Failure.UNREACHABLE, f"{address}: {error}")
            except _FAILURES as error:
                return _failed(address, error)
        return CallFailed(Failure.TIMEOUT, f"{address}: no answer in {timeout:g} s")


_FAILURES = (NoHttp, OSError, ValueError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a call may meet. ``ValueError``: a host that is none."""


def _failed(address: Address, error: Exception) -> CallFailed:
    is_refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
    return CallFailed(Failure.REFUSED if is_refused else Failure.UNREACHABLE, f"{address}: {error}")


def _worst(failures: list[CallFailed]) -> CallFailed:
    """Of several addresses: refused only where all refused."""
    return next((failed for failed in failures if failed.failure is not Failure.REFUSED), failures[0])
