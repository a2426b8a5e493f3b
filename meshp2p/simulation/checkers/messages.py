"""Messages: none that was accepted is lost, none is handed out after it was acknowledged, order, content."""

from __future__ import annotations

from collections.abc import Iterator

from meshp2p.core.message import Message
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import Letter
from meshp2p.virtual.faults import CuttingFault, DiskSlow, ShutOut

__all__ = ["Messages"]

READ_WITHIN = 8.0
"""Seconds within which what was accepted is read in a mesh where nothing happens any more: a call that failed is
repeated after 5 at the most. Chosen, not measured."""

READ_AND_CALL = 3.0
"""Seconds between two reads of one recipient, and what the call that delivers takes. Chosen, not measured."""


class Messages(Checker):
    """The guarantees for messages.

    No accepted message is lost: at the end every running recipient has read it. Exempt are messages accepted by a node
    that then lost its disk or had none, or was killed for good, unless only that node died in a network without faults
    and it was not the recipient's home: then the home has them. No message is handed out after it was acknowledged.
    Exempt are agents that moved while the network was cut, so that the holders could not hear of the acknowledgement.
    The messages that one node accepted from one source are read in order.
    """

    name = "messages"

    def prepare(self) -> None:
        self._lost: dict[str, list[float]] = {}
        self._losses: dict[str, int] = {}
        self._newest: dict[tuple[str, str, str], str] = {}
        self._read: dict[tuple[str, str], float] = {}
        self._progressed_at = 0.0

    # What happens

    def stopped(self, host: Host) -> None:
        if host.disk is None:
            self._lost.setdefault(host.key, []).append(self.oracle.engine.now)

    def started(self, host: Host) -> None:
        if host.disk is not None and host.disk.losses > self._losses.get(host.key, 0):
            self._losses[host.key] = host.disk.losses
            self._lost.setdefault(host.key, []).append(self.oracle.engine.now)

    def was_read(self, recipient: str, messages: tuple[Message, ...], asked_at: float) -> None:
        for message in messages:
            letter = self.oracle.letters.get(message.id)
            if letter is not None:
                self._compare(recipient, message, letter)
            acknowledged_at = self.oracle.acknowledged.get((recipient, message.id))
            if acknowledged_at is not None and acknowledged_at < asked_at and not self._may_repeat(recipient, letter):
                self.violated(
                    None,
                    f"{recipient} read {message.id} again at {asked_at:.3f} s,"
                    f" which it had acknowledged at {acknowledged_at:.3f} s",
                )
            if (recipient, message.id) not in self._read:
                self._read[recipient, message.id] = self._progressed_at = self.oracle.engine.now

    def _compare(self, recipient: str, message: Message, letter: Letter) -> None:
        if message.payload != letter.payload or message.source != letter.source:
            self.violated(None, f"{recipient} read {message!r}, which was sent as {letter.payload!r}")
        if recipient not in letter.recipients:
            self.violated(None, f"{recipient} read {message.id}, which was for {letter.recipients}")
        if (recipient, message.id) in self._read:
            return
        stream = (letter.node, letter.source, recipient)
        newest = self._newest.get(stream, "")
        if message.id < newest and not self._has_lost(letter):
            self.violated(None, f"{recipient} read {message.id} of {letter.source} behind {newest}")
        self._newest[stream] = max(newest, message.id)

    def _has_lost(self, letter: Letter) -> bool:
        """Whether the node that accepted it lost what it held."""
        return any(when >= letter.accepted_at for when in self._lost.get(letter.node, ()))

    def _may_repeat(self, recipient: str, letter: Letter | None) -> bool:
        if letter is None or self.oracle.is_odd(recipient) or letter.node in self.oracle.twins:
            return True
        at = self.oracle.acknowledged[recipient, letter.id]
        # the home of an agent may not answer in time if its disk is slow, and who asked it adopts the agent
        is_cut_off = self.oracle.has_had(CuttingFault | DiskSlow | ShutOut) or self.oracle.was_troubled
        has_moved = recipient not in self.oracle.hosts and is_cut_off
        has_forgotten = any(when >= at for losses in self._lost.values() for when in losses)
        return has_moved or has_forgotten

    def is_catching_up(self) -> bool:
        """Whether recipients that fell behind are still reading what they had not read.

        A read gives a limited number, and a mailbox that is full takes the next message when it is offered again, which
        is after ``delivery_interval_max`` at the latest. So a backlog takes its time, and the run is to wait for it.
        """
        progress_within = READ_AND_CALL + self.oracle.config.delivery_interval_max
        is_reading = self.oracle.engine.now - self._progressed_at < progress_within
        return is_reading and any(self._unread())

    def finish(self) -> None:
        for letter, recipient in self._unread():
            at = f"{letter.accepted_at:.3f} s"
            self.violated(None, f"{recipient} never read {letter.id}, which {letter.node} accepted at {at}")

    def _unread(self) -> Iterator[tuple[Letter, str]]:
        """What somebody who is there has not read and should have, but for backlogs."""
        now = self.oracle.engine.now
        live = {host.id: host for host in self.oracle.live}
        for letter in self.oracle.letters.values():
            for recipient in letter.recipients:
                since = self.oracle.agents.get(recipient)
                is_there = recipient in live or (since is not None and now - since > READ_WITHIN)
                calm_for = now - max(letter.accepted_at, self.oracle.disturbed_at)
                if (recipient, letter.id) in self._read or not is_there or calm_for < READ_WITHIN:
                    continue
                if self.oracle.is_odd(recipient) or self._may_be_lost(letter, recipient):
                    continue
                yield letter, recipient

    def _may_be_lost(self, letter: Letter, recipient: str) -> bool:
        if self.oracle.is_odd(letter.node):
            return True
        is_down = letter.node not in {host.key for host in self.oracle.live}
        if not self._has_lost(letter) and not is_down:
            return False
        home = self.oracle.hosts.get(recipient)
        if is_down and home is not None and self.oracle.steady_for(home) < self.oracle.engine.now - letter.accepted_at:
            return True  # it is on the disk of a node that did not come back, and its recipient was not there
        losses = [when for times in self._lost.values() for when in times if when >= letter.accepted_at]
        is_one_end = recipient == letter.node or recipient not in self.oracle.hosts  # an agent may be at home there
        return is_one_end or len(losses) > 1 or self.oracle.was_troubled or self.oracle.has_had(CuttingFault)
