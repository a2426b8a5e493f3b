"""Faults at work: what each does to network, hosts and disks when it begins, and undoes when it ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, assert_never

from meshp2p.core.address import Address
from meshp2p.simulation.disk import WRITE_SECONDS, Disk
from meshp2p.simulation.faults import (
    Blocked,
    Bursts,
    ClockRate,
    ClockStep,
    Corrupted,
    Crash,
    Delayed,
    DiskFails,
    DiskForgets,
    DiskFull,
    DiskSlow,
    DiskTorn,
    Duplicated,
    Fault,
    Forged,
    Forgery,
    Hidden,
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
from meshp2p.simulation.host import Host
from meshp2p.simulation.rules import Impairment, Rule, impairment_of, rule_of

if TYPE_CHECKING:
    from meshp2p.simulation.simulation import Simulation

__all__ = ["Injector"]

LEAVE_STEP = 0.05
LEAVE_MAX = 2.0
"""Seconds after which a node that leaves is ended, heard or not."""

OVERHEARD_MAX = 200
"""Packets that an attacker keeps to send again."""


class Injector:
    """Begins and ends the faults of one simulation. A fault that finds nothing to act on (a pause of a node that is
    down) does not fire."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._engine = simulation.engine
        self._random = random.Random(f"{simulation.schedule.seed}/faults")
        self._rules: dict[int, Rule] = {}
        self._impairments: dict[int, Impairment] = {}
        self._acted_on: dict[int, tuple[Host, int]] = {}
        self._overheard: list[tuple[bytes, Address]] = []

    def schedule(self, number: int, fault: Fault) -> None:
        """Let a fault begin and end at its times; all end when the schedule's duration does."""
        duration = self._simulation.schedule.duration
        self._engine.at(min(fault.begin, duration), self._begin, (number, fault))
        if fault.end is not None or not isinstance(fault, Crash | Leave):
            end = duration if fault.end is None else min(fault.end, duration)
            self._engine.at(end, self._end, (number, fault))

    # Beginning

    def _begin(self, argument: tuple[int, Fault]) -> None:
        self.begin(*argument)

    def begin(self, number: int, fault: Fault) -> None:
        """Let a fault begin now; ``number`` is a new one."""
        simulation = self._simulation
        cause = simulation.note_fault(number, fault, begins=True)
        match fault:
            case Partition() | OneWay() | Blocked() | Rejected():
                rule = rule_of(fault)
                if rule is not None:
                    self._rules[number] = rule
                    simulation.network.rules.append(rule)
                if isinstance(fault, Rejected):
                    simulation.network.rejections.append(fault)
                    simulation.network.watches.reject()
            case Hidden():
                simulation.network.hidden.append(fault)
            case Lossy() | Bursts() | Duplicated() | Reordered() | Delayed() | Oversized() | Corrupted():
                impairment = impairment_of(fault, simulation.network.random.random)
                if impairment is not None:
                    self._impairments[number] = impairment
                    simulation.network.impairments.append(impairment)
            case Forged():
                simulation.network.overhear = self._overhear
                self._forge((number, fault))
            case Twin():
                self._start_twin(number, fault, cause)
            case DiskTorn() | DiskForgets() | DiskFull() | DiskFails() | DiskSlow():
                self._begin_at_disk(number, fault, simulation.truth.hosts[fault.node])
            case Crash() | Leave() | Pause() | Sleep() | Slow() | Stalls() | ClockStep() | ClockRate() | Moved():
                self._begin_at_host(number, fault, simulation.truth.hosts[fault.node], cause)
            case _:
                assert_never(fault)

    def _begin_at_host(
        self,
        number: int,
        fault: Crash | Leave | Pause | Sleep | Slow | Stalls | ClockStep | ClockRate | Moved,
        host: Host,
        cause: int,
    ) -> None:
        simulation = self._simulation
        if host.machine is None or host.is_leaving or (isinstance(fault, Pause | Sleep) and host.is_stopped):
            return
        self._acted_on[number] = (host, host.life)
        simulation.fire(fault)
        match fault:
            case Crash():
                simulation.stop_host(host, is_silent=fault.is_silent, cause=cause)
            case Leave():
                host.leave(cause)
                self._await_leaving((host, host.life, self._engine.now + LEAVE_MAX))
            case Pause() | Sleep():
                self._pause(host, is_asleep=isinstance(fault, Sleep), cause=cause)
            case Slow():
                host.set_service(fault.seconds)
            case Stalls():
                self._stall((number, fault, host))
            case ClockStep():
                host.wall_skew += fault.seconds
            case ClockRate():
                host.set_rate(fault.rate)
            case Moved():
                host.move(simulation.new_address())
            case _:
                assert_never(fault)

    def _begin_at_disk(
        self, number: int, fault: DiskForgets | DiskFull | DiskFails | DiskSlow | DiskTorn, host: Host
    ) -> None:
        """A disk is as it is whether the process runs or not."""
        disk = host.disk
        if disk is None:
            return
        match fault:
            case DiskForgets():
                disk.become_forgetful()
            case DiskFull():
                disk.is_full = True
            case DiskFails():
                disk.is_failing = True
            case DiskSlow():
                disk.write_seconds = fault.seconds
            case DiskTorn():
                if not disk.tear():
                    return
            case _:
                assert_never(fault)
        self._acted_on[number] = (host, host.life)
        self._simulation.fire(fault)

    # Ending

    def _end(self, argument: tuple[int, Fault]) -> None:
        self.end(*argument)

    def end(self, number: int, fault: Fault) -> None:
        """Let a fault end now, if it has not ended."""
        simulation = self._simulation
        if number not in simulation.truth.active:
            return
        cause = simulation.note_fault(number, fault, begins=False)
        rule = self._rules.pop(number, None)
        if rule is not None:
            simulation.network.rules.remove(rule)
        if isinstance(fault, Rejected):
            simulation.network.rejections.remove(fault)
        if isinstance(fault, Hidden):
            simulation.network.hidden.remove(fault)
        impairment = self._impairments.pop(number, None)
        if impairment is not None:
            simulation.network.impairments.remove(impairment)
        host, life = self._acted_on.pop(number, (None, 0))
        if host is not None:
            self._end_at_host(fault, host, life, cause)

    def _end_at_host(self, fault: Fault, host: Host, life: int, cause: int) -> None:
        simulation = self._simulation
        is_same_life = host.machine is not None and host.life == life
        match fault:
            case Crash() | Leave():
                if host.life == life:
                    self._restart(fault, host, cause)
            case Twin():
                if is_same_life:
                    simulation.stop_host(host, is_silent=False, cause=cause)
            case Pause() | Sleep():
                if is_same_life and host.is_stopped:
                    seconds = self._engine.now - fault.begin
                    if isinstance(fault, Sleep) and fault.clock_stops:
                        host.offset -= seconds * host.rate
                    self._resume(host, seconds, cause)
            case Slow():
                host.set_service(0.0)
            case ClockStep():
                host.wall_skew -= fault.seconds
            case ClockRate():
                host.set_rate(1.0)
            case DiskForgets() | DiskFull() | DiskFails() | DiskSlow():
                self._end_at_disk(fault, host.disk)
            case _:
                pass

    def _end_at_disk(self, fault: DiskForgets | DiskFull | DiskFails | DiskSlow, disk: Disk | None) -> None:
        if disk is None:
            return
        match fault:
            case DiskForgets():
                disk.become_honest()
            case DiskFull():
                disk.is_full = False
            case DiskFails():
                disk.is_failing = False
            case DiskSlow():
                disk.write_seconds = WRITE_SECONDS
            case _:
                assert_never(fault)

    def _restart(self, fault: Crash | Leave, host: Host, cause: int) -> None:
        simulation = self._simulation
        if host.machine is not None:  # it is still leaving
            simulation.stop_host(host, is_silent=False, cause=cause)
        if isinstance(fault, Crash):
            if not fault.keeps_state and host.disk is not None:
                host.disk.erase()
            if fault.moves:
                host.move(simulation.new_address())
        simulation.start_host(host, cause)

    # Processes

    def _await_leaving(self, argument: tuple[Host, int, float]) -> None:
        host, life, until = argument
        if host.machine is None or host.life != life:
            return
        if host.machine.has_left or self._engine.now >= until:
            self._simulation.stop_host(host, is_silent=False)
        else:
            self._engine.at(self._engine.now + LEAVE_STEP, self._await_leaving, argument)

    def _start_twin(self, number: int, fault: Twin, cause: int) -> None:
        simulation = self._simulation
        plan = next(plan for plan in simulation.schedule.nodes if plan.id == fault.node)
        host = simulation.add_host(f"{fault.node}~{number}", plan)
        known = simulation.truth.hosts[fault.node]
        if fault.beside:
            known = simulation.truth.hosts[fault.beside]
            simulation.network.places[host.key] = fault.beside
        self._acted_on[number] = (host, 1)
        simulation.fire(fault)
        simulation.start_host(host, cause)
        simulation.truth.note_told(host, known)
        host.offer("seed", known.address)

    def _pause(self, host: Host, *, is_asleep: bool, cause: int) -> None:
        host.pause(is_asleep=is_asleep, cause=cause)
        for checker in self._simulation.checkers.values():
            checker.paused(host)

    def _resume(self, host: Host, seconds: float, cause: int) -> None:
        for checker in self._simulation.checkers.values():
            checker.resumed(host, seconds)
        host.resume(cause)

    def _stall(self, argument: tuple[int, Stalls, Host]) -> None:
        number, fault, host = argument
        if number not in self._simulation.truth.active or host.machine is None:
            return
        self._engine.at(self._engine.now + fault.every, self._stall, argument)
        if not host.is_stopped:
            self._pause(host, is_asleep=False, cause=0)
            self._engine.at(self._engine.now + fault.seconds, self._go_on, (host, host.life, fault.seconds))

    def _go_on(self, argument: tuple[Host, int, float]) -> None:
        host, life, seconds = argument
        if host.machine is not None and host.life == life and host.is_stopped and not host.is_dark:
            self._resume(host, seconds, 0)

    # The attacker

    def _overhear(self, data: bytes, target: Address) -> None:
        if len(self._overheard) < OVERHEARD_MAX:
            self._overheard.append((data, target))
        else:
            self._overheard[self._random.randrange(0, OVERHEARD_MAX)] = (data, target)

    def _forge(self, argument: tuple[int, Forged]) -> None:
        number, fault = argument
        simulation = self._simulation
        if number not in simulation.truth.active:
            return
        self._engine.at(self._engine.now + self._random.expovariate(fault.rate), self._forge, argument)
        names = fault.nodes or tuple(simulation.truth.hosts)
        target = simulation.truth.hosts[names[self._random.randrange(0, len(names))]].address
        stranger = Address("10.255.255.1", 9)
        if fault.what is Forgery.GARBAGE:
            data = self._random.randbytes(self._random.randrange(0, 200))
            simulation.network.inject(data, stranger, target)
        elif self._overheard:
            data, target = self._overheard[self._random.randrange(0, len(self._overheard))]
            if fault.what is Forgery.OTHER_MESH:
                data = data[:4] + self._random.randbytes(8) + data[12:]
            simulation.network.inject(data, stranger, target)
        else:
            return
        simulation.fire(fault)
