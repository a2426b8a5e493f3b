"""The trade-off of failure detection: for many values of three options, how soon all nodes know of a silent death, how
many healthy nodes are declared dead meanwhile, and what an idle node costs.

Everything is measured in the simulator, in virtual time, so a row depends only on the seeds.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterator

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import Event, InstanceDied
from meshp2p.simulation.host import Host
from meshp2p.simulation.schedule import NodePlan, Schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Crash, Fault, Lossy, Pause, Slow, Stalls
from simulations.ablations.safeguards import ablation
from simulations.jobs import map_in_processes

__all__ = [
    "DEFAULTS",
    "LOSSES",
    "MEMBERLIST",
    "PAUSE",
    "SWIM",
    "Frontier",
    "Goals",
    "Larger",
    "Row",
    "Setting",
    "grid",
    "marked",
    "measure",
    "measure_all",
    "measure_larger",
]

LOSSES = (0.05, 0.10, 0.25)
"""Shares of UDP that are lost."""

WARM_UP = 20.0
"""Virtual seconds until a mesh has converged and its gossip is done. Chosen, not measured."""

DEATHS_MAX = 8
"""The maximum number of silent deaths in a run, one after another, and at most a quarter of the nodes."""
PAUSES = 6
"""Pauses in a run, one after another."""
PAUSE = 3.0
"""Seconds for which a healthy node is suspended: see GOALS."""
LOSSY_SECONDS = 120.0
STARVED_SECONDS = 120.0
IDLE_SECONDS = 60.0

HEADER_BYTES = 28
"""IPv4 and UDP."""


class Setting(msgspec.Struct, frozen=True):
    """One point: a name (empty for a point of the grid), the configuration, and the safeguards that are off."""

    name: str
    config: ProtocolConfig
    ablations: tuple[str, ...] = ()


class Goals(msgspec.Struct, frozen=True):
    """The goals for a row: seconds until all know, false deaths per run among starved nodes, and that as a share of
    plain SWIM's."""

    known_p50: float = 5.0
    known_p99: float = 8.0
    starved: float = 0.18
    starved_share: float = 0.02


