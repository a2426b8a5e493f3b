"""Connections from node to node: which are kept between calls, and which of several watches is."""

from __future__ import annotations

import h11
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure, WatchOpened
from meshp2p.core.messages import Pong, Probe
from meshp2p.net.calls import CallClient
from meshp2p.net.peer_http import IDLE_MAX, PeerConnections
from meshp2p.wire.codec import Codec

CODEC = Codec("default")
PEERS = [Address(f"10.0.0.{number}", 7700) for number in range(1, IDLE_MAX + 4)]


class _Peers:
    """Answers each request with 200, those for ``/slow`` when it is told to."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.may_answer = trio.Event()
        self.opened = 0

    async def connect(self, _address: Address) -> trio.abc.Stream:
        self.opened += 1
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        http, is_slow = h11.Connection(h11.SERVER), False
        while (event := http.next_event()) is not h11.PAUSED and not isinstance(event, h11.ConnectionClosed):
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some()))
            elif isinstance(event, h11.Request):
                is_slow = event.target == b"/slow"
            elif isinstance(event, h11.EndOfMessage):
                if is_slow:
                    await self.may_answer.wait()
                head = http.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                await stream.send_all((head or b"") + (http.send(h11.EndOfMessage()) or b""))
                http.start_next_cycle()


async def test_a_kept_connection_that_is_in_use_does_not_disturb_the_keeping_of_many_others() -> None:
    async with trio.open_nursery() as nursery:
        peers = _Peers(nursery)
        connections = PeerConnections(peers.connect)
        first, *others = PEERS
        await connections.post(first, "/", b"", 100)
        nursery.start_soon(connections.post, first, "/slow", b"", 100)
        await wait_all_tasks_blocked()
        for peer in others:
            assert await connections.post(peer, "/", b"", 100) == (200, b"")
        peers.may_answer.set()
        await wait_all_tasks_blocked()
        assert peers.opened == len(PEERS)
        for peer in (first, others[-1]):  # the latest are kept
            await connections.post(peer, "/", b"", 100)
        assert peers.opened == len(PEERS)
        nursery.cancel_scope.cancel()


async def test_of_two_addresses_that_answer_a_watch_at_once_one_is_kept() -> None:
    streams: dict[Address, trio.testing.MemorySendStream] = {}

    async def connect(address: Address) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        streams[address] = theirs.send_stream
        return ours

    opened: list[WatchOpened] = []
    failed: list[CallFailed] = []
    pong = CODEC.encode(Pong("a", 1, 2))
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(pong), pong)

    async def watch() -> None:
        failed.append(await client.watch((PEERS[0], PEERS[1]), Probe(1), 5.0, opened.append))

    async with CallClient(CODEC, connect=connect) as client, trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await wait_all_tasks_blocked()
        for stream in streams.values():
            nursery.start_soon(stream.send_all, answer)
        await wait_all_tasks_blocked()
        assert (len(opened), failed) == (1, [])
        for stream in streams.values():
            await stream.aclose()
        await wait_all_tasks_blocked()
    assert [one.failure for one in failed] == [Failure.UNREACHABLE]
