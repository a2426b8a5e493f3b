"""Virtual TCP is a stream as trio defines it, and fails as the kernel's does."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.testing import VirtualMesh
from meshp2p.testing.streams import WINDOW_BYTES, VirtualListener, VirtualStream, connect


async def make_pair(mesh: VirtualMesh, port: int = 5000) -> tuple[VirtualStream, VirtualStream]:
    """A connection from host ``one`` to host ``other``."""
    mesh.add_hosts("one", "other")
    lan = mesh._lan
    one, other = lan.hosts["one"], lan.hosts["other"]
    listener = other.tcp[port] = VirtualListener(lan, other.process, Address(other.ip, port))
    client = await connect(lan, one.process, "other", port)
    server = await listener.accept()
    assert isinstance(server, VirtualStream)
    await listener.aclose()
    return client, server


async def read_for_ever(stream: VirtualStream) -> None:
    while True:
        assert await stream.receive_some(1)


async def test_it_is_a_half_closeable_stream(virtual_mesh: VirtualMesh) -> None:
    async def make() -> tuple[VirtualStream, VirtualStream]:
        return await make_pair(virtual_mesh)

    async def make_clogged() -> tuple[VirtualStream, VirtualStream]:
        client, server = await make_pair(virtual_mesh)
        for stream in (client, server):
            await stream.send_all(b"x" * WINDOW_BYTES)
        return client, server

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_bytes_take_their_time_and_keep_their_order(virtual_mesh: VirtualMesh) -> None:
    client, server = await make_pair(virtual_mesh)
    virtual_mesh.delay(0.1, jitter=0.5)
    began = virtual_mesh.now
    for number in range(20):
        await client.send_all(bytes([number]))
    received = b""
    while len(received) < 20:
        received += await server.receive_some()
    assert received == bytes(range(20))
    assert virtual_mesh.now - began > 0.1


async def test_what_is_sent_into_a_cut_arrives_after_it(virtual_mesh: VirtualMesh) -> None:
    client, server = await make_pair(virtual_mesh)
    virtual_mesh.cut("other", to="one")
    await client.send_all(b"patience")
    with trio.move_on_after(10):
        await server.receive_some()
        raise AssertionError("it arrived without acknowledgement")
    virtual_mesh.heal()
    assert await server.receive_some() == b"patience"


async def test_a_killed_process_resets_its_connections_where_the_network_lets_it(virtual_mesh: VirtualMesh) -> None:
    client, server = await make_pair(virtual_mesh)
    other, _ = await make_pair(virtual_mesh)
    await server.send_all(b"so much and no more")
    virtual_mesh.kill("other")
    with pytest.raises(trio.BrokenResourceError):
        await read_for_ever(client)
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")
    await client.aclose()
    await other.aclose()


async def test_a_reset_that_was_cut_off_is_heard_with_the_next_bytes(virtual_mesh: VirtualMesh) -> None:
    client, _ = await make_pair(virtual_mesh)
    with virtual_mesh.partition("one", "other"):
        virtual_mesh.kill("other")
        await virtual_mesh.sleep(1)
    with trio.move_on_after(60) as waiting:
        await client.receive_some()
    assert waiting.cancelled_caught, "nothing told it"
    await client.send_all(b"anybody there?")
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()


async def test_connecting_is_refused_at_once_where_nobody_listens_and_in_vain_where_nobody_is(
    virtual_mesh: VirtualMesh,
) -> None:
    virtual_mesh.add_hosts("one", "other")
    lan = virtual_mesh._lan
    process = lan.hosts["one"].process
    with pytest.raises(OSError, match="refused") as caught:
        await connect(lan, process, "other", 1)
    assert caught.value.errno == errno.ECONNREFUSED
    assert virtual_mesh.now < 0.1
    with pytest.raises(OSError, match="timed out") as caught:
        await connect(lan, process, "10.9.9.9", 1)
    assert caught.value.errno == errno.ETIMEDOUT
    assert virtual_mesh.now > 60


async def test_a_stopped_process_reads_nothing_whatever_its_deadline_and_then_what_came(
    virtual_mesh: VirtualMesh,
) -> None:
    client, server = await make_pair(virtual_mesh)
    virtual_mesh.pause("other", 10)
    await client.send_all(b"while you slept")
    with trio.move_on_after(1) as waiting:
        assert await server.receive_some() == b"while you slept"
    assert virtual_mesh.now > 10
    assert not waiting.cancelled_caught, "the bytes were there when it ran on, as on a real machine"


async def test_a_stopped_process_sends_nothing(virtual_mesh: VirtualMesh) -> None:
    client, server = await make_pair(virtual_mesh)
    virtual_mesh.pause("one", 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"late")
        assert await server.receive_some() == b"late"
    assert virtual_mesh.now > 10
