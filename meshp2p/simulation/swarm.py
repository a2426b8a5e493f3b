"""A random schedule. The kinds of faults are drawn first, then their number and strength (swarm testing: a run with few
kinds of faults finds bugs that are hidden in a run with all of them)."""

from __future__ import annotations

import math
import random

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.presets import PRESETS
from meshp2p.errors import ConfigError
from meshp2p.simulation.oracle import MEETING
from meshp2p.simulation.schedule import NODES_MAX, AgentPlan, MailPlan, MapPlan, NodePlan, Schedule, SecurityPlan
from meshp2p.simulation.swarm_faults import draw_faults, draw_harsh_faults, draw_scarce_faults
from meshp2p.virtual.faults import Crash, CuttingFault, DeadAddress, Fault, Impostor, Leave, Liar, Moved, ShutOut, Twin
from meshp2p.virtual.links import LinkOptions

__all__ = ["draw_swarm"]

OPEN_SHARE = 0.85
"""The share of meshes that are open. Chosen, not measured."""

_LIMITS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("mailbox_messages_max", (3, 20, 100)),
    ("mailbox_bytes_max", (2_000, 100_000)),
    ("outbox_copies_max", (5, 50, 500)),
    ("outbox_bytes_max", (5_000, 200_000)),
    ("receipts_max", (0, 10)),
    ("delivery_bytes_max", (1024, 10_000)),
    ("fetch_bytes_max", (200_000,)),
    ("waits_max", (1, 2)),
    ("candidates_max", (4, 16)),
    ("map_entries_max", (3, 50)),
    ("map_bytes_max", (1024, 10_000)),
    ("sync_bytes_max", (64 * 1024,)),
    ("packet_bytes_max", (512, 1200)),
)
"""Limits that are low enough to be reached. Limits on memory that a run needs are not among them: departed instances,
and the ids of acknowledged messages."""


def draw_swarm(seed: int, *, nodes: int | None = None, duration: float | None = None) -> Schedule:
    """Return the schedule of this seed, with all checkers.

    Raises :class:`ConfigError` for an impossible number of nodes or duration.
    """
    draw = random.Random(f"{seed}/swarm")
    if nodes is None:
        nodes = draw.choice((3, 3, 4, 5, 5, 7, 9, 12, 16, 24, 33, 50))
    if not 2 <= nodes <= NODES_MAX:
        raise ConfigError(f"nodes = {nodes}: scenario 'swarm' takes 2 to {NODES_MAX}")
    if duration is None:
        duration = float(draw.choice((30, 60, 60, 120, 120, 240)))
    if not 1 <= duration <= 1e7:
        raise ConfigError(f"duration = {duration}: expected 1 to 10,000,000 seconds")
    width = len(str(nodes - 1))
    names = tuple(f"n{number:0{width}}" for number in range(nodes))
    faults = draw_faults(draw, names, duration)
    seeds = draw.choice((1, 1, 2))
    spread = draw.choice((0.0, 0.5, 5.0))
    plans = tuple(
        NodePlan(
            id=name,
            at=0.0 if number == 0 else round(draw.random() * min(spread, duration), 3),
            seeds=_draw_seeds(draw, names, number, seeds),
            has_disk=draw.random() < 0.7,
            wall_skew=_draw_skew(draw),
        )
        for number, name in enumerate(names)
    )
    agents = _draw_agents(draw, names, duration)
    mail = _draw_mail(random.Random(f"{seed}/mail"), names, agents, duration)
    returns, more = _draw_returns(random.Random(f"{seed}/returns"), names, agents, duration)
    mail += more
    config = _draw_config(random.Random(f"{seed}/config"), nodes)
    harsh = draw_harsh_faults(random.Random(f"{seed}/harsh"), names, duration)
    scarce = draw_scarce_faults(random.Random(f"{seed}/scarce"), names, duration)
    with_two = {fault.node for fault in scarce if isinstance(fault, DeadAddress)}
    plans = tuple(msgspec.structs.replace(plan, addresses=2) if plan.id in with_two else plan for plan in plans)
    agents = _draw_unsteady(random.Random(f"{seed}/unsteady"), agents)
    security, attacks = _draw_security(random.Random(f"{seed}/trust"), names, faults, duration)
    if any(isinstance(attack, Liar) for attack in attacks):  # a node that has just started believes whom it hears first
        harsh = tuple(fault for fault in harsh if not isinstance(fault, Crash))
    return Schedule(
        scenario="swarm",
        seed=seed,
        duration=duration,
        calm=max(10.0, 1.5 * config.delivery_interval_max) if mail else 5.0,  # what waits is tried again
        nodes=plans,
        agents=agents,
        mail=mail,
        maps=_draw_maps(random.Random(f"{seed}/maps"), names, duration),
        faults=_let_all_meet((*faults, *returns, *harsh, *scarce, *attacks), plans),
        config=config,
        link=LinkOptions(delay=draw.choice((0.0001, 0.0002, 0.002, 0.02)), jitter=draw.choice((0.0001, 0.001, 0.005))),
        multicast_interval=draw.choice((0.0, 0.0, 10.0)) if nodes <= 24 else 0.0,
        through_wire=draw.random() < 0.1,
        security=security,
    )


