"""What senders are told of their messages."""

from __future__ import annotations

from collections import Counter

from meshp2p.core.calls import CallReply, Refused, Why
from meshp2p.core.events import Event, InstanceJoined, InstanceLeft
from meshp2p.core.message import CopyReceipt, CopyStatus, Message
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.clock import EPOCH_MS
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import Letter
from meshp2p.virtual.faults import ClockRate, ClockStep, DiskSlow

__all__ = ["ReceiptChecker"]

ROUNDING = 0.01

ACCEPTED_WITHIN = 1.0
"""Seconds within which a message is accepted, unless a disk is slow. Chosen, not measured."""


class ReceiptChecker(Checker):
    """A receipt says that a recipient acknowledged a message only if it did, and since a time after it read it. No
    message waits for an instance that the accepting node knows to have left."""

    name = "receipts"
    watches: tuple[type, ...] = (InstanceLeft, InstanceJoined)

    def prepare(self) -> None:
        self._read_at: dict[tuple[str, str], float] = {}
        self._acknowledged: Counter[tuple[str, str]] = Counter()
        """How many acknowledgements of a copy were asked for, and did not fail for want of room."""
        self._left_at: dict[tuple[str, int, str], float] = {}
        """By host, process and instance, since when it has left."""

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceLeft):
            self._left_at[host.key, host.life, event.id] = self.oracle.engine.now
        elif isinstance(event, InstanceJoined):
            self._left_at.pop((host.key, host.life, event.id), None)

    def accepted(self, host: Host, letter: Letter) -> None:
        now = self.oracle.engine.now
        for recipient in letter.recipients if not self.oracle.has_had(DiskSlow) else ():
            left_at = self._left_at.get((host.key, host.life, recipient), now)
            if now - left_at > ACCEPTED_WITHIN:
                self.violated(host, f"accepts {letter.id} for {recipient}, which left {now - left_at:.1f} s ago")

    def was_read(self, recipient: str, messages: tuple[Message, ...], asked_at: float) -> None:
        for message in messages:
            self._read_at.setdefault((recipient, message.id), self.oracle.engine.now)

    def acknowledges(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        self._acknowledged.update((recipient, message_id) for message_id in message_ids)

    def was_acknowledged(self, recipient: str, message_ids: tuple[str, ...], reply: CallReply | None) -> None:
        if reply is None or (isinstance(reply, Refused) and reply.why is Why.STORE_FULL):
            self._acknowledged.subtract((recipient, message_id) for message_id in message_ids)

    def status_shown(self, host: Host, letter: Letter, receipts: tuple[CopyReceipt, ...]) -> None:
        for receipt in receipts:
            copy = (receipt.recipient, letter.id)
            if receipt.status is not CopyStatus.ACKNOWLEDGED:
                continue
            if not self._acknowledged[copy]:
                self.violated(host, f"says that {receipt.recipient} acknowledged {letter.id}, which it has not")
            elif not self.oracle.has_had(ClockStep | ClockRate):
                since = (receipt.changed_at - EPOCH_MS) / 1000 - host.clock.wall_skew
                read_at = self._read_at[copy]
                if since < read_at - ROUNDING:
                    about = f"{letter.id} since {since:.3f} s, which it read first at {read_at:.3f} s"
                    self.violated(host, f"says that {receipt.recipient} has acknowledged {about}")
