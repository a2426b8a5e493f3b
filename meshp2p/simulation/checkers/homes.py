"""The duties of homes towards their agents: which home may declare an agent gone, and what an agent is told."""

from __future__ import annotations

import math
from collections.abc import Iterable

from meshp2p.core.calls import CallReply, CallRequest, Push, SyncReply
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.events import Event, InstanceDied, InstanceEvent, InstanceJoined, InstanceUpdated
from meshp2p.core.record import Item, Rumour, State
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.checkers.pauses import PAUSE_MIN
from meshp2p.simulation.host import Host
from meshp2p.simulation.watcher import Listed

__all__ = ["AdoptionChecker", "AgentNews", "Homes"]


ROUNDING = 1e-3


class Homes(Checker):
    """Only a node that is or was the home of an instance says that it is dead, and only after it could hear the
    instance for ``instance_timeout`` since it was itself suspended. No node publishes an instance after it heard that
    the instance deregistered."""

    name = "homes"
    watches: tuple[type, ...] = (InstanceJoined, InstanceUpdated, InstanceDied)

    def prepare(self) -> None:
        self._resumed_at: dict[str, float] = {}
        """When each host was last stopped for long and went on, by its own clock."""
        self._homes: dict[str, dict[str, None]] = {}
        """By agent, the keys of the hosts that published it."""
        self._goodbyes: dict[tuple[str, str], int] = {}
        """By the key of a host and an agent, the incarnation that it heard has deregistered."""

    def started(self, host: Host) -> None:
        self._resumed_at.pop(host.key, None)
        for key in [key for key in self._goodbyes if key[0] == host.key]:
            del self._goodbyes[key]

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent) or event.record.home != host.id or event.record.is_node:
            return
        record = event.record
        if isinstance(event, InstanceDied):
            heard_for = host.clock.now - self._resumed_at.get(host.key, -math.inf)
            if heard_for < self.oracle.config.instance_timeout - ROUNDING:
                self.violated(
                    host, f"lets {record.id} go, which it could hear for {heard_for:.1f} s since it was stopped"
                )
            return
        self._homes.setdefault(record.id, {})[host.key] = None
        heard = self._goodbyes.get((host.key, record.id))
        is_gone = record.id in self.oracle.deregistered and self.oracle.agents.get(record.id) is None
        if heard is not None and is_gone and record.incarnation > heard:
            self.violated(host, f"publishes {record.id} again, of which it heard that it has deregistered")

    def resumed(self, host: Host, seconds: float) -> None:
        if seconds >= PAUSE_MIN:
            self._resumed_at[host.key] = host.clock.now

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        if not self.oracle.agents:
            return
        for item in items:
            if not isinstance(item, Rumour) or item.state is not State.DEAD or item.by != host.id:
                continue
            if item.id in self.oracle.agents and host.key not in self._homes.get(item.id, {}):
                self.violated(host, f"tells that {item.id} is dead, whose home it never was")

    def told(self, host: Host, items: tuple[Item, ...]) -> None:
        if self.oracle.agents:
            self._note_goodbyes(host, items)

    def called(self, host: Host, request: CallRequest) -> None:
        if type(request) is Push:
            self._note_goodbyes(host, request.items)

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if type(reply) is SyncReply:
            self._note_goodbyes(host, reply.items)

    def _note_goodbyes(self, host: Host, items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item, Rumour) and item.state is State.LEFT and item.id in self.oracle.agents:
                key = (host.key, item.id)
                self._goodbyes[key] = max(item.incarnation, self._goodbyes.get(key, 0))


class AgentNews(Checker):
    """An agent whose home answers its heartbeats is told to look at the list and the leader again whenever these differ
    from those at the previous answer."""

    name = "agent-news"

    def prepare(self) -> None:
        self._seen: dict[str, tuple[str, int, Listed]] = {}

    def beat(self, host: Host, agent_id: str, listed: Listed, should_sync: bool) -> None:
        key, life, before = self._seen.get(agent_id, (host.key, host.life, listed))
        self._seen[agent_id] = (host.key, host.life, listed)
        if (key, life) == (host.key, host.life) and before != listed and not should_sync:
            what = "another leads" if before[0] == listed[0] else "others are listed"
            self.violated(host, f"answers {agent_id} that nothing is new, though {what} than when it answered last")


class AdoptionChecker(Checker):
    """A node accepts the heartbeat of an instance that it lists if it does not list the instance's home. It then
    becomes the home itself."""

    name = "adoption"

    def beat_refused(self, host: Host, agent_id: str) -> None:
        machine = host.running
        if host.is_leaving or machine.has_lost_id:
            return
        record = machine.records().get(agent_id)
        if record is not None and not record.is_node and not machine.has_node(record.home):
            self.violated(host, f"refuses a heartbeat of {agent_id}, whose home {record.home} it holds to be gone")
