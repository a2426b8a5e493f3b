"""The addresses of the simulated network, and which traffic passes between hosts."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import msgspec

from meshp2p.core.address import Address
from meshp2p.simulation.connections import SimulatedConnections
from meshp2p.simulation.endpoint import Endpoint
from meshp2p.simulation.engine import Engine
from meshp2p.virtual.faults import Crowded, Hidden, Kind, Rejected, Severed
from meshp2p.virtual.impairments import Flight, Impairment
from meshp2p.virtual.links import LinkOptions, Links
from meshp2p.virtual.rules import Rule

__all__ = ["NetworkPaths"]


class NetworkPaths:
    """All addresses, links and connections. ``rejections`` and ``hidden`` are the current faults of these kinds."""

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
        self._ids: dict[str, str] = {}

    # Addresses

    def attach(self, address: Address, host: Endpoint) -> None:
        """Give the host this address from now on, whether its process runs or not."""
        self._listeners[address] = host
        self._keys[address] = host.key
        self._ids[host.key] = host.id

    def detach(self, address: Address, host: Endpoint) -> None:
        """Take this address from the host, unless another has it now."""
        if self._listeners.get(address) is host:
            del self._listeners[address]

    def key_at(self, address: Address) -> str:
        """Return the key of the host that has this address, or had it last; empty if none ever did."""
        return self._keys.get(address, "")

    def id_of(self, key: str) -> str:
        """Return the id of the node on the host with this key; empty if there is none."""
        return self._ids.get(key, "")

    def host_at(self, address: Address) -> Endpoint | None:
        return self._listeners.get(address)

    # What passes

    def passes(self, sender: str, receiver: str, kind: Kind) -> bool:
        """Return whether the rules let this pass now, regardless of chance."""
        if kind is Kind.TCP and self.is_rejected(sender, receiver):
            return False
        return not self.rules or not self.links.objection(sender, receiver, kind, self.engine.now)

    def is_rejected(self, sender: str, receiver: str) -> bool:
        """Return whether a firewall refuses TCP from one host to the other."""
        if not self.rejections:
            return False
        places = self.links.places
        sender, receiver = places.get(sender, sender), places.get(receiver, receiver)
        return any(sender in fault.senders and receiver in fault.receivers for fault in self.rejections)

    def may_connect(self, one: Endpoint, other: Endpoint) -> bool:
        """Return whether a call reaches the other host: it can be dialled, or there is a connection between them."""
        hidden = [fault for fault in self.hidden if not fault.nodes or other.key in fault.nodes]
        if not hidden or self.connections.stands(one, other):
            return True
        for fault in hidden:
            if not isinstance(fault, Crowded) or self.connections.count(other) >= fault.connections:
                self.links.count(type(fault).__name__)
                return False
        return True

    def loses_call(self, caller: Endpoint, target: Endpoint) -> bool:
        """Return whether a call is lost because it is made on a severed connection."""
        is_lost = bool(self.connections.severed) and self.connections.loses_call(caller, target)
        if is_lost:
            self.links.count(Severed.__name__)
        return is_lost

    def legs(self, sender: str, receiver: str, count: int, message: Any = None) -> float | None:
        """Return how many seconds this many legs of a connection take, of which the last carries the message; None if
        they do not pass."""
        links, now = self.links, self.engine.now
        if self.rules:
            reason = links.objection(sender, receiver, Kind.TCP, now) or links.objection(
                receiver, sender, Kind.TCP, now
            )
            if reason:
                links.count(reason)
                return None
        delay = 0.0
        for leg in range(count):
            delay += links.draw_delay()
            if self.impairments:
                carried = message if leg == count - 1 else None
                flight = Flight(sender, receiver, now, Kind.TCP, partial(_size, carried))
                links.impair(flight)
                delay += flight.delay
        return delay


def _size(message: Any) -> int:
    return 0 if message is None else len(msgspec.msgpack.encode(message))
