"""Watches which nodes send datagrams that do not arrive, while somebody wants reports.

Without it, a pair of nodes exchanges a datagram once in as many seconds as there are nodes, so a link that lost its
packets in one direction would be noticed late.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.core.record import tag_of
from meshp2p.net.driver import Driver

__all__ = ["LinkWatch"]

KNOCK_SECONDS: Final = 0.4
"""The seconds between two rounds."""

KNOCKS: Final = 2
"""The number of datagrams that a node sends to each other in a round."""

SILENT_ROUNDS: Final = 2
"""A node reports a link after so many rounds without a datagram. The verdict names the link after four rounds. With a
loss of 10 %, a working link loses all datagrams of four rounds once in 10^8 times."""

WATCHED_SECONDS: Final = 5.0
"""For how long after a report the node goes on. Chosen, not measured."""

NODES_MAX: Final = 32
"""In larger meshes no node knocks: each would send more than 160 datagrams a second. Chosen, not measured."""


class LinkWatch:
    """Sends datagrams to the other nodes, which do the same, and counts the rounds in which none of theirs arrived.

    It counts rounds and no seconds, because this process may have been stopped meanwhile.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._missed: dict[str, int] = {}
        self._until = -math.inf
        self._wanted = trio.Event()

    @property
    def silent(self) -> list[str]:
        """The nodes that were not heard for ``SILENT_ROUNDS``."""
        return [name for name, missed in self._missed.items() if missed >= SILENT_ROUNDS]

    def last_heard(self, node_id: str) -> float:
        """Return when a datagram of this node last arrived, by trio's clock; minus infinity if none did.

        An ack may be passed on by a relay, so it counts only if it came from an address of the node.
        """
        heard, record = self._driver.reader.heard_from, self._driver.machine.records().get(node_id)
        keys: list[Address | int] = [tag_of(node_id), *(() if record is None else record.addresses)]
        return max(heard.get(key, -math.inf) for key in keys)

    def want(self) -> None:
        """Note that somebody wants a report."""
        self._until = trio.current_time() + WATCHED_SECONDS
        self._wanted.set()

    async def run(self) -> None:
        """Watch whenever reports are wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            self._missed.clear()
            while (began := trio.current_time()) < self._until:
                others = self._knock()
                await trio.sleep(KNOCK_SECONDS)
                self._missed = {
                    name: 0 if self.last_heard(name) >= began else self._missed.get(name, 0) + 1 for name in others
                }

    def _knock(self) -> list[str]:
        """Knock at all other nodes, and return them."""
        machine = self._driver.machine
        if machine.node_count() > NODES_MAX:
            return []
        routes = [route for name in machine.records() if (route := machine.relay_route(name)) is not None]
        for route in routes:
            for _ in range(KNOCKS):
                self._driver.knock(route.addresses[0], route.node_id)
        return [route.node_id for route in routes]
