"""AckNotifier holders what was acknowledged, so that they forget it."""

from __future__ import annotations

from collections.abc import Callable

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Resolve
from meshp2p.core.mail.peer_queue import PeerQueue, wake_failed
from meshp2p.core.messages import Acknowledged, CallReply, Done, Passed

__all__ = ["AckNotifier"]

TOLD_MAX = 4096
"""How many acknowledgements one call tells. Chosen, not measured."""


class _Confirmation:
    """An acknowledgement that waits for so many holders to know."""

    __slots__ = ("left", "ticket")

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.left = 0


class AckNotifier:
    """A lane to each holder with what it does not know yet: copies, as pairs of (recipient, message id).

    ``told(recipient, message_id, holder)`` hears of each that a holder has taken note of.
    """

    def __init__(self, state: NodeState, carrier: Carrier, told: Callable[[str, str, str], None]) -> None:
        self._state = state
        self._carrier = carrier
        self._told = told
        self.lanes: dict[str, PeerQueue] = {}
        self.untold: dict[str, dict[tuple[str, str], _Confirmation | None]] = {}
        """By holder."""
        self._confirmations: dict[int, _Confirmation] = {}

    def remember(self, holder: str, recipient: str, message_id: str) -> None:
        """A holder is still to be told, and nobody waits for it."""
        self.untold.setdefault(holder, {})[recipient, message_id] = None

    def forget(self, holder: str, recipient: str, message_id: str) -> None:
        """A holder need not be told of this any more."""
        self.untold.get(holder, {}).pop((recipient, message_id), None)

    def forget_holder(self, holder: str) -> None:
        self.untold.pop(holder, None)
        self.lanes.pop(holder, None)

    def tell(self, ticket: int, recipient: str, told: list[tuple[str, list[str]]], now: float) -> None:
        """Let the holders of each of these messages know, and answer ``ticket`` when those that are there do."""
        state = self._state
        confirmation = _Confirmation(ticket)
        lanes: dict[str, None] = {}
        for message_id, holders in told:
            for holder in holders:
                waits = state.members.has_node(holder) and not self._lane(holder).failures
                confirmation.left += waits
                self.untold.setdefault(holder, {})[recipient, message_id] = confirmation if waits else None
                lanes[holder] = None
        if confirmation.left:
            state.timers.set(Timer.CONFIRM, now + state.config.confirm_timeout, str(ticket))
            self._confirmations[ticket] = confirmation
        else:
            state.effects.append(Resolve(ticket, Done()))
        for holder in lanes:
            self._lane(holder).flush(now)

    def end_confirmation(self, ticket: int) -> None:
        """Answer an acknowledgement, whoever knows of it."""
        if self._confirmations.pop(ticket, None) is not None:
            self._state.timers.cancel(Timer.CONFIRM, str(ticket))
            self._state.effects.append(Resolve(ticket, Done()))

    def _lane(self, holder: str) -> PeerQueue:
        lane = self.lanes.get(holder)
        if lane is None:

            def make(_now: float) -> Passed | None:
                untold = self.untold.get(holder)
                return Acknowledged(tuple(untold)[:TOLD_MAX], self._state.id) if untold else None

            def conclude(request: Passed, reply: CallReply | CallFailed, _now: float) -> None:
                if isinstance(request, Acknowledged):
                    self._conclude(holder, request.copies, reply)

            lane = self.lanes[holder] = PeerQueue(
                self._state, self._carrier, Timer.TELL, holder, make, conclude, self.retry_failed
            )
        return lane

    def _conclude(self, holder: str, copies: tuple[tuple[str, str], ...], reply: CallReply | CallFailed) -> None:
        untold = self.untold.get(holder, {})
        for copy in copies:
            confirmation = untold.get(copy)
            if confirmation is not None:
                confirmation.left -= 1
                if not confirmation.left:
                    self.end_confirmation(confirmation.ticket)
            if isinstance(reply, Done):
                untold.pop(copy, None)
                self._told(*copy, holder)
            elif copy in untold:
                untold[copy] = None  # nobody waits for the next try
        if not untold:
            self.untold.pop(holder, None)

    def retry_failed(self, now: float) -> None:
        """Something is well again: tell at once what was to be told again later."""
        wake_failed(self.lanes.values(), now)

    def retry(self, holder: str, now: float) -> None:
        """A call that failed is repeated."""
        self._lane(holder).flush(now)

    def wake(self, holder: str, now: float) -> None:
        """A holder is there again."""
        if holder in self.untold:
            self._lane(holder).wake(now)
