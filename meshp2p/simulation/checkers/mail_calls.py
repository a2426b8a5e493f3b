"""The calls that bring messages to their homes: how large, how many at a time, and when after a refusal."""

from __future__ import annotations

from meshp2p.core.calls import Acknowledged, CallReply, Deliver, DeliverReply, Deposit, Outcome, Parcel, Refused
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.events import Event, InstanceEvent, InstanceJoined, InstanceRecovered, InstanceUpdated
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["MailCalls"]

AGAIN_WITHIN = 1.5
"""Seconds beyond its pause within which what was refused is offered again: the pauses are random by a quarter, and
another call may be under way. Chosen, not measured."""

Queue = tuple[str, int, str, type]
"""The key and life of a caller, the id of whom it calls, and the kind of call."""


class _State:
    """The calls under way, when the first of them began, and whether one failed since all were answered."""

    __slots__ = ("began_at", "has_failed", "under_way")

    def __init__(self) -> None:
        self.under_way: dict[int, None] = {}
        self.began_at = 0.0
        self.has_failed = False


class _Line:
    """One recipient at one home: how often in a row it was refused, when it was offered something last, and the boot of
    the home that took each message."""

    __slots__ = ("offered_at", "refusals", "taken")

    def __init__(self) -> None:
        self.refusals = 0
        self.offered_at = -1.0
        self.taken: dict[str, int] = {}


class MailCalls(Checker):
    """A call has one message, or as many as fit into ``delivery_bytes_max``. One call of a kind to one node is under
    way at a time, unless something happened to that node or its recipients meanwhile, or the call before failed. A node
    that leaves repeats at once what is under way. What was refused for want of room is offered again after a pause that
    counts the refusals since it was last taken.
    """

    name = "mail-calls"
    watches: tuple[type, ...] = (InstanceJoined, InstanceUpdated, InstanceRecovered)

    def prepare(self) -> None:
        self._queues: dict[Queue, _State] = {}
        self._lines: dict[tuple[str, int, str, str], _Line] = {}
        """By the key and life of the holder, the home and the recipient."""
        self._happened_at: dict[str, float] = {}
        """By the key of a host, when anything happened to a member there that may set calls going."""

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceEvent) and event.record.id != host.id:
            self._happened_at[host.key] = self.oracle.engine.now

    def calls(self, host: Host, effect: Call) -> None:
        request = effect.request
        kind = type(request)
        if kind is Deliver or kind is Deposit:
            self._check_size(host, request.parcels)  # type: ignore[union-attr]
        if host.is_leaving or (kind is not Deliver and kind is not Acknowledged):
            return
        to = effect.target or effect.node_id
        now = self.oracle.engine.now
        state = self._queues.setdefault((host.key, host.life, to, kind), _State())
        if state.under_way and not state.has_failed and self._happened_at.get(host.key, -1.0) < state.began_at:
            self.violated(host, f"calls {to} while its call of {now - state.began_at:.3f} s ago is under way")
        if not state.under_way:
            state.began_at = now
        state.under_way[effect.call_id] = None
        if isinstance(request, Deliver):
            for recipient in dict.fromkeys(name for parcel in request.parcels for name in parcel.recipients):
                line = self._lines.setdefault((host.key, host.life, to, recipient), _Line())
                line.offered_at = now

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        request = effect.request
        kind = type(request)
        if kind is not Deliver and kind is not Acknowledged:
            return
        to = effect.target or effect.node_id
        state = self._queues.get((host.key, host.life, to, kind))
        if state is not None:
            state.under_way.pop(effect.call_id, None)
            if isinstance(reply, CallFailed | Refused):
                state.has_failed = True
            elif not state.under_way:
                state.has_failed = False
        if isinstance(request, Deliver) and isinstance(reply, DeliverReply):
            self._note_outcomes(host, to, request, reply)

    def _check_size(self, host: Host, parcels: tuple[Parcel, ...]) -> None:
        sizes = [parcel.message.size for parcel in parcels]
        room = self.oracle.config.delivery_bytes_max
        if len(sizes) > 1 and sum(sizes) - max(sizes) > room:
            self.violated(host, f"delivers {len(sizes)} messages of {sum(sizes)} bytes in one call, {room} are allowed")

    # Refusals

    def _note_outcomes(self, host: Host, home: str, request: Deliver, reply: DeliverReply) -> None:
        blocked: dict[str, str] = {}
        at_home = host.listed.get(home)
        for parcel, outcomes in zip(request.parcels, reply.outcomes, strict=False):
            for recipient, outcome in zip(parcel.recipients, outcomes, strict=False):
                line = self._lines.get((host.key, host.life, home, recipient))
                if line is None:
                    continue
                if outcome is Outcome.TAKEN:
                    line.refusals = 0
                    line.taken[parcel.message.id] = request.boot or (0 if at_home is None else at_home.boot)
                    blocked.pop(recipient, None)
                elif outcome is Outcome.FULL or outcome is Outcome.ELSEWHERE:
                    blocked.setdefault(recipient, parcel.message.id)
        engine, config = self.oracle.engine, self.oracle.config
        for recipient, message_id in blocked.items():
            line = self._lines[host.key, host.life, home, recipient]
            due = engine.now + 1.25 * config.delivery_pause(line.refusals) + AGAIN_WITHIN
            line.refusals += 1
            engine.at(due, self._look, (host, host.life, home, recipient, message_id, request.boot, engine.now))

    def _look(self, argument: tuple[Host, int, str, str, str, int, float]) -> None:
        host, life, home, recipient, message_id, boot, refused_at = argument
        line = self._lines.get((host.key, life, home, recipient))
        oracle = self.oracle
        is_quiet = oracle.disturbed_at < refused_at and not oracle.active_troubles()
        is_well = host.life == life and host in oracle.live and self._happened_at.get(host.key, -1.0) < refused_at
        record = host.listed.get(recipient)
        is_open = (recipient, message_id) not in oracle.acknowledged and record is not None and record.home == home
        # another call may have brought it to the next process of the home, and this one came late
        is_waiting = line is not None and line.offered_at <= refused_at and line.taken.get(message_id, boot - 1) < boot
        if is_waiting and is_quiet and is_well and is_open:
            after = oracle.engine.now - refused_at
            self.violated(host, f"has not offered {home} the mail of {recipient} again, {after:.1f} s after a refusal")
