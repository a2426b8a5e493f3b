"""Faults between machines: partitions, loss, delay, and an attacker's packets."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.virtual.faults.base import ALL_KINDS, FaultOfNodes, Faulty, Kind

__all__ = [
    "Blocked",
    "Bursts",
    "Corrupted",
    "Crowded",
    "Delayed",
    "Duplicated",
    "Forged",
    "Forgery",
    "Hidden",
    "Lossy",
    "Narrow",
    "OneWay",
    "Oversized",
    "Partition",
    "Rejected",
    "Reordered",
    "Severed",
]


class Partition(Faulty, frozen=True, kw_only=True):
    """No traffic passes between these groups. A node in no group can reach all.

    ``period``: a flapping link, cut for the first half of each period; 0: cut all the time.
    """

    groups: tuple[tuple[str, ...], ...]
    kinds: tuple[Kind, ...] = ALL_KINDS
    period: float = 0.0

    def _check(self) -> None:
        self._seconds("period", self.period)
        if len(self.groups) < 2 or not all(self.groups):
            raise ConfigError("Partition: expected at least two groups, none of them empty")
        if len(self.names()) != len(dict.fromkeys(self.names())):
            raise ConfigError("Partition: a node is in two groups")

    def names(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group)

    def without(self, node_id: str) -> Faulty | None:
        groups = tuple(tuple(name for name in group if name != node_id) for group in self.groups)
        groups = tuple(group for group in groups if group)
        return msgspec.structs.replace(self, groups=groups) if len(groups) >= 2 else None


class FaultOfDirection(Faulty, frozen=True, kw_only=True):
    """A fault of traffic from these senders to these receivers."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        return (*self.senders, *(name for name in self.receivers if name not in self.senders))

    def without(self, node_id: str) -> Faulty | None:
        senders = tuple(name for name in self.senders if name != node_id)
        receivers = tuple(name for name in self.receivers if name != node_id)
        return msgspec.structs.replace(self, senders=senders, receivers=receivers) if senders and receivers else None


class OneWay(FaultOfDirection, frozen=True, kw_only=True):
    """No traffic passes from these senders to these receivers, but it does the other way. A call needs both
    directions."""

    kinds: tuple[Kind, ...] = ALL_KINDS


class Blocked(FaultOfNodes, frozen=True, kw_only=True):
    """These kinds of traffic are blocked, for example UDP but not TCP, or multicast but not unicast."""

    kinds: tuple[Kind, ...] = (Kind.MULTICAST,)

    @property
    def _is_multicast(self) -> bool:
        return all(kind is Kind.MULTICAST for kind in self.kinds)

    def is_bearable(self) -> bool:
        return self._is_multicast


class Rejected(FaultOfDirection, frozen=True, kw_only=True):
    """A firewall resets and refuses TCP from these senders to these receivers. UDP passes, unless ``drops_udp``."""

    drops_udp: bool = False

    def is_bearable(self) -> bool:
        return not self.drops_udp or len(self.senders) == 1  # one observer's evidence kills nobody


class Hidden(FaultOfNodes, frozen=True, kw_only=True):
    """No TCP connection to these nodes can be opened: they are behind NAT, or a firewall that blocks incoming traffic.
    Connections that they open themselves work both ways, and UDP passes."""

    def is_bearable(self) -> bool:
        return True


class Crowded(Hidden, frozen=True, kw_only=True):
    """These nodes accept no TCP connection while they have as many as ``connections`` open, as with a full backlog:
    others get no answer. Connections that stand, and those that they open themselves, work both ways, and UDP
    passes."""

    connections: int = 0

    def _check(self) -> None:
        if self.connections < 0:
            raise ConfigError(f"Crowded: connections = {self.connections}: expected 0 or more")


class Lossy(FaultOfNodes, frozen=True, kw_only=True):
    """Each packet is lost with this probability. TCP retransmits lost data, which arrives late."""

    probability: float
    kinds: tuple[Kind, ...] = (Kind.UDP,)

    def _check(self) -> None:
        self._share("probability", self.probability)

    def is_bearable(self) -> bool:
        return self.probability <= 0.1 and Kind.TCP not in self.kinds  # GOALS: no false death at 5 and 10 % of UDP


