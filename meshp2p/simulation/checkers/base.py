"""The base class of all checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Ping
from meshp2p.core.effects import Call, CallFailed, Send, Watch
from meshp2p.core.events import Event
from meshp2p.core.message import CopyReceipt, Message
from meshp2p.core.record import Item
from meshp2p.errors import Refusal
from meshp2p.simulation.computer import OBSERVERS_MAX
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import Letter, MailboxRead
from meshp2p.simulation.oracle import Oracle
from meshp2p.simulation.watcher import Listed
from meshp2p.virtual.faults import Fault

__all__ = ["OBSERVERS_MAX", "Checker", "Violation"]


class Violation(msgspec.Struct, frozen=True):
    """A law did not hold: which checker reports it, when (virtual seconds), at which host, and what it saw."""

    checker: str
    at: float
    node: str
    message: str

    def __str__(self) -> str:
        return f"{self.checker}: at {self.at:.3f} s{f', {self.node}' if self.node else ''}: {self.message}"


class Checker:
    """Looks at events and at what machines report of themselves, never inside them, and compares that with the oracle.

    ``watches`` are the types of the events that it receives. Of all other methods, only those that it overrides are
    called.
    """

    name: ClassVar[str]
    watches: tuple[type, ...] = ()

    def __init__(self, oracle: Oracle, report: Callable[[Violation], None]) -> None:
        self.oracle: Oracle = oracle
        self._report = report
        self.prepare()

    def prepare(self) -> None:
        """Set up what the checker remembers of the run."""

    def violated(self, host: Host | None, message: str) -> None:
        self._report(Violation(self.name, self.oracle.engine.now, host.key if host is not None else "", message))

    def has_room(self, *limits: str) -> bool:
        """Whether these limits of the configuration are no lower than by default."""
        return all(getattr(self.oracle.config, name) >= getattr(ProtocolConfig(), name) for name in limits)

    # What happens

    def event(self, host: Host, event: Event) -> None:
        """A machine emitted an event of a type in ``watches``."""

    def started(self, host: Host) -> None:
        """A process was started; its machine has not run yet."""

    def stopped(self, host: Host) -> None:
        """A process has ended."""

    def paused(self, host: Host) -> None:
        """A process was suspended."""

    def resumed(self, host: Host, seconds: float) -> None:
        """A process was resumed after this time."""

    def sent(self, host: Host, effect: Send) -> None:
        """A host with ``is_watched`` sends."""

    def heard(self, host: Host, datagram: Datagram) -> None:
        """A host with ``is_watched`` is about to receive."""

    def pinged(self, host: Host, ping: Ping) -> None:
        """A host sends a ping."""

    def gossips(self, host: Host, effect: Send) -> None:
        """A host sends a datagram of gossip alone, to a node that it chose for that."""

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        """A host sends gossip, of one item or more."""

    def told(self, host: Host, items: tuple[Item, ...]) -> None:
        """A host is about to receive gossip, of one item or more."""

    def opened(self, host: Host, data: bytes, datagram: Datagram) -> None:
        """A host of a secured mesh has opened these bytes, and is about to receive the datagram."""

    def barred(self, host: Host, data: bytes, source: Address, reason: Refusal) -> None:
        """A host of a secured mesh has refused these bytes."""

    def handed(self, host: Host, items: tuple[Item, ...]) -> None:
        """The machine of a secured node is about to get these claims, by a datagram or a call."""

    def admitted(self, host: Host, machine: bytes, agent_id: str, boot: int) -> None:
        """A host of a secured mesh has admitted a process of an agent, on the machine with this fingerprint."""

    def calls(self, host: Host, effect: Call) -> None:
        """A host calls another."""

    def watching(self, host: Host, effect: Watch) -> None:
        """A host opens a watch connection."""

    def called(self, host: Host, request: CallRequest) -> None:
        """A host is about to receive another's call."""

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        """A host is about to receive the reply to its call, or the news that there is none."""

    def accepted(self, host: Host, letter: Letter) -> None:
        """A node accepted a message."""

    def was_read(self, recipient: str, messages: tuple[Message, ...], asked_at: float) -> None:
        """An agent read its mailbox. ``asked_at`` is when it asked."""

    def status_shown(self, host: Host, letter: Letter, receipts: tuple[CopyReceipt, ...]) -> None:
        """The node that accepted a message answered what became of its copies; empty if it does not know any more."""

    def refused(self, host: Host, target: str, size: int, why: str) -> None:
        """A node refused to accept a message of ``size`` bytes for ``target``, or for all if that is empty. ``why`` is
        the name of the error."""

    def reads(self, host: Host, reading: MailboxRead) -> None:
        """An agent is about to ask a node for its mail."""

    def was_answered(self, host: Host, reading: MailboxRead, messages: tuple[Message, ...]) -> None:
        """A node answered a read, perhaps without messages."""

    def acknowledges(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        """An agent is about to acknowledge these messages."""

    def was_acknowledged(self, recipient: str, message_ids: tuple[str, ...], reply: CallReply | None) -> None:
        """An acknowledgement was answered: accepted (``Done``) or refused. None if the node refused it at once."""

    def beat(self, host: Host, agent_id: str, listed: Listed, should_sync: bool) -> None:
        """A host answered the heartbeat or the registration of an instance whose home it is. ``listed``: the instances
        it listed, and the leader it named, when it was asked. ``should_sync``: it told the agent to look at those
        again, as it does at each registration."""

    def beat_refused(self, host: Host, agent_id: str) -> None:
        """A host answered the heartbeat of an agent that it does not know the instance."""

    def looked_up(
        self, host: Host, agent_id: str, shown: tuple[str, str] | None, said: tuple[tuple[str, str], ...]
    ) -> None:
        """The home of an instance answered through this host with this status and these metrics, or None if it does
        not know the instance. ``said`` are the last report that was answered before the question, and all later ones.
        """

    def revoked(self, node_id: str, by: str) -> None:
        """The machine of this node was revoked, on the machine of the node ``by``."""

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        """A fault is about to begin or to end."""

    def tick(self) -> None:
        """Some seconds have passed."""

    def finish(self) -> None:
        """The run is over."""
