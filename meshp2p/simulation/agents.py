"""Agents that speak only HTTP: they register at some node, send heartbeats, and go to another node when one fails."""

from __future__ import annotations

import itertools
import random

from meshp2p.core.calls import CallReply, DeregisterReply, HeartbeatReply, InstanceReply
from meshp2p.core.requests import Deregister, Heartbeat, ReadInstance
from meshp2p.core.swim.hosting import Profile
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import Oracle, Report
from meshp2p.simulation.schedule import AgentPlan
from meshp2p.simulation.watcher import Listed, Watcher
from meshp2p.virtual.faults import Kind

__all__ = ["Agent", "Agents"]

ANSWER_TIMEOUT = 5.0
"""How long an agent waits for a node's answer, in seconds. Chosen, not measured."""


BEATS = 12
"""The period, in heartbeats, of the reports of a varying agent. In its first half each heartbeat changes the report, as
of an agent at work. In its second half none does, for so long that all nodes must know the last report. Chosen, not
measured."""


TWICE_AFTER, AGAIN_AFTER = 10.0, 1.0
"""If the interval is at least this long, a varying agent sends its heartbeats in pairs: the home delays the publication
of the second report, and no later heartbeat comes in time to repeat it."""

LOOKUPS, LOOKUP_INTERVAL = 12, 0.0003
"""How often a node is asked for an agent around its heartbeat, and every how many seconds: less than a call takes, so
that one is under way when the agent reports."""


