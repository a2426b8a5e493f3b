"""A watch: a call that one node holds open to another, so that it notices at once when the process of that one ends."""

from __future__ import annotations

from collections.abc import Callable

import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Pong
from meshp2p.core.effects import CallFailed, Failure, Watch, WatchOpened
from meshp2p.errors import RemoteProtocolError
from meshp2p.net.open_calls import CallBroken
from meshp2p.net.peer_connection import AskedCall, PeerConnection
from meshp2p.net.peer_query import FindConnection
from meshp2p.wire.peer_frames import CallKind, ResetReason

__all__ = ["hold_watch"]


async def hold_watch(
    watch: Watch,
    body: bytes,
    opened: Callable[[WatchOpened], None],
    find: FindConnection,
    decode_reply: Callable[[PeerConnection, bytes | None], CallReply],
) -> CallFailed:
    """Hold a watch until it breaks. Return why it broke, or why none could be opened in time. ``body`` is its request,
    and ``opened`` is called once, when it is open. If its connection is retired, it moves to another."""
    pong: Pong | None = None
    while True:
        with trio.move_on_after(watch.timeout) as waiting:
            connection = await find(watch.node_id, watch.boot, watch.addresses)
            if isinstance(connection, CallFailed):
                return connection
            asked = connection.open_call(CallKind.WATCH, body)
            try:
                reply = decode_reply(connection, await asked.receive())
                if not isinstance(reply, Pong) or (pong and (reply.id, reply.boot) != (pong.id, pong.boot)):
                    return CallFailed(Failure.UNREACHABLE, f"{connection.host}: another node is there")
                waiting.deadline = float("inf")
                if pong is None:
                    pong = reply
                    opened(WatchOpened(_listening(connection, watch.addresses), pong))
                if await _ended_or_retired(asked):
                    return CallFailed(Failure.UNREACHABLE, f"{connection.host}: it ended the watch")
            except RemoteProtocolError as error:
                return CallFailed(Failure.UNREACHABLE, f"{connection.host}: {error}")
            except CallBroken as broken:
                if broken.reset is not ResetReason.NOT_TAKEN:
                    return CallFailed(Failure.UNREACHABLE, f"{connection.host}: {broken}")
            finally:
                asked.close()
        if waiting.cancelled_caught:
            where = ", ".join(map(str, watch.addresses))
            return CallFailed(Failure.TIMEOUT, f"{where}: no watch in {watch.timeout:g} s")


async def _ended_or_retired(asked: AskedCall) -> bool:
    """Return True when the reply has ended, and False if its connection was retired. Raises :class:`CallBroken`."""
    has_ended = False
    broken: CallBroken | None = None
    async with trio.open_nursery() as nursery:

        async def await_end() -> None:
            nonlocal has_ended, broken
            try:
                while await asked.receive() is not None:
                    pass
                has_ended = True
            except CallBroken as error:
                broken = error
            nursery.cancel_scope.cancel()

        nursery.start_soon(await_end)
        await asked.connection.retired.wait()
        await trio.lowlevel.checkpoint()  # a connection that broke is retired as well
        nursery.cancel_scope.cancel()
    if broken is not None:
        raise broken
    return has_ended


def _listening(connection: PeerConnection, addresses: tuple[Address, ...]) -> Address | None:
    """Return at which of these addresses the other side of a connection listens; None if that is unknown."""
    if connection.address is not None:
        return connection.address
    return next((address for address in addresses if address.host == connection.host), None)
