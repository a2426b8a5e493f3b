"""One run: hosts, network, faults and checkers built from a schedule, and the result."""

from __future__ import annotations

import time
import traceback
from typing import Any, TypeVar

import msgspec

from meshp2p.errors import ConfigError, InternalError
from meshp2p.simulation.checkers import Checker, Convergence, Violation
from meshp2p.simulation.checkers.deaths import Detection, FalseDeaths
from meshp2p.simulation.checkers.maps import SharedMaps, convergence_bound
from meshp2p.simulation.checkers.messages import Messages
from meshp2p.simulation.checkers.trust import ShutOuts
from meshp2p.simulation.injection import Injector
from meshp2p.simulation.network import Traffic
from meshp2p.simulation.schedule import Schedule, check_fault
from meshp2p.simulation.world import VIOLATIONS_MAX, Ablate, World
from meshp2p.virtual.faults import EndingFault, Fault, Faulty

__all__ = ["Result", "Simulation", "run"]

_AChecker = TypeVar("_AChecker", bound=Checker)

TICK = 10.0
"""Virtual seconds between two periodic checks. Chosen, not measured."""

EVENTS_MAX = 5_000
"""The maximum number of events in a tick, times the square of the number of hosts plus one. Above it a run is given up.
A join storm of 1,000 nodes stays far below. Chosen, not measured."""

POLL = 0.05
"""Virtual seconds between two checks whether the mesh has converged again."""

STAY = 15.0
"""Virtual seconds in which a converged mesh converges again after a lost rumour made views differ: a sync repairs that,
later if nodes find themselves slow. Chosen, not measured."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run. The first nine fields are those that ``--json`` promises. ``nodes`` is their number;
    ``faults`` counts, by name, how often each took effect.

    ``recovered_after`` is the time from the last disturbance until the mesh converged, None if it did not.
    ``detections`` are the times from each crash until all nodes knew of it, and ``revocations`` those from each
    revocation until no node listed the revoked one. ``false_deaths`` counts verdicts about
    running nodes, with or without faults. ``refusals`` counts, by the name of the error, messages that were refused for
    lack of room.
    """

    scenario: str
    seed: int
    nodes: int
    digest: str
    virtual_seconds: float
    wall_seconds: float
    events: int
    faults: dict[str, int]
    violations: tuple[Violation, ...]
    recovered_after: float | None
    detections: tuple[float, ...]
    false_deaths: int
    traffic: Traffic
    refusals: dict[str, int] = {}
    revocations: tuple[float, ...] = ()

    def as_json(self) -> bytes:
        return msgspec.json.encode(self)


