"""What goes wrong, when, and to whom: each fault a plain value, so that a run can be written down, replayed and shrunk.

::

    the network     Partition  OneWay  Blocked  Rejected  Lossy  Bursts  Duplicated  Reordered  Delayed  Oversized
                    Corrupted
    a process       Crash  Leave  Twin
    a machine       Pause  Sleep  Slow  Stalls  ClockStep  Moved  DiskForgets
    an attacker     Forged

``begin`` and ``end`` are virtual seconds; without an ``end`` a fault lasts until the network heals at the end of the
schedule's ``duration`` (and a crashed node stays down). Nodes are named by their ids; where none is named, all are
meant.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from meshp2p.errors import ConfigError

__all__ = [
    "ALL_KINDS",
    "Blocked",
    "Bursts",
    "ClockStep",
    "Corrupted",
    "Crash",
    "Delayed",
    "DiskForgets",
    "Duplicated",
    "Fault",
    "Faulty",
    "Forged",
    "Forgery",
    "Kind",
    "Leave",
    "Lossy",
    "Moved",
    "OneWay",
    "Oversized",
    "Partition",
    "Pause",
    "Rejected",
    "Reordered",
    "Sleep",
    "Slow",
    "Stalls",
    "Twin",
]


class Kind(StrEnum):
    """By what something travels."""

    UDP = "udp"
    TCP = "tcp"
    MULTICAST = "multicast"


ALL_KINDS = (Kind.UDP, Kind.TCP, Kind.MULTICAST)


class Faulty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault", tag=str):
    """What all faults have. Raises :class:`ConfigError` on a value out of range."""

    begin: float = 0.0
    end: float | None = None

    is_mild: ClassVar[bool] = False
    """Whether a healthy mesh must bear it without declaring anybody dead. Some decide by their values:
    :meth:`is_bearable`."""
    is_instant: ClassVar[bool] = False
    """Whether it happens at ``begin`` and has no end."""

    def names(self) -> tuple[str, ...]:
        """The ids of the nodes that it names."""
        return ()

    def is_bearable(self) -> bool:
        """Whether a healthy mesh must bear it without declaring anybody dead."""
        return self.is_mild

    def without(self, node_id: str) -> Faulty | None:
        """The same without this node; None where nothing remains of it."""
        return None if node_id in self.names() else self

    def _share(self, name: str, value: float) -> None:
        if not 0 <= value <= 1:
            raise ConfigError(f"{type(self).__name__}: {name} = {value}: expected 0 to 1")

    def _seconds(self, name: str, value: float, low: float = 0.0, high: float = 1e6) -> None:
        if not low <= value <= high:
            raise ConfigError(f"{type(self).__name__}: {name} = {value}: expected {low:g} to {high:g} seconds")


class _OfNodes(Faulty, frozen=True, kw_only=True):
    """A fault of all that these nodes send or receive; of the whole network where none is named."""

    nodes: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        return self.nodes

    def without(self, node_id: str) -> Faulty | None:
        if node_id not in self.nodes:
            return self
        rest = tuple(name for name in self.nodes if name != node_id)
        return msgspec.structs.replace(self, nodes=rest) if rest else None


class _OfOne(Faulty, frozen=True, kw_only=True):
    """A fault of one node."""

    node: str

    def names(self) -> tuple[str, ...]:
        return (self.node,)


# The network


class Partition(Faulty, frozen=True, kw_only=True):
    """Nothing passes between these groups. A node in none of them sees all: a bridge.

    ``period``: a flapping link, cut for the first half of each period; 0: cut all the time.
    """

    groups: tuple[tuple[str, ...], ...]
    kinds: tuple[Kind, ...] = ALL_KINDS
    period: float = 0.0

    def __post_init__(self) -> None:
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


class OneWay(Faulty, frozen=True, kw_only=True):
    """Nothing passes from these senders to these receivers; the other way is open. A call needs both ways."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    kinds: tuple[Kind, ...] = ALL_KINDS

    def names(self) -> tuple[str, ...]:
        return (*self.senders, *(name for name in self.receivers if name not in self.senders))

    def without(self, node_id: str) -> Faulty | None:
        senders = tuple(name for name in self.senders if name != node_id)
        receivers = tuple(name for name in self.receivers if name != node_id)
        return msgspec.structs.replace(self, senders=senders, receivers=receivers) if senders and receivers else None


