"""Fault injection: the effect of each fault on network, hosts and disks, and its end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import assert_never

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Datagram, Gossip, Unreached
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.record import EPOCH_MAX, tag_of
from meshp2p.simulation.attackers import Attackers
from meshp2p.simulation.host import Host
from meshp2p.simulation.world import World
from meshp2p.virtual import faults
from meshp2p.virtual.disk import WRITE_SECONDS, SimulatedDisk
from meshp2p.virtual.faults import CuttingFault, DiskFault, Fault, HostFault, ImpairingFault, SecurityFault

__all__ = ["Injector"]

LEAVE_STEP = 0.05
"""Seconds between two checks whether the others heard that a node leaves. It is ended after ``leave_timeout`` in any
case."""

OVERHEARD_MAX = 200
"""How many packets an attacker keeps for replays."""

Undo = Callable[[int], None]
"""Ends a fault. It gets the trace number of the fault's end."""


class Injector:
    """Begins and ends the faults of one simulation. A fault that finds nothing to act on (a pause of a node that is
    down) does not fire."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._engine = world.engine
        self._random = random.Random(f"{world.schedule.seed}/faults")
        self._undos: dict[int, Undo] = {}
        self._addresses: dict[str, Address] = {}
        """The address at which each node crashed last."""
        self._attackers = Attackers(world, self._random)
        self._overheard: list[tuple[bytes, Address]] = []

    def schedule(self, number: int, fault: Fault) -> None:
        """Begin and end a fault at its times. All faults end at the end of the schedule's duration."""
        duration = self._world.schedule.duration
        self._engine.at(min(fault.begin, duration), self._begin, (number, fault))
        if fault.end is not None or not isinstance(fault, faults.EndingFault):
            end = duration if fault.end is None else min(fault.end, duration)
            self._engine.at(end, self._end, (number, fault))

    # Beginning

    def _begin(self, argument: tuple[int, Fault]) -> None:
        self.begin(*argument)

    def begin(self, number: int, fault: Fault) -> None:
        """Begin a fault now; ``number`` must be new."""
        world = self._world
        cause = world.note_fault(number, fault, begins=True)
        if isinstance(fault, CuttingFault | ImpairingFault):
            world.network.links.begin(number, fault)
            if isinstance(fault, faults.Rejected):
                world.network.rejections.append(fault)
                world.network.watches.reject()
        elif isinstance(fault, faults.Hidden):
            world.network.hidden.append(fault)
        elif isinstance(fault, faults.Severed):
            world.network.sever(fault.nodes)
            world.fire(fault)
        elif isinstance(fault, faults.DeadAddress):
            self._lose_address(number, fault, world.oracle.hosts[fault.node])
        elif isinstance(fault, DiskFault):
            self._begin_at_disk(number, fault, world.oracle.hosts[fault.node].disk)
        elif isinstance(fault, HostFault):
            self._begin_at_host(number, fault, world.oracle.hosts[fault.node], cause)
        elif isinstance(fault, faults.Twin):
            self._start_twin(number, fault, cause)
        elif isinstance(fault, faults.Forged):
            world.network.overhear = self._overhear
            self._forge((number, fault))
        elif isinstance(fault, SecurityFault):
            self._attackers.begin(number, fault)
        else:
            assert_never(fault)

    def _begin_at_host(self, number: int, fault: HostFault, host: Host, cause: int) -> None:
        world = self._world
        is_standing = isinstance(fault, faults.Pause | faults.Sleep) and host.is_stopped
        if host.machine is None or host.is_leaving or is_standing:
            return
        self._undos[number] = self._act_on_host(number, fault, host, cause)
        world.fire(fault)

    def _act_on_host(self, number: int, fault: HostFault, host: Host, cause: int) -> Undo:
        """Apply a fault to a host whose process runs. Return what ends it."""
        world, life = self._world, host.life
        match fault:
            case faults.Crash():
                self._addresses[host.key] = host.address
                host.lingers_until = self._engine.now + fault.lingers
                world.stop_host(host, is_silent=fault.is_silent, cause=cause)
                return lambda cause: self._restart(fault, host, life, cause)
            case faults.Leave():
                host.leave(cause)
                self._await_leaving((host, life, self._engine.now + world.schedule.config.leave_timeout))
                return lambda cause: self._restart(fault, host, life, cause)
            case faults.Pause() | faults.Sleep():
                self._pause(host, is_asleep=isinstance(fault, faults.Sleep), cause=cause)
                return lambda cause: self._end_pause(fault, host, life, cause)
            case faults.Slow():
                host.set_service(fault.seconds)
                return lambda _: host.set_service(0.0)
            case faults.Stalls():
                self._stall((number, fault, host, cause))
            case faults.SmallBuffer():
                host.set_buffer(fault.datagrams)
                return lambda _: host.set_buffer()
            case faults.ClockStep():
                host.clock.step(fault.seconds)
                return lambda _: host.clock.step(-fault.seconds)
            case faults.ClockRate():
                host.set_rate(fault.rate)
                return lambda _: host.set_rate(1.0)
            case faults.Moved():
                host.move(world.new_address())
                if fault.notices:
                    self._engine.at(self._engine.now + fault.notices, host.notice_address, life)
            case _:
                assert_never(fault)
        return _nothing

    def _lose_address(self, number: int, fault: faults.DeadAddress, host: Host) -> None:
        """Let an address of a machine fail, whether its process runs or not."""
        address = host.addresses[fault.number]
        if host.lose_address(address):
            self._undos[number] = lambda _: host.regain_address(address)
            self._world.fire(fault)

    def _begin_at_disk(self, number: int, fault: DiskFault, disk: SimulatedDisk[KeptState] | None) -> None:
        """A disk is as it is whether the process runs or not."""
        undo = None if disk is None else _act_on_disk(fault, disk)
        if undo is not None:
            self._undos[number] = undo
            self._world.fire(fault)

    # Ending

    def _end(self, argument: tuple[int, Fault]) -> None:
        self.end(*argument)

    def end(self, number: int, fault: Fault) -> None:
        """End a fault now, if it has not ended."""
        world = self._world
        if number not in world.oracle.active:
            return
        cause = world.note_fault(number, fault, begins=False)
        world.network.links.end(number)
        if isinstance(fault, faults.Rejected):
            world.network.rejections.remove(fault)
        if isinstance(fault, faults.Hidden):
            world.network.hidden.remove(fault)
        self._undos.pop(number, _nothing)(cause)

    def _end_pause(self, fault: faults.Pause | faults.Sleep, host: Host, life: int, cause: int) -> None:
        if host.machine is None or host.life != life or not host.is_stopped:
            return
        seconds = self._engine.now - fault.begin
        if isinstance(fault, faults.Sleep) and fault.clock_stops:
            host.clock.offset -= seconds * host.clock.rate
        self._resume(host, seconds, cause)

    def _restart(self, fault: faults.Crash | faults.Leave, host: Host, life: int, cause: int) -> None:
        if host.life != life:
            return
        world = self._world
        if host.machine is not None:  # it is still leaving
            world.stop_host(host, is_silent=False, cause=cause)
        if isinstance(fault, faults.Crash):
            if not fault.keeps_state and host.disk is not None:
                host.disk.erase()
            taken = self._addresses.get(fault.takes)
            holder = None if taken is None else world.network.host_at(taken)
            if taken is not None and (holder is None or holder.machine is None):
                host.move(taken)
            elif fault.moves or world.network.host_at(host.address) is not host:
                host.move(world.new_address())
        world.start_host(host, cause)

    def _end_twin(self, host: Host, cause: int) -> None:
        if host.machine is not None and host.life == 1:
            self._world.stop_host(host, is_silent=False, cause=cause)

    # Processes

    def _await_leaving(self, argument: tuple[Host, int, float]) -> None:
        host, life, until = argument
        if host.machine is None or host.life != life:
            return
        if host.machine.has_left or self._engine.now >= until:
            self._world.stop_host(host, is_silent=False)
        else:
            self._engine.at(self._engine.now + LEAVE_STEP, self._await_leaving, argument)

    def _start_twin(self, number: int, fault: faults.Twin, cause: int) -> None:
        world = self._world
        plan = next(plan for plan in world.schedule.nodes if plan.id == fault.node)
        host = world.add_host(f"{fault.node}~{number}", plan)
        known = world.oracle.hosts[fault.node]
        if fault.beside:
            known = world.oracle.hosts[fault.beside]
            world.network.links.places[host.key] = fault.beside
        self._undos[number] = lambda cause: self._end_twin(host, cause)
        world.fire(fault)
        world.start_host(host, cause)
        world.oracle.note_told(host, known)
        host.offer("seed", known.address)

    def _pause(self, host: Host, *, is_asleep: bool, cause: int) -> None:
        host.pause(is_asleep=is_asleep, cause=cause)
        for checker in self._world.checkers.values():
            checker.paused(host)

    def _resume(self, host: Host, seconds: float, cause: int) -> None:
        for checker in self._world.checkers.values():
            checker.resumed(host, seconds)
        host.resume(cause)

    def _stall(self, argument: tuple[int, faults.Stalls, Host, int]) -> None:
        number, fault, host, cause = argument
        if number not in self._world.oracle.active or host.machine is None:
            return
        self._engine.at(self._engine.now + fault.every, self._stall, argument)
        if not host.is_stopped:
            self._pause(host, is_asleep=False, cause=cause)
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

    def _forge(self, argument: tuple[int, faults.Forged]) -> None:
        number, fault = argument
        world = self._world
        if number not in world.oracle.active:
            return
        self._engine.at(self._engine.now + self._random.expovariate(fault.rate), self._forge, argument)
        names = fault.nodes or tuple(world.oracle.hosts)
        target = world.oracle.hosts[names[self._random.randrange(0, len(names))]].address
        stranger = Address("10.255.255.1", 9)
        if fault.what is faults.Forgery.GARBAGE:
            data = self._random.randbytes(self._random.randrange(0, 200))
            world.network.inject(data, stranger, target)
        elif fault.what is faults.Forgery.CLAIM:
            if (claim := self._forge_claim(target)) is None:
                return
            world.network.inject(claim, stranger, target)
        elif self._overheard:
            data, target = self._overheard[self._random.randrange(0, len(self._overheard))]
            if fault.what is faults.Forgery.OTHER_MESH:
                data = data[:4] + self._random.randbytes(8) + data[12:]
            world.network.inject(data, stranger, target)
        else:
            return
        world.fire(fault)

    def _forge_claim(self, target: Address) -> bytes | None:
        codec, draw = self._world.network.codec, self._random
        others = [host for host in self._world.oracle.live if host.address != target]
        victim = self._world.network.host_at(target)
        if codec is None or victim is None or not others:
            return None
        other, relay = draw.choice(others), draw.choice(others)
        record, sender = other.running.own, tag_of(other.id)
        datagram = Datagram(Unreached(sender, tag_of(victim.id), tag_of(relay.id)))
        if draw.random() < 0.1:
            stale = msgspec.structs.replace(record, incarnation=record.incarnation - 1, epoch=EPOCH_MAX - 1)
            datagram = Datagram(Gossip(sender), (stale,))
        return codec.encode(datagram)


def _act_on_disk(fault: DiskFault, disk: SimulatedDisk[KeptState]) -> Undo | None:
    """Apply a fault to a disk. Return what ends it, or None if it has no effect."""
    match fault:
        case faults.DiskForgets():
            disk.become_forgetful()
            return lambda _: disk.become_honest()
        case faults.DiskFull():
            disk.is_full = True
            return lambda _: setattr(disk, "is_full", False)
        case faults.DiskFails():
            disk.is_failing = True
            return lambda _: setattr(disk, "is_failing", False)
        case faults.DiskSlow():
            disk.write_seconds = fault.seconds
            return lambda _: setattr(disk, "write_seconds", WRITE_SECONDS)
        case faults.DiskTorn():
            return _nothing if disk.tear() else None
        case _:
            assert_never(fault)


def _nothing(_cause: int) -> None:
    """Return the end of a fault that is instantaneous, or ends with its process."""
