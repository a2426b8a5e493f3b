"""Reads of mailboxes, here or at the recipient's home."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from meshp2p.core.calls import CallReply, FetchReply, ForwardFetch
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.mail.home_calls import HomeCalls
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.requests import Fetch

__all__ = ["MailboxReader"]

WAIT_MAX = 60.0
"""The longest time in seconds that a read waits for a message."""

TURN_SECONDS = 5.0
"""How long a forwarded read waits at the home before it is forwarded again. This bounds the wait at a home that hangs,
or is not the home any more. Chosen, not measured."""


class MailboxReader(msgspec.Struct, eq=False):
    """Answers reads, and lets those wait that find nothing."""

    _state: NodeState
    _mailboxes: Mailboxes
    _home_calls: HomeCalls
    _waits: dict[str, dict[int, tuple[str, int]]] = {}
    """Reads that wait here, by recipient and ticket: after which message, and for how many."""
    _waits_elsewhere: set[int] = set()
    """Tickets of reads that wait at the recipient's home."""
    wait_count: int = 0
    """How many reads wait here."""

    def fetch(self, ticket: int, request: Fetch, now: float) -> None:
        """Process a read of an agent."""
        state = self._state
        record = state.members.records.get(request.recipient)
        wait = min(max(request.wait, 0.0), WAIT_MAX)
        if record is None or record.home == state.id:
            self.fetch_here(ticket, ForwardFetch(request.recipient, request.limit, request.after, wait), now)
            return
        until = now + wait
        turn = min(wait, TURN_SECONDS)
        if wait:
            self._waits_elsewhere.add(ticket)

        def is_abandoned() -> bool:
            return wait > 0 and ticket not in self._waits_elsewhere

        def again(now: float) -> None:
            if not is_abandoned():
                self._waits_elsewhere.discard(ticket)
                self.fetch(ticket, msgspec.structs.replace(request, wait=max(0.0, until - now)), now)

        def on_reply(reply: CallReply, now: float) -> None:
            if is_abandoned():
                return
            has_waited = now - until + wait >= turn  # a home that answers at once has no room for more that wait
            if isinstance(reply, FetchReply) and not reply.is_home:
                present = state.members.records.get(request.recipient)
                if present is not None and present.home != record.home:
                    again(now)
                    return
                reply = FetchReply(())
            elif isinstance(reply, FetchReply) and not reply.messages and has_waited and now < until:
                again(now)
                return
            self._waits_elsewhere.discard(ticket)
            state.resolve(ticket, reply)

        forwarded = ForwardFetch(request.recipient, request.limit, request.after, turn)
        self._home_calls.forward(ticket, record, forwarded, again, now, on_reply=on_reply, wait=turn)

    def fetch_here(self, ticket: int, request: ForwardFetch, now: float) -> None:
        """Read a mailbox of this node; if it is empty, wait."""
        state = self._state
        recipient = request.recipient
        is_home = self._mailboxes.is_home(recipient)
        limit = max(1, min(request.limit, state.config.mailbox_messages_max))
        messages = self._mailboxes.read(recipient, request.after, limit) if is_home else ()
        is_known = recipient in state.members.records
        may_wait = request.wait > 0 and (is_home or not is_known) and not state.is_leaving
        if messages or not may_wait or self.wait_count >= state.config.waits_max:
            state.resolve(ticket, FetchReply(messages, is_home or not is_known))
            return
        self._waits.setdefault(recipient, {})[ticket] = (request.after, limit)
        self.wait_count += 1
        state.timers.set(Timer.WAIT, now + min(request.wait, WAIT_MAX), f"{ticket} {recipient}")

    # What ends a wait

    def wake(self, recipients: Iterable[str]) -> None:
        """Answer the reads of these recipients that find something now."""
        for recipient in recipients:
            for ticket, (after, limit) in list(self._waits.get(recipient, {}).items()):
                messages = self._mailboxes.read(recipient, after, limit)
                if messages:
                    self._end_wait(recipient, ticket, FetchReply(messages))

    def handle_wait_over(self, subject: str) -> None:
        """Answer a read whose wait is over."""
        ticket, recipient = subject.split(" ", 1)
        self._end_wait(recipient, int(ticket), FetchReply(()))

    def abandon(self, ticket: int) -> None:
        """Forget a read whose client is gone."""
        self._waits_elsewhere.discard(ticket)
        recipient = next((recipient for recipient, waits in self._waits.items() if ticket in waits), None)
        if recipient is not None:
            self._end_wait(recipient, ticket, None)

    def end_waits(self, recipient: str) -> None:
        """Answer all reads of this recipient. The answers say whether this node is still its home."""
        is_home = self._mailboxes.is_home(recipient)
        for ticket in list(self._waits.get(recipient, {})):
            self._end_wait(recipient, ticket, FetchReply((), is_home=is_home))

    def end_all_waits(self) -> None:
        """Answer all reads, because this node leaves."""
        for recipient in list(self._waits):
            self.end_waits(recipient)

    def _end_wait(self, recipient: str, ticket: int, reply: FetchReply | None) -> None:
        waits = self._waits.get(recipient, {})
        if waits.pop(ticket, None) is not None:
            self.wait_count -= 1
            self._state.timers.cancel(Timer.WAIT, f"{ticket} {recipient}")
            if reply is not None:
                self._state.resolve(ticket, reply)
        if not waits:
            self._waits.pop(recipient, None)
