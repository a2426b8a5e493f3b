"""Reads the datagrams that arrive at a node."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Ack, Datagram
from meshp2p.errors import RemoteProtocolError
from meshp2p.net.driver_parts import Datagrams, DriverStats
from meshp2p.net.security import MachineGuard
from meshp2p.wire.codec import Codec

__all__ = ["DRAIN_MAX", "DRAIN_SECONDS", "QUEUE_MAX", "DatagramReader"]

DRAIN_SECONDS: Final = 0.003
DRAIN_MAX: Final = 1024
"""How long, and how many datagrams, are read in one go before other tasks run. Chosen, not measured."""

QUEUE_MAX: Final = 4096
"""More datagrams than wait in a socket at a time: the receive buffer that is asked for, doubled by Linux, holds 2,730
of the smallest. When so many were read since a deadline came, all that had arrived by then was among them."""

ACK_HOSTS_MAX: Final = 64
"""How many hosts are remembered between two calls of :meth:`DatagramReader.pop_ack_hosts`. Chosen, not measured."""

SOURCES_MAX: Final = 4096
"""How many addresses and senders of datagrams are remembered. Chosen, not measured."""

_log = logging.getLogger("meshp2p.net")


class DatagramReader:
    """Passes each valid datagram, its source and the time to ``receive``, and counts the others."""

    def __init__(
        self,
        datagrams: Datagrams,
        codec: Codec,
        guard: MachineGuard | None,
        stats: DriverStats,
        receive: Callable[[Datagram, Address, float], None],
    ) -> None:
        self._datagrams = datagrams
        self._codec = codec
        self._guard = guard
        self._stats = stats
        self._receive = receive
        self._ack_hosts: set[str] = set()
        self.heard_from: dict[Address | int, float] = {}
        """When, by trio's clock, a datagram last arrived from each address, and from each sender by its tag. An ack
        counts for its address only, because relays pass acks on. All are forgotten if there are too many."""
        self._emptied_at = -math.inf
        self._due = -math.inf
        self._read_by = 0
        self._rest_until = -math.inf

    def read_waiting(self) -> bool:
        """Read the waiting datagrams, up to a limit. Return whether that was all of them.

        If the limit was reached, nothing is read for as long again: many tasks call this, and others need a turn too.
        """
        stats = self._stats
        now = trio.current_time()
        if now < self._rest_until:
            return False
        until = now + DRAIN_SECONDS
        read_max = stats.datagrams_received + DRAIN_MAX
        while now < until and stats.datagrams_received < read_max:
            received = self._datagrams.receive_nowait()
            if received is None:
                self._emptied_at = now
                return True
            now = trio.current_time()
            data, source = received
            stats.datagrams_received += 1
            stats.bytes_received += len(data)
            try:
                if self._guard is None:
                    datagram = self._codec.decode_datagram_untrusted(data)
                else:
                    datagram = self._guard.open_untrusted(data, now)
            except RemoteProtocolError as error:
                stats.count_refused(error.reason)
                _log.debug("refused a datagram from %s: %s", source, error)
                continue
            if len(self.heard_from) >= SOURCES_MAX:
                self.heard_from.clear()
            self.heard_from[source] = now
            if not isinstance(datagram.body, Ack):
                self.heard_from[datagram.body.sender] = now
            elif len(self._ack_hosts) < ACK_HOSTS_MAX:
                self._ack_hosts.add(source.host)
            self._receive(datagram, source, now)
        if now >= until:
            self._rest_until = now + DRAIN_SECONDS
        return False

    async def rest(self) -> None:
        """Return when datagrams may be read again."""
        if trio.current_time() < self._rest_until:
            await trio.sleep_until(self._rest_until)

    async def read_all(self) -> None:
        """Return when all datagrams that have arrived by now were read."""
        read_by = self._stats.datagrams_received + QUEUE_MAX
        while not self.read_waiting() and self._stats.datagrams_received < read_by:  # noqa: ASYNC110  # rests
            await trio.sleep_until(self._rest_until)

    def has_read_until(self, due: float) -> bool:
        """Whether all datagrams were read that had arrived when this deadline came: a timer may accuse somebody whose
        answer is among them. Under a flood the socket is never empty, and time passes all the same."""
        if self._emptied_at >= due:
            return True
        if due != self._due:
            self._due, self._read_by = due, self._stats.datagrams_received + QUEUE_MAX
        return self._stats.datagrams_received >= self._read_by

    def pop_ack_hosts(self) -> set[str]:
        """Return the hosts that answered pings since the last call of this, ``ACK_HOSTS_MAX`` at most."""
        hosts, self._ack_hosts = self._ack_hosts, set()
        return hosts