def _draw_seeds(draw: random.Random, names: tuple[str, ...], number: int, count: int) -> tuple[str, ...]:
    """Return the first node, which lets all meet, and the others. The first knows the second, because it may return at
    another address."""
    if number == 0:
        return names[1:2]
    others = list(names[:1]) + [draw.choice(names[:number]) for _ in range(count - 1)]
    return tuple(dict.fromkeys(others))


def _let_all_meet(faults: tuple[Fault, ...], plans: tuple[NodePlan, ...]) -> tuple[Fault, ...]:
    """If not all nodes had ``MEETING`` seconds without a cut to meet the first node, which all others know, apply
    faults that remove it from its address for good to the second node instead. Otherwise nodes that never met it would
    know nobody."""
    first, second, *_ = plans
    met_at = max(plan.at for plan in plans) + MEETING
    if any(isinstance(fault, CuttingFault) and fault.begin < met_at for fault in faults):
        met_at = math.inf
    return tuple(
        msgspec.structs.replace(fault, node=second.id)
        if _takes_away(fault, first.id) and fault.begin < met_at
        else fault
        for fault in faults
    )


def _takes_away(fault: Fault, node: str) -> bool:
    match fault:
        case Crash(end=end, moves=moves, takes=takes):
            return fault.node == node and (end is None or moves or bool(takes))
        case Leave(end=end):
            return fault.node == node and end is None
        case Moved():
            return fault.node == node
        case _:
            return False


def _draw_agents(draw: random.Random, names: tuple[str, ...], duration: float) -> tuple[AgentPlan, ...]:
    if draw.random() < 0.7:
        return ()
    return tuple(
        AgentPlan(
            id=f"agent{number}",
            nodes=tuple(draw.sample(names, min(len(names), draw.randrange(1, 4)))),
            at=round(draw.uniform(0, duration / 2), 3),
            until=round(draw.uniform(duration / 2, duration), 3) if draw.random() < 0.3 else None,
            every=draw.choice((2.0, 5.0)),
        )
        for number in range(draw.randrange(1, 4))
    )


def _draw_unsteady(draw: random.Random, agents: tuple[AgentPlan, ...]) -> tuple[AgentPlan, ...]:
    """Let the agents of some meshes lose and double requests, and deregister."""
    if draw.random() < 0.5:
        return agents
    loses, doubles = draw.choice((0.0, 0.05, 0.3)), draw.choice((0.0, 0.3))
    return tuple(
        msgspec.structs.replace(
            agent, loses=loses, doubles=doubles, deregisters=agent.until is not None and draw.random() < 0.8
        )
        for agent in agents
    )


def _draw_mail(
    draw: random.Random, names: tuple[str, ...], agents: tuple[AgentPlan, ...], duration: float
) -> tuple[MailPlan, ...]:
    if draw.random() < 0.5:
        return ()
    everybody = names + tuple(agent.id for agent in agents)
    return tuple(
        MailPlan(
            source=f"sender{number}",
            nodes=tuple(draw.sample(names, min(len(names), draw.randrange(1, 3)))),
            target="" if draw.random() < 0.2 else draw.choice(everybody),
            at=round(draw.uniform(2.0, duration / 2), 3),
            until=round(draw.uniform(duration / 2, duration), 3),
            every=(every := draw.choice((0.2, 1.0, 5.0))),
            bytes_max=draw.choice((0, 0, 1000, 1_000_000 if every > 1 else 100_000)),
        )
        for number in range(draw.randrange(1, 5))
    )


