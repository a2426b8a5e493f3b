"""Which nodes a node may accuse, and what it must ask before it tells others of itself."""

from __future__ import annotations

from meshp2p.core.calls import CallReply, Probe
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.events import Event, InstanceEvent, InstanceJoined, InstanceRecovered, InstanceUpdated
from meshp2p.core.record import Item, Record, Rumour, State, tag_of
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import Liar, Twin

__all__ = ["Accusations", "Rivals"]

MARGIN = 0.05
"""By what part of a period a probe may end early. Chosen, not measured."""


class Accusations(Checker):
    """A node accuses another process of silence only after it has listed that process for a period: before that, a
    process that did not answer was a different one."""

    name = "accusations"
    watches: tuple[type, ...] = (InstanceJoined, InstanceUpdated, InstanceRecovered)

    def prepare(self) -> None:
        self._listed: dict[str, dict[str, tuple[int, int, float]]] = {}
        """By host and id: the boot, the incarnation and the time by the host's clock from which it listed that."""

    def started(self, host: Host) -> None:
        self._listed[host.key] = {}

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent) or not event.record.is_node or host.number >= OBSERVERS_MAX:
            return
        record = event.record
        listed = self._listed[host.key]
        before = listed.get(record.id)
        if before is None or before[0] != record.boot:
            listed[record.id] = (record.boot, record.incarnation, host.now)

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        if host.number >= OBSERVERS_MAX or host.life > 1:
            return  # others may tell what the process before it found
        for item in items:
            if not isinstance(item, Rumour) or item.state is not State.SUSPECT or item.by != host.id or item.is_refused:
                continue
            _, incarnation, since = self._listed[host.key].get(item.id, (0, 0, 0.0))
            period = self.oracle.config.probe_interval
            is_early = item.incarnation >= incarnation and host.now - since < (1 - MARGIN) * period
            # its twin, or a liar with its key, may have found that
            if is_early and not self.oracle.has_had(Twin | Liar):
                about = f"{item.id} of silence, whose process it has listed for {host.now - since:.3f} s"
                self.violated(host, f"accuses {about}")


class Rivals(Checker):
    """A node that has just started, and asks whether another process holds its id, tells nobody of itself until that is
    answered."""

    name = "rivals"

    def prepare(self) -> None:
        self._requests: dict[str, dict[int, None]] = {}
        self._told: dict[str, bool] = {}

    def started(self, host: Host) -> None:
        self._requests[host.key] = {}
        self._told[host.key] = False

    def calls(self, host: Host, effect: Call) -> None:
        if type(effect.request) is not Probe or effect.request.target != tag_of(host.id) or self._told[host.key]:
            return
        # whoever met nobody for so long counts its id as its own, and may meet a rival later
        if self.oracle.steady_for(host) < 0.9 * self.oracle.config.settle_timeout:
            self._requests[host.key][effect.call_id] = None

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if type(effect.request) is Probe:
            self._requests[host.key].pop(effect.call_id, None)

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        if self._told.get(host.key, True):
            return
        for item in items:
            if isinstance(item, Record) and item.id == host.id and item.boot == host.running.own.boot:
                self._told[host.key] = True
                if self._requests[host.key]:
                    self.violated(host, "tells of itself while it asks whether its id is another's")
