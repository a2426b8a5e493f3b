"""One point of the frontier, measured: how fast a mesh with these constants finds deaths, how often it is wrong, and
what it sends."""

from __future__ import annotations

import random
import statistics

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import Event, MemberDied
from meshp2p.simulation.checkers import Violation
from meshp2p.simulation.checkers.deaths import Detection, FalseDeaths
from meshp2p.simulation.faults import Crash, Lossy, Pause, Slow
from meshp2p.simulation.host import Host
from meshp2p.simulation.scenarios import WARM_UP, Options, build_schedule
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.simulation.truth import detection_bound

__all__ = ["Effort", "Measures", "Point", "measure", "merge"]

PAUSE = 3.0
"""Seconds for which a healthy process is stopped: docs/frontier.md says why it must survive that."""

BETWEEN = 8.0
"""Virtual seconds for a node that came back to be listed by all, before the next fault. Chosen, not measured."""

STARVED = 0.2
"""Seconds that whatever a starved node does takes on average, as in the scenario ``slow``."""

HEADER_BYTES = 28
"""IPv4's and UDP's headers, which the simulated network does not count."""


class Point(msgspec.Struct, frozen=True):
    """Constants to try, and safeguards that are switched off. ``name`` is empty for a point of the grid."""

    config: ProtocolConfig
    name: str = ""
    without: tuple[str, ...] = ()


class Effort(msgspec.Struct, frozen=True):
    """How much is run for each seed: silent crashes and pauses one after another, then ``seconds`` with each kind of
    trouble, and ``seconds_idle`` without. Chosen, not measured; 120 s is what the field reports false deaths for."""

    crashes: int = 8
    pauses: int = 8
    seconds: float = 120.0
    seconds_idle: float = 60.0
    is_whole: bool = True
    """Whether there is more than crashes."""


class Measures(msgspec.Struct, frozen=True):
    """What was measured. Each number of false deaths is of healthy nodes that could be reached, a run, by trouble.

    ``detections``: seconds from each silent crash until all knew; ``missed``: crashes that not all knew of within the
    bound that the protocol promises. ``pauses_fatal``: how many of ``pauses`` made some node hold the stopped one dead.
    ``bytes_idle`` and ``datagrams_idle``: a node and second, with UDP's and IP's headers, not sealed.
    """

    runs: int
    detections: tuple[float, ...]
    missed: int
    pauses: int
    pauses_fatal: int
    false_deaths: dict[str, float]
    bytes_idle: float
    datagrams_idle: float

    @property
    def detection_median(self) -> float:
        return statistics.median(self.detections) if self.detections else float("inf")

    @property
    def detection_worst(self) -> float:
        return max(self.detections, default=float("inf"))

    @property
    def false_deaths_sum(self) -> float:
        """False deaths of healthy nodes in one run of each trouble."""
        return sum(self.false_deaths.values())


def merge(found: list[Measures]) -> Measures:
    """What several seeds of one point say together."""
    runs = sum(each.runs for each in found)
    troubles = found[0].false_deaths
    return Measures(
        runs=runs,
        detections=tuple(sorted(seconds for each in found for seconds in each.detections)),
        missed=sum(each.missed for each in found),
        pauses=sum(each.pauses for each in found),
        pauses_fatal=sum(each.pauses_fatal for each in found),
        false_deaths={name: sum(each.false_deaths[name] * each.runs for each in found) / runs for name in troubles},
        bytes_idle=statistics.fmean(each.bytes_idle for each in found),
        datagrams_idle=statistics.fmean(each.datagrams_idle for each in found),
    )


