"""One run: hosts, network, faults and checkers put together as a schedule says, and what came of it."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.effects import Call, CallFailed, Send
from meshp2p.core.events import Event, IdConflictLost
from meshp2p.core.message import Message
from meshp2p.core.messages import CallReply, CallRequest, Datagram, Ping
from meshp2p.core.record import Item
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, check
from meshp2p.simulation.ablation import ablated_config, alteration
from meshp2p.simulation.agents import Agents
from meshp2p.simulation.checkers import CHECKERS, Checker, Violation, Wholeness
from meshp2p.simulation.checkers.deaths import Detection, FalseDeaths
from meshp2p.simulation.checkers.maps import SharedMaps, convergence_bound
from meshp2p.simulation.checkers.messages import Messages
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.faults import Corrupted, Crash, Fault, Forged, Leave
from meshp2p.simulation.host import Host
from meshp2p.simulation.injection import Injector
from meshp2p.simulation.mail import FIRST_TICKET, Mail
from meshp2p.simulation.maps import Maps
from meshp2p.simulation.multicast import Multicast
from meshp2p.simulation.network import Network, Traffic
from meshp2p.simulation.schedule import NodePlan, Schedule
from meshp2p.simulation.trace import Digest, Trace, What
from meshp2p.simulation.truth import Letter, Truth

__all__ = ["Result", "Simulation", "run"]

VIOLATIONS_MAX = 20
"""A run ends after so many. Chosen, not measured."""

TICK = 10.0
"""Virtual seconds between two looks at what is looked at now and then. Chosen, not measured."""

EVENTS_MAX = 5_000
"""Events within a tick, times the square of the number of hosts (and one), after which a run is given up: a join storm
of 1,000 nodes stays far below. Chosen, not measured."""

POLL = 0.05
"""Virtual seconds between two looks whether the mesh is whole again."""

STAY = 15.0
"""Virtual seconds within which a mesh that was whole is so again where a lost rumour made views differ: a sync mends
that, later where nodes find themselves slow. Chosen, not measured."""

PORT = 7700

_Told = ParamSpec("_Told")


def _together(hooks: Sequence[Callable[_Told, None]]) -> Callable[_Told, None]:
    """One call for all of these; it is made for each packet, so it is as short as it can be."""
    if len(hooks) == 1:
        return hooks[0]

    def tell(*arguments: _Told.args, **options: _Told.kwargs) -> None:
        for hook in hooks:
            hook(*arguments, **options)

    return tell


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. The first nine fields are what ``--json`` promises; ``nodes`` is their number, ``faults``
    counts by name how often each really fired.

    ``recovered_after`` is the time from the last disturbance until the mesh was whole, None where it was not.
    ``detections`` are the times from each crash until all knew of it, ``false_deaths`` counts verdicts about nodes that
    ran, in trouble or not. ``refusals`` counts by the error's name the messages that were refused for want of room.
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

    def as_json(self) -> bytes:
        return msgspec.json.encode(self)


class Simulation:
    """A mesh in virtual time. ``run`` runs it to its end; ``run_until`` for those who step it themselves.

    Raises :class:`~meshp2p.errors.ConfigError` where the schedule names a checker or safeguard that does not exist.
    """

    def __init__(self, schedule: Schedule, *, trace: bool = False) -> None:
        self.schedule = schedule
        self.engine: Engine = Engine()
        self.trace: Trace | None = Trace() if trace else None
        self.digest: Digest = Digest()
        self.violations: list[Violation] = []
        self.fired: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.recovered_after: float | None = None
        self.network: Network = Network(self.engine, schedule.link, random.Random(f"{schedule.seed}/network"))
        self.network.trace = self.trace
        self.network.fired = self.fired
        if schedule.through_wire or any(isinstance(fault, Corrupted | Forged) for fault in schedule.faults):
            from meshp2p.wire.codec import Codec  # noqa: PLC0415 - most runs need no bytes

            self.network.codec = Codec("simulation")
        self.truth: Truth = Truth(self.engine, self.network, schedule.config)
        self._alter = alteration(schedule.ablations)
        self._config = ablated_config(schedule.config, schedule.ablations)
        self._set_checkers()
        self._injector = Injector(self)
        self._multicast: Multicast | None = None
        if schedule.multicast_interval:
            self._multicast = Multicast(self.engine, self.network, self.truth.hosts, schedule.multicast_interval)
        self._plans = {plan.id: plan for plan in schedule.nodes}
        self._addresses = 0
        for plan in schedule.nodes:
            self.add_host(plan.id, plan)
        self._faults = len(schedule.faults)
        # before the nodes, so that a cut from the first moment on is there when they start
        for number, fault in enumerate(schedule.faults):
            self._injector.schedule(number, fault)
        for plan in schedule.nodes:
            self.engine.at(plan.at, self._start_planned, plan.id)
        self.agents: Agents = Agents(schedule.agents, self.truth, self.engine)
        self.maps: Maps = Maps(schedule.maps, self.truth, schedule.seed)
        self.mail: Mail = Mail(schedule.mail, self.truth, self.agents, schedule.seed, self)
        self.engine.at(TICK, self._tick)

    def __repr__(self) -> str:
        return f"<Simulation {self.schedule.scenario} seed={self.schedule.seed} {self.engine!r}>"

    def _set_checkers(self) -> None:
        names = tuple(CHECKERS) if self.schedule.checks is None else self.schedule.checks
        unknown = [name for name in names if name not in CHECKERS]
        if unknown:
            raise ConfigError(f"checks: {unknown[0]!r}: expected one of {', '.join(CHECKERS)}")
        self.checkers: dict[str, Checker] = {}
        self._watching: dict[type, list[Checker]] = {}
        for name, kind in CHECKERS.items():
            if name not in names:
                continue
            checker = self.checkers[name] = kind(self.truth, self.report)
            for event in kind.watches:
                self._watching.setdefault(event, []).append(checker)
        self._set_hooks()

    def _set_hooks(self) -> None:
        """What hosts tell of each packet and call goes straight to the checkers that override it."""
        checkers = list(self.checkers.values())
        self.sent: Callable[[Host, Send], None] = _together(
            [each.sent for each in checkers if type(each).sent is not Checker.sent]
        )
        self.heard: Callable[[Host, Datagram], None] = _together(
            [each.heard for each in checkers if type(each).heard is not Checker.heard]
        )
        self.pinged: Callable[[Host, Ping], None] = _together(
            [each.pinged for each in checkers if type(each).pinged is not Checker.pinged]
        )
        self.tells: Callable[[Host, tuple[Item, ...]], None] = _together(
            [each.tells for each in checkers if type(each).tells is not Checker.tells]
        )
        self.told: Callable[[Host, tuple[Item, ...]], None] = _together(
            [each.told for each in checkers if type(each).told is not Checker.told]
        )
        self.calls: Callable[[Host, Call], None] = _together(
            [each.calls for each in checkers if type(each).calls is not Checker.calls]
        )
        self.called: Callable[[Host, CallRequest], None] = _together(
            [each.called for each in checkers if type(each).called is not Checker.called]
        )
        self.replied: Callable[[Host, Call, CallReply | CallFailed], None] = _together(
            [each.replied for each in checkers if type(each).replied is not Checker.replied]
        )

    # Hosts

    def new_address(self) -> Address:
        self._addresses += 1
        high, low = divmod(self._addresses - 1, 250)
        return Address(f"10.{high // 250}.{high % 250}.{low + 1}", PORT)

    def add_host(self, key: str, plan: NodePlan) -> Host:
        """Another machine, with a process that is not started."""
        address = self.new_address()
        host = Host(
            key,
            Profile(plan.id, f"{key}.example", address.port),
            address,
            len(self.truth.hosts),
            seed=self.schedule.seed,
            engine=self.engine,
            network=self.network,
            config=self._config,
            watcher=self,
            digest=self.digest,
            trace=self.trace,
            alter=self._alter,
        )
        host.wall_skew = plan.wall_skew
        if not plan.has_disk:
            host.disk = None
        self.truth.hosts[key] = host
        return host

    def start_host(self, host: Host, cause: int = 0) -> None:
        """Start the host's process, tell it of its seeds, and let it look for others."""
        host.prepare()
        self.truth.note_process(host)
        for checker in self.checkers.values():
            checker.started(host)
        host.start(cause)
        self.maps.open(host)
        seeds = [self.truth.hosts[seed] for seed in self._plans[host.id].seeds if seed != host.key]
        if host.life > 1 and not any(seed.machine is not None for seed in seeds):
            seeds += [other for other in self.truth.live if other.id != host.id][:1]
        for seed in seeds:
            self.truth.note_told(host, seed)
            host.offer("seed", seed.address)
        if self._multicast is not None:
            self._multicast.begin(host)

    def stop_host(self, host: Host, *, is_silent: bool, cause: int = 0) -> None:
        """End the host's process, as a crash does."""
        host.stop(is_silent=is_silent, cause=cause)
        if host.disk is not None:
            host.disk.crash()
        self.truth.note_process(host)
        for checker in self.checkers.values():
            checker.stopped(host)

    def _start_planned(self, node_id: str) -> None:
        host = self.truth.hosts[node_id]
        if host.machine is None and not host.life:
            self.start_host(host)

    # Faults, for those who step a simulation themselves

    def begin(self, fault: Fault) -> int:
        """Let a fault begin now, whatever its times say; the number by which to end it."""
        self._faults += 1
        self._injector.begin(self._faults, msgspec.structs.replace(fault, begin=self.engine.now, end=None))
        return self._faults

    def end(self, number: int) -> None:
        """Let a fault end that was begun: a cut is mended, a crashed node started again."""
        fault = self.truth.active.get(number)
        if fault is not None:
            self._injector.end(number, fault)

    def become_whole(self, within: float | None = None) -> float | None:
        """Run until the live nodes are one mesh; how many seconds that took.

        None where it took longer than ``within``, or than the bound that follows from the configuration; then the
        checker ``wholeness`` has reported it.
        """
        wholeness = self.checkers.get(Wholeness.name)
        check(isinstance(wholeness, Wholeness), "become_whole needs the checker 'wholeness'")
        if not isinstance(wholeness, Wholeness):
            return None
        began = self.engine.now
        if within is None:
            within = wholeness.bound()
        is_whole = self._wait_for(wholeness, began + within, "not whole again")
        return self.engine.now - began if is_whole else None

    # What hosts tell (see Watcher)

    def event(self, host: Host, event: Event) -> None:
        for checker in self._watching.get(type(event), ()):
            checker.event(host, event)
        if isinstance(event, IdConflictLost):
            self.engine.at(self.engine.now, self._close, (host, host.life))

    def _close(self, argument: tuple[Host, int]) -> None:
        host, life = argument
        if host.machine is not None and host.life == life:
            self.stop_host(host, is_silent=False)

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None:
        if ticket > FIRST_TICKET:
            self.mail.resolved(ticket, reply)
        else:
            self.agents.resolved(ticket, reply)

    def accepted(self, host: Host, letter: Letter) -> None:
        for checker in self.checkers.values():
            checker.accepted(host, letter)

    def refused(self, why: str) -> None:
        if why:
            self.refusals[why] = self.refusals.get(why, 0) + 1

    def was_read(self, recipient: str, messages: tuple[Message, ...], asked_at: float) -> None:
        for checker in self.checkers.values():
            checker.was_read(recipient, messages, asked_at)

    def failed(self, host: Host, what: str) -> None:
        self.report(Violation("machine", self.engine.now, host.key, what))

    def report(self, violation: Violation) -> None:
        """Note that a law did not hold."""
        self.violations.append(violation)
        if self.trace is not None:
            self.trace.add(self.engine.now, violation.node, What.VIOLATION, "", violation)
        if len(self.violations) >= VIOLATIONS_MAX:
            self.engine.stop()

    def note_fault(self, number: int, fault: Fault, *, begins: bool) -> int:
        """A fault begins or ends: tell the checkers, then let it be so. The trace's number for it."""
        for checker in self.checkers.values():
            checker.fault_changes(fault, begins=begins)
        self.truth.note_fault(number, fault, begins=begins)
        if self.trace is None:
            return 0
        return self.trace.add(self.engine.now, "", What.FAULT if begins else What.HEAL, "", fault)

    def fire(self, fault: Fault) -> None:
        """Count that a fault really did something."""
        name = type(fault).__name__
        self.fired[name] = self.fired.get(name, 0) + 1

    # Time

    def _tick(self, _argument: Any) -> None:
        self.engine.at(self.engine.now + TICK, self._tick)
        self.digest.flush()
        for checker in self.checkers.values():
            checker.tick()

    def run_until(self, end: float) -> None:
        """Run to this virtual time, or to one violation too many. What a machine raises is a violation and ends the
        run."""
        try:
            while self.engine.now < end and not self.is_over:
                began = self.engine.now
                events_max = EVENTS_MAX * (1 + len(self.truth.hosts)) ** 2
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
        """Run the schedule to its end: faults, healing, and the time in which nothing may happen any more."""
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
        """When the last fault ends, or the last node starts, by the schedule."""
        schedule = self.schedule
        last = max(plan.at for plan in schedule.nodes)
        for fault in schedule.faults:
            never = fault.begin if isinstance(fault, Crash | Leave) else schedule.duration
            last = max(last, never if fault.end is None else min(fault.end, schedule.duration))
        return last

    def _recover(self) -> None:
        """After the last fault: become whole within the bound."""
        if Wholeness.name in self.checkers and self.become_whole() is not None:
            self.recovered_after = self.engine.now - self._last_disturbance()

    def _stay_whole(self) -> None:
        wholeness = self.checkers.get(Wholeness.name)
        if isinstance(wholeness, Wholeness):
            self._wait_for(wholeness, self.engine.now + STAY, "was whole and did not stay so")

    def _catch_up_on_mail(self) -> None:
        """Let recipients read their backlogs, for as long as they find anything new."""
        messages = self.checkers.get(Messages.name)
        while isinstance(messages, Messages) and messages.is_catching_up() and not self.is_over:
            self.run_until(self.engine.now + 1.0)

    def _agree_on_maps(self) -> None:
        """Give shared maps the time that they may take to be one; their checker says at the end whether they are."""
        maps = self.checkers.get(SharedMaps.name)
        if isinstance(maps, SharedMaps):
            until = self.engine.now + convergence_bound(self.schedule.config, len(self.truth.hosts))
            while any(maps.differing()) and self.engine.now < until and not self.is_over:
                self.run_until(self.engine.now + 1.0)

    def _wait_for(self, wholeness: Wholeness, until: float, problem: str) -> bool:
        while not wholeness.is_whole():
            if self.engine.now >= until:
                missing = wholeness.what_is_missing_now()
                after = self.engine.now - self.truth.disturbed_at
                wholeness.violated(None, f"{problem} {after:.1f} s after the last disturbance: {missing}")
                return False
            self.run_until(self.engine.now + POLL)
            if self.is_over:
                return False
        return True

    def _result(self, wall_seconds: float) -> Result:
        detection, false_deaths = self.checkers.get(Detection.name), self.checkers.get(FalseDeaths.name)
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
            detections=tuple(detection.seconds) if isinstance(detection, Detection) else (),
            false_deaths=false_deaths.count if isinstance(false_deaths, FalseDeaths) else 0,
            traffic=self.network.traffic,
        )


def run(schedule: Schedule, *, trace: bool = False) -> Result:
    """Run a schedule and say what came of it. For the trace itself use :class:`Simulation`."""
    return Simulation(schedule, trace=trace).run()
