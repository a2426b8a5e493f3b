"""Shared maps: after all faults they are one again, and hold what was written last."""

from __future__ import annotations

import math
from collections.abc import Iterator

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.maps.mesh_clock import CLOCK_ERROR_MAX
from meshp2p.core.maps.shared_maps import SYNC_INTERVAL
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import MapWrite
from meshp2p.virtual.faults import ClockStep, Fault

__all__ = ["SharedMaps", "convergence_bound"]


def convergence_bound(config: ProtocolConfig, nodes: int) -> float:
    """Within so many seconds replicas of nodes that list one another are the same: news that nobody told reaches twice
    as many with each interval, a few are lost to chance, and calls to those that do not answer take their time."""
    return (6 + math.log2(nodes)) * 1.25 * SYNC_INTERVAL + 2 * config.call_timeout


class SharedMaps(Checker):
    """At the end all nodes that reach one another and opened a map hold the same, and nothing that nobody wrote. A
    write whose process still runs is there, or a later one by the stamps; a deletion too, so that a deleted key does
    not come back.

    Who writes has read what its own replica holds, so a write prevails over it at once, though its clock may be behind
    that of who wrote it.

    The law on what is lost is not for runs in which a clock was wrong: then some writes bear the time at which that was
    found.
    """

    name = "maps"
    was_clock_wrong: bool = False

    def started(self, host: Host) -> None:
        self.was_clock_wrong |= self._is_wrong(host.clock.wall_skew)

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        if isinstance(fault, ClockStep):
            self.was_clock_wrong |= self._is_wrong(fault.seconds)

    def _is_wrong(self, seconds: float) -> bool:
        """Whether two clocks that differ by so much may not both be within the bound of a third's."""
        return abs(seconds) > CLOCK_ERROR_MAX

    def differing(self) -> Iterator[str]:
        """Describe the differences between replicas."""
        names = dict.fromkeys(write.name for write in self.oracle.map_writes)
        for component in self.oracle.components():
            for name in names if component.is_sure else ():
                replicas = [(host, replica) for host in component.hosts if (replica := host.replica(name)) is not None]
                views: dict[int, list[str]] = {}
                for host, replica in replicas:
                    views.setdefault(replica.view, []).append(host.key)
                if len(views) > 1:
                    yield f"map {name!r} differs: {' | '.join(' '.join(keys) for keys in views.values())}"

    def finish(self) -> None:
        for what in self.differing():
            self.violated(None, what)
        self._check_values()
        for write in self.oracle.map_writes:
            self._check_prevails(write)
        for write in () if self.was_clock_wrong else self.oracle.map_writes:
            self._check(write)

    def _check_prevails(self, write: MapWrite) -> None:
        if write.entry.value != write.wanted:
            what = f"{write.wanted!r}" if write.wanted else "the deletion"
            host = self.oracle.hosts[write.node]
            self.violated(host, f"{what} of {write.entry.key!r} loses at {write.at:.3f} s against {write.entry!r}")

    def _check_values(self) -> None:
        written = {(write.name, write.entry.key, write.entry.value) for write in self.oracle.map_writes}
        for name in dict.fromkeys(write.name for write in self.oracle.map_writes):
            for host in self.oracle.live:
                replica = host.replica(name)
                for entry in replica.entries() if replica is not None else ():
                    if (name, entry.key, entry.value) not in written:
                        self.violated(host, f"map {name!r} holds {entry!r}, which nobody wrote")

    def _check(self, write: MapWrite) -> None:
        host = self.oracle.hosts[write.node]
        replica = host.replica(write.name) if host.life == write.life and host in self.oracle.live else None
        if replica is None:
            return
        entry = write.entry
        held = replica.entry(entry.key)
        if held is None and entry.is_deleted:
            return
        if held is None or held.stamp < entry.stamp:
            what = "the deletion" if entry.is_deleted else f"{entry.value!r}"
            self.violated(host, f"{what} of {entry.key!r}, written at {write.at:.3f} s, is lost: there is {held!r}")
        elif held.stamp == entry.stamp and held.value != entry.value:
            self.violated(host, f"{entry!r} has become {held!r}")
