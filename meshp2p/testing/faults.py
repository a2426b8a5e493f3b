"""Faults of the virtual network, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import msgspec

from meshp2p.errors import ConfigError, LocalProtocolError
from meshp2p.testing.host import LanHost
from meshp2p.testing.lan import Lan
from meshp2p.virtual.describe import describe_fault
from meshp2p.virtual.faults import (
    ALL_KINDS,
    Blocked,
    Delayed,
    Duplicated,
    Faulty,
    Kind,
    Lossy,
    OneWay,
    Partition,
    Reordered,
)
from meshp2p.virtual.trace import What

__all__ = ["CLIENT_HOST", "ActiveFault", "NetworkFaults"]

CLIENT_HOST: Final = "client"
"""The host of clients without a host of their own."""

Names = str | Iterable[str]
"""One host's name, or several."""


class ActiveFault:
    """An active fault. It lasts until :meth:`end`, the end of its ``with`` block, or ``heal()``."""

    def __init__(self, lan: Lan, fault: Faulty) -> None:
        self.fault = fault
        self._lan = lan
        self._number = lan.add_fault(fault)
        lan.log.add("", What.FAULT, detail=describe_fault(fault))

    def __repr__(self) -> str:
        return f"<ActiveFault {describe_fault(self.fault)}>"

    def end(self) -> None:
        """End the fault. Ending it again does nothing."""
        if self._lan.end_fault(self._number):
            self._lan.log.add("", What.HEAL, detail=describe_fault(self.fault))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class NetworkFaults:
    """The network of a virtual mesh. Each method starts one fault and returns it.

    Faults accumulate. Hosts are given by name. Raises :class:`~meshp2p.errors.ConfigError` for an unknown host or a
    value out of range. Traffic between two ports of one host is never affected.
    """

    _lan_or_none: Lan | None = None

    @property
    def _lan(self) -> Lan:
        if self._lan_or_none is None:
            raise LocalProtocolError(
                "the virtual mesh is not running: use it in an async test, or in `async with VirtualMesh()`"
            )
        return self._lan_or_none

    def partition(self, *groups: Names, period: float = 0.0) -> ActiveFault:
        """Block all traffic between these groups of hosts. A single group is cut from all others. A host in no group
        can reach all groups.

        ``period``: the partition is on for the first half of each period of so many seconds.
        """
        named = [self._names(group) for group in groups]
        if len(named) == 1:
            named.append(tuple(name for name in self._lan.hosts if name not in (*named[0], CLIENT_HOST)))
        return self.fault(Partition(groups=tuple(named), period=period))

    def isolate(self, *hosts: str) -> ActiveFault:
        """Block all traffic to and from these hosts."""
        return self.fault(Blocked(nodes=self._some(hosts), kinds=ALL_KINDS))

    def cut(self, senders: Names, *, to: Names) -> ActiveFault:
        """Block traffic from these hosts to those, but not the other way. A TCP connection needs both."""
        return self.fault(OneWay(senders=self._names(senders), receivers=self._names(to)))

    def loss(self, probability: float, *hosts: str, tcp: bool = False) -> ActiveFault:
        """Drop datagrams with this probability, to and from these hosts or everywhere. With ``tcp``, TCP segments are
        also lost, and so delayed."""
        kinds = (Kind.UDP, Kind.MULTICAST, Kind.TCP) if tcp else (Kind.UDP, Kind.MULTICAST)
        return self.fault(Lossy(probability=probability, kinds=kinds, nodes=self._names(hosts)))

    def delay(self, seconds: float, *hosts: str, jitter: float = 0.0) -> ActiveFault:
        """Delay all traffic by this time in each direction, plus up to ``jitter`` seconds."""
        return self.fault(Delayed(seconds=seconds, jitter=jitter, nodes=self._names(hosts)))

    def reorder(self, probability: float, *hosts: str, seconds: float = 0.05) -> ActiveFault:
        """Hold each datagram back by up to ``seconds`` with this probability, so that others overtake it."""
        return self.fault(Reordered(probability=probability, seconds=seconds, nodes=self._names(hosts)))

    def duplicate(self, probability: float, *hosts: str) -> ActiveFault:
        """Deliver each datagram twice with this probability."""
        return self.fault(Duplicated(probability=probability, nodes=self._names(hosts)))

    def block_udp(self, *hosts: str) -> ActiveFault:
        """Block all datagrams, to and from these hosts or everywhere, but not TCP."""
        return self.fault(Blocked(nodes=self._names(hosts), kinds=(Kind.UDP, Kind.MULTICAST)))

    def block_tcp(self, *hosts: str) -> ActiveFault:
        """Block all TCP traffic, but not datagrams."""
        return self.fault(Blocked(nodes=self._names(hosts), kinds=(Kind.TCP,)))

    def block_multicast(self, *hosts: str) -> ActiveFault:
        """Block all multicast and broadcast, so that mDNS and the beacon find no nodes."""
        return self.fault(Blocked(nodes=self._names(hosts), kinds=(Kind.MULTICAST,)))

    def fault(self, fault: Faulty) -> ActiveFault:
        """Start any network fault of :mod:`meshp2p.virtual.faults`. It begins now; its ``begin`` and ``end`` are
        ignored."""
        self._names(fault.names())
        return ActiveFault(self._lan, msgspec.structs.replace(fault, begin=self._lan.log.now, end=None))

    def heal(self) -> None:
        """End all faults of the network. Suspended and killed processes stay so."""
        count = self._lan.end_all_faults()
        self._lan.log.add("", What.HEAL, detail=f"the network ({count} faults)")

    # Names

    def _host(self, name: str) -> LanHost:
        host = self._lan.hosts.get(name)
        if host is None:
            known = ", ".join(repr(known) for known in self._lan.hosts) or "none yet"
            raise ConfigError(
                f"there is no host {name!r}: expected one of {known} (start() and add_hosts() make hosts)"
            )
        return host

    def _names(self, names: Names) -> tuple[str, ...]:
        each = (names,) if isinstance(names, str) else tuple(names)
        return tuple(self._host(name).name for name in each)

    def _some(self, names: Names) -> tuple[str, ...]:
        named = self._names(names)
        if not named:
            raise ConfigError("no host is named: expected at least one")
        return named
