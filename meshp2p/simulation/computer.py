"""A simulated computer: its address, clocks, disk and sockets, and the input that waits for its process."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import CallFailed, Failure, Send, WatchOpened
from meshp2p.core.machine import Machine
from meshp2p.core.maps.replicated_map import ReplicatedMap
from meshp2p.core.record import Record
from meshp2p.errors import InternalError
from meshp2p.simulation.clock import HostClock
from meshp2p.simulation.endpoint import CallInProgress, WatchLine
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.inbox import BUFFER_DATAGRAMS, ArrivalQueue
from meshp2p.simulation.network import Network
from meshp2p.virtual.disk import SimulatedDisk

__all__ = ["OBSERVERS_MAX", "Computer"]

OBSERVERS_MAX = 64
"""In a larger mesh only so many hosts are followed record by record, or probe by probe: what is kept grows with their
number times that of the nodes. Chosen, not measured."""


class Computer:
    """A simulated computer. ``key`` identifies the computer, ``id`` the node: two computers may have nodes with one id.
    ``life`` counts processes.

    The process runs if ``machine`` is not None. Input goes to its ``_receive`` methods at once, or waits in the inbox
    until the process is ready.
    """

    def __init__(
        self, key: str, node_id: str, address: Address, *, seed: int, engine: Engine, network: Network
    ) -> None:
        self.key: str = key
        self.id: str = node_id
        self.address: Address = address
        """The address from which it sends: the first one that works."""
        self.addresses: tuple[Address, ...] = (address,)
        self.disk: SimulatedDisk[KeptState] | None = SimulatedDisk()
        self.clock: HostClock = HostClock(engine)
        self.machine: Machine | None = None
        self.life: int = 0
        self.is_dark: bool = False
        """The computer is off or asleep: packets to it are lost, and nothing is refused."""
        self.is_stopped: bool = False
        """The process is stopped. The kernel buffers its input."""
        self._engine = engine
        self._network = network
        self._is_direct = True
        self._inbox = ArrivalQueue(engine, self._may_serve, random.Random(f"{seed}/{key}/service").random)
        self._stored_at = 0.0
        self.lingers_until: float = -math.inf
        """Until when the kernel accepts connections for a process that has died."""
        self._store_draw = random.Random(f"{seed}/{key}/store").random
        network.attach(address, self)

    @property
    def running(self) -> Machine:
        """Return the machine of the running process."""
        if self.machine is None:
            raise InternalError(f"host {self.key}: no process runs")
        return self.machine

    @property
    def listed(self) -> Mapping[str, Record]:
        """The instances that the process lists, by id; empty if it does not run."""
        return {} if self.machine is None else self.machine.records()

    def is_home_of(self, instance_id: str) -> bool:
        """Return whether the process lists this instance with itself as the home."""
        record = self.listed.get(instance_id)
        return record is not None and record.home == self.id

    def replica(self, name: str) -> ReplicatedMap | None:
        """Return the shared map of this name, if the process runs and has opened it."""
        return None if self.machine is None else self.machine.replica(name)

    @property
    def now(self) -> float:
        """The monotonic clock of this machine."""
        return self.clock.now

    def move(self, address: Address) -> None:
        """Change the address from which the machine sends. The process is not told."""
        self._network.detach(self.address, self)
        self.addresses = tuple(address if one == self.address else one for one in self.addresses)
        self.address = address
        self._network.attach(address, self)

    def add_address(self, address: Address) -> None:
        """Give the machine another address, which its next process publishes as well."""
        self.addresses += (address,)
        self._network.attach(address, self)

    def lose_address(self, address: Address) -> bool:
        """Let no packet arrive at this address. Return False if no other address works: then nothing happens."""
        working = [one for one in self.addresses if one != address and self._network.host_at(one) is self]
        if working:
            self._network.detach(address, self)
            self.address = working[0]
        return bool(working)

    def regain_address(self, address: Address) -> None:
        """Let packets arrive again, unless the machine has another address instead by now."""
        if address in self.addresses:
            self._network.attach(address, self)
            self.address = next(one for one in self.addresses if self._network.host_at(one) is self)

    def _drain(self) -> None:
        for action, arguments in self._inbox.drain():
            if self.machine is not None:
                action(*arguments)

    def set_service(self, seconds: float) -> None:
        """Set how long the process takes for one input from now on, on average; 0: no time."""
        self._inbox.service = seconds
        self._set_direct()
        if self._is_direct:
            self._drain()

    def set_buffer(self, datagrams: int = BUFFER_DATAGRAMS) -> None:
        """Set how many datagrams wait for the process at most."""
        self._inbox.datagrams_max = datagrams

    def _begin_life(self) -> None:
        """Begin another process, on a machine without faults."""
        self.life += 1
        self._inbox.clear()
        self._set_state(is_dark=False, is_stopped=False)

    def _set_state(self, *, is_dark: bool, is_stopped: bool) -> None:
        self.is_dark, self.is_stopped = is_dark, is_stopped
        self._set_direct()

    def _set_direct(self) -> None:
        self._is_direct = not self.is_stopped and not self.is_dark and not self._inbox.service

    def _may_serve(self) -> bool:
        return self.machine is not None and not self.is_stopped

    def _write(
        self, write: Callable[[SimulatedDisk[KeptState]], str | None], written: Callable[[str | None], None]
    ) -> None:
        """Write to the disk. Writes take time and are performed one after another. Then the process gets the failure,
        or None."""
        seconds = self.disk.write_seconds if self.disk is not None else 0.0
        delay = seconds * (0.5 + self._store_draw())
        self._stored_at = max(self._stored_at, self._engine.now + delay)
        self._engine.at(self._stored_at, self._finish_write, (write, written, self.life))

    def _finish_write(
        self, writing: tuple[Callable[[SimulatedDisk[KeptState]], str | None], Callable[[str | None], None], int]
    ) -> None:
        write, written, life = writing
        if self.machine is not None and life == self.life and self.disk is not None:
            self._arrive(written, write(self.disk))

    # What arrives

    def handle_datagram(self, packet: tuple[Any, Address, int]) -> None:
        """Receive a datagram: (message or bytes, source, cause)."""
        if self.machine is None:
            return
        if self._is_direct:
            self._receive(*packet)
        elif not self.is_dark and not self._inbox.put(self._receive, *packet, is_datagram=True):
            is_small = self._inbox.datagrams_max < BUFFER_DATAGRAMS
            self._network.overflow(self, packet[1], packet[2], is_small=is_small)

    def handle_trust(self, life: int, action: Callable[..., None], *arguments: Any) -> None:
        """Take a step of an exchange about trust, in the process with this life."""
        if not self.is_dark:
            self._act(life, action, *arguments)

    def handle_call(self, exchange: CallInProgress) -> None:
        """Receive a call."""
        if self.is_dark:
            return
        if self.machine is None and self._engine.now < self.lingers_until:
            self._break(exchange)
        elif self.machine is None:
            self._network.refuse(exchange, self)
        else:
            self._arrive(self._receive_call, exchange)

    def _break(self, exchange: CallInProgress) -> None:
        """Break the connection of a call, as the kernel of a process that has died does."""
        self._network.reply(exchange, self, CallFailed(Failure.UNREACHABLE, "connection reset"), exchange.cause)

    def handle_reply(self, exchange: CallInProgress, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        """Receive the result of a call of this host."""
        self._act(exchange.life, self._receive_reply, exchange, reply, peer, cause)

    def handle_watcher(self, line: WatchLine) -> None:
        """Note that another process watches this one from now on."""
        self._arrive(self._receive_watcher, line)

    def handle_watch(self, line: WatchLine, outcome: WatchOpened | CallFailed) -> None:
        """Note that a watch of this host was opened, or has ended."""
        self._act(line.life, self._receive_watch, line, outcome)

    def _act(self, life: int, action: Callable[..., None], *arguments: Any) -> None:
        """Let the process with this life do this now, or as soon as it is ready."""
        if self.machine is not None and life == self.life:
            self._arrive(action, *arguments)

    def _arrive(self, action: Callable[..., None], *arguments: Any) -> None:
        if self._is_direct:
            action(*arguments)
        else:
            self._inbox.put(action, *arguments)

    # What the process does with it

    def seal(self, effect: Send) -> bytes | None:
        """Seal a datagram of a secured mesh. Return None if that is not possible."""
        raise NotImplementedError

    def _receive(self, packet: Any, source: Address, cause: int) -> None:
        raise NotImplementedError

    def _receive_call(self, exchange: CallInProgress) -> None:
        raise NotImplementedError

    def _receive_reply(self, exchange: CallInProgress, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        raise NotImplementedError

    def _receive_watcher(self, line: WatchLine) -> None:
        raise NotImplementedError

    def _receive_watch(self, line: WatchLine, outcome: WatchOpened | CallFailed) -> None:
        raise NotImplementedError