class Simulation(World):
    """A mesh in virtual time. ``run`` runs it to its end; ``run_until`` runs it step by step.

    Raises :class:`~meshp2p.errors.ConfigError` if the schedule names a checker or safeguard that does not exist.
    """

    def __init__(self, schedule: Schedule, *, trace: bool = False, ablate: Ablate | None = None) -> None:
        super().__init__(schedule, trace=trace, ablate=ablate)
        self.recovered_after: float | None = None
        self._injector = Injector(self)
        self._faults = len(schedule.faults)
        # before the nodes, so that a cut from the first moment on is there when they start
        for number, fault in enumerate(schedule.faults):
            self._injector.schedule(number, fault)
        for plan in schedule.nodes:
            self.engine.at(plan.at, self._start_planned, plan.id)
        self.open_clients()
        self.engine.at(TICK, self._tick)

    def __repr__(self) -> str:
        return f"<Simulation {self.schedule.scenario} seed={self.schedule.seed} {self.engine!r}>"

    def _start_planned(self, node_id: str) -> None:
        host = self.oracle.hosts[node_id]
        if host.machine is None and not host.life:
            self.start_host(host)

    # Faults, for those who step a simulation themselves

    def begin(self, fault: Fault) -> int:
        """Begin a fault now, whatever its times are. Return the number with which to end it. Raises
        :class:`~meshp2p.errors.ConfigError` for one that the mesh cannot have."""
        if not isinstance(fault, Faulty):
            raise ConfigError(f"fault = {ascii(fault)[:80]}: expected a fault of meshp2p.virtual.faults")
        fault = msgspec.structs.replace(fault, begin=self.engine.now, end=None)
        check_fault(fault, {plan.id: plan for plan in self.schedule.nodes}, self.schedule.security)
        self._faults += 1
        self._injector.begin(self._faults, fault)
        return self._faults

    def end(self, number: int) -> None:
        """End a fault: repair a cut, start a crashed node again."""
        fault = self.oracle.active.get(number)
        if fault is not None:
            self._injector.end(number, fault)

    def become_whole(self, within: float | None = None) -> float | None:
        """Run until the live nodes have converged, and return how many seconds that took.

        Return None if it took longer than ``within``, or than the bound that follows from the configuration; then the
        checker ``convergence`` has reported it.
        """
        convergence = self._find(Convergence)
        if convergence is None:
            raise InternalError("become_whole needs the checker 'convergence'")
        began = self.engine.now
        if within is None:
            within = convergence.bound()
        is_whole = self._wait_for(convergence, began + within, "not whole again")
        return self.engine.now - began if is_whole else None

    # Time

    def _tick(self, _argument: Any) -> None:
        self.engine.at(self.engine.now + TICK, self._tick)
        self.digest.flush()
        for checker in self.checkers.values():
            checker.tick()

    def run_until(self, end: float) -> None:
        """Run to this virtual time, or until there are too many violations. An exception of a machine is a violation
        and ends the run."""
        try:
            while self.engine.now < end and not self.is_over:
                began = self.engine.now
                events_max = EVENTS_MAX * (1 + len(self.oracle.hosts)) ** 2
                if not self.engine.run_until(min(end, began + TICK), events_max):
                    about = f"more than {events_max:,} events in {self.engine.now - began:.3f} s: it runs away"
                    self.report(Violation("machine", self.engine.now, "", about))
                    self.has_ended = True
        except Exception as error:  # noqa: BLE001 - the code under test may raise anything
            where = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
            self.report(Violation("machine", self.engine.now, "", f"raised {message}"))
            self.has_ended = True

    has_ended: bool = False

    @property
    def is_over(self) -> bool:
        return self.has_ended or len(self.violations) >= VIOLATIONS_MAX

    def run(self) -> Result:
        """Run the schedule to its end: faults, healing, and the calm after that."""
        began = time.perf_counter()
        self.run_until(self._last_disturbance())
        if not self.is_over:
            self._recover()
        if not self.is_over:
            self.run_until(max(self.schedule.duration, self.engine.now + self.schedule.calm))
        if not self.is_over:
            self._stay_whole()
        if not self.is_over:
            self._catch_up_on_mail()
        if not self.is_over:
            self._agree_on_maps()
        if not self.is_over:
            for checker in self.checkers.values():
                checker.finish()
        return self._result(time.perf_counter() - began)

    def _last_disturbance(self) -> float:
        """Return when the last fault ends, or the last node starts, by the schedule."""
        schedule = self.schedule
        last = max(plan.at for plan in schedule.nodes)
        for fault in schedule.faults:
            never = fault.begin if isinstance(fault, EndingFault) else schedule.duration
            last = max(last, never if fault.end is None else min(fault.end, schedule.duration))
        return last

    def _recover(self) -> None:
        """Run until the mesh converges after the last fault, within the bound."""
        if Convergence.name in self.checkers and self.become_whole() is not None:
            self.recovered_after = self.engine.now - self._last_disturbance()

    def _stay_whole(self) -> None:
        convergence = self._find(Convergence)
        if convergence is not None:
            self._wait_for(convergence, self.engine.now + STAY, "was whole and did not stay so")

    def _catch_up_on_mail(self) -> None:
        """Let recipients read their backlogs as long as they find new messages."""
        messages = self._find(Messages)
        while messages is not None and messages.is_catching_up() and not self.is_over:
            self.run_until(self.engine.now + 1.0)

    def _agree_on_maps(self) -> None:
        """Run for the time in which shared maps must converge; their checker checks it at the end."""
        maps = self._find(SharedMaps)
        if maps is not None:
            until = self.engine.now + convergence_bound(self.schedule.config, len(self.oracle.hosts))
            while any(maps.differing()) and self.engine.now < until and not self.is_over:
                self.run_until(self.engine.now + 1.0)

    def _find(self, kind: type[_AChecker]) -> _AChecker | None:
        """Return the checker of this kind, if the schedule has it."""
        checker = self.checkers.get(kind.name)
        return checker if isinstance(checker, kind) else None

    def _wait_for(self, convergence: Convergence, until: float, problem: str) -> bool:
        while not convergence.is_whole():
            if self.engine.now >= until:
                missing = convergence.what_is_missing_now()
                after = self.engine.now - self.oracle.disturbed_at
                convergence.violated(None, f"{problem} {after:.1f} s after the last disturbance: {missing}")
                return False
            self.run_until(self.engine.now + POLL)
            if self.is_over:
                return False
        return True

    def _result(self, wall_seconds: float) -> Result:
        detection, false_deaths, shut_outs = self._find(Detection), self._find(FalseDeaths), self._find(ShutOuts)
        return Result(
            scenario=self.schedule.scenario,
            seed=self.schedule.seed,
            nodes=len(self.schedule.nodes),
            digest=self.digest.hexdigest(),
            virtual_seconds=self.engine.now,
            wall_seconds=wall_seconds,
            events=self.engine.events,
            faults=dict(sorted(self.fired.items())),
            refusals=dict(sorted(self.refusals.items())),
            violations=tuple(self.violations),
            recovered_after=self.recovered_after,
            detections=() if detection is None else tuple(detection.seconds),
            false_deaths=0 if false_deaths is None else false_deaths.count,
            traffic=self.network.traffic,
            revocations=() if shut_outs is None else tuple(shut_outs.seconds),
        )


def run(schedule: Schedule, *, trace: bool = False, ablate: Ablate | None = None) -> Result:
    """Run a schedule and return its result. For the trace use :class:`Simulation`."""
    return Simulation(schedule, trace=trace, ablate=ablate).run()
