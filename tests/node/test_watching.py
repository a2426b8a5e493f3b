"""Watch connections between nodes, over real HTTP on loopback."""

from __future__ import annotations

from typing import Generic, TypeVar

import pytest
import trio

from meshp2p import NodeConfig, open_node
from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure, WatchOpened
from meshp2p.core.messages import Probe, SyncRequest
from meshp2p.core.record import tag_of
from meshp2p.http.watching import WATCHERS_MAX
from meshp2p.net.calls import CallClient
from meshp2p.net.peer_http import Connect
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

    def __init__(self, client: CallClient) -> None:
        self.opened = Heard[WatchOpened]()
        self.failed = Heard[CallFailed]()
        self._client = client

    async def watch(self, *addresses: Address) -> None:
        self.failed.add(await self._client.watch(addresses, PROBE, TIMEOUT, self.opened.add))


async def test_a_watch_stands_until_the_node_has_left() -> None:
    async with CallClient(Codec("default")) as client, trio.open_nursery() as nursery:
        watchers = Watchers(client)
        async with open_node(CONFIG) as node:
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
        CallClient(Codec("default")) as client,
        open_node(CONFIG) as node,
        trio.open_nursery() as nursery,
    ):
        watchers = Watchers(client)
        nursery.start_soon(watchers.watch, Address("127.0.0.1", 1), node.addresses[0])
        await watchers.opened.until()
        assert watchers.opened.all[0].address == node.addresses[0]
        await client.call(node.addresses, PROBE, TIMEOUT)
        assert watchers.failed.all == []
        nursery.cancel_scope.cancel()


async def test_watchers_do_not_fill_the_server_and_make_room_when_they_go() -> None:
    async with CallClient(Codec("default")) as client, open_node(CONFIG) as node:
        first, later = Watchers(client), Watchers(client)
        async with trio.open_nursery() as nursery:
            for _ in range(WATCHERS_MAX):
                nursery.start_soon(first.watch, *node.addresses)
            await first.opened.until(WATCHERS_MAX)
            await later.watch(*node.addresses)
            assert later.failed.all[0].failure is Failure.UNREACHABLE
            assert "503" in later.failed.all[0].reason
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_until_it_stands, later, node.addresses)
            await later.opened.until()
            nursery.cancel_scope.cancel()


async def test_a_machine_that_holds_most_watches_makes_room_for_that_of_another() -> None:
    def connect_from(host: str) -> Connect:
        async def connect(address: Address) -> trio.abc.Stream:
            return await trio.open_tcp_stream(address.host, address.port, local_address=host)

        return connect

    codec = Codec("default")
    async with (
        open_node(CONFIG) as node,
        CallClient(codec, connect=connect_from("127.0.0.2")) as stranger,
        CallClient(codec, connect=connect_from("127.0.0.3")) as peer,
        trio.open_nursery() as nursery,
    ):
        crowd, few = Watchers(stranger), Watchers(peer)
        for _ in range(WATCHERS_MAX):
            nursery.start_soon(crowd.watch, *node.addresses)
        await crowd.opened.until(WATCHERS_MAX)
        nursery.start_soon(few.watch, *node.addresses)
        await few.opened.until()
        await crowd.failed.until()
        assert (len(crowd.failed.all), few.failed.all) == (1, [])
        assert "it closed the connection" in crowd.failed.all[0].reason
        await crowd.watch(*node.addresses)
        assert "503" in crowd.failed.all[1].reason
        nursery.cancel_scope.cancel()


async def _watch_until_it_stands(watchers: Watchers, addresses: tuple[Address, ...]) -> None:
    """The server may not have seen yet that the others are gone."""
    while True:
        await watchers.watch(*addresses)


@pytest.mark.parametrize("mesh", ["default", "another"])
async def test_a_watch_begins_with_a_probe_of_the_same_mesh(mesh: str) -> None:
    opened = Heard[WatchOpened]()
    request = PROBE if mesh == "another" else SyncRequest(b"", None)
    async with CallClient(Codec(mesh)) as client, open_node(CONFIG) as node:
        failed = await client.watch(node.addresses, request, TIMEOUT, opened.add)  # type: ignore[arg-type]  # wrong
        assert failed.failure is Failure.UNREACHABLE
        assert "400" in failed.reason
    assert opened.all == []
