"""Who is told what happens at hosts."""

from __future__ import annotations

from collections.abc import Callable
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

    sent: Callable[[Host, Send], None]
    """It sends a datagram: called for hosts with ``is_watched`` alone."""
    heard: Callable[[Host, Datagram], None]
    """It is about to receive one: called for hosts with ``is_watched`` alone."""
    pinged: Callable[[Host, Ping], None]
    """It sends a ping."""
    tells: Callable[[Host, tuple[Item, ...]], None]
    """It sends gossip, of one item or more."""
    told: Callable[[Host, tuple[Item, ...]], None]
    """It is about to receive gossip, of one item or more."""
    calls: Callable[[Host, Call], None]
    """It calls another node."""
    called: Callable[[Host, CallRequest], None]
    """It is about to receive another's call."""
    replied: Callable[[Host, Call, CallReply | CallFailed], None]
    """It is about to receive the reply to its call, or that there is none."""

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None: ...
    def failed(self, host: Host, what: str) -> None:
        """The machine did what no machine may: raised, or spun."""
