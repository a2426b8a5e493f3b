"""Messages in a mailbox stay there until they are acknowledged."""

from __future__ import annotations

from collections import Counter

from meshp2p.core.calls import CallReply, CallRequest, Deliver, DeliverReply, Done, Outcome, Refused, Why
from meshp2p.core.effects import Call, CallFailed, Table
from meshp2p.core.message import Message
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.checkers.messages import READ_WITHIN
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import MESSAGE_BYTES, Letter, MailboxRead
from meshp2p.simulation.mail import READ_MAX
from meshp2p.virtual.faults import DiskFails, DiskForgets, DiskFull, DiskSlow

__all__ = ["MailKept"]

AT_ONCE = 0.5
"""A message that was handed out so many seconds ago is on the disk, or is handed out no more. Chosen, not measured."""

WRITTEN_WITHIN = 5.0
"""Seconds after a disk was slow within which all is written that waited. Chosen, not measured."""

Copy = tuple[str, str]
"""A recipient and the id of a message."""


class _Taken:
    """A home reported that it took a copy: which home, in which life of its process, how often its disk had lost
    messages, and when."""

    __slots__ = ("at", "home", "life", "losses")

    def __init__(self, home: Host, losses: int, at: float) -> None:
        self.home = home
        self.life = home.life
        self.losses = losses
        self.at = at


