"""Who is told what happens at hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from meshp2p.core.effects import Call, CallFailed, Send
from meshp2p.core.events import Event
from meshp2p.core.messages import CallReply, CallRequest, Datagram, Ping
from meshp2p.core.record import Item

if TYPE_CHECKING:
    from meshp2p.simulation.host import Host

__all__ = ["Watcher"]


class Watcher(Protocol):
    """The simulation, as its hosts see it."""

    def event(self, host: Host, event: Event) -> None: ...
    def sent(self, host: Host, effect: Send) -> None:
        """Called for hosts with ``is_watched`` alone."""

    def heard(self, host: Host, datagram: Datagram) -> None:
        """Called for hosts with ``is_watched`` alone."""

    def pinged(self, host: Host, ping: Ping) -> None:
        """It sends a ping."""

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        """It sends gossip, of one item or more."""

    def told(self, host: Host, items: tuple[Item, ...]) -> None:
        """It is about to receive gossip, of one item or more."""

    def calls(self, host: Host, effect: Call) -> None:
        """It calls another node."""

    def called(self, host: Host, request: CallRequest) -> None:
        """It is about to receive another's call."""

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        """It is about to receive the reply to its call, or that there is none."""

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None: ...
    def failed(self, host: Host, what: str) -> None:
        """The machine did what no machine may: raised, or spun."""
