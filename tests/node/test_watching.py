"""Watches of a real node, over loopback."""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

from meshp2p import NodeConfig, open_node
from meshp2p.core.address import Address
from meshp2p.core.calls import Pong, Probe
from meshp2p.core.effects import Call, CallFailed, Failure, Watch, WatchOpened
from meshp2p.core.record import tag_of
from meshp2p.net.peers import Peers, open_stranger
from meshp2p.wire.codec import Codec

TIMEOUT = 5.0
PROBE = Probe(tag_of("a"))
CONFIG = NodeConfig(id="a", mdns=False, port=0)

_T = TypeVar("_T")


class Heard(Generic[_T]):
    """What was told, in its order."""

    def __init__(self) -> None:
        self.all: list[_T] = []
        self._news = trio.Event()

    def add(self, thing: _T) -> None:
        self.all.append(thing)
        self._news.set()
        self._news = trio.Event()

    async def until(self, count: int = 1) -> None:
        with trio.fail_after(20):
            while len(self.all) < count:
                await self._news.wait()


class Watchers:
    """Watches of one client, and what became of them."""

    def __init__(self, peers: Peers) -> None:
        self.opened = Heard[WatchOpened]()
        self.failed = Heard[CallFailed]()
        self._peers = peers

    async def watch(self, *addresses: Address) -> None:
        self.failed.add(await self._peers.watch(Watch(1, addresses, PROBE, TIMEOUT), self.opened.add))


async def test_a_watch_stands_until_the_node_has_left() -> None:
    async with open_stranger(Codec("default")) as peers, trio.open_nursery() as nursery:
        watchers = Watchers(peers)
        async with open_node(CONFIG, in_loop=True) as node:
            address = node.addresses[0]
            nursery.start_soon(watchers.watch, address)
            await watchers.opened.until()
            assert (watchers.opened.all[0].address, watchers.opened.all[0].pong.id) == (address, "a")
            assert watchers.failed.all == []
        await watchers.failed.until()
        assert watchers.failed.all[0].failure is Failure.UNREACHABLE
        await watchers.watch(address)
        assert watchers.failed.all[1].failure is Failure.REFUSED
        assert len(watchers.opened.all) == 1


async def test_of_several_addresses_the_one_that_answers_is_kept_and_a_closed_port_is_no_break() -> None:
    async with (
        open_stranger(Codec("default")) as peers,
        open_node(CONFIG, in_loop=True) as node,
        trio.open_nursery() as nursery,
    ):
        watchers = Watchers(peers)
        nursery.start_soon(watchers.watch, Address("127.0.0.1", 1), node.addresses[0])
        await watchers.opened.until()
        assert watchers.opened.all[0].address == node.addresses[0]
        assert isinstance(await peers.call(Call(1, node.addresses, PROBE, TIMEOUT)), Pong)
        assert watchers.failed.all == []
        nursery.cancel_scope.cancel()


async def test_a_node_of_another_mesh_is_not_watched() -> None:
    async with open_stranger(Codec("another")) as peers, open_node(CONFIG, in_loop=True) as node:
        watchers = Watchers(peers)
        await watchers.watch(*node.addresses)
        assert watchers.failed.all[0].failure is Failure.UNREACHABLE
        assert "mesh tag" in watchers.failed.all[0].reason
        assert watchers.opened.all == []