class Blocked(_OfNodes, frozen=True, kw_only=True):
    """These kinds are dead: UDP while TCP lives, multicast while unicast lives."""

    kinds: tuple[Kind, ...] = (Kind.MULTICAST,)

    @property
    def _is_multicast(self) -> bool:
        return all(kind is Kind.MULTICAST for kind in self.kinds)

    def is_bearable(self) -> bool:
        return self._is_multicast


class Rejected(Faulty, frozen=True, kw_only=True):
    """A firewall resets and refuses what these senders have to these receivers by TCP; UDP passes, unless
    ``drops_udp``."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    drops_udp: bool = False

    def is_bearable(self) -> bool:
        return not self.drops_udp or len(self.senders) == 1  # one observer's evidence kills nobody

    def names(self) -> tuple[str, ...]:
        return (*self.senders, *(name for name in self.receivers if name not in self.senders))

    def without(self, node_id: str) -> Faulty | None:
        senders = tuple(name for name in self.senders if name != node_id)
        receivers = tuple(name for name in self.receivers if name != node_id)
        return msgspec.structs.replace(self, senders=senders, receivers=receivers) if senders and receivers else None


class Lossy(_OfNodes, frozen=True, kw_only=True):
    """Packets are lost, each with this probability; what TCP loses is sent again and comes late."""

    probability: float
    kinds: tuple[Kind, ...] = (Kind.UDP,)

    def __post_init__(self) -> None:
        self._share("probability", self.probability)

    def is_bearable(self) -> bool:
        return self.probability <= 0.1 and Kind.TCP not in self.kinds  # GOALS: no false death at 5 and 10 % of UDP


class Bursts(_OfNodes, frozen=True, kw_only=True):
    """Loss in bursts (Gilbert-Elliott): each link is good or bad, for so many seconds on average, and loses packets
    with another probability in each state."""

    good: float = 5.0
    bad: float = 0.5
    loss_good: float = 0.0
    loss_bad: float = 0.8

    def __post_init__(self) -> None:
        self._seconds("good", self.good, 0.001)
        self._seconds("bad", self.bad, 0.001)
        self._share("loss_good", self.loss_good)
        self._share("loss_bad", self.loss_bad)


class Duplicated(_OfNodes, frozen=True, kw_only=True):
    """Datagrams arrive twice, each with this probability, up to ``seconds`` apart."""

    probability: float
    seconds: float = 0.05

    is_mild: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._share("probability", self.probability)
        self._seconds("seconds", self.seconds)


class Reordered(_OfNodes, frozen=True, kw_only=True):
    """Datagrams are held back by up to ``seconds``, each with this probability, so that later ones overtake them."""

    probability: float
    seconds: float = 0.05

    is_mild: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._share("probability", self.probability)
        self._seconds("seconds", self.seconds, 0.0, 0.1)


class Delayed(_OfNodes, frozen=True, kw_only=True):
    """All takes ``seconds`` more, and up to ``jitter`` more; with probability ``spikes`` ten times that."""

    seconds: float
    jitter: float = 0.0
    spikes: float = 0.0

    def __post_init__(self) -> None:
        self._seconds("seconds", self.seconds)
        self._seconds("jitter", self.jitter)
        self._share("spikes", self.spikes)

    def is_bearable(self) -> bool:
        return (self.seconds + self.jitter) * (10 if self.spikes else 1) <= 0.08


class Oversized(_OfNodes, frozen=True, kw_only=True):
    """Datagrams of more than ``bytes_max`` are lost: a path with a small MTU and no fragments."""

    bytes_max: int = 1200


class Corrupted(_OfNodes, frozen=True, kw_only=True):
    """Datagrams arrive with bytes changed or cut off, each with this probability. What still decodes is taken for
    refused by UDP's checksum."""

    probability: float

    def __post_init__(self) -> None:
        self._share("probability", self.probability)

    def is_bearable(self) -> bool:
        return self.probability <= 0.1


