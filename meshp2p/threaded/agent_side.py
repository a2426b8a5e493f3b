"""The agent's side of a node in another thread: the agent's loop, or its threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from meshp2p.node.received import MessageView, ReceivedMessage
from meshp2p.threaded.handler_call import HandlerRunner

__all__ = ["AgentSide"]

_T = TypeVar("_T")


class AgentSide(HandlerRunner, Protocol):
    """The loop that a node was opened in, or plain threads. ``is_async`` tells which kind of functions handlers are."""

    is_async: bool

    def check(self) -> None:
        """Raise :class:`~meshp2p.errors.WrongLoop` unless the caller may wait here."""

    async def wait(self, future: Future[_T], cancel: Callable[[], None]) -> _T:
        """Wait for the future, and return its result. If this is cancelled, it calls ``cancel``, which makes the future
        end soon, and waits for that."""

    async def wait_shielded(self, future: Future[None]) -> None:
        """Wait. It cannot be cancelled."""

    def shown(self, message: ReceivedMessage) -> MessageView:
        """The message as handlers take it."""

    async def end(self) -> None:
        """Cancel the handlers that still run, and wait for their end."""

    def cut(self, future: Future[Any]) -> contextlib.AbstractContextManager[object]:
        """A block that is cancelled when the future is done, and then ends quietly; in plain threads it goes on."""