def _share(ordered: tuple[float, ...], part: float) -> float:
    """Return the smallest of the sorted values that at least this share does not exceed; infinity if there are none."""
    return ordered[max(0, math.ceil(len(ordered) * part) - 1)] if ordered else float("inf")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of a setting.

    ``known`` are the sorted seconds from each silent death until all knew; ``unknown`` counts those that some node
    never heard of. ``lossy`` are the false deaths of healthy nodes per run, by :data:`LOSSES`; ``starved`` the same for
    nodes that were not starved; ``paused`` for nodes that were suspended for three seconds, per pause. A node's death
    counts once for each incarnation. ``idle_bytes`` and ``idle_packets`` are per node and second, with IP and UDP
    headers.
    """

    setting: Setting
    known: tuple[float, ...]
    unknown: int
    lossy: tuple[float, ...]
    starved: float
    paused: float
    idle_bytes: float
    idle_packets: float

    def share(self, part: float) -> float:
        """Return the seconds within which this share of the deaths was known to all."""
        return _share(self.known, part)

    def reaches(self, goals: Goals, swim: Row | None) -> bool:
        """Return whether the row meets all goals."""
        return not self.misses(goals, swim)

    def misses(self, goals: Goals, swim: Row | None) -> list[str]:
        """Return the goals that it misses, in words."""
        missed = []
        if self.unknown or self.share(0.5) > goals.known_p50:
            missed.append(f"median over {goals.known_p50:g} s")
        if self.unknown or self.share(0.99) > goals.known_p99:
            missed.append(f"p99 over {goals.known_p99:g} s")
        if any(self.lossy):
            missed.append("false deaths by loss")
        if self.paused:
            missed.append("a pause kills")
        least = goals.starved if swim is None else min(goals.starved, goals.starved_share * swim.starved)
        if self.starved > least:
            missed.append(f"starved: more than {least:.2g}")
        return missed


class Larger(msgspec.Struct, frozen=True):
    """The sorted seconds from each silent death until all knew, in a mesh of another size."""

    setting: Setting
    nodes: int
    known: tuple[float, ...]
    unknown: int

    def share(self, part: float) -> float:
        """Return the seconds within which this share of the deaths was known to all."""
        return _share(self.known, part)

    def reaches(self, goals: Goals) -> bool:
        return not self.unknown and self.share(0.5) <= goals.known_p50 and self.share(0.99) <= goals.known_p99


class Frontier(msgspec.Struct):
    """All rows, with the conditions of their measurement. ``larger`` are the defaults in a larger mesh, and the rows
    that were tried there for the proposal."""

    nodes: int
    seeds: int
    rows: list[Row]
    larger: list[Larger] = []

    def named(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.setting.name == name), None)

    def reaching(self, goals: Goals) -> list[Row]:
        """Return the rows that meet all goals, the cheapest first.

        Rows of equal cost are ordered by the longest suspicion first, which leaves a suspect the most time to answer.
        """
        swim = self.named(SWIM)
        found = [row for row in self.rows if row.reaches(goals, swim)]
        least = min((row.idle_bytes for row in found), default=0.0)
        return sorted(found, key=lambda row: (row.idle_bytes > 1.05 * least, *_haste(row.setting.config)))

    def proposed(self, goals: Goals) -> Row | None:
        """Return the proposed row: the first that meets all goals, also in the larger mesh if it was measured there."""
        well = [larger.setting for larger in self.larger if larger.reaches(goals)]
        return next((row for row in self.reaching(goals) if row.setting in well or not self.larger), None)


def _haste(config: ProtocolConfig) -> tuple[float, float]:
    """Return a smaller value for longer suspicions: confirmed ones first, then unconfirmed ones."""
    shortest = config.suspicion_multiplier
    if config.confirmers:
        shortest = min(shortest, config.suspicion_confirmed_multiplier)
    longest = config.suspicion_multiplier * config.suspicion_max_multiplier
    return -shortest * config.probe_interval, -longest * config.probe_interval


# Settings

DEFAULTS = "defaults"
MEMBERLIST = "memberlist's constants"
SWIM = "plain SWIM"


def marked() -> list[Setting]:
    """Return the settings of other systems, and the current one of meshp2p."""
    lan = ProtocolConfig(
        probe_interval=1.0,
        probe_timeout=0.5,
        probe_timeout_min=0.5,
        suspicion_multiplier=4.0,
        suspicion_max_multiplier=6.0,
        gossip_interval=0.2,
        gossip_fanout=3,
        retransmit_margin=4.5,  # as often as memberlist, 4 x ceil(log10(n + 1)), among 10 to 33 nodes
        birth_fanout=3,
        confirmers=0,
        watches=0,
        patience_max=1.0,
    )
    swim = msgspec.structs.replace(lan, suspicion_max_multiplier=1.0, local_health_max=0)
    return [
        Setting(DEFAULTS, ProtocolConfig()),
        Setting(MEMBERLIST, lan, ("pause-guard",)),
        Setting(SWIM, swim, ("pause-guard", "nacks")),
    ]


def grid(intervals: list[float], multipliers: list[float], confirmed: list[float]) -> list[Setting]:
    """Return the defaults with the first interval and each pair of these multipliers, and with each further interval
    alone, without the defaults themselves.

    The probe timeout is at most half of the interval. Raises :class:`~meshp2p.errors.ConfigError` for a value out of
    range.
    """
    default = ProtocolConfig()
    pairs = [(multiplier, shortest) for multiplier in multipliers for shortest in confirmed]
    points = [(intervals[0], *pair) for pair in pairs]
    points += [
        (interval, default.suspicion_multiplier, default.suspicion_confirmed_multiplier) for interval in intervals[1:]
    ]
    configs = [
        ProtocolConfig(
            probe_interval=interval,
            probe_timeout=min(default.probe_timeout, interval / 2),
            probe_timeout_min=min(default.probe_timeout_min, interval / 2),
            suspicion_multiplier=multiplier,
            suspicion_confirmed_multiplier=shortest,
        )
        for interval, multiplier, shortest in points
    ]
    return [Setting("", config) for config in configs if config != default]


# Measuring


class _Watched(Simulation):
    """A run that records each death that a node declares or hears of: when, by which node, of which node, and the
    incarnation."""

    def __init__(self, schedule: Schedule) -> None:
        self.deaths: list[tuple[float, str, str, int]] = []
        super().__init__(schedule, ablate=ablation)

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceDied):
            self.deaths.append((self.engine.now, host.key, event.record.id, event.record.incarnation))
        super().event(host, event)

    def false_deaths(self, of: list[str]) -> int:
        """Return how many incarnations of these nodes, all of which ran, were declared dead."""
        return len({(name, incarnation) for _, _, name, incarnation in self.deaths if name in of})


def _names(nodes: int) -> list[str]:
    return [f"n{number:03}" for number in range(nodes)]


def _run(setting: Setting, seed: int, nodes: int, duration: float, faults: list[Fault], *, wire: bool) -> _Watched:
    names = _names(nodes)
    schedule = Schedule(
        scenario="frontier",
        seed=seed,
        duration=duration,
        nodes=tuple(NodePlan(id=name, seeds=tuple(names[1:2] if name == names[0] else names[:1])) for name in names),
        faults=tuple(faults),
        config=setting.config,
        ablations=setting.ablations,
        through_wire=wire,
    )
    simulation = _Watched(schedule)
    if not wire:
        simulation.run_until(duration)
    return simulation


def _known(setting: Setting, seed: int, nodes: int) -> list[float | None]:
    """Return the seconds from each silent death until all knew; None if some node never did."""
    longest = 5.0 + 1.5 * setting.config.suspicion_timeout(nodes) * setting.config.suspicion_max_multiplier
    deaths = min(DEATHS_MAX, nodes // 4)
    window = 10.0 + setting.config.suspicion_timeout(nodes)
    draw = random.Random(f"{seed}/frontier/known")
    victims = draw.sample(_names(nodes), deaths)
    times = [WARM_UP + turn * window + draw.random() for turn in range(deaths)]
    faults: list[Fault] = [
        Crash(begin=at, node=victim, is_silent=True) for at, victim in zip(times, victims, strict=True)
    ]
    run = _run(setting, seed, nodes, times[-1] + longest, faults, wire=False)
    found: list[float | None] = []
    for turn, (at, victim) in enumerate(zip(times, victims, strict=True)):
        heard: dict[str, float] = {}
        for when, by, of, _ in run.deaths:
            if of == victim and when >= at and by not in victims[: turn + 1]:
                heard.setdefault(by, when - at)
        later = [when for by, when in heard.items() if by not in victims]
        found.append(max(later) if len(later) == nodes - deaths else None)
    return found


def _lossy(setting: Setting, seed: int, nodes: int, loss: float) -> int:
    faults: list[Fault] = [Lossy(begin=WARM_UP, probability=loss)]
    return _run(setting, seed, nodes, WARM_UP + LOSSY_SECONDS, faults, wire=False).false_deaths(_names(nodes))


def _starved(setting: Setting, seed: int, nodes: int) -> int:
    """Starve a tenth of the nodes: each of their actions takes long, and they are suspended again and again."""
    names = _names(nodes)
    starved = random.Random(f"{seed}/frontier/starved").sample(names, max(1, nodes // 10))
    faults: list[Fault] = [Lossy(begin=WARM_UP, probability=0.05)]
    for place, name in enumerate(starved):
        faults.append(
            Slow(begin=WARM_UP, node=name, seconds=0.2)
            if place % 2
            else Stalls(begin=WARM_UP, node=name, every=5.0, seconds=4.0)
        )
    run = _run(setting, seed, nodes, WARM_UP + STARVED_SECONDS, faults, wire=False)
    return run.false_deaths([name for name in names if name not in starved])


def _paused(setting: Setting, seed: int, nodes: int) -> int:
    window = 5.0 + PAUSE + setting.config.suspicion_timeout(nodes) * setting.config.suspicion_max_multiplier
    draw = random.Random(f"{seed}/frontier/paused")
    faults: list[Fault] = []
    for turn in range(PAUSES):
        begin = WARM_UP + turn * window + draw.random()
        faults.append(Pause(begin=begin, end=begin + PAUSE, node=draw.choice(_names(nodes))))
    return _run(setting, seed, nodes, WARM_UP + PAUSES * window, faults, wire=False).false_deaths(_names(nodes))


def _idle(setting: Setting, nodes: int) -> tuple[float, float]:
    """Return bytes and datagrams per node and second."""
    simulation = _run(setting, 1, nodes, WARM_UP + IDLE_SECONDS, [], wire=True)
    simulation.run_until(WARM_UP)
    traffic = simulation.network.traffic
    datagrams, packet_bytes = traffic.datagrams, traffic.packet_bytes
    simulation.run_until(WARM_UP + IDLE_SECONDS)
    datagrams, packet_bytes = traffic.datagrams - datagrams, traffic.packet_bytes - packet_bytes
    each = nodes * IDLE_SECONDS
    return (packet_bytes + HEADER_BYTES * datagrams) / each, datagrams / each


def measure(setting: Setting, nodes: int, seeds: int) -> Row:
    """Measure one setting among so many nodes, with so many seeds for each figure."""
    all_seeds = range(1, seeds + 1)
    known = [seconds for seed in all_seeds for seconds in _known(setting, seed, nodes)]
    idle_bytes, idle_packets = _idle(setting, nodes)
    return Row(
        setting=setting,
        known=tuple(sorted(seconds for seconds in known if seconds is not None)),
        unknown=sum(seconds is None for seconds in known),
        lossy=tuple(sum(_lossy(setting, seed, nodes, loss) for seed in all_seeds) / seeds for loss in LOSSES),
        starved=sum(_starved(setting, seed, nodes) for seed in all_seeds) / seeds,
        paused=sum(_paused(setting, seed, nodes) for seed in all_seeds) / (seeds * PAUSES),
        idle_bytes=idle_bytes,
        idle_packets=idle_packets,
    )


def measure_larger(setting: Setting, nodes: int, seeds: int) -> Larger:
    """Measure only silent deaths, in a mesh of another size."""
    known = [seconds for seed in range(1, seeds + 1) for seconds in _known(setting, seed, nodes)]
    heard = tuple(sorted(seconds for seconds in known if seconds is not None))
    return Larger(setting, nodes, heard, len(known) - len(heard))


def measure_all(settings: list[Setting], nodes: int, seeds: int, jobs: int = 1) -> Iterator[Row]:
    """Measure all settings on so many processes, and return the rows in the order of the settings."""
    return map_in_processes(functools.partial(measure, nodes=nodes, seeds=seeds), settings, jobs)
