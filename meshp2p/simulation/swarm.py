"""A schedule drawn from a seed: which faults there are is drawn first, then how often and how bad (swarm testing: a run
with few kinds of faults finds what a run with all of them hides)."""

from __future__ import annotations

import math
import random

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.faults import (
    ALL_KINDS,
    Blocked,
    Bursts,
    ClockStep,
    Corrupted,
    Crash,
    Delayed,
    DiskForgets,
    Duplicated,
    Fault,
    Forged,
    Forgery,
    Kind,
    Leave,
    Lossy,
    Moved,
    OneWay,
    Oversized,
    Partition,
    Pause,
    Rejected,
    Reordered,
    Sleep,
    Slow,
    Stalls,
    Twin,
)
from meshp2p.simulation.schedule import NODES_MAX, AgentPlan, LinkOptions, MailPlan, MapPlan, NodePlan, Schedule
from meshp2p.simulation.truth import MEETING

__all__ = ["draw_swarm"]

_KINDS: tuple[type[Fault], ...] = (
    Partition,
    OneWay,
    Blocked,
    Rejected,
    Lossy,
    Bursts,
    Duplicated,
    Reordered,
    Delayed,
    Oversized,
    Corrupted,
    Crash,
    Leave,
    Twin,
    Pause,
    Sleep,
    Slow,
    Stalls,
    ClockStep,
    Moved,
    DiskForgets,
    Forged,
)

_CUT_KINDS: tuple[tuple[Kind, ...], ...] = (ALL_KINDS, ALL_KINDS, ALL_KINDS, (Kind.UDP,), (Kind.TCP,))
_LOST_KINDS: tuple[tuple[Kind, ...], ...] = ((Kind.UDP,), (Kind.UDP, Kind.TCP))


