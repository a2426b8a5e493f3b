"""The calls that the machine of a node makes to other nodes.

A call on an open connection needs no task: its frame is sent at once, and the task that reads the connection hands over
the reply. A call that must connect first, or that is made again on another connection, runs in a task of its caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from meshp2p.core.calls import CallReply
from meshp2p.core.effects import Call, CallFailed, Failure
from meshp2p.errors import RemoteProtocolError
from meshp2p.net.driver_parts import Conclude
from meshp2p.net.open_calls import CallBroken
from meshp2p.net.peer_connection import PeerConnection
from meshp2p.net.peer_query import FindConnection, FindOpen
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_frames import CallKind, ResetReason

__all__ = ["NodeCalls"]

_ATTEMPTS: Final = 3

_PAUSE: Final = 0.01
"""How many seconds pass between two looks for calls whose time is over: each look is at all of them. Chosen, not
measured."""

_ReadReply = Callable[[PeerConnection, bytes | None, str], CallReply]
"""Decodes the reply to a call with this target. Raises :class:`RemoteProtocolError`."""


class NodeCalls:
    """Makes calls. :meth:`run` must be running, so that those without a task end in time."""

    def __init__(self, codec: Codec, find_open: FindOpen, find: FindConnection, read_reply: _ReadReply) -> None:
        self._codec = codec
        self._find_open = find_open
        self._find = find
        self._read_reply = read_reply
        self._begun: dict[_Attempt, Conclude] = {}
        """The calls without a task."""
        self._sleep = trio.CancelScope()

    async def run(self) -> None:
        """End the calls without a task that have no answer in time, until cancelled."""
        now = -math.inf
        while True:
            earliest = min((attempt.deadline for attempt in self._begun), default=math.inf)
            with trio.CancelScope(deadline=max(earliest, now + _PAUSE)) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            for attempt in [attempt for attempt in self._begun if attempt.deadline <= now]:
                self._conclude(attempt, attempt.time_out())

    def begin(self, call: Call, conclude: Conclude) -> bool:
        """Make a call on an open connection. Return False if there is none; then nothing was done."""
        connection = self._find_open(call.node_id, call.boot, call.addresses)
        if connection is None:
            return False
        attempt = self._attempt(call, connection)
        attempt.asked.on_news = lambda: self._conclude(attempt, attempt.read())
        self._begun[attempt] = conclude
        if (deadline := attempt.deadline) < self._sleep.deadline:
            self._sleep.deadline = deadline
        return True

    def _conclude(self, attempt: _Attempt, outcome: CallReply | CallFailed | Call) -> None:
        attempt.asked.on_news = None  # or only the garbage collector would find both
        self._begun.pop(attempt)(outcome)

    async def call(self, call: Call) -> CallReply | CallFailed:
        """Make a call, connecting first if necessary. Raises only ``trio.Cancelled``."""
        attempt: _Attempt | None = None
        with trio.move_on_after(call.timeout):
            for _ in range(_ATTEMPTS):
                connection = await self._find(call.node_id, call.boot, call.addresses)
                if isinstance(connection, CallFailed):
                    return connection
                attempt = self._attempt(call, connection)
                outcome = await attempt.wait()
                if not isinstance(outcome, Call):
                    return outcome
        return _timed_out(call) if attempt is None else attempt.time_out()

    def _attempt(self, call: Call, connection: PeerConnection) -> _Attempt:
        return _Attempt(call, connection, self._codec.encode(call.request), self._read_reply)


class _Attempt:
    """A call on one connection."""

    def __init__(self, call: Call, connection: PeerConnection, body: bytes, read_reply: _ReadReply) -> None:
        self._call = call
        self._connection = connection
        self._read_reply = read_reply
        self._began = trio.current_time()
        self._was_used = connection.has_been_used
        self.deadline: float = self._began + call.timeout
        self.asked = connection.open_call(CallKind.MESSAGE, body, seconds=call.timeout, target=call.target)

    async def wait(self) -> CallReply | CallFailed | Call:
        """Return what :meth:`read` returns once there is something to read. Cancelling this cancels the call."""
        news = trio.Event()
        self.asked.on_news = news.set
        try:
            await news.wait()
        except trio.Cancelled:  # there may be news all the same, which nobody reads
            self.asked.close()
            raise
        return self.read()

    def read(self) -> CallReply | CallFailed | Call:
        """Return the outcome. What nodes ask of one another may be asked twice: a call is to be made again if it was
        not served, or if the connection broke that may have been broken before."""
        try:
            return self._read_reply(self._connection, self.asked.receive_nowait(), self._call.target)
        except (CallBroken, RemoteProtocolError) as error:
            is_stale = isinstance(error, CallBroken) and error.reset is None and self._was_used
            if is_stale or (isinstance(error, CallBroken) and error.reset is ResetReason.NOT_TAKEN):
                return msgspec.structs.replace(self._call, timeout=max(0.0, self.deadline - trio.current_time()))
            return CallFailed(Failure.UNREACHABLE, f"{self._connection.host}: {error}")
        finally:
            self.asked.close()

    def time_out(self) -> CallFailed:
        """End the call without an answer."""
        self.asked.close()
        self._connection.note_silence(self._began)
        return _timed_out(self._call)


def _timed_out(call: Call) -> CallFailed:
    where = ", ".join(map(str, call.addresses)) or call.node_id
    return CallFailed(Failure.TIMEOUT, f"{where}: no answer in {call.timeout:g} s")
