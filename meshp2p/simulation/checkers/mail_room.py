"""A message is refused for want of room only where there is none, and who reads on gets nothing twice."""

from __future__ import annotations

from meshp2p.core.calls import CallReply, Done
from meshp2p.core.message import Message
from meshp2p.errors import MailboxFull
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import MESSAGE_BYTES, Letter, MailboxRead

__all__ = ["MailRoom", "ReadingOn"]


TOLD_WITHIN = 20.0
"""Seconds after a trouble within which holders hear what was acknowledged meanwhile. Chosen, not measured."""


class MailRoom(Checker):
    """A node refuses a message for want of room only where, within the longest pause before what was refused is offered
    again, more than half of the recipient's mailbox or of the node's own outbox was taken by what nobody had
    acknowledged."""

    name = "mail-room"

    def prepare(self) -> None:
        config = self.oracle.config
        self._mailbox = (config.mailbox_messages_max, config.mailbox_bytes_max)
        self._outbox = (config.outbox_copies_max, config.outbox_bytes_max)
        self._open: dict[tuple[str, str], Letter] = {}
        self._counted: dict[str, list[int]] = {}
        """By recipient, and by the key of a node with an ``@`` before it: how many copies are open, and their bytes."""
        self._full_at: dict[str, float] = {}
        """When each was last more than half full."""

    def accepted(self, host: Host, letter: Letter) -> None:
        for recipient in letter.recipients:
            self._open[recipient, letter.id] = letter
            self._count(recipient, letter, 1)

    def was_acknowledged(self, recipient: str, message_ids: tuple[str, ...], reply: CallReply | None) -> None:
        for message_id in message_ids:
            letter = self._open.get((recipient, message_id))
            if letter is not None and isinstance(reply, Done):
                del self._open[recipient, message_id]
                self._count(recipient, letter, -1)

    def _count(self, recipient: str, letter: Letter, copies: int) -> None:
        now = self.oracle.engine.now
        size = copies * (len(letter.payload) + MESSAGE_BYTES)
        for name, limits in ((recipient, self._mailbox), (f"@{letter.node}", self._outbox)):
            counted = self._counted.setdefault(name, [0, 0])
            was_full = _is_half(counted, limits)
            counted[0] += copies
            counted[1] += size
            if was_full or _is_half(counted, limits):
                self._full_at[name] = now

    def refused(self, host: Host, target: str, size: int, why: str) -> None:
        if why != MailboxFull.__name__ or not target:
            return
        config, now = self.oracle.config, self.oracle.engine.now
        if size + MESSAGE_BYTES > min(self._mailbox[1], self._outbox[1]) // 2:
            return
        if self.oracle.active_troubles() or now - self.oracle.disturbed_at < TOLD_WITHIN:
            return  # a disk may keep nothing, and holders may not know what was acknowledged
        within = 1.25 * config.delivery_interval_max + config.forward_timeout + 1.0
        for name, limits in ((target, self._mailbox), (f"@{host.key}", self._outbox)):
            if _is_half(self._counted.get(name, [0, 0]), limits) or now - self._full_at.get(name, -within) < within:
                return
        copies, taken = self._counted.get(target, [0, 0])
        what = f"{copies} messages of {taken} bytes wait for it, and have for {within:.1f} s been no more than half"
        self.violated(host, f"refuses a message of {size} bytes for {target} for want of room: {what} of what may")


def _is_half(counted: list[int], limits: tuple[int, int]) -> bool:
    return 2 * counted[0] >= limits[0] or 2 * counted[1] >= limits[1]


class ReadingOn(Checker):
    """A recipient that reads on at its own node, after the message that it read last, gets no message that it read
    before that one."""

    name = "reading-on"

    def prepare(self) -> None:
        self._chains: dict[str, tuple[str, int, list[str]]] = {}
        """By recipient, the host and life at which it reads, and what it was given since it began with the oldest."""

    def was_answered(self, host: Host, reading: MailboxRead, messages: tuple[Message, ...]) -> None:
        if reading.recipient != host.id:
            return
        key, life, chain = self._chains.get(reading.recipient, ("", 0, []))
        ids = [message.id for message in messages]
        if not reading.after or (key, life) != (host.key, host.life) or reading.after not in chain:
            self._chains[reading.recipient] = (host.key, host.life, ids if not reading.after else [])
            return
        before = set(chain[: chain.index(reading.after) + 1])
        again = next((message_id for message_id in ids if message_id in before), None)
        if again is not None:
            self.violated(host, f"gives {host.id} {again} again, which reads on behind {reading.after}")
        chain += [message_id for message_id in ids if message_id not in before]
