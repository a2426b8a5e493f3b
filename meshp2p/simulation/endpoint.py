"""The interface of a host to the network, and the network's state of calls and watches."""

from __future__ import annotations

from typing import Any, Protocol

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.effects import Call, CallFailed, Send, Watch, WatchOpened
from meshp2p.core.machine import Machine

__all__ = ["CallInProgress", "Endpoint", "Introducer", "WatchLine"]


class Endpoint(Protocol):
    """An endpoint at an address of the network. :class:`~meshp2p.simulation.host.Host` documents its methods."""

    key: str
    id: str
    life: int
    address: Address
    machine: Machine | None
    is_dark: bool
    is_stopped: bool

    def seal(self, effect: Send) -> bytes | None: ...
    def handle_datagram(self, packet: tuple[Any, Address, int]) -> None: ...
    def handle_call(self, exchange: CallInProgress) -> None: ...
    def handle_reply(self, exchange: CallInProgress, reply: CallReply | CallFailed, peer: str, cause: int) -> None: ...
    def handle_watcher(self, line: WatchLine) -> None: ...
    def handle_watch(self, line: WatchLine, outcome: WatchOpened | CallFailed) -> None: ...


class Introducer(Protocol):
    """Connects the nodes of a secured mesh: see :class:`~meshp2p.simulation.trust_links.SecuredLinks`."""

    def connect(self, dialler: Endpoint, listener: Endpoint) -> str: ...
    def machine_of(self, host: Endpoint) -> bytes: ...


class CallInProgress:
    """An open call. It is settled once, by the first reply or by the last failure."""

    __slots__ = ("caller", "cause", "effect", "is_done", "life", "opened_at", "refused", "relay")

    def __init__(self, caller: Endpoint, effect: Call, cause: int, opened_at: float) -> None:
        self.caller: Endpoint = caller
        self.life: int = caller.life
        self.effect: Call = effect
        self.cause: int = cause
        self.opened_at: float = opened_at
        self.is_done: bool = False
        self.refused: int = 0
        self.relay: Endpoint | None = None


class WatchLine:
    """One watch of one process: opened, established, ended."""

    __slots__ = (
        "address",
        "effect",
        "is_open",
        "is_over",
        "is_severed",
        "life",
        "refused",
        "watched",
        "watched_life",
        "watcher",
    )

    def __init__(self, watcher: Endpoint, effect: Watch) -> None:
        self.watcher: Endpoint = watcher
        self.life: int = watcher.life
        self.effect: Watch = effect
        self.watched: Endpoint | None = None
        self.watched_life: int = 0
        self.address: Address | None = None
        self.refused: int = 0
        self.is_open: bool = False
        self.is_over: bool = False
        self.is_severed: bool = False