class MailKept(Checker):
    """A copy that a home with a disk reported as taken can be read from it, whatever happens to the sender, and even if
    the home does not hear of acknowledgements: a node's own messages across restarts, an agent's also if the agent went
    to another node.

    A read from the oldest message on returns all messages that an earlier read returned and that were not acknowledged,
    also if the acknowledgement was refused because it could not be stored.
    """

    name = "mail-kept"

    def prepare(self) -> None:
        self._taken: dict[Copy, _Taken] = {}
        self._read: dict[Copy, None] = {}
        self._handed_out: dict[str, dict[str, float]] = {}
        """By recipient, what is to be handed out again, and since when."""
        self._asked: Counter[Copy] = Counter()
        """How many acknowledgements of a copy are under way, or were accepted."""
        self._read_first: dict[tuple[str, int, str], float] = {}
        """By host, process and message, when that was handed out first since it was delivered last."""
        self._largest = 0
        """The size of the largest message that was accepted."""
        self._lives: dict[str, tuple[str, int]] = {}
        """By recipient, the host and the life of its process that it reads at."""

    def accepted(self, host: Host, letter: Letter) -> None:
        self._largest = max(self._largest, len(letter.payload) + MESSAGE_BYTES)

    # What homes take

    def called(self, host: Host, request: CallRequest) -> None:
        if type(request) is Deliver:  # each delivery is written anew, and may be handed out meanwhile
            for parcel in request.parcels:
                self._read_first.pop((host.key, host.life, parcel.message.id), None)

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if type(reply) is not DeliverReply or type(effect.request) is not Deliver:
            return
        home = self.oracle.only_host(effect.target or effect.node_id)
        if home is None or home.disk is None:
            return
        now = self.oracle.engine.now
        for parcel, outcomes in zip(effect.request.parcels, reply.outcomes, strict=False):
            for recipient, outcome in zip(parcel.recipients, outcomes, strict=False):
                copy = (recipient, parcel.message.id)
                if outcome is Outcome.TAKEN and copy not in self._read:
                    self._taken.setdefault(copy, _Taken(home, home.disk.losses, now))

    def was_read(self, recipient: str, messages: tuple[Message, ...], asked_at: float) -> None:
        for message in messages:
            self._read[recipient, message.id] = None
            self._taken.pop((recipient, message.id), None)

    def finish(self) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        if oracle.has_had(DiskForgets) or now - oracle.disturbed_at < READ_WITHIN:
            return
        for (recipient, message_id), taken in self._taken.items():
            home, disk = taken.home, taken.home.disk
            is_kept = disk is not None and disk.losses == taken.losses and home in oracle.live
            if not is_kept or oracle.is_odd(recipient) or oracle.is_odd(home.id) or now - taken.at < READ_WITHIN:
                continue
            if recipient == home.id or self._is_there(recipient, taken):
                about = f"{recipient} never read {message_id}, which this node took at {taken.at:.3f} s"
                self.violated(home, about)

    def _is_there(self, agent_id: str, taken: _Taken) -> bool:
        """Whether the agent was listed all the time, nothing was cut, and its home then runs as it did."""
        oracle = self.oracle
        since = oracle.agents.get(agent_id)
        is_quiet = not oracle.was_troubled and taken.home.life == taken.life
        return since is not None and since < taken.at and is_quiet

    # What is handed out

    def acknowledges(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        handed_out = self._handed_out.get(recipient, {})
        for message_id in message_ids:
            handed_out.pop(message_id, None)
            self._asked[recipient, message_id] += 1

    def was_acknowledged(self, recipient: str, message_ids: tuple[str, ...], reply: CallReply | None) -> None:
        if isinstance(reply, Done) or (isinstance(reply, Refused) and reply.why is not Why.STORE_FULL):
            return
        self._asked.subtract((recipient, message_id) for message_id in message_ids)
        asked = [message_id for message_id in message_ids if not self._asked[recipient, message_id]]
        if recipient in self._handed_out:  # it is as if the agent had never asked
            for message_id in self._kept_among(recipient, asked):
                self._handed_out[recipient][message_id] = self.oracle.engine.now

    def _kept_among(self, node_id: str, message_ids: list[str]) -> list[str]:
        """Return which of these are on the node's disk, if it has one. A node may hand out a message whose delivery is
        still being written; if that write fails, the holder delivers it again later."""
        key, _ = self._lives[node_id]
        disk = self.oracle.hosts[key].disk
        if disk is None:
            return message_ids
        rows = [value for table, _, value in disk.read_messages() if table in (Table.INCOMING, Table.OUTGOING)]
        return [message_id for message_id in message_ids if any(message_id.encode() in row for row in rows)]

    def was_answered(self, host: Host, reading: MailboxRead, messages: tuple[Message, ...]) -> None:
        recipient = reading.recipient
        if recipient != host.id or self.oracle.is_odd(recipient):
            return
        if self._lives.get(recipient) != (host.key, host.life):
            self._lives[recipient] = (host.key, host.life)
            self._handed_out[recipient] = {}
        handed_out = self._handed_out[recipient]
        size = sum(message.size for message in messages)
        is_whole = len(messages) < READ_MAX and size + self._largest <= self.oracle.config.fetch_bytes_max
        if not reading.after and is_whole and (reading.node, reading.life) == (host.key, host.life):
            given = {message.id for message in messages}
            for message_id, since in list(handed_out.items()):
                if since < reading.asked_at and message_id not in given:
                    del handed_out[message_id]
                    since_then = f"which was read before {since:.3f} s, and never acknowledged"
                    self.violated(host, f"does not hand out {message_id} again, {since_then}")
        self._check_on_disk(host, messages)
        for message in () if self._is_writing_slow() else messages:
            if not self._asked[recipient, message.id]:
                handed_out.setdefault(message.id, self.oracle.engine.now)

    def _check_on_disk(self, host: Host, messages: tuple[Message, ...]) -> None:
        """Check that each message is on the disk ``AT_ONCE`` after it was handed out first since its last delivery: a
        node refuses what it cannot write."""
        oracle, disk = self.oracle, host.disk
        if disk is None or not oracle.has_had(DiskFull | DiskFails) or oracle.has_had(DiskSlow | DiskForgets):
            return
        rows = [value for table, _, value in disk.read_messages() if table in (Table.INCOMING, Table.OUTGOING)]
        for message in messages:
            since = self._read_first.setdefault((host.key, host.life, message.id), oracle.engine.now)
            if oracle.engine.now - since > AT_ONCE and not any(message.id.encode() in row for row in rows):
                self.violated(host, f"hands out {message.id} since {since:.3f} s, and has not written it")

    def _is_writing_slow(self) -> bool:
        """Whether a disk may not have kept yet what its node hands out."""
        slow = any(isinstance(fault, DiskFull | DiskFails | DiskSlow) for fault in self.oracle.active.values())
        return slow or self.oracle.engine.now - self.oracle.disk_failed_at < WRITTEN_WITHIN
