"""Two nodes that compared their replicas of a shared map hold the same afterwards."""

from __future__ import annotations

from meshp2p.core.calls import CallReply
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.map_calls import MapDifference, MapSync
from meshp2p.core.maps.mesh_clock import CLOCK_ERROR_MAX
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import ClockStep, Fault

__all__ = ["Comparing"]

ENTRIES_MAX = 500
"""Of larger replicas nothing is asked: what differs may not fit into one call. Chosen, not measured."""


class Comparing(Checker):
    """A node that compares maps, and is told all differences, tells the other what the other lacks. Within half the
    timeout of a call, the other has each entry that the asker had when the answer came, or a later one. This is checked
    if nothing disturbs the two, and all clocks are within the bound."""

    name = "comparing"

    def prepare(self) -> None:
        self._has_room = self.has_room("map_entries_max", "map_bytes_max", "map_sync_bytes_max")
        self._was_clock_wrong = False

    def started(self, host: Host) -> None:
        self._was_clock_wrong |= abs(host.clock.wall_skew) > CLOCK_ERROR_MAX / 2

    def fault_changes(self, fault: Fault, *, begins: bool) -> None:
        if isinstance(fault, ClockStep):
            self._was_clock_wrong |= abs(fault.seconds) > CLOCK_ERROR_MAX / 2

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if type(reply) is not MapDifference or type(effect.request) is not MapSync:
            return
        name, oracle = effect.request.name, self.oracle
        replica = host.replica(name)
        if replica is None or not (reply.has_map and reply.differing and reply.is_complete) or not self._has_room:
            return
        if replica.entries_count > ENTRIES_MAX or self._was_clock_wrong:
            return
        other = oracle.only_host(effect.node_id)
        if other is not None:
            had = [(entry.key, entry.stamp) for entry in replica.entries()]
            due = oracle.engine.now + oracle.config.call_timeout / 2
            oracle.engine.at(due, self._look, (host, host.life, other, other.life, name, had, oracle.engine.now))

    def _look(self, argument: tuple[Host, int, Host, int, str, list[tuple[str, object]], float]) -> None:
        host, life, other, other_life, name, had, at = argument
        oracle = self.oracle
        if oracle.disturbed_at > at or oracle.active_troubles() or (host.life, other.life) != (life, other_life):
            return
        if host not in oracle.live or other not in oracle.live:
            return
        replica = other.replica(name)
        for key, stamp in had if replica is not None else ():
            held = replica.entry(key) if replica is not None else None
            if held is None or held.stamp < stamp:  # type: ignore[operator]
                after = oracle.engine.now - at
                self.violated(other, f"lacks {key!r} of map {name!r}, {after:.1f} s after {host.key} compared with it")
                return
