"""Calls between nodes that carry opaque bytes and are answered in parts. Queries use them.

The asker opens a call and reads the parts of its reply until the end. The target serves the call with a coroutine,
which sends the parts. The transport never reads the bytes. Nothing is stored or repeated: a call is served at most
once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from meshp2p.wire.peer_frames import ResetReason

__all__ = ["CallBroken", "CallOpener", "IncomingCall", "OutgoingCall", "ServeCall"]


class CallBroken(Exception):
    """A call ended before the end of its reply. ``is_unseen``: the target has not seen it. ``reset``: the other side
    ended it; otherwise the connection broke."""

    def __init__(self, message: str, *, is_unseen: bool = False, reset: ResetReason | None = None) -> None:
        super().__init__(message)
        self.is_unseen: bool = is_unseen
        self.reset: ResetReason | None = reset


class OutgoingCall(Protocol):
    """The asker's side of an open call."""

    async def receive_part(self) -> bytes | None:
        """Return the next part of the reply, or None at its end.

        Raises :class:`~meshp2p.errors.ConnectionLost` if the connection broke or the deadline of the call passed (then
        it is unknown whether the target acted), and :class:`~meshp2p.errors.Unreachable` if the call never reached the
        target. Cancel-safe: no part is lost.
        """


class IncomingCall(Protocol):
    """The target's side of an open call."""

    @property
    def source(self) -> str:
        """The id of the node that asks."""

    @property
    def body(self) -> bytes: ...

    @property
    def deadline(self) -> float:
        """The deadline of the asker, on trio's clock."""

    async def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """Send one part of the reply, at most ``PART_BYTES_MAX`` bytes. Waits while the asker has not read enough of
        the parts before. Not cancel-safe: after a cancellation the reply cannot go on. With ``is_last`` the reply ends,
        which takes no frame of its own then."""


ServeCall = Callable[[IncomingCall], Awaitable[None]]
"""Serves one call; the reply ends when it returns. It is cancelled when the asker cancels the call, when the deadline
passes, or when the asker has been unreachable for 5 s. An exception that it raises ends the reply as lost and is
logged."""


class CallOpener(Protocol):
    """Opens calls to other nodes."""

    def open_call(self, node_id: str, body: bytes, deadline: float) -> AbstractAsyncContextManager[OutgoingCall]:
        """Open a call to a listed node, directly or through a relay. ``deadline`` is on trio's clock.

        Entering raises :class:`~meshp2p.errors.Unreachable` if no connection could be made before the deadline: then
        the target has not seen the call. Leaving the block before the end of the reply cancels the call at the target.
        """
