"""What the loop, or the threads, of an agent do for a node in another thread."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from meshp2p.node.received import MessageView, ReceivedMessage
from meshp2p.threaded.handler_call import HandlerCall
from meshp2p.threaded.node_thread import Waitable

__all__ = ["AgentSide", "Block"]

_T = TypeVar("_T")


class Block(contextlib.AbstractContextManager["Block", bool], Protocol):
    """A block of the agent's that can be cut short: then it is cancelled, and ends quietly."""

    def cut(self, _: object = None) -> None:
        """From any thread. Nothing if it has ended."""


class AgentSide(Protocol):
    """The loop that a node was opened in, or plain threads. ``is_async`` tells which kind of functions handlers are."""

    is_async: bool

    def check(self) -> None:
        """Raise :class:`~meshp2p.errors.WrongLoop` unless the caller may wait here."""

    async def wait(self, operation: Waitable[_T]) -> _T:
        """Wait for its end, and return its result. Cancelled, cancel it and wait for its end."""

    async def wait_shielded(self, future: Future[None]) -> None:
        """Wait, whatever cancels."""

    def start(self, call: HandlerCall[Any]) -> None:
        """Run a handler, soon. Called in the node's thread; never waits."""

    def cancel(self, call: HandlerCall[Any]) -> None:
        """Cancel what was started. Called in the node's thread; never waits."""

    def shown(self, message: ReceivedMessage) -> MessageView:
        """The message as handlers take it."""

    async def end(self) -> None:
        """Cancel the handlers that still run, and wait for their end."""

    def open_block(self) -> Block: ...
