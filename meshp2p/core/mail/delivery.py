"""Copies on their way from the lines of the outbox to the recipients' homes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from meshp2p.core.calls import CallReply, Deliver, DeliverReply, Outcome
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.events import (
    InstanceChange,
    InstanceDied,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceUpdated,
)
from meshp2p.core.mail.intake import Intake
from meshp2p.core.mail.ledger import Change, Ledger
from meshp2p.core.mail.line import RecipientQueue
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.outgoing import Outgoing
from meshp2p.core.mail.peer_queue import PeerQueues
from meshp2p.core.mail.settling import CopyFinalizer

__all__ = ["Delivery"]


_KEPT_FOR_THE_DEAD: Final = "it is held to be dead: kept until it returns"
_KEPT_FOR_THE_LEFT: Final = "it left the mesh: kept until it returns"


class Delivery:
    """Delivers in batches which the lines of all recipients at one home share: at once, and again whenever something
    happens to the recipient or the home."""

    def __init__(
        self,
        state: NodeState,
        relay_selector: RelaySelector,
        outbox: Outbox,
        settling: CopyFinalizer,
        ledger: Ledger,
        intake: Intake,
    ) -> None:
        self._state = state
        self._outbox = outbox
        self._settling = settling
        self._ledger = ledger
        self._intake = intake
        self.queues: PeerQueues[Deliver] = PeerQueues(state, relay_selector, Timer.DELIVER, self)
        self.ready: dict[str, dict[str, None]] = {}
        """By home, the recipients whose lines have something waiting."""

    # What happened

    def begin(self, kept: Collection[Outgoing], now: float) -> None:
        """Deliver messages that were just kept."""
        homes: dict[str, None] = {}
        for outgoing in kept:
            for recipient in outgoing.copies:
                if (home := self._route(recipient)) is not None:
                    homes[home] = None
                elif recipient in self._outbox.lines:
                    # it departed before, or during the write: no further event will tell
                    outgoing.copies[recipient].is_tried = True
                    outgoing.copies[recipient].reason = _KEPT_FOR_THE_DEAD
                    self._state.timers.set_earlier(Timer.RETURN, now + self._state.config.return_timeout, recipient)
        for home in homes:
            self.flush(home, now)
        for outgoing in kept:
            self._settling.note_progress(outgoing)

    def notice(self, event: InstanceChange, now: float) -> None:
        """Deliver at once what waits for a recipient, or a home, that joined or changed; note why other copies wait."""
        instance_id = event.id
        line = self._outbox.lines.get(instance_id)
        match event:
            case InstanceJoined() | InstanceUpdated() | InstanceRecovered():
                before = line.home if line is not None else None
                home = self._route(instance_id)
                if home is not None and line is not None and line.home != before:
                    self._wake(home, now)
                if instance_id in self.queues:
                    deliver = self.queues.flush if isinstance(event, InstanceUpdated) else self.queues.wake
                    deliver(instance_id, now)
                if isinstance(event, InstanceJoined) and event.record.is_node:
                    self.queues.wake_failing(now)  # the new node may be a relay to others
            case InstanceLeft(record=record) if not record.is_node:
                self._route(instance_id)  # what waits is given up
            case InstanceLeft() | InstanceDied():
                self._route(instance_id)
                has_left = isinstance(event, InstanceLeft)
                for outgoing in line.waiting.values() if line is not None else ():
                    outgoing.copies[instance_id].reason = _KEPT_FOR_THE_LEFT if has_left else _KEPT_FOR_THE_DEAD
                if isinstance(event, InstanceLeft) and line is not None:
                    self._state.timers.set(Timer.RETURN, now + self._state.config.return_timeout, instance_id)
            case _:
                pass

    def unblock(self, recipient: str, now: float) -> None:
        """Deliver again to a recipient whose home refused."""
        line = self._outbox.lines.get(recipient)
        if line is not None and line.home is not None:
            line.is_blocked = False
            self.flush(line.home[0], now)

    def forget_home(self, home: str) -> None:
        """Forget a node that is gone for good."""
        self.queues.forget(home)
        self.ready.pop(home, None)

    # Where to

    def _route(self, recipient: str) -> str | None:
        """Find the recipient's home and return its id. What was delivered to another home, or to an earlier process of
        this one, is delivered again."""
        line = self._outbox.lines.get(recipient)
        if line is None:
            return None
        record = self._state.members.records.get(recipient)
        before = line.home
        if record is None:
            line.home = None
        else:
            home = (record.home, record.boot)
            if home != before:
                line.home = home
                line.requeue()
        if before is not None and before != line.home:
            self.ready.get(before[0], {}).pop(recipient, None)
        if line.home is None:
            return None
        if line.waiting:
            self.ready.setdefault(line.home[0], {})[recipient] = None
        return line.home[0]

    def flush(self, home: str, now: float) -> None:
        """Deliver what waits for the recipients at this home."""
        if home == self._state.id:
            self._deliver_here(now)
        else:
            self.queues.flush(home, now)

    def _wake(self, home: str, now: float) -> None:
        if home == self._state.id:
            self._deliver_here(now)
        else:
            self.queues.wake(home, now)

    def _deliver_here(self, now: float) -> None:
        """Deliver to the mailboxes of this node. Nothing is written: the outbox has the messages on disk."""
        home = self._state.id
        while (request := self.next_request(home, now)) is not None:
            self.conclude(home, request, self._intake.deliver_here(request.parcels, now), now, is_latest=True)

    # Batches

    def next_request(self, home: str, now: float) -> Deliver | None:
        """Return the next batch: each recipient's oldest copies; a message for several recipients is in it once."""
        ready = self.ready.get(home)
        if not ready or (record := self._state.members.records.get(home)) is None:
            return None
        room = self._state.config.delivery_bytes_max
        chosen: dict[int, tuple[Outgoing, list[str]]] = {}
        for recipient in list(ready):
            if room <= 0:
                break
            line = self._outbox.lines.get(recipient)
            if line is None or not line.waiting or line.home is None or line.home[0] != home:
                del ready[recipient]
                continue
            if (
                line.is_blocked or line.home[1] != record.boot
            ):  # it was started again, and that is not known of both yet
                continue
            for number, outgoing in line.waiting.items():
                if number not in chosen:
                    if room <= 0:
                        break
                    room -= outgoing.size
                    chosen[number] = (outgoing, [])
                chosen[number][1].append(recipient)
                room -= len(recipient)
                if line.refusals:
                    break  # one is enough to see whether there is room
            del ready[recipient]  # so that the next batch begins with the other recipients
            ready[recipient] = None
        parcels = tuple(outgoing.parcel(recipients, now) for _, (outgoing, recipients) in sorted(chosen.items()))
        return Deliver(self._state.id, parcels, record.boot) if parcels else None

    def conclude(
        self, home: str, request: Deliver, reply: CallReply | CallFailed, now: float, *, is_latest: bool
    ) -> None:
        """Note the outcome of a batch. Without ``is_latest`` a later call delivers the same, perhaps to a home that was
        started again and has lost it."""
        outcomes = reply.outcomes if isinstance(reply, DeliverReply) else ()
        acknowledged: list[tuple[str, Outgoing]] = []
        for index, parcel in enumerate(request.parcels):
            outgoing = self._outbox.by_id.get(parcel.message.id)
            if outgoing is None:
                continue
            done = outcomes[index] if index < len(outcomes) else ()
            for place, recipient in enumerate(parcel.recipients):
                copy = outgoing.copies.get(recipient)
                line = self._outbox.lines.get(recipient)
                if copy is None or line is None or copy.status.is_final:
                    continue
                copy.is_tried = True
                outcome = done[place] if place < len(done) else None
                if outcome is Outcome.ACKNOWLEDGED:
                    acknowledged.append((recipient, outgoing))
                elif not is_latest or line.home is None or line.home[0] != home:
                    pass  # the later call says what holds, or it has another home by now
                elif outcome is Outcome.TAKEN:
                    self._outbox.note_delivered(outgoing, recipient)
                    line.note_room()
                else:
                    copy.reason = _why_waiting(outcome, recipient, home)
                    if outcome is not None and not line.is_blocked:
                        self._block(recipient, line, is_full=outcome is Outcome.FULL, now=now)
            self._settling.note_progress(outgoing)
        if acknowledged:
            self._settle(acknowledged, now)

    def _settle(self, copies: list[tuple[str, Outgoing]], now: float) -> None:
        """Settle copies of which a home says that they were acknowledged already. Deliver them again later if that
        cannot be written."""

        def conclude(failure: str | None, now: float) -> None:
            for recipient in dict.fromkeys(recipient for recipient, _ in copies) if failure is not None else ():
                self._try_again(recipient, now)

        self._ledger.commit(Change(settled=copies), conclude, now)

    def _try_again(self, recipient: str, now: float) -> None:
        """Deliver to this recipient again what was delivered, after a pause."""
        line = self._outbox.lines.get(recipient)
        if line is None or line.home is None:
            return
        refusals = line.refusals
        line.requeue()
        line.refusals = refusals
        self.ready.setdefault(line.home[0], {})[recipient] = None
        self._block(recipient, line, is_full=False, now=now)

    def _block(self, recipient: str, line: RecipientQueue, *, is_full: bool, now: float) -> None:
        """Stop delivering to a recipient whose home refused, for a pause that doubles."""
        line.is_blocked, line.is_full = True, is_full
        self._state.counters.deliveries_delayed += 1
        pause = self._state.config.delivery_pause(line.refusals)
        line.refusals += 1
        self._state.timers.set(Timer.UNBLOCK, now + pause, recipient)


def _why_waiting(outcome: Outcome | None, recipient: str, home: str) -> str:
    match outcome:
        case Outcome.FULL:
            return f"the mailbox of {recipient!r} has no room"
        case Outcome.ELSEWHERE:
            return f"node {home!r} is not its home any more"
        case _:
            return f"node {home!r}, its home, does not answer"
