"""Real multicast on one machine, through ``lo`` alone: nodes of one machine meet though it has no network."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from meshp2p.core.address import Address
from meshp2p.discovery.advertisement import Advertisement
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.mdns import MdnsSource, browse_once, multicast_interfaces
from meshp2p.discovery.responder import SERVICE_TYPE
from meshp2p.discovery.source import Sighting
from tests.hosts.programs import open_program, peer_command

LOOPBACK = ("127.0.0.1",)
A, PTR, TXT, SRV = 1, 12, 16, 33


@pytest.fixture
def mesh() -> str:
    """A name that no other test uses, nor another run of this one on the same machine at the same time."""
    return f"test-{secrets.token_hex(8)}"


class Node:
    """A source and what it offered."""

    def __init__(self, instance_id: str, mesh: str, port: int, address: str = "127.0.0.1") -> None:
        self.source = MdnsSource(instance_id, mesh, port, [address], multicast_interfaces([address]))
        self._send, self._receive = trio.open_memory_channel[Sighting](1000)
        self.ids: list[str | None] = []

    async def start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self.source.run, self._send.send_nowait)

    async def wait_for(self, instance_id: str) -> tuple[Address, ...]:
        """Return the addresses at which this id was next seen."""
        async for sighting in self._receive:
            self.ids.append(sighting.instance_id)
            if sighting.instance_id == instance_id:
                return sighting.addresses
        raise AssertionError


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[trio.Nursery]:
    """Nodes that run for as long as the block does, and half a minute at the most."""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for node in nodes:
                await node.start(nursery)
            yield nursery
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_nodes_see_each_other(mesh: str, host: str) -> None:
    one, other = Node("one", mesh, 7701), Node("other", mesh, 7702, host)
    async with running(one, other):
        assert await one.wait_for("other") == (Address(host, 7702),)
        assert await other.wait_for("one") == (Address("127.0.0.1", 7701),)


async def test_a_node_sees_neither_itself_nor_another_mesh_but_another_node_with_its_id(mesh: str) -> None:
    me, stranger, twin = Node("me", mesh, 7701), Node("stranger", mesh + "-2", 7702), Node("me", mesh, 7703)
    async with running(me, stranger, twin):
        assert await me.wait_for("me") == (Address("127.0.0.1", 7703),)
        assert await twin.wait_for("me") == (Address("127.0.0.1", 7701),)
    assert "stranger" not in me.ids


async def test_a_refresh_offers_again_whoever_is_there(mesh: str) -> None:
    one, other = Node("one", mesh, 7701), Node("other", mesh, 7702)
    async with running(one, other):
        await one.wait_for("other")
        one.source.refresh()
        assert await one.wait_for("other") == (Address("127.0.0.1", 7702),)


async def test_a_node_that_moved_is_offered_at_its_new_place(mesh: str) -> None:
    one, other = Node("one", mesh, 7701), Node("other", mesh, 7702)
    async with running(one, other):
        await one.wait_for("other")
        other.source.move(Endpoints((Address("127.0.0.2", 7702),), ()))
        while await one.wait_for("other") != (Address("127.0.0.2", 7702),):
            pass


async def test_a_process_that_crashed_and_came_back_at_the_same_place_is_seen_again(mesh: str) -> None:
    node = Node("one", mesh, 7701)
    async with running(node):
        async with open_program(*peer_command("peer", mesh, 7702, "127.0.0.1")) as peer:
            assert await node.wait_for("peer") == (Address("127.0.0.1", 7702),)
            assert await peer.wait_for_sighting("one") == ["127.0.0.1:7701"]
            peer.kill()
        node.ids.clear()
        async with open_program(*peer_command("peer", mesh, 7702, "127.0.0.1")) as peer:
            assert await node.wait_for("peer") == (Address("127.0.0.1", 7702),)
            assert await peer.wait_for_sighting("one") == ["127.0.0.1:7701"]


async def test_a_look_around_finds_a_mesh_and_whatever_else_is_there(mesh: str) -> None:
    node = Node("one", mesh, 7701)
    expected = Advertisement(mesh, "one", 1, (Address("127.0.0.1", 7701),))
    async with running(node):
        assert await browse_once(mesh, 20, LOOPBACK, enough=1) == [expected]
        while expected not in await browse_once(None, 2, LOOPBACK):
            pass


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def encode_response(*records: tuple[str, int, bytes]) -> bytes:
    """An mDNS response with these records: name, type, data."""
    answers = (
        encode_name(name) + struct.pack("!HHIH", kind, 1, 4500, len(data)) + data for name, kind, data in records
    )
    return struct.pack("!6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(answers)


def encode_service(label: str, port: int, text: bytes) -> bytes:
    """All records of a service at 127.0.0.1 in one response."""
    name, server = f"{label}.{SERVICE_TYPE}", f"{label}.local."
    return encode_response(
        (SERVICE_TYPE, PTR, encode_name(name)),
        (name, SRV, struct.pack("!3H", 0, 0, port) + encode_name(server)),
        (name, TXT, text),
        (server, A, bytes([127, 0, 0, 1])),
    )


def hostile_packets(mesh: str) -> list[bytes]:
    """What no good responder sends; each looks at first as if it were about us."""
    aliases = ("evil.", "a.b.example.", SERVICE_TYPE, f"no-records.{SERVICE_TYPE}", f"{'x' * 63}.{SERVICE_TYPE}")
    texts = (b"", b"\x03id=\x02v=", b"\x0aid=\xff\xfe\xfd\xfc\xfb\xfa\xf9", b"\xff\xff", b"\0" * 500)
    good_text = b"\x07id=liar\x03v=1" + bytes([5 + len(mesh)]) + b"mesh=" + mesh.encode()
    return [
        *(encode_response((SERVICE_TYPE, PTR, encode_name(alias))) for alias in aliases),
        *(encode_service(f"bad-text-{index}", 7703, text) for index, text in enumerate(texts)),
        encode_service("bad-port", 0, good_text),
        b"",
        b"\0" * 12,
        b"\xff" * 1400,
        struct.pack("!6H", 0, 0x8400, 0, 0xFFFF, 0, 0) + b"\xc0\x0c" * 100,
    ]


async def test_hostile_records_are_ignored_and_do_not_hide_a_node(mesh: str) -> None:
    node, other = Node("one", mesh, 7701), Node("other", mesh, 7702)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        async with running(node) as nursery:
            for packet in hostile_packets(mesh):
                wire.sendto(packet, ("224.0.0.251", 5353))
            await other.start(nursery)
            await node.wait_for("other")
    assert node.ids == ["other"]
