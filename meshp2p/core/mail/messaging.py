"""Messages between agents, as one part of the machine.

::

    agent ──> Sending ──────(Deliver)──────> Receiving ──> agent
              outbox, lines                   mailboxes
                   <─────(Acknowledged)──────

Both sides call each other's nodes through :class:`~meshp2p.core.directory.carrier.Carrier`, which goes through a relay
if there is no direct path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import Resolve, Table
from meshp2p.core.events import MemberChange
from meshp2p.core.mail.receiving import Receiving
from meshp2p.core.mail.sending import Sending
from meshp2p.core.messages import (
    Acknowledged,
    Deliver,
    Deposit,
    Done,
    ForwardAcknowledge,
    ForwardFetch,
    ForwardStatus,
    Passed,
    Refused,
    Why,
)
from meshp2p.core.requests import Acknowledge, AskStatus, Fetch, SendMessage
from meshp2p.core.swim.hosting import Hosting
from meshp2p.errors import InternalError

__all__ = ["Messaging"]


class Messaging:
    """Hands each request, call, timer and change to the side that it concerns.

    ``kept`` is what the disk has, in the order of keys; absent where there is none.
    """

    def __init__(
        self,
        state: NodeState,
        carrier: Carrier,
        hosting: Hosting,
        kept: Sequence[tuple[Table, bytes, bytes]] | None,
    ) -> None:
        self._state = state
        self._carrier = carrier
        self._kept = list(kept or ())
        self.receiving: Receiving = Receiving(state, self._carrier, hosting)
        self.sending: Sending = Sending(state, self._carrier, self.receiving)
        self.receiving.settle_here = self.sending.settle_acknowledged
        self.receiving.take_over = self.sending.take_over
        self.receiving.reopen_here = self.sending.reopen
        self.receiving.has_mail_for = self.sending.outbox.lines.__contains__

    def start(self, now: float) -> None:
        """Take up what was kept."""
        kept, self._kept = self._kept, []
        self.receiving.restore(kept, now)
        self.sending.restore(kept, now)

    def rows(self) -> list[tuple[Table, bytes, bytes]]:
        """What a disk would have of the messages that are held here, in the order of keys."""
        puts = (*self.receiving.rows(), *self.sending.rows())
        return sorted((put.table, put.key, put.value) for put in puts)

    def resume(self, old: Messaging) -> None:
        """Give no message the id of an earlier one."""
        self.sending.resume(old.sending)

    def request(self, ticket: int, request: SendMessage | Fetch | Acknowledge | AskStatus, now: float) -> None:
        """An agent asks; what is illegal raises as :meth:`Sending.accept` says, and changes nothing."""
        match request:
            case SendMessage():
                self.sending.accept(ticket, request, now)
            case Fetch():
                self.receiving.fetch(ticket, request, now)
            case Acknowledge():
                self.receiving.acknowledge(ticket, request, now)
            case AskStatus():
                self.sending.ask_status(ticket, request, now)
            case _:
                assert_never(request)

    def receive_call(self, ticket: int, request: Passed | Deposit, now: float) -> None:
        """Another node calls; the reply is resolved under ``ticket``."""
        match request:
            case Deposit():
                self._take_over(ticket, request, now)
            case Deliver():
                self.receiving.take(ticket, request, now)
            case Acknowledged():
                self.sending.take_acknowledged(ticket, request, now)
            case ForwardFetch():
                self.receiving.fetch_here(ticket, request, now)
            case ForwardAcknowledge(recipient=recipient, message_ids=message_ids):
                if self.receiving.keeps_for(recipient):
                    self.receiving.acknowledge_here(ticket, recipient, message_ids, now)
                else:
                    self._refuse(ticket, Why.NOT_HOME, f"{recipient!r} is not at home at {self._state.id!r}")
            case ForwardStatus(message_id=message_id):
                self._state.effects.append(Resolve(ticket, self.sending.status(message_id)))
            case _:
                assert_never(request)

    def _take_over(self, ticket: int, request: Deposit, now: float) -> None:
        def conclude(failure: str | None, _now: float) -> None:
            if failure is None:
                self._state.effects.append(Resolve(ticket, Done()))
            else:
                self._refuse(ticket, Why.STORE_FULL, failure)

        if self._state.is_leaving:
            self._refuse(ticket, Why.UNREACHABLE, f"node {self._state.id!r} leaves")
        else:
            self.sending.take_over(request.parcels, conclude, now)

    def _refuse(self, ticket: int, why: Why, message: str) -> None:
        self._state.effects.append(Resolve(ticket, Refused(why, message)))

    def handle_timer(self, timer: Timer, subject: str, now: float) -> None:
        match timer:
            case Timer.DELIVER:
                self.sending.delivery.retry(subject, now)
            case Timer.UNBLOCK:
                self.sending.delivery.unblock(subject, now)
            case Timer.ACCEPT:
                self.sending.end_accept(subject)
            case Timer.RETURN:
                self.sending.handle_no_return(subject, now)
            case Timer.EXPIRE_MESSAGES:
                self.sending.handle_expiry(now)
            case Timer.TELL:
                self.receiving.telling.retry(subject, now)
            case Timer.EXPIRE_MAIL:
                self.receiving.handle_expiry(now)
            case Timer.WAIT:
                self.receiving.waits.handle_over(subject)
            case Timer.CONFIRM:
                self.receiving.telling.end_confirmation(int(subject))
            case Timer.FORGET_MAIL:
                self.receiving.forget_gone(subject, now)
                self.sending.forget_gone(subject)
            case _:
                raise InternalError(f"nobody handles {timer!r}")

    def notice(self, event: MemberChange, now: float) -> None:
        """Look at what happened to a recipient, a home or a holder."""
        self._carrier.notice(event)
        self.receiving.notice(event, now)
        self.sending.notice(event, now)

    def leave(self, now: float) -> None:
        """Answer whoever waits, and let another node hold what only this one has."""
        self.receiving.end_all_waits()
        self.sending.hand_over(now)

    @property
    def is_handing_over(self) -> bool:
        return self.sending.is_handing_over
