"""What hosts tell of what happens at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.datagrams import Datagram, Ping
from meshp2p.core.effects import Call, CallFailed, Send, Watch
from meshp2p.core.events import Event
from meshp2p.core.record import Item

__all__ = ["Watcher"]

AHost = TypeVar("AHost")


class Watcher(Protocol[AHost]):
    """The simulation, as its hosts see it."""

    def event(self, host: AHost, event: Event) -> None: ...

    sent: Callable[[AHost, Send], None]
    """It sends a datagram: called for hosts with ``is_watched`` alone."""
    heard: Callable[[AHost, Datagram], None]
    """It is about to receive one: called for hosts with ``is_watched`` alone."""
    pinged: Callable[[AHost, Ping], None]
    """It sends a ping."""
    tells: Callable[[AHost, tuple[Item, ...]], None]
    """It sends gossip, of one item or more."""
    told: Callable[[AHost, tuple[Item, ...]], None]
    """It is about to receive gossip, of one item or more."""
    calls: Callable[[AHost, Call], None]
    """It calls another node."""
    watches: Callable[[AHost, Watch], None]
    """It opens a watch connection."""
    called: Callable[[AHost, CallRequest], None]
    """It is about to receive another's call."""
    replied: Callable[[AHost, Call, CallReply | CallFailed], None]
    """It is about to receive the reply to its call, or that there is none."""

    def resolved(self, host: AHost, ticket: int, reply: CallReply) -> None: ...
    def failed(self, host: AHost, what: str) -> None:
        """The machine did what no machine may: raised, or spun."""