def _draw_returns(
    draw: random.Random, names: tuple[str, ...], agents: tuple[AgentPlan, ...], duration: float
) -> tuple[tuple[Fault, ...], tuple[MailPlan, ...]]:
    """Add a home that returns before its agent's next heartbeat, while messages wait for the agent."""
    if not agents or draw.random() < 0.7:
        return (), ()
    agent = draw.choice(agents)
    home = agent.nodes[0]
    begin = round(draw.uniform(min(agent.at + 1.0, duration / 2), duration * 0.9), 3)
    end = round(begin + draw.choice((0.05, 0.5, 2.0)) * (0.5 + draw.random()), 3)
    sender = draw.choice([name for name in names if name != home])
    plan = MailPlan(source="waiting", nodes=(sender,), target=agent.id, at=agent.at, until=round(end, 3), every=0.5)
    return (Crash(begin=begin, end=end, node=home, is_silent=draw.random() < 0.5),), (plan,)


def _draw_security(
    draw: random.Random, names: tuple[str, ...], faults: tuple[Fault, ...], duration: float
) -> tuple[SecurityPlan | None, tuple[Fault, ...]]:
    """Make some meshes secured ones, some of which are attacked. A second process with the id of a node is not played
    there."""
    if draw.random() < OPEN_SHARE or any(isinstance(fault, Twin) for fault in faults):
        return None, ()
    key_seconds = draw.choice((8.0, 60.0, 86_400.0))
    inviters = {name: draw.choice(names[: min(place, 3)]) for place, name in enumerate(names) if place}
    plan = SecurityPlan(inviters=inviters, key_seconds=key_seconds, retired_seconds=key_seconds / 4)
    begin = round(draw.uniform(0, duration / 2), 3)
    end = round(draw.uniform(begin, duration), 3)
    liar, node = draw.choice(names), draw.choice(names[1:])
    attacks = (
        Liar(begin=begin, end=end, node=liar, rate=draw.choice((1.0, 10.0))),
        Impostor(begin=begin, end=end),
        ShutOut(begin=begin, node=node, by=names[0], keeps_talking=draw.random() < 0.5),
    )
    return plan, tuple(attack for attack in attacks if draw.random() < 0.3)


def _draw_skew(draw: random.Random) -> float:
    """Return the error of a wall clock: mostly none, sometimes as without NTP, rarely as if it was never set."""
    share = draw.random()
    return (
        0.0
        if share >= 0.2
        else round(draw.uniform(-50, 50), 1)
        if share >= 0.1
        else round(draw.uniform(-3600, 3600), 1)
    )


def _draw_config(draw: random.Random, nodes: int) -> ProtocolConfig:
    """Return a configuration: mostly the defaults, otherwise a preset, a quorum, or low limits."""
    if draw.random() < 0.5:
        return ProtocolConfig()
    config = draw.choice(PRESETS).protocol()
    if draw.random() < 0.5:
        config = msgspec.structs.replace(config, quorum=draw.choice((2, nodes // 2 + 1)))
    if draw.random() < 0.5:
        return config
    limits = draw.sample(_LIMITS, draw.randrange(1, 5))
    return msgspec.structs.replace(config, **{name: draw.choice(values) for name, values in limits})


def _draw_maps(draw: random.Random, names: tuple[str, ...], duration: float) -> tuple[MapPlan, ...]:
    if draw.random() < 0.6:
        return ()
    return tuple(
        MapPlan(
            name=f"map{number}",
            nodes=tuple(draw.sample(names, draw.randrange(2, min(len(names), 16) + 1))),
            at=round(draw.uniform(1.0, duration / 2), 3),
            until=round(draw.uniform(duration / 2, duration), 3),
            every=draw.choice((0.2, 1.0, 5.0)),
            keys=draw.choice((1, 5, 100)),
            deletions=draw.choice((0.0, 0.2, 0.5)),
        )
        for number in range(draw.randrange(1, 3))
    )
