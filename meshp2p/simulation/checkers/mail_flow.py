"""Messages flow: in a mesh that is whole they are read soon, and who waits for one does not wait in vain."""

from __future__ import annotations

import math

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.message import Message
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.checkers.convergence import Convergence
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import Letter, MailboxRead
from meshp2p.simulation.mail import READ_MAX
from meshp2p.virtual.faults import (
    Blocked,
    ClockRate,
    ClockStep,
    Crash,
    EndingFault,
    Fault,
    Hidden,
    Kind,
    Leave,
    Lossy,
    Pause,
    Reordered,
    Sleep,
    Slow,
    Stalls,
)

__all__ = ["MailFlow"]

AT_ONCE = 0.5
"""Seconds within which a read that waits is answered where the message was accepted. Chosen, not measured."""

GONE_MAX = 1
"""Nodes that may be down, and listed still, when one leaves: it asks the next one, and is given time for that."""

_LIMITS = (
    "mailbox_messages_max",
    "mailbox_bytes_max",
    "outbox_copies_max",
    "outbox_bytes_max",
    "fetch_bytes_max",
    "delivery_bytes_max",
    "waits_max",
)
"""If one of these limits is low, messages wait for room."""


def flow_seconds(config: ProtocolConfig) -> float:
    """Return the seconds in which a message must be read: the pause after a failed call, then a call, perhaps through
    relays, and the wait for its reader."""
    return 1.25 * config.delivery_interval_max + 4 * config.forward_timeout + 2 * config.call_timeout + 3.0


