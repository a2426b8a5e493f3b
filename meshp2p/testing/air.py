"""Beacons on the virtual LAN."""

from __future__ import annotations

import functools

import trio

from meshp2p.core.address import Address
from meshp2p.discovery.beacon_sockets import BEACON_PORT, Reply, Take
from meshp2p.testing.host import LanHost
from meshp2p.testing.lan import Lan
from meshp2p.testing.process import Process
from meshp2p.virtual.faults import Kind

__all__ = ["VirtualAir"]


class VirtualAir:
    """The sockets for beacons of one process: see :class:`~meshp2p.discovery.beacon_sockets.Air`. Broadcast is
    multicast.

    ``listeners`` are all running ones on the LAN; this one adds itself.
    """

    def __init__(self, lan: Lan, listeners: dict[VirtualAir, None], host: LanHost, process: Process) -> None:
        self._lan = lan
        self._listeners = listeners
        self._host = host
        self._process = process
        self._take: Take | None = None

    async def run(self, take: Take, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`~meshp2p.discovery.beacon_sockets.Air`."""
        self._take = take
        self._listeners[self] = None
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            del self._listeners[self]

    def shout(self, data: bytes) -> dict[str, OSError | None]:
        """See :class:`~meshp2p.discovery.beacon_sockets.Air`. A suspended process sends nothing."""
        if not self._process.is_stopped:
            for other in list(self._listeners):
                self._send(other, data, Kind.MULTICAST)
        return {}

    def _send(self, other: VirtualAir, data: bytes, kind: Kind) -> None:
        source = Address(self._host.ip, BEACON_PORT)
        reply: Reply = functools.partial(other._answer, self)
        self._lan.multicast(self._host, other._host, lambda: other._arrive(data, source, reply), kind)

    def _answer(self, asker: VirtualAir, data: bytes) -> None:
        self._send(asker, data, Kind.UDP)

    def _arrive(self, data: bytes, source: Address, reply: Reply) -> None:
        """Receive a packet. It is read when the process runs."""
        if self in self._listeners:
            self._process.do(lambda: self._read(data, source, reply))

    def _read(self, data: bytes, source: Address, reply: Reply) -> None:
        if self in self._listeners and self._take is not None:
            self._take(data, source, reply)