class Agent:
    """One agent. ``is_registered`` is true from a successful registration until the agent is told that it is unknown.
    ``beats`` counts its heartbeats; ``report`` is the content of the last one."""

    def __init__(self, plan: AgentPlan) -> None:
        self.plan = plan
        self.turn = 0
        self.is_registered = False
        self.has_ended = False
        self.beats: int = 0
        self.report: tuple[str, str] = ("busy", "")
        self.lost: set[int] = set()
        """The tickets whose answers are lost."""
        self.said: list[tuple[str, str]] = []
        """What it reported since it registered, as far as that was answered."""

    def next_report(self) -> tuple[str, str]:
        """Return the status and the metrics of the next heartbeat."""
        if self.plan.varies and self.beats % BEATS < BEATS // 2:
            text = f'"beats":{self.beats}'
            room = self.plan.metrics_bytes - len(text) - len('{,"more":""}')
            more = f',"more":"{"." * room}"' if room > 0 else ""
            self.report = ("busy" if self.beats % BEATS < BEATS // 4 else "idle", f"{{{text}{more}}}")
        return self.report

    def registers_again(self) -> bool:
        """Return whether it registers again, as a restarted agent does."""
        self.beats += self.plan.varies
        return self.plan.varies and self.beats % BEATS == 0


class Agents:
    """All agents of a run. The oracle knows which of them must be listed.

    ``watcher`` gets each answer.
    """

    def __init__(
        self,
        plans: tuple[AgentPlan, ...],
        oracle: Oracle,
        engine: Engine,
        watcher: Watcher[Host],
        seed: int,
    ) -> None:
        self._oracle = oracle
        self._draw = random.Random(f"{seed}/agents")
        self._watcher = watcher
        self._engine = engine
        self._tickets: dict[int, tuple[Agent, Listed | None]] = {}
        """The agent of each ticket, and what its home knew at the request; None if another node was asked."""
        self._lookups: dict[int, tuple[Agent, list[tuple[str, str]], int]] = {}
        self._numbers = itertools.count(1)
        self.agents: dict[str, Agent] = {plan.id: Agent(plan) for plan in plans}
        for agent in self.agents.values():
            engine.at(agent.plan.at, self._step, agent)

    def _step(self, agent: Agent) -> None:
        """Register or send a heartbeat; then wait for the next."""
        plan = agent.plan
        now = self._engine.now
        if plan.until is not None and now >= plan.until:
            agent.has_ended = True
            self._oracle.agents[plan.id] = None
            if plan.deregisters and agent.is_registered:
                self._deregister(agent)
            return
        self._engine.at(now + plan.every, self._step, agent)
        self._oracle.agents_tried_at[plan.id] = now
        self._try(agent, len(plan.nodes))
        if plan.varies and plan.every > TWICE_AFTER:
            self._engine.at(now + AGAIN_AFTER, self._report_again, agent)
        if plan.is_looked_up:
            self._engine.at(now + LOOKUPS / 2 * LOOKUP_INTERVAL, self._report_again, agent)
            for number in range(LOOKUPS):
                self._engine.at(now + number * LOOKUP_INTERVAL, self._look_up, agent)

    def _look_up(self, agent: Agent) -> None:
        for key in agent.plan.nodes[:2]:
            host = self._reached(agent, key)
            if host is not None and agent.said:
                ticket = next(self._numbers)
                self._lookups[ticket] = (agent, agent.said, len(agent.said))
                if host.ask(ticket, ReadInstance(agent.plan.id)) is not None:
                    del self._lookups[ticket]

    def _report_again(self, agent: Agent) -> None:
        """Send another heartbeat soon after the last: one that reports seldom may have two things to tell."""
        if not agent.has_ended and agent.is_registered:
            self._try(agent, len(agent.plan.nodes))

    def _deregister(self, agent: Agent) -> None:
        """Ask another node than last time, if one can be reached."""
        nodes = agent.plan.nodes
        for turn in range(agent.turn + 1, agent.turn + 1 + len(nodes)):
            host = self._reached(agent, nodes[turn % len(nodes)])
            if host is None:
                continue
            ticket = next(self._numbers)
            self._tickets[ticket] = agent, None
            if self._draw.random() < agent.plan.loses or host.ask(ticket, Deregister(agent.plan.id)) is None:
                return
            del self._tickets[ticket]

    def _reached(self, agent: Agent, key: str) -> Host | None:
        """Return the host with this key, if a process runs there that the agent can reach."""
        host = self._oracle.hosts.get(key)
        stands = agent.plan.nodes[0]
        passes = self._oracle.network.passes
        reachable = key == stands or (passes(stands, key, Kind.TCP) and passes(key, stands, Kind.TCP))
        return host if host is not None and reachable and host.machine is not None else None

    def _try(self, agent: Agent, tries: int) -> None:
        plan = agent.plan
        if tries == 0:
            self._oracle.agents[plan.id] = None
            return
        host = self._reached(agent, plan.nodes[agent.turn % len(plan.nodes)])
        if host is None:
            agent.turn += 1
            self._try(agent, tries - 1)
        elif agent.is_registered and not agent.registers_again():
            ticket = next(self._numbers)
            self._tickets[ticket] = agent, _listed(host) if host.is_home_of(plan.id) else None
            heartbeat = Heartbeat(plan.id, *agent.next_report())
            refusal = None
            if self._draw.random() < plan.loses / 2:
                self._oracle.agents[plan.id] = None
            else:
                if self._draw.random() < plan.loses / 2:
                    agent.lost.add(ticket)
                refusal = host.ask(ticket, heartbeat)
                if self._draw.random() < plan.doubles:
                    host.ask(next(self._numbers), heartbeat)
            if refusal:
                self._tickets.pop(ticket, None)
                agent.turn += 1
                self._try(agent, tries - 1)
            else:
                self._engine.at(self._engine.now + ANSWER_TIMEOUT, self._give_up, (agent, ticket))
        elif host.register(Profile(plan.id, f"{plan.id}.example", 0, ("simulated",))):
            agent.turn += 1
            self._try(agent, tries - 1)
        else:
            self._watcher.beat(host, plan.id, _listed(host), True)
            agent.said = []
            self._note_answer(host, agent)

    def _note_answer(self, host: Host, agent: Agent) -> None:
        agent.is_registered = True
        since = self._oracle.agents.get(agent.plan.id) or self._engine.now
        # what a revoked node claims is ignored
        self._oracle.agents[agent.plan.id] = None if host.id in self._oracle.shut_out else since

    def _give_up(self, argument: tuple[Agent, int]) -> None:
        agent, ticket = argument
        agent.lost.discard(ticket)
        if self._tickets.pop(ticket, None) is not None:
            agent.turn += 1
            self._oracle.agents[agent.plan.id] = None

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None:
        """Process an answer of a node."""
        if ticket in self._lookups:
            self._compare(host, *self._lookups.pop(ticket), reply)
            return
        agent, listed = self._tickets.get(ticket, (None, None))
        if agent is not None and ticket in agent.lost:
            if isinstance(reply, HeartbeatReply) and reply.is_acknowledged:
                self._beat(host, agent, listed, reply)
            return
        self._tickets.pop(ticket, None)
        if agent is not None and isinstance(reply, DeregisterReply):
            if reply.was_found:
                self._oracle.deregistered[agent.plan.id] = self._engine.now
            return
        if agent is None or agent.has_ended:
            return
        if isinstance(reply, HeartbeatReply) and reply.is_acknowledged:
            self._beat(host, agent, listed, reply)
            self._note_answer(host, agent)
            agent.said.append(agent.report)
            known = self._oracle.reports.get(agent.plan.id)
            if known is None or (known.status, known.metrics) != agent.report:
                self._oracle.reports[agent.plan.id] = Report(*agent.report, self._engine.now)
        else:
            if isinstance(reply, HeartbeatReply):
                self._watcher.beat_refused(host, agent.plan.id)
            agent.is_registered = False
            self._oracle.agents[agent.plan.id] = None
            self._try(agent, len(agent.plan.nodes))

    def _beat(self, host: Host, agent: Agent, listed: Listed | None, reply: HeartbeatReply) -> None:
        self._watcher.beat(host, agent.plan.id, listed or _listed(host), reply.should_sync or not listed)

    def _compare(self, host: Host, agent: Agent, said: list[tuple[str, str]], count: int, reply: CallReply) -> None:
        """Pass on what a node shows of an agent, of which ``count`` reports were answered when the node was asked."""
        if isinstance(reply, InstanceReply) and reply.is_home and said is agent.said:
            shown = None if reply.record is None else (reply.record.status, reply.record.metrics)
            self._watcher.looked_up(host, agent.plan.id, shown, (*said[count - 1 :], agent.report))


def _listed(host: Host) -> Listed:
    return frozenset(host.listed), host.running.leader_id
