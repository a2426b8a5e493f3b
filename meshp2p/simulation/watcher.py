"""Who is told what happens at hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from meshp2p.core.effects import CallFailed, Send
from meshp2p.core.events import Event
from meshp2p.core.messages import CallReply, Datagram

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

    def replied(self, host: Host, reply: CallReply | CallFailed) -> None:
        """Called for hosts with ``is_watched`` alone."""

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None: ...
    def failed(self, host: Host, what: str) -> None:
        """The machine did what no machine may: raised, or spun."""
