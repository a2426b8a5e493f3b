"""Discovery by virtual multicast, in place of mDNS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.source import Offer, Sighting
from meshp2p.testing.host import LanHost
from meshp2p.testing.lan import Lan
from meshp2p.testing.process import Process

__all__ = ["MulticastSource"]

_QUERY_PAUSES: Final = (1.0, 3.0, 9.0)
"""Seconds between the first queries; then one a minute, about as in :mod:`meshp2p.discovery.mdns`."""

_QUERY_INTERVAL: Final = 60.0


class MulticastSource:
    """Announces a node and offers others of its mesh. A query is also an announcement, and is answered.

    ``listeners`` are all running sources of the LAN; this one adds itself.
    """

    name = "mdns"

    def __init__(
        self,
        lan: Lan,
        listeners: dict[MulticastSource, None],
        host: LanHost,
        process: Process,
        mesh: str,
        instance_id: str,
        addresses: Sequence[Address],
    ) -> None:
        self._lan = lan
        self._listeners = listeners
        self._host = host
        self._process = process
        self._mesh = mesh
        self._sighting = Sighting(self.name, tuple(addresses), instance_id)
        self._offer: Offer | None = None

    def move(self, place: Endpoints) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        if place.addresses != self._sighting.addresses:
            self._sighting = Sighting(self.name, place.addresses, self._sighting.instance_id)
            self.refresh()

    def refresh(self) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        if self in self._listeners:
            self._process.do(self._query)

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        self._offer = offer
        self._listeners[self] = None
        try:
            task_status.started()
            for pause in _QUERY_PAUSES:
                self._query()
                await self._process.sleep(pause)
            while True:
                self._query()
                await self._process.sleep(_QUERY_INTERVAL)
        finally:
            del self._listeners[self]

    def _query(self) -> None:
        for other in list(self._listeners):
            if other is not self and other._mesh == self._mesh:
                self._send(other, is_query=True)

    def _send(self, other: MulticastSource, *, is_query: bool) -> None:
        self._lan.multicast(self._host, other._host, lambda: other._receive(self, is_query=is_query))

    def _receive(self, sender: MulticastSource, *, is_query: bool) -> None:
        """Receive a packet. It is read when the process runs."""
        if self in self._listeners:
            self._process.do(lambda: self._read(sender, is_query=is_query))

    def _read(self, sender: MulticastSource, *, is_query: bool) -> None:
        if self._offer is None or self not in self._listeners:
            return
        if is_query:
            self._send(sender, is_query=False)
        self._offer(sender._sighting)