class _Measured(Simulation):
    """A run that does not end where a law does not hold: what is unlawful is what is counted."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        self.held_dead: set[str] = set()
        """Nodes that some node declared dead while their process was there, stopped or not."""

    def report(self, violation: Violation) -> None:
        if violation.checker not in (FalseDeaths.name, Detection.name):
            raise RuntimeError(f"seed {self.schedule.seed}: {violation}")

    def event(self, host: Host, event: Event) -> None:
        super().event(host, event)
        if isinstance(event, MemberDied) and event.record.is_node:
            accused = self.truth.hosts[event.record.id].machine
            if accused is not None and accused.own.boot == event.record.boot:
                self.held_dead.add(event.record.id)


def measure(point: Point, nodes: int, seed: int, effort: Effort) -> Measures:
    """One seed of one point. Raises RuntimeError where the protocol itself fails."""
    detections, missed = _crash(point, nodes, seed, effort.crashes)
    if not effort.is_whole:
        return Measures(1, detections, missed, 0, 0, {}, 0.0, 0.0)
    size, datagrams = _idle(point, nodes, seed, effort.seconds_idle)
    return Measures(
        runs=1,
        detections=detections,
        missed=missed,
        pauses=effort.pauses,
        pauses_fatal=_pause(point, nodes, seed, effort.pauses),
        false_deaths={
            "5 % loss": _trouble(point, nodes, seed, effort.seconds, loss=0.05),
            "25 % loss": _trouble(point, nodes, seed, effort.seconds, loss=0.25),
            "starved": _trouble(point, nodes, seed, effort.seconds, loss=0.05, starved=max(1, nodes // 10)),
        },
        bytes_idle=size,
        datagrams_idle=datagrams,
    )


def _mesh(point: Point, nodes: int, seed: int, *, through_wire: bool = False) -> _Measured:
    """A mesh that is whole and has nothing left to tell."""
    options = Options(
        seed=seed,
        nodes=nodes,
        duration=1e6,
        config=point.config,
        ablations=point.without,
        checks=(Detection.name, FalseDeaths.name),
        through_wire=through_wire,
    )
    simulation = _Measured(build_schedule("calm", options))
    simulation.run_until(WARM_UP)
    return simulation


def _victims(simulation: Simulation, count: int) -> list[tuple[str, float]]:
    """Nodes, and how much later than planned each fault begins: anywhere in a protocol period."""
    draw = random.Random(f"{simulation.schedule.seed}/victims")
    names = [plan.id for plan in simulation.schedule.nodes]
    period = simulation.schedule.config.probe_interval
    return [(draw.choice(names), draw.uniform(0, period)) for _ in range(count)]


def _crash(point: Point, nodes: int, seed: int, count: int) -> tuple[tuple[float, ...], int]:
    simulation = _mesh(point, nodes, seed)
    detection = simulation.checkers[Detection.name]
    if not isinstance(detection, Detection):
        raise TypeError("the checker of detections is another")
    missed = 0
    for name, later in _victims(simulation, count):
        simulation.run_until(simulation.engine.now + later)
        known = len(detection.seconds)
        number = simulation.begin(Crash(begin=0.0, node=name, is_silent=True))
        limit = simulation.engine.now + detection_bound(point.config, nodes)
        while len(detection.seconds) == known and simulation.engine.now < limit:
            simulation.run_until(simulation.engine.now + 0.5)
        missed += len(detection.seconds) == known
        simulation.end(number)
        simulation.run_until(simulation.engine.now + BETWEEN)
    return tuple(detection.seconds), missed


def _pause(point: Point, nodes: int, seed: int, count: int) -> int:
    simulation = _mesh(point, nodes, seed)
    fatal = 0
    for name, later in _victims(simulation, count):
        simulation.run_until(simulation.engine.now + later)
        simulation.held_dead.clear()
        number = simulation.begin(Pause(begin=0.0, node=name))
        simulation.run_until(simulation.engine.now + PAUSE)
        simulation.end(number)
        simulation.run_until(simulation.engine.now + BETWEEN)
        fatal += name in simulation.held_dead
    return fatal


def _trouble(point: Point, nodes: int, seed: int, seconds: float, *, loss: float, starved: int = 0) -> int:
    simulation = _mesh(point, nodes, seed)
    simulation.begin(Lossy(begin=0.0, probability=loss))
    draw = random.Random(f"{seed}/starved")
    for name in draw.sample([plan.id for plan in simulation.schedule.nodes], starved):
        simulation.begin(Slow(begin=0.0, node=name, seconds=STARVED))
    simulation.run_until(simulation.engine.now + seconds)
    found = simulation.checkers[FalseDeaths.name]
    return found.count if isinstance(found, FalseDeaths) else 0


def _idle(point: Point, nodes: int, seed: int, seconds: float) -> tuple[float, float]:
    simulation = _mesh(point, nodes, seed, through_wire=True)
    traffic = simulation.network.traffic
    size, datagrams = traffic.packet_bytes, traffic.datagrams
    simulation.run_until(simulation.engine.now + seconds)
    datagrams = traffic.datagrams - datagrams
    size = traffic.packet_bytes - size + HEADER_BYTES * datagrams
    return size / nodes / seconds, datagrams / nodes / seconds
