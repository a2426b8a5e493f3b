"""The messages that no handler takes, and the inboxes that an agent reads them from."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Self

import trio

from meshp2p.node.received import ReceivedMessage

__all__ = ["Inbox", "Unread"]


class Unread:
    """The messages that wait for an inbox, in the order of their arrival.

    Open inboxes share them: a message goes to the inbox that is read next, and of several that wait to the one that has
    waited longest. An inbox that nobody reads takes nothing. ``offer`` is called when messages wait again that were
    handed out: a handler may take them by now.
    """

    def __init__(self, offer: Callable[[], None]) -> None:
        self._offer = offer
        self._waiting: dict[str, tuple[int, ReceivedMessage]] = {}
        self._inboxes: dict[Inbox, None] = {}
        self._readers: collections.deque[trio.Event] = collections.deque()
        self._is_ended = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def inbox_count(self) -> int:
        return len(self._inboxes)

    @property
    def is_ended(self) -> bool:
        return self._is_ended

    def put(self, number: int, message: ReceivedMessage) -> None:
        """Add a message. Its ``number`` orders it among the others."""
        self._waiting[message.id] = number, message
        self._wake(1)

    def put_back(self, messages: Iterable[tuple[int, ReceivedMessage]]) -> None:
        """Add messages that were handed out, each in its place."""
        returned = {message.id: (number, message) for number, message in messages}
        if returned:
            entries = sorted((self._waiting | returned).items(), key=lambda entry: entry[1][0])
            self._waiting = dict(entries)
            self._wake(len(returned))

    def pop(self) -> tuple[int, ReceivedMessage] | None:
        """Remove and return the oldest message; None if there is none."""
        if not self._waiting:
            return None
        return self._waiting.pop(next(iter(self._waiting)))

    def pop_all(self) -> list[tuple[int, ReceivedMessage]]:
        taken, self._waiting = list(self._waiting.values()), {}
        return taken

    def forget(self, message_id: str) -> None:
        """Forget a message that was acknowledged or has expired."""
        self._waiting.pop(message_id, None)
        for inbox in self._inboxes:
            inbox.forget(message_id)

    def open(self) -> Inbox:
        inbox = Inbox(self, self._close)
        self._inboxes[inbox] = None
        return inbox

    def _close(self, inbox: Inbox) -> None:
        self._inboxes.pop(inbox, None)
        self.put_back(inbox.pop_handed())
        self._wake(len(self._readers))  # its own readers among them
        self._offer()

    def end(self) -> None:
        """End all inboxes, because the node has left."""
        self._is_ended = True
        self._wake(len(self._readers))

    async def wait(self) -> None:
        """Wait until there may be something to take, in turn with other readers. Cancel-safe."""
        turn = trio.Event()
        self._readers.append(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():
                self._wake(1)  # the next one has the turn
            else:
                self._readers.remove(turn)
            raise

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._readers))):
            self._readers.popleft().set()


class Inbox:
    """An asynchronous iterator of messages that no handler takes, from the oldest that is not acknowledged.

    What was iterated over and not acknowledged is handed out again by the next inbox, not by this one. Several open
    inboxes share the messages: each goes to the one that is read next. It ends when the node has left; :meth:`close`
    it, or leave its ``async with``, when it is no longer read. A message that was acknowledged is not kept.
    """

    def __init__(self, unread: Unread, close: Callable[[Inbox], None]) -> None:
        self._unread = unread
        self._close = close
        self._handed: dict[str, tuple[int, ReceivedMessage]] = {}
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedMessage:
        await trio.lowlevel.checkpoint()
        while (message := self._pop()) is None:
            if self._is_closed or self._unread.is_ended:
                raise StopAsyncIteration
            await self._unread.wait()
        return message

    def receive_nowait(self) -> ReceivedMessage | None:
        """Return the next message if it is there already. Return None if it is not, and if other inboxes are open: then
        each takes one at a time, so that none waits for what another has taken in advance."""
        return self._pop() if self._unread.inbox_count == 1 else None

    def _pop(self) -> ReceivedMessage | None:
        taken = None if self._is_closed else self._unread.pop()
        if taken is None:
            return None
        self._handed[taken[1].id] = taken
        return taken[1]

    def forget(self, message_id: str) -> None:
        """Note that a message needs not be handed out again. Called by the node."""
        self._handed.pop(message_id, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop receiving. Messages that were not acknowledged are for the next inbox or handler."""
        if not self._is_closed:
            self._is_closed = True
            self._close(self)

    def pop_handed(self) -> list[tuple[int, ReceivedMessage]]:
        """Return the messages that this inbox has handed out and that are not acknowledged, in order."""
        handed, self._handed = self._handed, {}
        return list(handed.values())