# A process


class Crash(_OfOne, frozen=True, kw_only=True):
    """The process dies; at ``end`` it is started again.

    With ``is_silent`` its machine dies with it: nothing is refused, all is silence. ``keeps_state`` is whether the file
    that it keeps is there when it comes back; ``moves`` whether it comes back at another address.
    """

    is_silent: bool = False
    keeps_state: bool = True
    moves: bool = False


class Leave(_OfOne, frozen=True, kw_only=True):
    """The node leaves of its own will; at ``end`` it is started again."""


class Twin(_OfOne, frozen=True, kw_only=True):
    """A second process with this node's id is started at another address; it ends at ``end``."""


# A machine


class Pause(_OfOne, frozen=True, kw_only=True):
    """The process is stopped (SIGSTOP, a debugger, a starved machine): its sockets fill, its clock goes on."""

    def is_bearable(self) -> bool:
        return self.end is not None and self.end - self.begin <= 3.0  # GOALS: a pause of 3 s kills nobody


class Sleep(_OfOne, frozen=True, kw_only=True):
    """The machine sleeps: packets to it are lost. ``clock_stops``: its monotonic clock stands still meanwhile, as on
    Linux, or goes on."""

    clock_stops: bool = True


class Slow(_OfOne, frozen=True, kw_only=True):
    """Whatever the process does takes ``seconds`` on average: it handles one thing after the other, late."""

    seconds: float = 0.05

    def __post_init__(self) -> None:
        self._seconds("seconds", self.seconds, 0.0, 60.0)


class Stalls(_OfOne, frozen=True, kw_only=True):
    """The process stands still for ``seconds`` in every ``every``: an agent that blocks its loop."""

    every: float = 5.0
    seconds: float = 1.0

    def __post_init__(self) -> None:
        self._seconds("every", self.every, 0.01)
        self._seconds("seconds", self.seconds, 0.0, self.every)


class ClockStep(_OfOne, frozen=True, kw_only=True):
    """The wall clock is set by so many seconds, and back at ``end``."""

    seconds: float = -3600.0

    is_mild: ClassVar[bool] = True


class Moved(_OfOne, frozen=True, kw_only=True):
    """The machine gets another address at ``begin``, without the process noticing: packets to the old one are lost."""

    is_instant: ClassVar[bool] = True


class DiskForgets(_OfOne, frozen=True, kw_only=True):
    """Writes are not on the disk before ``end``, whatever it says: what a crash finds is older."""

    is_mild: ClassVar[bool] = True


# An attacker


class Forgery(StrEnum):
    """What an attacker without the key can send."""

    GARBAGE = "garbage"
    OTHER_MESH = "other-mesh"
    REPLAY = "replay"
    """Packets that were sent before."""


class Forged(_OfNodes, frozen=True, kw_only=True):
    """Packets of an attacker, ``rate`` a second, to nodes drawn at random."""

    what: Forgery = Forgery.GARBAGE
    rate: float = 10.0

    is_mild: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 10_000:
            raise ConfigError(f"Forged: rate = {self.rate}: expected more than 0 and at most 10,000 a second")


Fault = (
    Partition
    | OneWay
    | Blocked
    | Rejected
    | Lossy
    | Bursts
    | Duplicated
    | Reordered
    | Delayed
    | Oversized
    | Corrupted
    | Crash
    | Leave
    | Twin
    | Pause
    | Sleep
    | Slow
    | Stalls
    | ClockStep
    | Moved
    | DiskForgets
    | Forged
)
