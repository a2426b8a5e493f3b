"""Who is at which address of the simulated network, and what passes from one host to another."""

from __future__ import annotations

import random

from meshp2p.core.address import Address
from meshp2p.simulation.connections import SimulatedConnections
from meshp2p.simulation.endpoint import Endpoint
from meshp2p.simulation.engine import Engine
from meshp2p.virtual.faults import Hidden, Kind, Rejected
from meshp2p.virtual.impairments import Flight, Impairment
from meshp2p.virtual.links import LinkOptions, Links
from meshp2p.virtual.rules import Rule

__all__ = ["NetworkPaths"]


class NetworkPaths:
    """All addresses, links and connections. ``rejections`` and ``hidden`` are the faults of these kinds that are on."""

    def __init__(self, engine: Engine, link: LinkOptions, draw: random.Random) -> None:
        self.engine: Engine = engine
        self.links: Links = Links(link, draw)
        self.rules: list[tuple[str, Rule]] = self.links.rules
        self.impairments: list[Impairment] = self.links.impairments
        self.rejections: list[Rejected] = []
        self.hidden: list[Hidden] = []
        self.connections: SimulatedConnections = SimulatedConnections(engine)
        self._listeners: dict[Address, Endpoint] = {}
        self._keys: dict[Address, str] = {}

    # Addresses

    def attach(self, address: Address, host: Endpoint) -> None:
        """The host is reached at this address from now on, whether its process runs or not."""
        self._listeners[address] = host
        self._keys[address] = host.key

    def detach(self, address: Address) -> None:
        """Nobody is reached at this address any more."""
        self._listeners.pop(address, None)

    def key_at(self, address: Address) -> str:
        """The key of the host that is, or was last, at this address; empty where none ever was."""
        return self._keys.get(address, "")

    def host_at(self, address: Address) -> Endpoint | None:
        return self._listeners.get(address)

    # What passes

    def passes(self, sender: str, receiver: str, kind: Kind) -> bool:
        """Whether the rules let this pass now. Chance is not asked."""
        if kind is Kind.TCP and self.is_rejected(sender, receiver):
            return False
        return not self.rules or not self.links.objection(sender, receiver, kind, self.engine.now)

    def is_rejected(self, sender: str, receiver: str) -> bool:
        """Whether a firewall refuses what this one sends to that one by TCP."""
        if not self.rejections:
            return False
        places = self.links.places
        sender, receiver = places.get(sender, sender), places.get(receiver, receiver)
        return any(sender in fault.senders and receiver in fault.receivers for fault in self.rejections)

    def may_connect(self, one: Endpoint, other: Endpoint) -> bool:
        """Whether a call of one reaches the other: it may dial it, or there is a connection between them."""
        if not any(not fault.nodes or other.key in fault.nodes for fault in self.hidden):
            return True
        if self.connections.stands(one, other):
            return True
        self.links.count(Hidden.__name__)
        return False

    def legs(self, sender: str, receiver: str, count: int) -> float | None:
        """Seconds that so many legs of a connection take; None where they do not pass."""
        links, now = self.links, self.engine.now
        if self.rules:
            reason = links.objection(sender, receiver, Kind.TCP, now) or links.objection(
                receiver, sender, Kind.TCP, now
            )
            if reason:
                links.count(reason)
                return None
        delay = 0.0
        for _ in range(count):
            delay += links.draw_delay()
            if self.impairments:
                flight = Flight(sender, receiver, now, Kind.TCP, lambda: 0)
                links.impair(flight)
                delay += flight.delay
        return delay
