"""On its way: from the lines of the outbox to the recipients' homes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.mail.outbox import Line, Outbox, Outgoing
from meshp2p.core.mail.peer_queue import PeerQueue, wake_failed
from meshp2p.core.message import Message
from meshp2p.core.messages import CallReply, Deliver, DeliverReply, Outcome, Parcel, Passed

__all__ = ["Delivery"]


class Delivery:
    """A lane to each home, in which the lines of all recipients there share batches.

    ``take_here`` puts parcels into this node's own mailboxes; ``acknowledged`` hears of copies, as pairs of
    (recipient, message), that a home says are acknowledged; ``tried`` hears of each message of which a batch was
    concluded.
    """

    def __init__(
        self,
        state: NodeState,
        carrier: Carrier,
        outbox: Outbox,
        take_here: Callable[[tuple[Parcel, ...], float], tuple[tuple[Outcome, ...], ...]],
        acknowledged: Callable[[list[tuple[str, Message]], float], None],
        tried: Callable[[Outgoing], None],
    ) -> None:
        self._state = state
        self._carrier = carrier
        self._outbox = outbox
        self._take_here = take_here
        self.acknowledged: Callable[[list[tuple[str, Message]], float], None] = acknowledged
        self.tried: Callable[[Outgoing], None] = tried
        self.lanes: dict[str, PeerQueue] = {}
        self.ready: dict[str, dict[str, None]] = {}
        """By home, the recipients whose lines have something waiting."""

    def route(self, recipient: str) -> str | None:
        """Find the recipient's home; which that is. What was delivered to another, or to an earlier life of it, is
        delivered again."""
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

    def flush_all(self, recipients: Iterable[str], now: float) -> None:
        homes = dict.fromkeys(
            line.home[0] for id_ in recipients if (line := self._outbox.lines.get(id_)) is not None and line.home
        )
        for home in homes:
            self._flush(home, now)

    def _flush(self, home: str, now: float) -> None:
        if home == self._state.id:
            self._deliver_here(now)
        else:
            self._lane(home).flush(now)

    def _lane(self, home: str) -> PeerQueue:
        lane = self.lanes.get(home)
        if lane is None:
            latest: Deliver | None = None

            def make(now: float) -> Passed | None:
                nonlocal latest
                parcels = self._batch(home, now)
                if not parcels:
                    return None
                latest = Deliver(self._state.id, parcels, self._state.members.records[home].boot)
                return latest

            def conclude(request: Passed, reply: CallReply | CallFailed, now: float) -> None:
                if isinstance(request, Deliver):
                    self._conclude(home, request.parcels, reply, now, is_late=request is not latest)

            lane = self.lanes[home] = PeerQueue(
                self._state, self._carrier, Timer.DELIVER, home, make, conclude, self.retry_failed
            )
        return lane

    def _deliver_here(self, now: float) -> None:
        """The recipient's home is this node: the mailbox is next door, and the outbox keeps the message on disk."""
        state = self._state
        while parcels := self._batch(state.id, now):
            outcomes = self._take_here(parcels, now)
            self._conclude(state.id, parcels, DeliverReply(outcomes), now)

    def _batch(self, home: str, now: float) -> tuple[Parcel, ...]:
        """What is to be delivered next: each recipient's oldest copies, one message for several where they share it."""
        ready = self.ready.get(home)
        if not ready:
            return ()
        room = self._state.config.delivery_bytes_max
        record = self._state.members.records.get(home)
        boot = record.boot if record is not None else 0
        chosen: dict[int, tuple[Outgoing, list[str]]] = {}
        for recipient in list(ready):
            if room <= 0:
                break
            line = self._outbox.lines.get(recipient)
            if line is None or not line.waiting or line.home is None or line.home[0] != home:
                del ready[recipient]
                continue
            if line.is_blocked or line.home[1] != boot:  # it was started again, and that is not known of both yet
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
            del ready[recipient]  # the next batch begins with the others
            ready[recipient] = None
        return tuple(
            Parcel(outgoing.message, tuple(recipients), max(0.0, outgoing.deadline - now))
            for _, (outgoing, recipients) in sorted(chosen.items())
        )

    def _conclude(
        self,
        home: str,
        parcels: tuple[Parcel, ...],
        reply: CallReply | CallFailed,
        now: float,
        *,
        is_late: bool = False,
    ) -> None:
        """What came of a batch. ``is_late``: the same was told again meanwhile, perhaps to a home that was started
        again and has none of it."""
        state = self._state
        outcomes = reply.outcomes if isinstance(reply, DeliverReply) else ()
        acknowledged: list[tuple[str, Message]] = []
        wall_ms = state.wall_ms()
        for index, parcel in enumerate(parcels):
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
                    acknowledged.append((recipient, outgoing.message))
                elif line.home is None or line.home[0] != home:
                    pass  # it has another home by now
                elif is_late:
                    pass  # the later call says what holds
                elif outcome is Outcome.TAKEN:
                    self._outbox.note_delivered(outgoing, recipient, wall_ms)
                    line.note_room()
                else:
                    copy.reason = _why_waiting(outcome, recipient, home)
                    if outcome is not None and not line.is_blocked:
                        self._block(recipient, line, is_full=outcome is Outcome.FULL, now=now)
            self.tried(outgoing)
        if acknowledged:
            self.acknowledged(acknowledged, now)

    def try_again(self, recipient: str, now: float) -> None:
        """Deliver to this recipient again what was delivered, after a pause."""
        line = self._outbox.lines.get(recipient)
        if line is None or line.home is None:
            return
        refusals = line.refusals
        line.requeue()
        line.refusals = refusals
        self.ready.setdefault(line.home[0], {})[recipient] = None
        self._block(recipient, line, is_full=False, now=now)

    def _block(self, recipient: str, line: Line, *, is_full: bool, now: float) -> None:
        """Its home refused: try again after a pause that doubles."""
        line.is_blocked, line.is_full = True, is_full
        pause = self._state.config.delivery_pause(line.refusals)
        line.refusals += 1
        self._state.timers.set(Timer.UNBLOCK, now + pause, recipient)

    def retry(self, home: str, now: float) -> None:
        """A call that failed is repeated."""
        self._flush(home, now)

    def unblock(self, recipient: str, now: float) -> None:
        """A copy that was refused is offered again."""
        line = self._outbox.lines.get(recipient)
        if line is not None and line.home is not None:
            line.is_blocked = False
            self._flush(line.home[0], now)

    def retry_failed(self, now: float) -> None:
        """Something is well again: try at once what was to be repeated later."""
        wake_failed(self.lanes.values(), now)

    def wake(self, home: str, now: float) -> None:
        if home == self._state.id:
            self._deliver_here(now)
        else:
            self._lane(home).wake(now)

    def forget_home(self, home: str) -> None:
        self.lanes.pop(home, None)
        self.ready.pop(home, None)


def _why_waiting(outcome: Outcome | None, recipient: str, home: str) -> str:
    match outcome:
        case Outcome.FULL:
            return f"the mailbox of {recipient!r} has no room"
        case Outcome.ELSEWHERE:
            return f"node {home!r} is not its home any more"
        case _:
            return f"node {home!r}, its home, does not answer"
