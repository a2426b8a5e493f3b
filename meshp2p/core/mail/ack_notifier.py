"""Tells holders which messages were acknowledged, so that they can forget them."""

from __future__ import annotations

import msgspec

from meshp2p.core.calls import Acknowledged, CallReply, Done
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.peer_queue import PeerQueues

__all__ = ["AckNotifier"]

TOLD_MAX = 4096
"""The maximum number of acknowledgements in one call. Chosen, not measured."""


class _Confirmation(msgspec.Struct):
    """An acknowledgement that is answered when ``left`` more holders know."""

    ticket: int
    left: int = 0


class AckNotifier:
    """Stores for each holder the acknowledged copies, pairs of (recipient, message id), that it does not know of."""

    def __init__(self, state: NodeState, relay_selector: RelaySelector, mailboxes: Mailboxes) -> None:
        self._state = state
        self._mailboxes = mailboxes
        self.queues: PeerQueues[Acknowledged] = PeerQueues(state, relay_selector, Timer.TELL, self)
        self.untold: dict[str, dict[tuple[str, str], _Confirmation | None]] = {}
        """By holder and copy, the acknowledgement that waits for the holder to know; None if none does."""
        self._confirmations: dict[int, _Confirmation] = {}

    def remember(self, holder: str, recipient: str, message_id: str) -> None:
        """Tell a holder of this with the next call; no acknowledgement waits for it."""
        self.untold.setdefault(holder, {})[recipient, message_id] = None

    def forget(self, holder: str, recipient: str, message_id: str) -> None:
        """Stop telling a holder of this."""
        self.untold.get(holder, {}).pop((recipient, message_id), None)

    def forget_holder(self, holder: str) -> None:
        """Forget a holder that is gone for good."""
        self.untold.pop(holder, None)
        self.queues.forget(holder)

    def tell(self, ticket: int, recipient: str, untold: dict[str, tuple[str, ...]], now: float) -> None:
        """Tell the holders of these messages, by message id. Answer ``ticket`` when the reachable ones know."""
        state = self._state
        confirmation = _Confirmation(ticket)
        told: dict[str, None] = {}
        for message_id, holders in untold.items():
            for holder in holders:
                waits = state.members.has_node(holder) and not self.queues.is_failing(holder)
                confirmation.left += waits
                self.untold.setdefault(holder, {})[recipient, message_id] = confirmation if waits else None
                told[holder] = None
        if confirmation.left:
            state.timers.set(Timer.CONFIRM, now + state.config.confirm_timeout, str(ticket))
            self._confirmations[ticket] = confirmation
        else:
            state.resolve(ticket, Done())
        for holder in told:
            self.queues.flush(holder, now)

    def end_confirmation(self, ticket: int) -> None:
        """Answer an acknowledgement, even if some holders do not know yet."""
        if self._confirmations.pop(ticket, None) is not None:
            self._state.timers.cancel(Timer.CONFIRM, str(ticket))
            self._state.resolve(ticket, Done())

    def next_request(self, node_id: str, _now: float) -> Acknowledged | None:
        """Return the next call to a holder; None if it knows everything."""
        untold = self.untold.get(node_id)
        return Acknowledged(tuple(untold)[:TOLD_MAX], self._state.id) if untold else None

    def conclude(
        self, node_id: str, request: Acknowledged, reply: CallReply | CallFailed, _now: float, *, is_latest: bool
    ) -> None:
        """Note the outcome of a call to a holder."""
        untold = self.untold.get(node_id, {})
        for copy in request.copies:
            confirmation = untold.get(copy)
            if confirmation is not None:
                confirmation.left -= 1
                if not confirmation.left:
                    self.end_confirmation(confirmation.ticket)
            if isinstance(reply, Done):
                untold.pop(copy, None)
                self._mailboxes.note_told(*copy, node_id)
            elif copy in untold:
                untold[copy] = None  # no acknowledgement waits for the next attempt
        if not untold:
            self.untold.pop(node_id, None)

    def wake(self, holder: str, now: float) -> None:
        """Call a holder that is reachable again at once."""
        if holder in self.untold:
            self.queues.wake(holder, now)
