"""The interface through which the parts of a simulation report events of each host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.datagrams import Datagram, Ping
from meshp2p.core.effects import Call, CallFailed, Send, Watch
from meshp2p.core.events import Event
from meshp2p.core.message import CopyReceipt, Message
from meshp2p.core.record import Item
from meshp2p.errors import Refusal
from meshp2p.simulation.letter import Letter, MailboxRead

__all__ = ["Listed", "Watcher"]

AHost = TypeVar("AHost")

Listed = tuple[frozenset[str], str | None]
"""The ids that a node lists, and its leader."""


class Watcher(Generic[AHost]):
    """The simulation as its hosts, agents and messages see it. Each attribute is called for all checkers that have a
    method of that name: :class:`~meshp2p.simulation.checkers.base.Checker` documents them."""

    sent: Callable[[AHost, Send], None]
    heard: Callable[[AHost, Datagram], None]
    pinged: Callable[[AHost, Ping], None]
    gossips: Callable[[AHost, Send], None]
    tells: Callable[[AHost, tuple[Item, ...]], None]
    told: Callable[[AHost, tuple[Item, ...]], None]
    opened: Callable[[AHost, bytes, Datagram], None]
    barred: Callable[[AHost, bytes, Address, Refusal], None]
    handed: Callable[[AHost, tuple[Item, ...]], None]
    admitted: Callable[[AHost, bytes, str, int], None]
    calls: Callable[[AHost, Call], None]
    watching: Callable[[AHost, Watch], None]
    called: Callable[[AHost, CallRequest], None]
    replied: Callable[[AHost, Call, CallReply | CallFailed], None]
    accepted: Callable[[AHost, Letter], None]
    beat: Callable[[AHost, str, Listed, bool], None]
    beat_refused: Callable[[AHost, str], None]
    looked_up: Callable[[AHost, str, tuple[str, str] | None, tuple[tuple[str, str], ...]], None]
    reads: Callable[[AHost, MailboxRead], None]
    was_answered: Callable[[AHost, MailboxRead, tuple[Message, ...]], None]
    acknowledges: Callable[[str, tuple[str, ...]], None]
    was_acknowledged: Callable[[str, tuple[str, ...], CallReply | None], None]
    status_shown: Callable[[AHost, Letter, tuple[CopyReceipt, ...]], None]
    was_read: Callable[[str, tuple[Message, ...], float], None]

    def event(self, host: AHost, event: Event) -> None:
        """The machine emitted an event."""

    def refused(self, host: AHost, target: str, size: int, why: str) -> None:
        """The node refused a message: see the checker's method."""

    def resolved(self, host: AHost, ticket: int, reply: CallReply) -> None:
        """The node answered the request with this ticket."""

    def shut_out(self, host: AHost) -> None:
        """The node has learned that its machine was revoked, and ends."""

    def failed(self, host: AHost, what: str) -> None:
        """The machine raised an exception, or did not come to rest."""
