"""Connections whose other side is not known yet: how many there may be, and which one makes room."""

from __future__ import annotations

import trio
import trio.testing

from meshp2p.net.strangers import Strangers


class Waiting:
    """Blocks of hosts, by name, that wait until they are cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.strangers = Strangers()
        self.ended: list[str] = []
        self._nursery = nursery

    async def open(self, *names: str, seconds: float = 1000.0) -> None:
        """Open a block for each name, such as ``a1`` for the host ``a``; 4 may wait."""
        for name in names:
            self._nursery.start_soon(self._wait, name, seconds)
            await trio.testing.wait_all_tasks_blocked()

    async def _wait(self, name: str, seconds: float) -> None:
        with self.strangers.open(name[0], 4, seconds) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        self.ended.append(name)


async def test_one_more_ends_the_oldest_of_the_host_that_has_the_most() -> None:
    async with trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        await waiting.open("b1", "a1", "a2", "a3")
        assert waiting.ended == []
        await waiting.open("a4", "a5", "a6")
        assert waiting.ended == ["a1", "a2", "a3"]
        await waiting.open("c1", "c2")  # then b, c and a have one, two and one
        assert waiting.ended == ["a1", "a2", "a3", "a4", "a5"]
        nursery.cancel_scope.cancel()


async def test_of_hosts_that_have_the_same_number_the_oldest_ends() -> None:
    async with trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        await waiting.open("d1", "c1", "b1", "a1", "e1", "f1")
        assert waiting.ended == ["d1", "c1"]
        nursery.cancel_scope.cancel()


async def test_each_ends_in_its_time_and_leaves_its_place(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        waiting = Waiting(nursery)
        await waiting.open("a1", "a2", "a3", "a4", seconds=5.0)
        await trio.sleep(6)
        assert sorted(waiting.ended) == ["a1", "a2", "a3", "a4"]
        await waiting.open("a5", "a6", "a7", "a8")
        assert len(waiting.ended) == 4
        waiting.strangers.end_one()
        await trio.testing.wait_all_tasks_blocked()
        assert waiting.ended[4:] == ["a5"]
        nursery.cancel_scope.cancel()


def test_nobody_makes_room_where_nobody_waits() -> None:
    Strangers().end_one()
