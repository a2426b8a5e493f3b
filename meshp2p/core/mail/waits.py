"""Reads that wait for a message."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Resolve
from meshp2p.core.message import Message
from meshp2p.core.messages import FetchReply

__all__ = ["WAIT_MAX", "Waits"]

WAIT_MAX = 60.0
"""The longest time in seconds that a read waits for a message."""


class Waits:
    """Who waits, by recipient and ticket, and behind which message for how many. ``read(recipient, after, limit)``
    reads a mailbox."""

    def __init__(self, state: NodeState, read: Callable[[str, str, int], tuple[Message, ...]]) -> None:
        self._state = state
        self._read = read
        self._waits: dict[str, dict[int, tuple[str, int]]] = {}
        self.count: int = 0

    def __contains__(self, recipient: str) -> bool:
        return recipient in self._waits

    def begin(self, ticket: int, recipient: str, after: str, limit: int, deadline: float) -> None:
        self._waits.setdefault(recipient, {})[ticket] = (after, limit)
        self.count += 1
        self._state.timers.set(Timer.WAIT, deadline, f"{ticket} {recipient}")

    def handle_over(self, subject: str) -> None:
        """A read waited for long enough."""
        ticket, recipient = subject.split(" ", 1)
        self._end(recipient, int(ticket), FetchReply(()))

    def _end(self, recipient: str, ticket: int, reply: FetchReply | None) -> None:
        waits = self._waits.get(recipient, {})
        if waits.pop(ticket, None) is not None:
            self.count -= 1
            self._state.timers.cancel(Timer.WAIT, f"{ticket} {recipient}")
            if reply is not None:
                self._state.effects.append(Resolve(ticket, reply))
        if not waits:
            self._waits.pop(recipient, None)

    def abandon(self, ticket: int) -> None:
        """Nobody waits under this ticket any more."""
        recipient = next((recipient for recipient, waits in self._waits.items() if ticket in waits), None)
        if recipient is not None:
            self._end(recipient, ticket, None)

    def wake(self, recipients: Iterable[str]) -> None:
        """There is something new for whoever waits."""
        for recipient in recipients:
            for ticket, (after, limit) in list(self._waits.get(recipient, {}).items()):
                messages = self._read(recipient, after, limit)
                if messages:
                    self._end(recipient, ticket, FetchReply(messages))

    def end(self, recipient: str, *, is_home: bool) -> None:
        """Nobody reads for this recipient here any more."""
        for ticket in list(self._waits.get(recipient, {})):
            self._end(recipient, ticket, FetchReply((), is_home=is_home))

    def recipients(self) -> list[str]:
        return list(self._waits)
