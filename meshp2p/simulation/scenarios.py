"""Named runs: each makes a schedule from a seed and a few options."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError
from meshp2p.simulation.ablation import alteration
from meshp2p.simulation.checkers import CHECKERS
from meshp2p.simulation.faults import (
    Blocked,
    Bursts,
    ClockStep,
    Crash,
    Duplicated,
    Fault,
    Kind,
    Leave,
    Lossy,
    OneWay,
    Partition,
    Pause,
    Rejected,
    Reordered,
    Sleep,
    Slow,
    Twin,
)
from meshp2p.simulation.schedule import NODES_MAX, AgentPlan, LinkOptions, MailPlan, MapPlan, NodePlan, Schedule
from meshp2p.simulation.swarm import draw_swarm

__all__ = ["Options", "build_schedule", "scenario_names", "scenarios"]

WARM_UP = 20.0
"""Virtual seconds before the first fault of a scenario, so that it meets a mesh that is whole. Chosen, not measured."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may say of a run; None leaves it to the scenario. ``duration`` is in virtual seconds, ``loss`` is
    the share of datagrams that are lost all the time."""

    seed: int = 1
    nodes: int | None = None
    duration: float | None = None
    loss: float | None = None
    delay: float | None = None
    through_wire: bool = False
    checks: tuple[str, ...] | None = None
    ablations: tuple[str, ...] = ()
    config: ProtocolConfig | None = None


class _Draft(msgspec.Struct):
    """A scenario in the making: the nodes' names and times are set, faults are added."""

    random: random.Random
    names: tuple[str, ...]
    duration: float
    faults: list[Fault]
    starts: dict[str, float]
    seeds: dict[str, tuple[str, ...]]
    agents: list[AgentPlan]
    mail: list[MailPlan]
    maps: list[MapPlan]
    multicast_interval: float = 0.0
    calm: float = 5.0
    quorum: int = 0

    @property
    def chaos_end(self) -> float:
        """When the faults of a scenario end: after three quarters of its time, so that what follows is seen."""
        return round(self.duration * 0.75, 3)

    @property
    def chaos_begin(self) -> float:
        return round(min(WARM_UP, self.duration / 4), 3)

    def halves(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Two groups, of which the first may be a single node, drawn at random."""
        shuffled = self.random.sample(self.names, len(self.names))
        cut = self.random.randrange(1, len(shuffled)) if len(shuffled) > 1 else 1
        return tuple(sorted(shuffled[:cut])), tuple(sorted(shuffled[cut:]))

    def one(self) -> str:
        return self.names[self.random.randrange(0, len(self.names))]


_Scenario = Callable[[_Draft], None]
_SCENARIOS: dict[str, tuple[_Scenario, str, int, int, float]] = {}


def _scenario(
    name: str, about: str, *, nodes: int = 5, least: int = 2, duration: float = 120.0
) -> Callable[[_Scenario], _Scenario]:
    def note(function: _Scenario) -> _Scenario:
        _SCENARIOS[name] = (function, about, nodes, least, duration)
        return function

    return note


@_scenario("calm", "nothing goes wrong", least=1)
def _calm(draft: _Draft) -> None:
    pass


@_scenario("partition", "two groups are cut from one another, then meet again")
def _partition(draft: _Draft) -> None:
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=draft.halves()))


@_scenario("split", "the mesh falls into three or more parts, then heals", nodes=9, least=3)
def _split(draft: _Draft) -> None:
    shuffled = draft.random.sample(draft.names, len(draft.names))
    ways = draft.random.randrange(3, min(6, len(shuffled)) + 1)
    groups = tuple(tuple(sorted(shuffled[start::ways])) for start in range(ways))
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=groups))


@_scenario("isolate", "one node is cut off from all others, then comes back")
def _isolate(draft: _Draft) -> None:
    one = draft.one()
    rest = tuple(name for name in draft.names if name != one)
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=((one,), rest)))


@_scenario("one-way", "one group cannot send to the other, but hears it")
def _one_way(draft: _Draft) -> None:
    senders, receivers = draft.halves()
    draft.faults.append(OneWay(begin=draft.chaos_begin, end=draft.chaos_end, senders=senders, receivers=receivers))


@_scenario("bridge", "two groups are cut from one another, and one node sees both", least=3, duration=300.0)
def _bridge(draft: _Draft) -> None:
    shuffled = draft.random.sample(draft.names, len(draft.names))[1:]
    cut = draft.random.randrange(1, len(shuffled))
    groups = (tuple(sorted(shuffled[:cut])), tuple(sorted(shuffled[cut:])))
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=groups))


@_scenario("startup-split", "two groups never met when they start, and the cut between them ends later")
def _startup_split(draft: _Draft) -> None:
    draft.faults.append(Partition(begin=0.0, end=draft.duration / 2, groups=draft.halves()))


@_scenario("flapping", "the link between two groups goes up and down")
def _flapping(draft: _Draft) -> None:
    period = round(draft.random.uniform(0.5, 15.0), 2)
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=draft.halves(), period=period))


@_scenario("lossy", "a tenth of all datagrams is lost, and some come twice or late", nodes=16)
def _lossy(draft: _Draft) -> None:
    draft.faults += [
        Lossy(begin=0.0, probability=0.1),
        Duplicated(begin=0.0, probability=0.02),
        Reordered(begin=0.0, probability=0.05),
    ]


@_scenario("bursts", "links lose most packets for short times", nodes=16)
def _bursts(draft: _Draft) -> None:
    draft.faults.append(Bursts(begin=draft.chaos_begin, end=draft.chaos_end))


@_scenario("udp-dead", "UDP is blocked while TCP lives, and a node crashes meanwhile", least=3, duration=300.0)
def _udp_dead(draft: _Draft) -> None:
    draft.faults += [
        Blocked(begin=draft.chaos_begin, end=draft.chaos_end, kinds=(Kind.UDP,)),
        Crash(begin=draft.chaos_begin + 1, node=draft.one()),
    ]


@_scenario("multicast-dead", "multicast is blocked, so that nodes meet through what they were told", nodes=5)
def _multicast_dead(draft: _Draft) -> None:
    draft.multicast_interval = 10.0
    draft.faults.append(Blocked(begin=0.0, kinds=(Kind.MULTICAST,)))


@_scenario("crash", "a node's process dies and does not come back")
def _crash(draft: _Draft) -> None:
    draft.faults.append(Crash(begin=draft.chaos_begin, node=draft.one(), is_silent=draft.random.random() < 0.5))


@_scenario("killed", "a node's process dies while its machine lives", duration=60.0)
def _killed(draft: _Draft) -> None:
    draft.faults.append(Crash(begin=30.0 * draft.duration / 60.0, node=draft.one()))


@_scenario("refused", "a firewall resets and refuses one node's TCP to another, and drops its UDP", nodes=8, least=6)
def _refused(draft: _Draft) -> None:
    sender, receiver = draft.random.sample(draft.names, 2)
    draft.faults.append(
        Rejected(
            begin=draft.chaos_begin + 5.0,
            end=draft.chaos_end,
            senders=(sender,),
            receivers=(receiver,),
            drops_udp=True,
        )
    )


@_scenario("rejecting", "a firewall resets and refuses all TCP to one node, whose UDP lives", least=3)
def _rejecting(draft: _Draft) -> None:
    one = draft.one()
    others = tuple(name for name in draft.names if name != one)
    draft.faults.append(Rejected(begin=draft.chaos_begin + 5.0, end=draft.chaos_end, senders=others, receivers=(one,)))


@_scenario("restart", "nodes crash and come back: without their state, at another address, an hour earlier")
def _restart(draft: _Draft) -> None:
    for node in draft.random.sample(draft.names, max(1, len(draft.names) // 2)):
        begin = draft.random.uniform(draft.chaos_begin, draft.chaos_end)
        draft.faults.append(
            Crash(
                begin=round(begin, 3),
                end=round(begin + draft.random.uniform(0.1, 30.0), 3),
                node=node,
                is_silent=draft.random.random() < 0.5,
                keeps_state=draft.random.random() < 0.5,
                moves=draft.random.random() < 0.3,
            )
        )
        if draft.random.random() < 0.5:
            draft.faults.append(ClockStep(begin=round(begin - 1.0, 3), node=node, seconds=-3600.0))


@_scenario("twin", "a second process is started with the id of a node, and ends later")
def _twin(draft: _Draft) -> None:
    draft.faults.append(Twin(begin=draft.chaos_begin, end=draft.duration, node=draft.one()))


@_scenario("homes", "agents that speak only HTTP lose the nodes that answer for them, and some stop", duration=180.0)
def _homes(draft: _Draft) -> None:
    for number in range(3):
        nodes = tuple(draft.random.sample(draft.names, min(3, len(draft.names))))
        until = draft.chaos_begin if number == 2 else None
        draft.agents.append(AgentPlan(id=f"agent{number}", nodes=nodes, at=1.0 + number, until=until, every=2.0))
    gone = draft.agents[0].nodes[0]
    draft.faults.append(Crash(begin=draft.chaos_begin, node=gone, is_silent=draft.random.random() < 0.5))


@_scenario("maps", "two groups that are cut from one another, some of whom lose calls, go on writing into one map")
def _maps(draft: _Draft) -> None:
    draft.faults += [
        Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=draft.halves()),
        Lossy(begin=0.0, end=draft.chaos_end, probability=0.2, kinds=(Kind.UDP, Kind.TCP)),
    ]
    every = draft.random.choice((0.2, 1.0, 5.0))
    draft.maps.append(MapPlan(name="map", nodes=draft.names, at=5.0, until=draft.chaos_end, every=every, deletions=0.3))


@_scenario("seeds-gone", "a mesh is split where the only node that the one half was told of is gone", least=5)
def _seeds_gone(draft: _Draft) -> None:
    border = len(draft.names) // 2
    before, after = draft.names[:border], draft.names[border + 1 :]
    draft.faults += [
        Crash(begin=draft.chaos_begin, node=draft.names[border]),
        Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=(before, after)),
    ]
    for place, name in enumerate(draft.names):
        draft.seeds[name] = draft.names[place - 1 : place] if place else draft.names[1:2]
        draft.starts[name] = float(place)


@_scenario("rolling-restart", "every node is restarted, one after the other", duration=180.0)
def _rolling_restart(draft: _Draft) -> None:
    step = (draft.chaos_end - draft.chaos_begin) / len(draft.names)
    for turn, node in enumerate(draft.names):
        begin = draft.chaos_begin + turn * step
        draft.faults.append(Leave(begin=round(begin, 3), end=round(begin + min(3.0, step * 0.7), 3), node=node))


@_scenario("sleep", "a machine sleeps and wakes up, its clock having stopped or gone on")
def _sleep(draft: _Draft) -> None:
    draft.faults.append(
        Sleep(
            begin=draft.chaos_begin,
            end=draft.chaos_end,
            node=draft.one(),
            clock_stops=draft.random.random() < 0.5,
        )
    )


@_scenario("quorum", "under a majority quorum the leader is cut off, falls asleep, stops, dies or leaves", least=3)
def _quorum(draft: _Draft) -> None:
    draft.quorum = len(draft.names) // 2 + 1
    lowest, second, *_ = draft.names
    begin = draft.chaos_begin
    while begin < draft.chaos_end - 20.0:
        end = round(begin + draft.random.uniform(2.0, 20.0), 3)
        begin = round(begin, 3)
        few = draft.random.randrange(1, len(draft.names) // 2 + 1)
        side = tuple(sorted((lowest, *draft.random.sample(draft.names[1:], few - 1))))
        rest = tuple(name for name in draft.names if name not in side)
        others = tuple(name for name in draft.names if name != second)
        returns = (  # the second lowest leads, and does not hear that the lowest is back
            Crash(begin=begin, end=end, node=lowest),
            Partition(begin=end - 0.2, end=end + 5.0, groups=((second,), others)),
        )
        draft.faults += draft.random.choice(
            (
                (Partition(begin=begin, end=end, groups=(side, rest)),),
                (OneWay(begin=begin, end=end, senders=side, receivers=rest),),
                (OneWay(begin=begin, end=end, senders=rest, receivers=side),),
                (Sleep(begin=begin, end=end, node=lowest, clock_stops=True),),
                (Pause(begin=begin, end=end, node=lowest),),
                (Crash(begin=begin, end=end, node=draft.one()),),
                (Leave(begin=begin, end=end, node=lowest),),
                returns,
                returns,
            )
        )
        begin = end + draft.random.uniform(5.0, 10.0)


@_scenario("pause", "a process is stopped for a while, and goes on")
def _pause(draft: _Draft) -> None:
    end = min(draft.chaos_end, draft.chaos_begin + draft.random.uniform(2.0, 60.0))
    draft.faults.append(Pause(begin=draft.chaos_begin, end=round(end, 3), node=draft.one()))


@_scenario("hiccup", "processes are stopped for two to three seconds, one after another, which kills nobody")
def _hiccup(draft: _Draft) -> None:
    begin = draft.chaos_begin
    while begin < draft.chaos_end - 3.0:
        end = begin + draft.random.uniform(2.0, 3.0)
        draft.faults.append(Pause(begin=round(begin, 3), end=round(end, 3), node=draft.one()))
        begin = end + 5.0


@_scenario("late-news", "a process is stopped while another node dies, and still lists it when it goes on", least=4)
def _late_news(draft: _Draft) -> None:
    stopped, dies = draft.random.sample(draft.names, 2)
    draft.faults += [
        Pause(begin=draft.chaos_begin, end=draft.chaos_end, node=stopped),
        Crash(begin=draft.chaos_begin + 1.0, node=dies, is_silent=True),
    ]


@_scenario("deaf", "one node hears no UDP while others are restarted", least=3)
def _deaf(draft: _Draft) -> None:
    deaf, *others = draft.random.sample(draft.names, min(3, len(draft.names)))
    draft.faults.append(Blocked(begin=draft.chaos_begin, end=draft.chaos_end, nodes=(deaf,), kinds=(Kind.UDP,)))
    for place, node in enumerate(others):
        begin = draft.chaos_begin + 5.0 + 10.0 * place
        draft.faults.append(Crash(begin=begin, end=begin + 0.5, node=node))


@_scenario("slow", "a tenth of the nodes is starved of CPU, and 5 % of the datagrams are lost", nodes=20)
def _slow(draft: _Draft) -> None:
    draft.faults.append(Lossy(begin=0.0, probability=0.05))
    for node in draft.random.sample(draft.names, max(1, len(draft.names) // 10)):
        draft.faults.append(Slow(begin=draft.chaos_begin, end=draft.chaos_end, node=node, seconds=0.2))


@_scenario("join-storm", "all nodes start within half a second, with one seed", nodes=32, least=1, duration=60.0)
def _join_storm(draft: _Draft) -> None:
    for name in draft.names[1:]:
        draft.starts[name] = round(draft.random.random() * 0.5, 6)


@_scenario("home-forgets", "a node is killed while messages wait in its mailbox, and comes back without them")
def _home_forgets(draft: _Draft) -> None:
    draft.calm = 10.0
    home = draft.names[-1]
    every = round(draft.random.uniform(0.05, 0.2), 3)
    begin = draft.chaos_begin + draft.random.random()
    draft.mail.append(MailPlan(source="sender", nodes=draft.names[:1], target=home, at=5.0, until=begin, every=every))
    draft.faults.append(Crash(begin=begin, end=begin + 5, node=home, is_silent=True, keeps_state=False))


@_scenario(
    "mail", "agents write to one another while a node crashes, the network is cut, and connections break", least=3
)
def _mail(draft: _Draft) -> None:
    names = draft.names
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    draft.agents += [AgentPlan(id=f"agent{n}", nodes=names[n:] + names[:n], at=2.0, every=3.0) for n in range(2)]
    everybody = [*names, *(agent.id for agent in draft.agents)]
    for number, node in enumerate(names):
        target = "" if number == 0 else everybody[draft.random.randrange(0, len(everybody))]
        draft.mail.append(
            MailPlan(source=f"sender{number}", nodes=(node,), target=target, at=5.0, until=end, every=0.5 + number / 4)
        )
    crashed = names[1:] if len(names) > 3 else names[2:]
    victim = crashed[draft.random.randrange(0, len(crashed))]
    draft.faults += [
        Lossy(begin=begin, end=end, probability=0.05, kinds=(Kind.UDP, Kind.TCP)),
        Crash(begin=begin + 5, end=begin + 10, node=victim, keeps_state=draft.random.random() < 0.5),
        Partition(begin=begin + 20, end=begin + 40, groups=draft.halves()),
    ]


def scenarios() -> dict[str, str]:
    """All scenarios by name, with one line about each."""
    listed = {name: about for name, (_, about, _, _, _) in _SCENARIOS.items()}
    return {**listed, "swarm": "everything at once, drawn from the seed: 3 to 50 nodes and any mixture of faults"}


def scenario_names() -> tuple[str, ...]:
    return tuple(scenarios())


def build_schedule(name: str, options: Options | None = None) -> Schedule:
    """The schedule of a scenario, with every option expanded.

    Raises :class:`ConfigError` with one line for an unknown name, checker or safeguard, and for impossible options.
    """
    options = options or Options()
    if name not in scenarios():
        raise ConfigError(f"scenario {name!r}: expected one of {', '.join(scenarios())}")
    checks = tuple(CHECKERS) if options.checks is None else options.checks
    for check in checks:
        if check not in CHECKERS:
            raise ConfigError(f"check {check!r}: expected one of {', '.join(CHECKERS)}")
    alteration(options.ablations)
    if options.loss is not None and not 0 <= options.loss < 1:
        raise ConfigError(f"loss = {options.loss}: expected 0 to less than 1")
    if options.delay is not None and not 0 <= options.delay <= 10:
        raise ConfigError(f"delay = {options.delay}: expected 0 to 10 seconds")
    schedule = draw_swarm(options.seed) if name == "swarm" and options.nodes is None else None
    if name == "swarm":
        schedule = draw_swarm(options.seed, nodes=options.nodes, duration=options.duration)
    else:
        schedule = _named(name, options)
    faults = schedule.faults
    if options.loss:
        faults = (*faults, Lossy(begin=0.0, probability=options.loss))
    return msgspec.structs.replace(
        schedule,
        faults=faults,
        link=schedule.link if options.delay is None else LinkOptions(delay=options.delay, jitter=options.delay / 4),
        config=options.config or schedule.config,
        through_wire=options.through_wire or schedule.through_wire,
        checks=checks,
        ablations=options.ablations,
    )


def _named(name: str, options: Options) -> Schedule:
    function, _, nodes, least, duration = _SCENARIOS[name]
    nodes = nodes if options.nodes is None else options.nodes
    duration = duration if options.duration is None else options.duration
    if not least <= nodes <= NODES_MAX:
        raise ConfigError(f"nodes = {nodes}: scenario {name!r} takes {least} to {NODES_MAX}")
    if not (math.isfinite(duration) and 1 <= duration <= 1e7):
        raise ConfigError(f"duration = {duration}: expected 1 to 10,000,000 seconds")
    width = len(str(nodes - 1))
    names = tuple(f"n{number:0{width}}" for number in range(nodes))
    draft = _Draft(
        random=random.Random(f"{options.seed}/{name}"),
        names=names,
        duration=duration,
        faults=[],
        starts={},
        seeds={},
        agents=[],
        mail=[],
        maps=[],
    )
    function(draft)
    plans = tuple(
        NodePlan(
            id=node,
            at=draft.starts.get(node, 0.0),
            seeds=draft.seeds.get(node, names[1:2] if node == names[0] else names[:1]),
        )
        for node in names
    )
    return Schedule(
        scenario=name,
        seed=options.seed,
        duration=duration,
        calm=draft.calm,
        nodes=plans,
        agents=tuple(draft.agents),
        mail=tuple(draft.mail),
        maps=tuple(draft.maps),
        faults=tuple(draft.faults),
        multicast_interval=draft.multicast_interval,
        config=ProtocolConfig(quorum=draft.quorum),
    )