class MailFlow(Checker):
    """A message that is accepted while the mesh has converged, and nothing blocks calls, is read within
    :func:`flow_seconds`, during the run as well as at its end. A hidden node counts as reachable. A waiting read at the
    recipient's home is answered as soon as a message is accepted there.

    It is not checked if limits are so low that messages wait for room.
    """

    name = "mail-flow"

    def prepare(self) -> None:
        self._mesh = Convergence(self.oracle, lambda _violation: None)
        self._bound = flow_seconds(self.oracle.config)
        self._has_room = self.has_room(*_LIMITS)
        self._unread: dict[tuple[str, str], Letter] = {}
        self._read: dict[tuple[str, str], None] = {}
        """Messages that were read, perhaps before their sender heard that they were accepted."""
        self._whole_since = math.inf
        self._looked_at = 0.0
        self._waiting: dict[str, dict[int, MailboxRead]] = {}
        self._behind_at: dict[str, float] = {}
        """When each recipient last read as much as one read gives: it may have a backlog."""

    def accepted(self, host: Host, letter: Letter) -> None:
        if not self._has_room:
            return
        engine = self.oracle.engine
        for recipient in letter.recipients:
            if (recipient, letter.id) in self._read:
                continue
            self._unread[recipient, letter.id] = letter
            for reading in self._waiting.get(recipient, {}).values():
                if (reading.node, reading.life) == (host.key, host.life) and host.is_home_of(recipient):
                    engine.at(engine.now + AT_ONCE, self._look_at_wait, (host, reading))

    def was_read(self, recipient: str, messages: tuple[Message, ...], asked_at: float) -> None:
        for message in messages:
            self._unread.pop((recipient, message.id), None)
            self._read[recipient, message.id] = None

    # Reads that wait

    def reads(self, host: Host, reading: MailboxRead) -> None:
        if reading.wait and not reading.after and host.is_home_of(reading.recipient):
            self._waiting.setdefault(reading.recipient, {})[reading.number] = reading

    def was_answered(self, host: Host, reading: MailboxRead, messages: tuple[Message, ...]) -> None:
        self._waiting.get(reading.recipient, {}).pop(reading.number, None)
        size = sum(message.size for message in messages)
        if len(messages) >= READ_MAX or 2 * size > self.oracle.config.fetch_bytes_max:
            self._behind_at[reading.recipient] = self.oracle.engine.now

    def _look_at_wait(self, argument: tuple[Host, MailboxRead]) -> None:
        host, reading = argument
        waiting = self._waiting.get(reading.recipient, {})
        is_well = self.oracle.fault_history.node_until(host.id) < reading.asked_at and not host.is_stopped
        stops = (fault for fault in self.oracle.all_faults if isinstance(fault, Pause | Sleep | Slow | Stalls))
        is_well = is_well and host.is_home_of(reading.recipient) and all(fault.node != host.id for fault in stops)
        if reading.number in waiting and host.life == reading.life and is_well and not host.is_leaving:
            del waiting[reading.number]
            if self.oracle.engine.now < reading.asked_at + reading.wait:
                since = f"{reading.asked_at:.3f} s, though a message was accepted there {AT_ONCE} s ago"
                self.violated(host, f"lets {reading.recipient} wait for a message since {since}")

    # In calm

    def finish(self) -> None:
        """Check that messages accepted by a node that left are at other nodes, if only single nodes were gone when it
        left: it handed over undelivered messages, and those that only its own mailboxes had."""
        oracle = self.oracle
        if oracle.was_troubled or not all(isinstance(fault, EndingFault) for fault in oracle.all_faults):
            return
        for (recipient, message_id), letter in self._unread.items():
            left_at = self._left_at(letter)
            if left_at is None:
                continue
            if oracle.engine.now - max(oracle.disturbed_at, letter.accepted_at) < self._bound:
                continue
            gone = [fault for fault in oracle.all_faults if isinstance(fault, Crash) and _is_gone(fault, left_at)]
            others = {other.id: other for other in oracle.live}
            since = oracle.agents.get(recipient)
            is_there = recipient in others or (since is not None and oracle.engine.now - since > self._bound)
            if len(gone) <= GONE_MAX and is_there and not oracle.is_odd(recipient) and len(others) > GONE_MAX:
                self.violated(None, f"{recipient} never read {message_id}, which {letter.node} had when it left")

    def _left_at(self, letter: Letter) -> float | None:
        """When the process that accepted this left, once and for good; None where it did not."""
        leaves = [fault for fault in self.oracle.all_faults if isinstance(fault, Leave) and fault.node == letter.node]
        host = self.oracle.hosts[letter.node]
        is_gone = host.machine is None and host.life == letter.life
        return leaves[0].begin if len(leaves) == 1 and is_gone and leaves[0].end is None else None

    def tick(self) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        if not self._unread or not self._is_clear() or not self._mesh.is_whole():
            self._whole_since = math.inf
        elif self._whole_since == math.inf or oracle.disturbed_at >= self._looked_at:
            self._whole_since = now
        self._looked_at = now
        if now - self._whole_since < self._bound:
            return
        live = {host.id: host for host in oracle.live}
        for (recipient, message_id), letter in list(self._unread.items()):
            since = oracle.agents.get(recipient)
            if now - max(letter.accepted_at, self._whole_since) < self._bound or oracle.is_odd(letter.node):
                continue
            if now - self._behind_at.get(recipient, -math.inf) < self._bound:
                continue
            holder = oracle.hosts[letter.node]
            if oracle.is_odd(recipient) or holder not in oracle.live or holder.life != letter.life:
                continue
            if recipient in live or (since is not None and now - since > self._bound):
                del self._unread[recipient, message_id]
                accepted = f"which {letter.node} accepted {now - letter.accepted_at:.1f} s ago"
                self.violated(None, f"{recipient} has not read {message_id}, {accepted}, and the mesh is whole")

    def _is_clear(self) -> bool:
        """Whether nothing is in the way of calls now."""
        return all(_leaves_calls(fault) for fault in self.oracle.active.values())


def _is_gone(crash: Crash, at: float) -> bool:
    return crash.begin <= at + 5.0 and (crash.end is None or crash.end >= at - 1.0)


def _leaves_calls(fault: Fault) -> bool:
    match fault:
        case Crash() | Leave() | Hidden() | ClockStep() | ClockRate() | Reordered():
            return True
        case Blocked(kinds=kinds) | Lossy(kinds=kinds):
            return Kind.TCP not in kinds
        case _:
            return False