class Bursts(FaultOfNodes, frozen=True, kw_only=True):
    """Loss in bursts (Gilbert-Elliott): each link is good or bad, for so many seconds on average, and loses packets
    with another probability in each state."""

    good: float = 5.0
    bad: float = 0.5
    loss_good: float = 0.0
    loss_bad: float = 0.8

    def _check(self) -> None:
        self._seconds("good", self.good, 0.001)
        self._seconds("bad", self.bad, 0.001)
        self._share("loss_good", self.loss_good)
        self._share("loss_bad", self.loss_bad)


class Duplicated(FaultOfNodes, frozen=True, kw_only=True):
    """Each datagram arrives twice with this probability, up to ``seconds`` apart."""

    probability: float
    seconds: float = 0.05

    is_mild: ClassVar[bool] = True

    def _check(self) -> None:
        self._share("probability", self.probability)
        self._seconds("seconds", self.seconds)


class Reordered(FaultOfNodes, frozen=True, kw_only=True):
    """Each datagram is held back with this probability by up to ``seconds``, so that later ones overtake it."""

    probability: float
    seconds: float = 0.05

    is_mild: ClassVar[bool] = True

    def _check(self) -> None:
        self._share("probability", self.probability)
        self._seconds("seconds", self.seconds, 0.0, 0.1)


class Delayed(FaultOfNodes, frozen=True, kw_only=True):
    """All traffic takes ``seconds`` longer, plus up to ``jitter``; with probability ``spikes`` ten times that."""

    seconds: float
    jitter: float = 0.0
    spikes: float = 0.0

    def _check(self) -> None:
        self._seconds("seconds", self.seconds)
        self._seconds("jitter", self.jitter)
        self._share("spikes", self.spikes)

    def is_bearable(self) -> bool:
        return (self.seconds + self.jitter) * (10 if self.spikes else 1) <= 0.08


class Oversized(FaultOfNodes, frozen=True, kw_only=True):
    """Datagrams of more than ``bytes_max`` are lost: a path with a small MTU and without fragmentation."""

    bytes_max: int = 1200


class Narrow(FaultOfDirection, frozen=True, kw_only=True):
    """The path from these senders to these receivers is long and thin. A packet takes ``seconds`` longer. Each pair has
    ``bytes_per_second``, 0 for no limit: packets wait for one another, and datagrams that would wait too long are lost.
    Datagrams of more than ``bytes_max`` are lost; 0 for no limit."""

    seconds: float = 0.0
    bytes_per_second: float = 0.0
    bytes_max: int = 0

    def _check(self) -> None:
        self._seconds("seconds", self.seconds)
        if self.bytes_per_second and not 100 <= self.bytes_per_second <= 1e12:
            raise ConfigError(f"Narrow: bytes_per_second = {self.bytes_per_second}: expected 0, or 100 to 1e12")

    def is_bearable(self) -> bool:
        return self.seconds <= 0.08 and not self.bytes_per_second and not self.bytes_max


class Severed(FaultOfNodes, frozen=True, kw_only=True):
    """A NAT or firewall forgets all TCP connections of these nodes at ``begin``, and tells neither end. Calls in
    progress get no reply, and neither does the first call within a minute. A watch connection seems to stand until
    keepalive finds that it does not. UDP passes, and new connections can be opened."""

    is_mild: ClassVar[bool] = True


class Corrupted(FaultOfNodes, frozen=True, kw_only=True):
    """Each datagram arrives with changed or missing bytes with this probability. If it still decodes, it counts as
    refused by UDP's checksum."""

    probability: float

    def _check(self) -> None:
        self._share("probability", self.probability)

    def is_bearable(self) -> bool:
        return self.probability <= 0.1


class Forgery(StrEnum):
    """What an attacker without the key of the mesh can send."""

    GARBAGE = "garbage"
    OTHER_MESH = "other-mesh"
    REPLAY = "replay"
    """Packets that were sent before."""
    CLAIM = "claim"
    """In an open mesh: claims to lead in an epoch near the end of the range, and requests to be dialled back."""


class Forged(FaultOfNodes, frozen=True, kw_only=True):
    """Packets of an attacker, ``rate`` per second, to random nodes."""

    what: Forgery = Forgery.GARBAGE
    rate: float = 10.0

    is_mild: ClassVar[bool] = True

    def _check(self) -> None:
        if not 0 < self.rate <= 10_000:
            raise ConfigError(f"Forged: rate = {self.rate}: expected more than 0 and at most 10,000 a second")
