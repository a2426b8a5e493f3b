"""Agents that speak only HTTP: they register at some node, send heartbeats, and go to another node when one fails."""

from __future__ import annotations

from meshp2p.core.hosting import Profile
from meshp2p.core.messages import CallReply, HeartbeatReply
from meshp2p.core.requests import Heartbeat
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.faults import Kind
from meshp2p.simulation.schedule import AgentPlan
from meshp2p.simulation.truth import Truth

__all__ = ["Agent", "Agents"]

ANSWER_TIMEOUT = 5.0
"""Seconds that an agent waits for a node's answer. Chosen, not measured."""


class Agent:
    """One agent. ``is_registered`` from a successful registration until it is told that nobody knows it."""

    def __init__(self, plan: AgentPlan) -> None:
        self.plan = plan
        self.turn = 0
        self.is_registered = False
        self.ticket = 0
        self.has_ended = False


class Agents:
    """All agents of a run. The truth knows which of them must be listed."""

    def __init__(self, plans: tuple[AgentPlan, ...], truth: Truth, engine: Engine) -> None:
        self._truth = truth
        self._engine = engine
        self._tickets: dict[int, Agent] = {}
        self._count = 0
        self.agents: dict[str, Agent] = {plan.id: Agent(plan) for plan in plans}
        for agent in self.agents.values():
            engine.at(agent.plan.at, self._step, agent)

    def _step(self, agent: Agent) -> None:
        """Register or send a heartbeat; then wait for the next."""
        plan = agent.plan
        now = self._engine.now
        if plan.until is not None and now >= plan.until:
            agent.has_ended = True
            self._truth.agents[plan.id] = None
            return
        self._engine.at(now + plan.every, self._step, agent)
        self._truth.agents_tried_at[plan.id] = now
        self._try(agent, len(plan.nodes))

    def _try(self, agent: Agent, tries: int) -> None:
        plan = agent.plan
        if tries == 0:
            self._truth.agents[plan.id] = None
            return
        key = plan.nodes[agent.turn % len(plan.nodes)]
        host = self._truth.hosts.get(key)
        stands = plan.nodes[0]
        passes = self._truth.network.passes
        reachable = key == stands or (passes(stands, key, Kind.TCP) and passes(key, stands, Kind.TCP))
        if host is None or not reachable or host.machine is None:
            agent.turn += 1
            self._try(agent, tries - 1)
        elif agent.is_registered:
            self._count += 1
            agent.ticket = self._count
            self._tickets[self._count] = agent
            refusal = host.ask(self._count, Heartbeat(plan.id, "busy", ""))
            if refusal:
                self._tickets.pop(agent.ticket, None)
                agent.turn += 1
                self._try(agent, tries - 1)
            else:
                self._engine.at(self._engine.now + ANSWER_TIMEOUT, self._give_up, (agent, agent.ticket))
        elif host.register(Profile(plan.id, f"{plan.id}.example", 0, ("simulated",))):
            agent.turn += 1
            self._try(agent, tries - 1)
        else:
            self._note_answer(agent)

    def _note_answer(self, agent: Agent) -> None:
        agent.is_registered = True
        if self._truth.agents.get(agent.plan.id) is None:
            self._truth.agents[agent.plan.id] = self._engine.now

    def _give_up(self, argument: tuple[Agent, int]) -> None:
        agent, ticket = argument
        if self._tickets.pop(ticket, None) is not None:
            agent.turn += 1
            self._truth.agents[agent.plan.id] = None

    def resolved(self, ticket: int, reply: CallReply) -> None:
        """A node answered."""
        agent = self._tickets.pop(ticket, None)
        if agent is None or agent.has_ended:
            return
        if isinstance(reply, HeartbeatReply) and reply.is_acknowledged:
            self._note_answer(agent)
        else:
            agent.is_registered = False
            self._truth.agents[agent.plan.id] = None
            self._try(agent, len(agent.plan.nodes))
