"""What can go wrong with the virtual network, as a test says it."""

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
"""Where clients stand that stand nowhere else."""

Names = str | Iterable[str]
"""One host's name, or several."""


class ActiveFault:
    """A fault that is on, until :meth:`end`, the end of its ``with`` block, or ``heal()``."""

    def __init__(self, lan: Lan, fault: Faulty) -> None:
        self.fault = fault
        self._lan = lan
        self._number = lan.add_fault(fault)
        lan.log.add("", What.FAULT, detail=describe_fault(fault))

    def __repr__(self) -> str:
        return f"<ActiveFault {describe_fault(self.fault)}>"

    def end(self) -> None:
        """End it. Ending it again changes nothing."""
        if self._lan.end_fault(self._number):
            self._lan.log.add("", What.HEAL, detail=describe_fault(self.fault))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class NetworkFaults:
    """The network's side of a virtual mesh. Each method sets one fault now and returns it.

    Faults add up. Hosts are named by their names; :class:`~meshp2p.errors.ConfigError` is raised for one that does not
    exist, and for values out of range. What passes between two ports of one host is never touched.
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
        """Nothing passes between these groups of hosts. One group is cut from all the others. A host in none of several
        groups reaches all of them: a bridge.

        ``period``: the cut comes and goes, on for the first half of each period of so many seconds.
        """
        named = [self._names(group) for group in groups]
        if len(named) == 1:
            named.append(tuple(name for name in self._lan.hosts if name not in (*named[0], CLIENT_HOST)))
        return self.fault(Partition(groups=tuple(named), period=period))

    def isolate(self, *hosts: str) -> ActiveFault:
        """Nothing passes to or from these hosts."""
        return self.fault(Blocked(nodes=self._some(hosts), kinds=ALL_KINDS))

    def cut(self, senders: Names, *, to: Names) -> ActiveFault:
        """Nothing passes from these hosts to those; the other way is open. A TCP connection needs both."""
        return self.fault(OneWay(senders=self._names(senders), receivers=self._names(to)))

    def loss(self, probability: float, *hosts: str, tcp: bool = False) -> ActiveFault:
        """Datagrams are lost with this probability, on the way to and from these hosts, or everywhere. With ``tcp``
        segments of TCP too, which come late then."""
        kinds = (Kind.UDP, Kind.MULTICAST, Kind.TCP) if tcp else (Kind.UDP, Kind.MULTICAST)
        return self.fault(Lossy(probability=probability, kinds=kinds, nodes=self._names(hosts)))

    def delay(self, seconds: float, *hosts: str, jitter: float = 0.0) -> ActiveFault:
        """All takes so long more, each way, and up to ``jitter`` seconds more."""
        return self.fault(Delayed(seconds=seconds, jitter=jitter, nodes=self._names(hosts)))

    def reorder(self, probability: float, *hosts: str, seconds: float = 0.05) -> ActiveFault:
        """Datagrams are overtaken, each with this probability: held back by up to ``seconds``."""
        return self.fault(Reordered(probability=probability, seconds=seconds, nodes=self._names(hosts)))

    def duplicate(self, probability: float, *hosts: str) -> ActiveFault:
        """Datagrams arrive twice, each with this probability."""
        return self.fault(Duplicated(probability=probability, nodes=self._names(hosts)))

    def block_udp(self, *hosts: str) -> ActiveFault:
        """No datagram passes, to or from these hosts or anywhere, while TCP does."""
        return self.fault(Blocked(nodes=self._names(hosts), kinds=(Kind.UDP, Kind.MULTICAST)))

    def block_tcp(self, *hosts: str) -> ActiveFault:
        """No TCP passes, while datagrams do."""
        return self.fault(Blocked(nodes=self._names(hosts), kinds=(Kind.TCP,)))

    def block_multicast(self, *hosts: str) -> ActiveFault:
        """No multicast and no broadcast passes, so that discovery by mDNS and by the beacon finds nobody."""
        return self.fault(Blocked(nodes=self._names(hosts), kinds=(Kind.MULTICAST,)))

    def fault(self, fault: Faulty) -> ActiveFault:
        """Set any fault of the network that :mod:`meshp2p.virtual.faults` has. It begins now, and its ``begin`` and
        ``end`` are not looked at."""
        self._names(fault.names())
        return ActiveFault(self._lan, msgspec.structs.replace(fault, begin=self._lan.log.now, end=None))

    def heal(self) -> None:
        """End all faults of the network. Processes that were stopped or killed stay so."""
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
