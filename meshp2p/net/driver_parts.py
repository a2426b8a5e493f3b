"""The interfaces to the network that a driver uses, an answer that a task waits for, and the counters of a driver."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.effects import Call, CallFailed, Failure, Watch, WatchOpened
from meshp2p.errors import InternalError, MeshError, Refusal

__all__ = ["DELAY_BOUNDS", "Caller", "Conclude", "Datagrams", "DriverStats", "PendingAnswer"]

DELAY_BOUNDS: Final = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Seconds. Chosen, not measured."""


class Datagrams(Protocol):
    """A socket for packets. ``send_errors`` counts those that could not be sent."""

    send_errors: int

    async def wait_readable(self) -> None: ...
    def receive_nowait(self) -> tuple[bytes, Address] | None: ...
    def send_nowait(self, data: bytes, address: Address) -> None: ...
    def close(self) -> None: ...


Conclude = Callable[[CallReply | CallFailed | Call], object]
"""Gets the outcome of a call, once. A :class:`Call` is to be made in its place, with the time that is left."""


class Caller(Protocol):
    """Performs calls."""

    def begin(self, call: Call, conclude: Conclude, /) -> bool:
        """Make a call if that needs no waiting. Return whether it was made."""

    async def call(self, call: Call) -> CallReply | CallFailed: ...
    async def watch(self, watch: Watch, opened: Callable[[WatchOpened], None]) -> CallFailed: ...


class PendingAnswer:
    """The answer to one request or call: a reply, or the error of a request that is refused."""

    __slots__ = ("_done", "_error", "reply", "ticket")

    def __init__(self, ticket: int) -> None:
        self.ticket: int = ticket
        self.reply: CallReply | None = None
        self._error: MeshError | None = None
        self._done = trio.Event()

    def set(self, reply: CallReply) -> None:
        """Set the reply. Only the first one counts."""
        self.reply = self.reply or reply
        self._done.set()

    def refuse(self, error: MeshError) -> None:
        self._error = error
        self._done.set()

    async def wait(self) -> CallReply:
        """Return the reply, or raise the error."""
        await self._done.wait()
        if self.reply is None:
            raise self._error or InternalError("a request was neither answered nor refused")
        return self.reply


class DriverStats(msgspec.Struct):
    """Counters since the start. ``refused`` counts, by reason, data that was no message of this mesh."""

    datagrams_received: int = 0
    datagrams_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    datagrams_unsealed: int = 0
    """Datagrams that were not sent, because the key of the receiver is not known."""
    calls_made: int = 0
    failures: dict[Failure, int] = msgspec.field(default_factory=lambda: dict.fromkeys(Failure, 0))
    calls_succeeded: int = 0
    calls_answered: int = 0
    stores: int = 0
    stores_failed: int = 0
    transactions: int = 0
    """How many transactions wrote the successful stores. Waiting stores are written together."""
    refused: dict[Refusal, int] = msgspec.field(default_factory=dict)
    delays: list[int] = msgspec.field(default_factory=lambda: [0] * (len(DELAY_BOUNDS) + 1))
    """How many timers ran so late, by :data:`DELAY_BOUNDS`; the last are those that were later than all bounds."""
    delay_seconds: float = 0.0
    """The sum of these delays."""

    @property
    def calls_failed(self) -> int:
        return sum(self.failures.values())

    def count_delay(self, seconds: float) -> None:
        self.delays[bisect.bisect_left(DELAY_BOUNDS, seconds)] += 1
        self.delay_seconds += seconds

    def count_refused(self, reason: Refusal) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
