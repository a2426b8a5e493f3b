"""Ground truth of a run: which nodes run, which can reach each other, and since when there is no fault. Checkers
compare views with it."""

from __future__ import annotations

import math
from types import UnionType
from typing import TYPE_CHECKING

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.map_entry import MapEntry
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.fault_history import FaultHistory
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import Letter
from meshp2p.simulation.network import Network
from meshp2p.simulation.watches import KEEPALIVE
from meshp2p.virtual.faults import (
    ClockRate,
    ClockStep,
    CuttingFault,
    DiskFails,
    DiskFull,
    DiskSlow,
    EndingFault,
    Fault,
    Kind,
    Leave,
    Moved,
    Pause,
    Severed,
    Sleep,
    Slow,
    SmallBuffer,
    Stalls,
    Twin,
)

if TYPE_CHECKING:
    from meshp2p.simulation.secured.machines import Genuine  # it brings cryptography

__all__ = ["Component", "MapWrite", "Oracle", "Report"]


MEETING = 5.0
"""Seconds in which nodes that were told of one another have all met. Chosen, not measured."""


class Report(msgspec.Struct, frozen=True):
    """The report of an agent, and the time of the first acknowledged heartbeat with it."""

    status: str
    metrics: str
    since: float


class MapWrite(msgspec.Struct, frozen=True):
    """A write to a shared map by the host ``node``, in its process ``life``, ``at`` a virtual time. ``wanted`` is the
    value, empty for a deletion. ``entry`` is its replica's entry for the key directly after that."""

    name: str
    entry: MapEntry
    node: str
    life: int
    at: float
    wanted: bytes


class Component(msgspec.Struct, frozen=True):
    """Live nodes that can reach one another. ``is_sure``: so well that they must agree.

    Each pair has TCP in both directions, or the mesh is so small that every prober asks all others, one of which
    reaches both.
    """

    hosts: tuple[Host, ...]
    is_sure: bool


