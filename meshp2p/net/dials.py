"""Dialling: one attempt for each address at a time, shared by all tasks that need it."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

import trio

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.net.peer_connection import PeerConnection

__all__ = ["Connect", "Dialer"]

Connect = Callable[[Address], Awaitable[trio.abc.Stream]]


class _Dial:
    """One attempt. It is cancelled if no task waits for it any more."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.waiting = 0
        self.done = trio.Event()
        self.outcome: PeerConnection | CallFailed = CallFailed(Failure.UNREACHABLE, "cancelled")


class Dialer:
    """Dials addresses. ``connect`` opens a stream. ``begin(stream, address)`` makes a connection of it and runs it, or
    returns None if this node is closed. ``start`` runs a function in a task, and returns whether it could."""

    def __init__(
        self,
        connect: Connect,
        begin: Callable[[trio.abc.Stream, Address], PeerConnection | None],
        start: Callable[..., bool],
    ) -> None:
        self._connect = connect
        self._begin = begin
        self._start = start
        self._dials: dict[Address, _Dial] = {}

    async def dial(self, addresses: tuple[Address, ...]) -> PeerConnection | CallFailed:
        """Return a new connection to the first of these addresses at which a node answers. The failure is ``REFUSED``
        only if all addresses refused."""
        if len(addresses) == 1:
            return await self._dial_one(addresses[0])
        outcomes: list[PeerConnection | CallFailed] = []
        async with trio.open_nursery() as nursery:

            async def try_one(address: Address) -> None:
                outcome = await self._dial_one(address)
                outcomes.append(outcome)
                if isinstance(outcome, PeerConnection):
                    nursery.cancel_scope.cancel()

            for address in addresses:
                nursery.start_soon(try_one, address)
        failures = [outcome for outcome in outcomes if isinstance(outcome, CallFailed)]
        opened = next((outcome for outcome in outcomes if isinstance(outcome, PeerConnection)), None)
        return opened or _worst(failures)

    async def _dial_one(self, address: Address) -> PeerConnection | CallFailed:
        dial = self._dials.get(address)
        if dial is None or dial.scope.cancel_called:
            dial = _Dial()
            if not self._start(self._perform, address, dial):
                return CallFailed(Failure.UNREACHABLE, "this node is closed")
            self._dials[address] = dial
        dial.waiting += 1
        try:
            await dial.done.wait()
        finally:
            dial.waiting -= 1
            if not dial.waiting:
                dial.scope.cancel()
        return dial.outcome

    async def _perform(self, address: Address, dial: _Dial) -> None:
        try:
            with dial.scope:
                dial.outcome = await self._open(address)
        finally:
            if self._dials.get(address) is dial:
                del self._dials[address]
            dial.done.set()

    async def _open(self, address: Address) -> PeerConnection | CallFailed:
        try:
            stream = await self._connect(address)
        except (OSError, ValueError) as error:  # ValueError: a host that is none
            is_refused = isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
            return CallFailed(Failure.REFUSED if is_refused else Failure.UNREACHABLE, f"{address}: {error}")
        connection = self._begin(stream, address)
        if connection is None:
            await trio.aclose_forcefully(stream)
            return CallFailed(Failure.UNREACHABLE, "this node is closed")
        try:
            await connection.has_hello.wait()
        except trio.Cancelled:
            connection.close("nobody waits for it any more")
            raise
        if connection.peer is None:
            return CallFailed(Failure.UNREACHABLE, f"{address}: {connection.why_closed}")
        return connection


def _worst(failures: list[CallFailed]) -> CallFailed:
    """Combine the failures of several addresses: refused only if all refused."""
    return next((failed for failed in failures if failed.failure is not Failure.REFUSED), failures[0])