def draw_swarm(seed: int, *, nodes: int | None = None, duration: float | None = None) -> Schedule:
    """The schedule of this seed, with all checkers.

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
    kinds = draw.sample(_KINDS, draw.randrange(1, 7))
    count = draw.randrange(1, 4 + nodes // 4)
    faults = tuple(_draw_fault(draw, draw.choice(kinds), names, duration) for _ in range(count))
    seeds = draw.choice((1, 1, 2))
    spread = draw.choice((0.0, 0.5, 5.0))
    plans = tuple(
        NodePlan(
            id=name,
            at=0.0 if number == 0 else round(draw.random() * min(spread, duration), 3),
            seeds=_draw_seeds(draw, names, number, seeds),
            has_disk=draw.random() < 0.7,
            wall_skew=round(draw.uniform(-3600, 3600), 1) if draw.random() < 0.1 else 0.0,
        )
        for number, name in enumerate(names)
    )
    agents = _draw_agents(draw, names, duration)
    mail = _draw_mail(random.Random(f"{seed}/mail"), names, agents, duration)
    return Schedule(
        scenario="swarm",
        seed=seed,
        duration=duration,
        calm=10.0 if mail else 5.0,  # what waits is tried again
        nodes=plans,
        agents=agents,
        mail=mail,
        maps=_draw_maps(random.Random(f"{seed}/maps"), names, duration),
        faults=_let_all_meet(faults, plans),
        link=LinkOptions(delay=draw.choice((0.0001, 0.0002, 0.002, 0.02)), jitter=draw.choice((0.0001, 0.001, 0.005))),
        multicast_interval=draw.choice((0.0, 0.0, 10.0)) if nodes <= 24 else 0.0,
        through_wire=draw.random() < 0.1,
    )


def _draw_seeds(draw: random.Random, names: tuple[str, ...], number: int, count: int) -> tuple[str, ...]:
    """The first node, so that all can meet, and others. The first is told of the second: it may come back elsewhere."""
    if number == 0:
        return names[1:2]
    others = list(names[:1]) + [draw.choice(names[:number]) for _ in range(count - 1)]
    return tuple(dict.fromkeys(others))


def _let_all_meet(faults: tuple[Fault, ...], plans: tuple[NodePlan, ...]) -> tuple[Fault, ...]:
    """What takes the first node, which all others were told of, away from its address for good befalls the second
    instead, where not all had ``MEETING`` seconds without a cut to meet it: who never did would know nobody."""
    first, second, *_ = plans
    met_at = max(plan.at for plan in plans) + MEETING
    if any(isinstance(fault, Partition | OneWay | Blocked | Rejected) and fault.begin < met_at for fault in faults):
        met_at = math.inf
    return tuple(
        msgspec.structs.replace(fault, node=second.id)
        if _takes_away(fault, first.id) and fault.begin < met_at
        else fault
        for fault in faults
    )


def _takes_away(fault: Fault, node: str) -> bool:
    match fault:
        case Crash(end=end, moves=moves):
            return fault.node == node and (end is None or moves)
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
            every=draw.choice((0.2, 1.0, 5.0)),
        )
        for number in range(draw.randrange(1, 5))
    )


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


def _draw_groups(draw: random.Random, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    shuffled = draw.sample(names, len(names))
    if len(names) > 3 and draw.random() < 0.2:
        shuffled = shuffled[1:]  # who is in no group is a bridge
    if draw.random() < 0.3:
        return ((shuffled[0],), tuple(sorted(shuffled[1:])))
    ways = 2 if draw.random() < 0.7 else draw.randrange(2, min(5, len(shuffled)) + 1)
    cuts = sorted(draw.sample(range(1, len(shuffled)), ways - 1))
    return tuple(tuple(sorted(shuffled[a:b])) for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True))


def _draw_fault(draw: random.Random, kind: type[Fault], names: tuple[str, ...], duration: float) -> Fault:
    begin = round(draw.random() * duration * 0.9, 3)
    end = round(begin + draw.choice((0.5, 3.0, 10.0, 30.0, 60.0)) * (0.5 + draw.random()), 3)
    node = draw.choice(names)
    some = tuple(sorted(draw.sample(names, draw.randrange(1, len(names))))) if draw.random() < 0.3 else ()
    if kind is Partition:
        begin = 0.0 if draw.random() < 0.15 else begin
        kinds = draw.choice(_CUT_KINDS)
        period = round(draw.uniform(0.2, 10.0), 2) if draw.random() < 0.2 else 0.0
        return Partition(begin=begin, end=end, groups=_draw_groups(draw, names), kinds=kinds, period=period)
    if kind is OneWay:
        groups = _draw_groups(draw, names)
        return OneWay(begin=begin, end=end, senders=groups[0], receivers=groups[1])
    if kind is Rejected:
        groups = _draw_groups(draw, names)
        return Rejected(begin=begin, end=end, senders=groups[0], receivers=groups[1])
    if kind is Blocked:
        return Blocked(begin=begin, end=end, nodes=some, kinds=(draw.choice(ALL_KINDS),))
    if kind is Lossy:
        kinds = draw.choice(_LOST_KINDS)
        return Lossy(begin=begin, end=end, nodes=some, probability=draw.choice((0.01, 0.05, 0.1, 0.3)), kinds=kinds)
    if kind is Bursts:
        return Bursts(begin=begin, end=end, nodes=some, bad=draw.choice((0.2, 1.0, 5.0)))
    if kind is Duplicated:
        return Duplicated(begin=begin, end=end, nodes=some, probability=draw.choice((0.05, 0.5)))
    if kind is Reordered:
        return Reordered(begin=begin, end=end, nodes=some, probability=draw.choice((0.05, 0.5)))
    if kind is Delayed:
        seconds = draw.choice((0.01, 0.05, 0.2, 1.0))
        return Delayed(begin=begin, end=end, nodes=some, seconds=seconds, jitter=seconds, spikes=draw.choice((0, 0.02)))
    if kind is Oversized:
        return Oversized(begin=begin, end=end, nodes=some, bytes_max=draw.choice((512, 1200)))
    if kind is Corrupted:
        return Corrupted(begin=begin, end=end, nodes=some, probability=draw.choice((0.05, 0.3)))
    if kind is Forged:
        what = draw.choice((Forgery.GARBAGE, Forgery.OTHER_MESH, Forgery.REPLAY))
        return Forged(begin=begin, end=end, nodes=some, what=what, rate=draw.choice((5.0, 50.0)))
    return _draw_host_fault(draw, kind, node, begin, end)


def _draw_host_fault(draw: random.Random, kind: type[Fault], node: str, begin: float, end: float) -> Fault:
    if kind is Crash:
        return Crash(
            begin=begin,
            end=end if draw.random() < 0.7 else None,
            node=node,
            is_silent=draw.random() < 0.5,
            keeps_state=draw.random() < 0.7,
            moves=draw.random() < 0.2,
        )
    if kind is Leave:
        return Leave(begin=begin, end=end if draw.random() < 0.7 else None, node=node)
    if kind is Twin:
        return Twin(begin=begin, end=end, node=node)
    if kind is Pause:
        return Pause(begin=begin, end=end, node=node)
    if kind is Sleep:
        return Sleep(begin=begin, end=end, node=node, clock_stops=draw.random() < 0.5)
    if kind is Slow:
        return Slow(begin=begin, end=end, node=node, seconds=draw.choice((0.01, 0.1, 0.5)))
    if kind is Stalls:
        return Stalls(begin=begin, end=end, node=node, every=5.0, seconds=draw.choice((0.5, 1.5, 4.0)))
    if kind is ClockStep:
        return ClockStep(begin=begin, end=end, node=node, seconds=draw.choice((-3600.0, 3600.0)))
    if kind is Moved:
        return Moved(begin=begin, end=begin, node=node)
    return DiskForgets(begin=begin, end=end, node=node)
