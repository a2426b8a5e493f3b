"""A node to which strangers send what they like stays what it is, and counts it."""

from __future__ import annotations

import random
import socket

import httpx
import msgpack
import trio
from msgspec.structs import replace

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Datagram, Gossip, Ping
from meshp2p.core.record import Record, Rumour, State, tag_of
from meshp2p.core.validity import TIME_MAX
from meshp2p.errors import Refusal
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import frame_header, mesh_tag
from meshp2p.wire.peer_frames import CallKind, PeerHello, preamble
from meshp2p.wire.peer_protocol import PeerProtocol
from tests.http.meshes import open_mesh

HEADER = frame_header(mesh_tag("default"))
CODEC = Codec("default")
PREAMBLE = preamble(CODEC.tag)


def random_packet(dice: random.Random) -> bytes:
    """Noise, noise behind a right frame, values of a wrong shape, or a right packet with a byte changed."""
    match dice.randrange(4):
        case 0:
            return dice.randbytes(dice.randrange(0, 200))
        case 1:
            return HEADER + dice.randbytes(dice.randrange(0, 200))
        case 2:
            return HEADER + bytes(
                msgpack.packb([[dice.randrange(9) for _ in range(dice.randrange(7))] for _ in range(dice.randrange(4))])
            )
        case _:
            ghost = Record(f"ghost-{dice.randrange(9)}", 1, State.ALIVE, "nobody", 1, (), "h", 1, (), (), 1)
            packet = bytearray(CODEC.encode(Datagram(Ping(1, 2, 3, 4), (ghost, Rumour("x", 1, State.DEAD)))))
            packet[dice.randrange(len(packet))] ^= 1 << dice.randrange(8)
            return bytes(packet)


async def assert_healthy(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url + "/readyz")).status_code == 200
        answer = (await client.get(url + "/registry/agents")).json()
        assert {"node-a", "node-b"} <= {instance["instance_id"] for instance in answer["instances"]}


async def test_ten_thousand_random_datagrams_do_a_node_no_harm() -> None:
    dice = random.Random(7)
    async with open_mesh("node-a", "node-b") as (one, other):
        address = one.addresses[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire, trio.fail_after(60):
            stats = one._node._driver.stats
            for sent in range(100):
                for _ in range(100):
                    wire.sendto(random_packet(dice), (address.host, address.port))
                wanted = (sent + 1) * 100
                await one._node._driver.wait_until(lambda wanted=wanted: stats.datagrams_received >= wanted)  # type: ignore[misc]
        assert sum(stats.refused.values()) > 7000
        assert len(stats.refused) >= 4
        await assert_healthy(one.url)
        await assert_healthy(other.url)


async def test_random_bytes_over_tcp_do_a_node_no_harm() -> None:
    dice = random.Random(8)
    async with open_mesh("node-a", "node-b") as (one, other):
        address = one.addresses[0]
        for _ in range(200):
            async with await trio.open_tcp_stream(address.host, address.port) as stream:
                head = dice.choice([b"", b"POST /messages/send/a HTTP/1.1\r\n", b"GET ", b"\x16\x03\x01", PREAMBLE])
                await stream.send_all(head + dice.randbytes(dice.randrange(1, 300)))
        await assert_healthy(one.url)
        await assert_healthy(other.url)


async def test_random_calls_are_refused_and_counted() -> None:
    dice = random.Random(9)
    async with open_mesh("node-a", "node-b") as (one, _):
        address = one.addresses[0]
        async with await trio.open_tcp_stream(address.host, address.port) as stream:
            protocol = PeerProtocol(CODEC.tag, PeerHello("", 0), is_dialler=True)
            for _ in range(500):
                protocol.open_call(CallKind.MESSAGE, random_packet(dice))
            while data := protocol.data_to_send():
                await stream.send_all(data)
            while protocol.calls:
                protocol.receive_data(await stream.receive_some())
        assert sum(one._node._driver.stats.refused.values()) > 400
        await assert_healthy(one.url)


async def test_a_stranger_that_says_we_are_dead_is_refuted() -> None:
    async with open_mesh("node-a", "node-b") as (one, other):
        before = other.member("node-a")
        assert before is not None
        rumour = Rumour("node-a", before.incarnation + 5, State.DEAD, "stranger")
        packet = CODEC.encode(Datagram(Gossip(tag_of("stranger")), (rumour,)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire, trio.fail_after(30):
            for node in (one, other):
                wire.sendto(packet, (node.addresses[0].host, node.addresses[0].port))
            await other._node._driver.wait_until(lambda: _incarnation(other.member("node-a")) > rumour.incarnation)
        await assert_healthy(one.url)


def _incarnation(member: object) -> int:
    return getattr(member, "incarnation", 0)


async def test_what_strangers_make_up_is_bounded_and_can_be_shown() -> None:
    """Any record that a node takes in is one that its HTTP endpoints can answer with."""
    ghosts = [
        Record(
            f"ghost\x00\n{n}", n, State.ALIVE, f"ghost\x00\n{n}", n, (Address("127.0.0.1", 9),), "\u202e", 0, (), (), n
        )
        for n in range(20)
    ]
    odd = Record("odd", 1, State.ALIVE, "nobody", 1, (), "", 0, ("",), ("",), TIME_MAX, metrics='{"a":1e308}')
    async with open_mesh("node-a", "node-b") as (one, other), httpx.AsyncClient(trust_env=False) as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire, trio.fail_after(30):
            for ghost in (*ghosts, odd):
                packet = CODEC.encode(Datagram(Gossip(tag_of("stranger")), (ghost,)))
                wire.sendto(packet, (one.addresses[0].host, one.addresses[0].port))
            await one._node._driver.wait_until(lambda: one.member("odd") is not None)
            late = replace(odd, id="late", created_at=TIME_MAX + 1)
            ages = (tag_of("odd"), (1 << 64) - 1, tag_of("node-b"), 1 << 63)
            for datagram in (Datagram(Gossip(1), (late,)), Datagram(Gossip(1), (), ages)):
                wire.sendto(CODEC.encode(datagram), (one.addresses[0].host, one.addresses[0].port))
            stats = one._node._driver.stats
            await one._node._driver.wait_until(lambda: Refusal.BAD_VALUE in stats.refused)
        for path in ("/registry/agents", "/registry/agents/odd", "/registry/agents/ghost%00%0A1", "/registry/leader"):
            response = await client.get(one.url + path)
            assert response.status_code == 200, (path, response.text)
        await assert_healthy(other.url)