class Oracle:
    """Ground truth of a run.

    ``disturbed_at`` is the last time at which a fault began or ended, or a process started or stopped.
    """

    def __init__(self, engine: Engine, network: Network, config: ProtocolConfig) -> None:
        self.engine = engine
        self.network = network
        self.config = config
        self.hosts: dict[str, Host] = {}
        self.active: dict[int, Fault] = {}
        self.fault_history: FaultHistory = FaultHistory(config)
        self.all_faults: list[Fault] = []
        """All faults that began, in order."""
        self.clock_stepped_at: float = -math.inf
        """The last time at which a clock was set or its rate changed."""
        self.disk_failed_at: float = -math.inf
        """The last time at which a disk began or ceased to refuse or delay writes."""
        self.keepalive_until: float = -math.inf
        """Until when a watch connection that was severed may seem to stand."""
        self.disturbed_at: float = 0.0
        self.left: dict[str, None] = {}
        """Nodes that were told to leave."""
        self.twins: dict[str, None] = {}
        """Ids that two processes had."""
        self.agents: dict[str, float | None] = {}
        """Hosted instances, and since when they must be listed: registered, with all heartbeats answered. None if they
        must not be: for example, while a revoked node answers the heartbeats."""
        self.reports: dict[str, Report] = {}
        """The last report of each hosted instance, except those that deregistered."""
        self.deregistered: dict[str, float] = {}
        """When each deregistration was confirmed."""
        self.letters: dict[str, Letter] = {}
        """All messages that were accepted, by id."""
        self.acknowledged: dict[tuple[str, str], float] = {}
        """When each acknowledgement was confirmed, by recipient and message id."""
        self.agents_tried_at: dict[str, float] = {}
        """When each last tried to register or to send a heartbeat."""
        self.misnamed: dict[bytes, None] = {}
        """Sealed datagrams that name another sender than the node that sealed them."""
        self.genuine: Genuine | None = None
        """The genuine statements of the machines and nodes of a secured mesh; None in an open mesh."""
        self.shut_out: dict[str, float] = {}
        """When the machine of each node was revoked."""
        self.map_writes: list[MapWrite] = []
        """All writes to shared maps, in order."""
        self._troubled_at = -math.inf
        self._host_disturbed_at: dict[str, float] = {}
        self._cut_at = -math.inf
        self._cuts = 0
        self._came_at = 0.0
        self._have_met = False
        self._told: dict[str, dict[str, None]] = {}
        self._impaired_at: dict[str, float] = {}
        self._impaired: dict[str, int] = {}

    # What the simulation tells

    def note_fault(self, number: int, fault: Fault, *, begins: bool) -> None:
        now = self.engine.now
        self.disturbed_at = now
        if begins:
            self.active[number] = fault
            self.all_faults.append(fault)
        else:
            self.active.pop(number, None)
        self.fault_history.note(number, fault, now, begins=begins)
        if isinstance(fault, DiskFull | DiskFails | DiskSlow):
            self.disk_failed_at = now
        if isinstance(fault, Severed):
            self.keepalive_until = now + KEEPALIVE[1]
        if isinstance(fault, Leave):
            self.left[fault.node] = None
        if isinstance(fault, Twin):
            self.twins[fault.node] = None
        if isinstance(fault, ClockStep | ClockRate):
            self.clock_stepped_at = now
        step = 1 if begins else -1
        if isinstance(fault, CuttingFault):
            if not self._cuts and now - max(self._cut_at, self._came_at) >= MEETING:
                self._have_met = True
            self._cut_at = now
            self._cuts += step
        elif isinstance(fault, Pause | Sleep | Slow | SmallBuffer | Stalls | Moved):
            self._impaired_at[fault.node] = now
            self._impaired[fault.node] = self._impaired.get(fault.node, 0) + step
        if isinstance(fault, EndingFault | Twin) or fault.is_bearable():
            return
        self._troubled_at = now

    def note_shut_out(self, node_id: str) -> None:
        """Note that the machine of a node was revoked."""
        self.shut_out.setdefault(node_id, self.engine.now)
        self.left[node_id] = None

    def note_process(self, host: Host) -> None:
        """Note that the process of a host started or ended."""
        if host.life == 1 and host.machine is not None:
            self._came_at = self.engine.now
            self._have_met = False
        self.disturbed_at = self._host_disturbed_at[host.key] = self.engine.now

    def note_told(self, host: Host, other: Host) -> None:
        """Note that discovery offered one node to another."""
        self._told.setdefault(host.key, {})[other.key] = None
        self._told.setdefault(other.key, {})[host.key] = None

    # What checkers ask

    @property
    def live(self) -> list[Host]:
        """Hosts whose node runs, is not about to leave and was not revoked, in the order of their first start."""
        return [
            host
            for host in self.hosts.values()
            if host.machine is not None
            and not host.is_leaving
            and not host.machine.has_lost_id
            and host.id not in self.shut_out
        ]

    @property
    def was_troubled(self) -> bool:
        """Return whether there ever was a fault of the whole mesh, or packets were lost."""
        return self._troubled_at > -math.inf or bool(self.network.impairments)

    def has_had(self, kinds: type[Fault] | UnionType) -> bool:
        """Return whether there is or was a fault of these kinds."""
        return any(isinstance(fault, kinds) for fault in self.all_faults)

    def is_odd(self, node_id: str) -> bool:
        """Return whether this node was told to leave, or two processes had its id."""
        return node_id in self.left or node_id in self.twins

    def only_host(self, node_id: str) -> Host | None:
        """Return the host with this node; None if there is none, or more than one."""
        hosts = [host for host in self.hosts.values() if host.id == node_id]
        return hosts[0] if len(hosts) == 1 else None

    def active_troubles(self) -> bool:
        """Return whether there is a fault now other than stopped processes and clocks."""
        harmless = EndingFault | ClockStep | ClockRate
        return bool(self.network.impairments) or not all(isinstance(fault, harmless) for fault in self.active.values())

    def is_undisturbed(self) -> bool:
        """Return whether there is no fault now other than stopped processes."""
        return all(isinstance(fault, EndingFault) for fault in self.active.values())

    def steady_for(self, host: Host) -> float:
        """Seconds since this host's process started or ended."""
        return self.engine.now - self._host_disturbed_at.get(host.key, 0.0)

    def well_for(self, host: Host) -> float:
        """Seconds since this machine was impaired or anything was cut; negative infinity during such a fault."""
        if self._cuts or self._impaired.get(host.id):
            return -math.inf
        return self.engine.now - max(self._cut_at, self._impaired_at.get(host.id, -math.inf))

    def clocks_agree_since(self, when: float) -> bool:
        """Return whether all wall clocks have agreed since then, so that all nodes probe along one ring."""
        if any(isinstance(fault, ClockRate) for fault in self.active.values()):
            return False
        return len({host.clock.wall_skew for host in self.live}) <= 1 and self.clock_stepped_at < when

    def components(self) -> list[Component]:
        """The live nodes, grouped by reachability."""
        live = self.live
        if not self.network.rules and not self.network.rejections:
            return [Component(tuple(live), is_sure=True)] if live else []
        passes = self.network.passes
        sure: dict[tuple[str, str], bool] = {}
        neighbours: dict[str, list[Host]] = {host.key: [] for host in live}
        for place, one in enumerate(live):
            for other in live[place + 1 :]:
                a, b = one.key, other.key
                tcp = passes(a, b, Kind.TCP) and passes(b, a, Kind.TCP)
                sure[a, b] = sure[b, a] = tcp
                if tcp or passes(a, b, Kind.UDP) or passes(b, a, Kind.UDP):
                    neighbours[a].append(other)
                    neighbours[b].append(one)
        found: list[Component] = []
        placed: dict[str, None] = {}
        for host in live:
            if host.key in placed:
                continue
            placed[host.key] = None
            members = [host]
            for member in members:
                for other in neighbours[member.key]:
                    if other.key not in placed:
                        placed[other.key] = None
                        members.append(other)
            found.append(Component(tuple(members), self._is_sure(members, sure) and self._may_know(members, sure)))
        return found

    def _may_know(self, members: list[Host], sure: dict[tuple[str, str], bool]) -> bool:
        """Return whether these nodes know of one another, or were told: directly, or through others among them. It is
        false for a node that is cut off from those it was told of, and that met no other before."""
        if self._have_met:
            return True
        reached = [members[0].key]
        apart = {host.key: None for host in members[1:]}
        for key in reached:
            for other in self._told.get(key, ()):
                if other in apart and sure[key, other]:
                    del apart[other]
                    reached.append(other)
        return not apart

    def _is_sure(self, members: list[Host], sure: dict[tuple[str, str], bool]) -> bool:
        few = len(members) - 2 <= self.config.indirect_probes
        for place, one in enumerate(members):
            for other in members[place + 1 :]:
                if sure[one.key, other.key]:
                    continue
                relays = (host for host in members if host is not one and host is not other)
                if not few or not any(sure[one.key, host.key] and sure[host.key, other.key] for host in relays):
                    return False
        return True
