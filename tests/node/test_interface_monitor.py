"""A node follows its machine: what changes is told to the node and to its sources."""

from __future__ import annotations

import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Endpoints, Link
from meshp2p.discovery.source import Offer
from meshp2p.net.interfaces import Interface
from meshp2p.node.interface_monitor import LOOK_INTERVAL, monitor_interfaces
from meshp2p.node.platform import Surroundings, find_place

LO = Interface("lo", ("127.0.0.1", "::1"), (8, 128), 1)
ETH0 = Interface("eth0", ("192.0.2.7", "2001:db8::7"), (24, 64), 2)
DOCKER0 = Interface("docker0", ("172.17.0.1",), (16,), 3)
LOOPBACK = Link("lo", "127.0.0.1", 1, "127.255.255.255")


class Source:
    """One that notes what it is told."""

    name = "fake"

    def __init__(self) -> None:
        self.moves: list[Endpoints] = []
        self.refreshed = 0

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        raise NotImplementedError

    def move(self, place: Endpoints) -> None:
        self.moves.append(place)

    def refresh(self) -> None:
        self.refreshed += 1


class Machine:
    """A machine with these interfaces, whose wall clock may run ahead."""

    def __init__(self, *interfaces: Interface) -> None:
        self.interfaces: tuple[Interface, ...] | None = interfaces
        self.slept = 0.0
        self.source = Source()
        self.taken: list[Surroundings] = []

    async def look(self) -> Surroundings:
        await trio.lowlevel.checkpoint()
        if self.interfaces is None:
            raise OSError("the system does not say")
        return Surroundings(find_place("::", 7700, self.interfaces), frozenset(), "here")

    def wall_ms(self) -> int:
        return int((trio.current_time() + self.slept) * 1000)

    async def start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(
            monitor_interfaces, self.look, self.wall_ms, await self.look(), [self.source], self.taken.append, trio.sleep
        )


async def test_what_changes_is_told_once(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(LO)
    async with trio.open_nursery() as nursery:
        await machine.start(nursery)
        await trio.sleep(5 * LOOK_INTERVAL)
        assert machine.taken == []
        machine.interfaces = (LO, ETH0)
        await trio.sleep(5 * LOOK_INTERVAL)
        (around,) = machine.taken
        assert around.place.addresses == (Address("192.0.2.7", 7700), Address("2001:db8::7", 7700))
        assert machine.source.moves == [around.place]
        machine.interfaces = None
        await trio.sleep(5 * LOOK_INTERVAL)
        machine.interfaces = (LO,)
        await trio.sleep(5 * LOOK_INTERVAL)
        assert len(machine.taken) == len(machine.source.moves) == 2
        nursery.cancel_scope.cancel()
    assert machine.source.refreshed == 0


async def test_after_a_sleep_the_sources_look_again(autojump_clock: trio.testing.MockClock) -> None:
    machine = Machine(LO)
    async with trio.open_nursery() as nursery:
        await machine.start(nursery)
        await trio.sleep(5 * LOOK_INTERVAL)
        machine.slept = 3600.0
        await trio.sleep(5 * LOOK_INTERVAL)
        assert machine.source.refreshed == 1
        machine.slept = 0.0  # somebody set the clock back
        await trio.sleep(5 * LOOK_INTERVAL)
        assert machine.source.refreshed == 1
        nursery.cancel_scope.cancel()


def test_the_links_of_a_node_are_those_of_its_addresses_and_loopback() -> None:
    eth4 = Link("eth0", "192.0.2.7", 2, "192.0.2.255")
    eth6 = Link("eth0", "2001:db8::7", 2, None)
    machine = (LO, ETH0, DOCKER0)
    assert find_place("::", 7700, machine).links == (LOOPBACK, eth4, eth6)
    assert find_place("0.0.0.0", 7700, machine).links == (LOOPBACK, eth4)
    assert find_place("192.0.2.7", 7700, machine).links == (LOOPBACK, eth4)
    assert find_place("127.0.0.1", 7700, machine).links == (LOOPBACK,)
    assert find_place("::1", 7700, machine).links == (LOOPBACK,)
    assert find_place("::", 7700, ()).links == ()
