"""Discovery by multicast: each node announces itself and asks for others, again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshp2p.core.address import Address
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.host import Host
from meshp2p.simulation.network import Network

__all__ = ["Multicast"]


class Multicast:
    """mDNS and the beacon as the machine sees them: it gets a peer's address when this process first hears it, and
    again when it changes. Every receiver answers a question."""

    def __init__(self, engine: Engine, network: Network, hosts: dict[str, Host], interval: float) -> None:
        self._engine = engine
        self._network = network
        self._hosts = hosts
        self._interval = interval
        self._known: dict[tuple[str, int, str], Address] = {}

    def begin(self, host: Host) -> None:
        """Note that the host's process was started."""
        self._ask((host, host.life))

    def _ask(self, asker: tuple[Host, int]) -> None:
        host, life = asker
        if host.machine is None or host.life != life:
            return
        self._engine.at(self._engine.now + self._interval, self._ask, asker)
        if host.is_stopped or host.is_dark:
            return
        for other in self._hosts.values():
            if other is not host and other.machine is not None:
                self._tell(host, other)
                self._tell(other, host)

    def _tell(self, sender: Host, receiver: Host) -> None:
        if self._known.get((receiver.key, receiver.life, sender.key)) != sender.address:
            self._network.multicast(sender, self._hearer(receiver), receiver)

    def _hearer(self, receiver: Host) -> Callable[[Any], None]:
        def hear(sender: Host) -> None:
            if receiver.machine is None or receiver.is_stopped or receiver.is_dark:
                return
            self._known[receiver.key, receiver.life, sender.key] = sender.address
            receiver.offer("multicast", sender.address, sender.id)

        return hear
