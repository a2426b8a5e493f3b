"""A listed record is what its owner published, and no younger than the owner's last sign of life."""

from __future__ import annotations

from itertools import islice

from meshp2p.core.events import (
    Event,
    InstanceEvent,
    InstanceJoined,
    InstanceRecovered,
    InstanceSuspected,
    InstanceUpdated,
)
from meshp2p.core.record import Record
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.clock import EPOCH_MS
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import EndingFault

__all__ = ["Ages", "Heartbeats", "Records"]

Content = tuple[int, str, int, str, str, tuple[object, ...]]


class Records(Checker):
    """Every record that is listed says what its owner said in the incarnation that it bears: the process, the home,
    the epoch, the status, the metrics and the addresses."""

    name = "records"
    watches: tuple[type, ...] = (InstanceJoined, InstanceUpdated, InstanceRecovered, InstanceSuspected)

    def prepare(self) -> None:
        self._published: dict[tuple[str, int], list[Content]] = {}

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent):
            return
        record = event.record
        if record.home == host.id and not isinstance(event, InstanceSuspected):
            contents = self._published.setdefault((record.id, record.incarnation), [])
            if (content := _content(record)) not in contents:
                contents.append(content)
        elif (
            host.number < OBSERVERS_MAX and record.id not in self.oracle.twins and record.home not in self.oracle.twins
        ):
            contents = self._published.get((record.id, record.incarnation), [])
            if contents and _content(record) not in contents:
                listed = f"lists {record.id} in incarnation {record.incarnation} as {_content(record)}"
                self.violated(host, f"{listed}, and {contents[-1]} was published")


def _content(record: Record) -> Content:
    return record.boot, record.home, record.epoch, record.status, record.metrics, record.addresses


SLACK = 0.5
"""Ages are told in tenths of a second, on clocks that may differ by 5 %. Chosen, not measured."""


class Ages(Checker):
    """An agent that has stopped, and is listed still, was last heard of when it last sent a heartbeat: its age is told
    from node to node, and does not shrink on the way. Asked of nodes that listed it all the time, in runs in which
    nothing but processes that are gone makes a heartbeat arrive late."""

    name = "ages"
    watches: tuple[type, ...] = (InstanceJoined,)

    def prepare(self) -> None:
        self._told_at: dict[tuple[str, str], float] = {}
        """By the key of a host and an agent, when it began to be listed there."""

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceEvent) and event.record.id in self.oracle.agents:
            self._told_at[host.key, event.record.id] = self.oracle.engine.now

    def tick(self) -> None:
        oracle = self.oracle
        now = oracle.engine.now
        is_late = not all(isinstance(fault, EndingFault) for fault in oracle.all_faults)
        stopped = [] if is_late else [agent_id for agent_id, since in oracle.agents.items() if since is None]
        for host in oracle.live if stopped else ():
            if host.is_stopped or host.number >= OBSERVERS_MAX:
                continue
            for agent_id in stopped:
                tried_at = oracle.agents_tried_at.get(agent_id, now)
                shown = host.running.instance(agent_id, host.now)
                if shown is None or self._told_at.get((host.key, agent_id), now) > tried_at + SLACK:
                    continue
                skew_ms = host.clock.wall_skew * 1000
                heard_at = (shown.last_heartbeat - EPOCH_MS - skew_ms) / 1000
                if heard_at > tried_at + SLACK + 0.06 * (now - tried_at):
                    about = f"{agent_id} at {heard_at:.1f} s, which has been silent since {tried_at:.1f} s"
                    self.violated(host, f"says that it heard of {about}")


class Heartbeats(Checker):
    """The last heartbeat that a node shows of an instance never goes back while that is listed."""

    name = "heartbeats"
    watches: tuple[type, ...] = (InstanceJoined,)

    def prepare(self) -> None:
        self._shown: dict[tuple[str, int], dict[str, int]] = {}
        """By the key of a host and its process, what was shown last of each instance."""

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceEvent):
            self._shown.get((host.key, host.life), {}).pop(event.record.id, None)

    def tick(self) -> None:
        for host in self.oracle.live[:OBSERVERS_MAX]:
            if host.is_stopped:
                continue
            machine, now = host.running, host.now
            shown = self._shown.setdefault((host.key, host.life), {})
            for instance_id in islice(machine.records(), OBSERVERS_MAX):
                before, shown[instance_id] = shown.get(instance_id, 0), machine.last_heartbeat(instance_id, now)
                if (back := before - shown[instance_id]) > 0:
                    self.violated(host, f"says that it last heard of {instance_id} {back} ms earlier than before")
