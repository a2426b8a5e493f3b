"""Attacks of strangers on the network on whole nodes of a secured mesh: with real sockets."""

from __future__ import annotations

import collections
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import trio

import meshp2p
from meshp2p import MeshNode
from meshp2p.core.address import Address
from meshp2p.core.calls import Done, Push
from meshp2p.core.datagrams import Datagram, Gossip, Ping, Unreached
from meshp2p.core.effects import Call
from meshp2p.core.record import Item, Record, Rumour, SignedRecord, State, tag_of
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.source import Offer, Sighting, Source
from meshp2p.errors import IdConflict, Refusal
from meshp2p.guard.node_guard import NodeGuard
from meshp2p.net import security
from meshp2p.net.peers import Peers
from meshp2p.net.sockets import DatagramSocket
from meshp2p.node.platform import SystemPlatform
from meshp2p.node.secured_meshes import announced_mesh
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import SealedHeader
from tests.node.test_secured import OPTIONS, seed
from tests.node.users import Users


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, Address]]:
    """All datagrams that nodes of this process send."""
    captured: list[tuple[bytes, Address]] = []
    send = DatagramSocket.send_nowait

    def send_and_capture(self: DatagramSocket, data: bytes, address: Address) -> None:
        captured.append((data, address))
        send(self, data, address)

    monkeypatch.setattr(DatagramSocket, "send_nowait", send_and_capture)
    return captured


def refused(node: MeshNode) -> dict[Refusal, int]:
    return dict(node._node._driver.stats.refused)


def replay(recording: list[tuple[bytes, Address]]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for data, address in recording:
            stranger.sendto(data, (address.host, address.port))


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not holds():  # noqa: ASYNC110  # what changes it runs in other threads
            await trio.sleep(0.01)


async def until_refused(node: MeshNode, count: int) -> None:
    """Wait until the node has refused so many datagrams, and has probed somebody since."""
    counters = node._node._driver.machine.counters
    await until(lambda: sum(refused(node).values()) >= count)
    probes = counters.probes
    await until(lambda: counters.probes >= probes + 2)


@contextlib.asynccontextmanager
async def two_nodes(users: Users, **options: Any) -> AsyncIterator[tuple[MeshNode, MeshNode]]:
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="first-agent", **OPTIONS, **options) as one:
        users.act("bert")
        async with meshp2p.open_node(id="second-agent", join=seed(one), **OPTIONS, **options) as two:
            for node in (one, two):
                await node.wait_for_members(2, timeout=60)
            yield one, two


@contextlib.asynccontextmanager
async def two_of_one_user() -> AsyncIterator[tuple[MeshNode, MeshNode]]:
    options = {**OPTIONS, "in_loop": True}
    async with (
        meshp2p.open_node(id="one", **options) as one,
        meshp2p.open_node(id="two", join=seed(one), **options) as two,
    ):
        for node in (one, two):
            await node.wait_for_members(2, timeout=60)
        yield one, two


async def test_what_strangers_forge_changes_nothing_and_is_counted(users: Users) -> None:
    async with two_nodes(users) as nodes:
        leader = (await nodes[0].wait_for_leader(timeout=60)).id
        codec = Codec(announced_mesh(nodes[0].config))
        dice = random.Random(1)
        for target in nodes:
            victim = next(node for node in nodes if node is not target)
            own = victim._node._driver.machine.own
            elsewhere = Address("127.0.0.1", 9)
            items: tuple[Item, ...] = (
                *(Rumour(own.id, own.incarnation + 1, state, by) for state in list(State)[1:] for by in ("", own.id)),
                Record("!!", 1, State.ALIVE, "!!", 1, (elsewhere,), "", 1, (), (), 0, epoch=1 << 40, epoch_since=1),
                Record(own.id, own.incarnation + 9, State.ALIVE, own.id, 1, (elsewhere,), "", 1, (), (), 0),
                Rumour(target.id, (1 << 62) - 1, State.DEAD, own.id),
            )
            forged = [Datagram(Gossip(tag_of(own.id)), (item,)) for item in items]
            forged.append(Datagram(Ping(1, tag_of(own.id), tag_of(target.id), 0)))
            forged.append(Datagram(Unreached(tag_of(own.id), tag_of(target.id), 0)))
            packets = [codec.encode(one) for one in forged]
            header = SealedHeader(tag_of(own.id), 0, 0, 1 << 20).encode(codec.tag)
            packets += [header + dice.randbytes(dice.randrange(16, 200)) for _ in range(20)]
            cut_short = [header[: dice.randrange(len(header))] for _ in range(5)]
            packets += cut_short
            before = collections.Counter(refused(target))
            replay([(packet, target.addresses[0]) for packet in packets])
            await until_refused(target, before.total() + len(packets))
            reasons = collections.Counter(refused(target)) - before
            assert reasons[Refusal.NOT_SEALED] == len(forged)
            # so is a cut header that still names a pair of keys in use
            assert 20 <= reasons[Refusal.NOT_OPENED] <= 20 + len(cut_short)
        for node in nodes:
            assert {one.id for one in node.members()} == {"first-agent", "second-agent"}
            assert (await node.wait_for_leader(timeout=60)).id == leader
            assert all(member.state is State.ALIVE for member in node.members())


async def test_a_recorded_segment_can_be_neither_read_nor_replayed(
    users: Users, segment: list[tuple[bytes, Address]]
) -> None:
    async with two_nodes(users, capabilities=["summarize"], hostname="secret-host") as (one, two):
        await until(lambda: len(segment) >= 20)
        recording = [entry for entry in segment if entry[1] in (one.addresses[0], two.addresses[0])]
        counts = [collections.Counter(refused(node)) for node in (one, two)]
        for _ in range(2):  # the first time brings what came before its receiver knew the sender
            replay(recording)
        for node, count in zip((one, two), counts, strict=True):
            mine = [data for data, address in recording if address == node.addresses[0]]
            await until_refused(node, count.total() + len(mine))
            assert set(collections.Counter(refused(node)) - count) <= {Refusal.REPLAYED, Refusal.UNKNOWN}
            assert len(node.members()) == 2
    captured = b"".join(data for data, _ in segment)
    for secret in (b"first-agent", b"second-agent", b"summarize", b"secret-host", b"127.0.0.1"):
        assert secret not in captured


@pytest.mark.parametrize("restarted", ["the sender", "the receiver", "both"])
async def test_a_recording_of_an_earlier_process_changes_nothing(
    users: Users, segment: list[tuple[bytes, Address]], restarted: str
) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    ports: dict[str, int] = {}

    async def start(name: str, node_id: str, *join: str) -> MeshNode:
        users.act(name)
        node = meshp2p.open_node(id=node_id, join=join, **{**OPTIONS, "port": ports.get(name, 0)})
        await node.start()
        ports[name] = node.addresses[0].port
        return node

    one = await start("anna", "one")
    two = await start("bert", "two", *seed(one))
    try:
        for each in (one, two):
            await each.wait_for_members(2, timeout=60)
        await until(lambda: sum(address == one.addresses[0] for _, address in segment) >= 5)
        place = one.addresses[0]
        if restarted != "the receiver":
            await two.close()  # its farewell is in the recording
        recording = [entry for entry in segment if entry[1] == place]
        if restarted != "the sender":
            await one.close()
            one = await start("anna", "one", f"127.0.0.1:{ports['bert']}")
        if restarted != "the receiver":
            two = await start("bert", "two", *seed(one))
        for each in (one, two):
            await each.wait_for_members(2, timeout=60)
        before = sum(refused(one).values())
        replay(recording)
        await until_refused(one, before + len(recording))
        assert {member.id for member in one.members()} == {"one", "two"}
        assert all(member.state is State.ALIVE for member in one.members())
    finally:
        await one.close()
        await two.close()


async def test_discovery_shows_no_ids_and_finds_nodes_all_the_same(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[tuple[str, Endpoints]] = []

    class Air(Source):
        name = "mdns"

        async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            for pseudonym, place in announced:
                offer(Sighting("mdns", place.addresses, pseudonym))
            offer(Sighting("mdns", (Address("127.0.0.1", 9),), "no pseudonym"))
            await trio.sleep_forever()

        def move(self, place: Endpoints) -> None: ...
        def refresh(self) -> None: ...

    def sources(_: object, config: object, name: str, place: Endpoints, *__: object) -> list[Source]:
        announced.append((name, place))
        return [Air()]

    monkeypatch.setattr(SystemPlatform, "sources", sources)
    users.found("anna")
    async with (
        meshp2p.open_node(id="first-agent", **OPTIONS) as one,
        meshp2p.open_node(id="second-agent", **OPTIONS) as two,
    ):
        for node in (one, two):
            await node.wait_for_members(2, timeout=60)
    assert [name for name, _ in announced] == [f"{tag_of(node_id):016x}" for node_id in ("first-agent", "second-agent")]


async def test_connections_carry_nothing_that_can_be_read(users: Users) -> None:
    captured = bytearray()

    async def pump(source: trio.SocketStream, target: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                captured.extend(data)
                await target.send_all(data)
        await trio.aclose_forcefully(target)

    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with (
        meshp2p.open_node(id="first-agent", **OPTIONS) as one,
        trio.open_nursery() as nursery,
    ):

        @one.handler("Query")
        async def answer(message: meshp2p.ReceivedMessage) -> object:
            return message.payload

        async def tap(stream: trio.SocketStream) -> None:
            onward = await trio.open_tcp_stream("127.0.0.1", one.addresses[0].port)
            async with trio.open_nursery() as both:
                both.start_soon(pump, stream, onward)
                both.start_soon(pump, onward, stream)

        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, tap, [listener])
        port = listener.socket.getsockname()[1]
        users.act("bert")
        async with meshp2p.open_node(id="second-agent", join=[f"127.0.0.1:{port}"], **OPTIONS) as two:
            await two.wait_for_members(2, timeout=60)
            await one.wait_for_members(2, timeout=60)
            assert await two.query("first-agent", "a-payload", timeout=60) == "a-payload"
        nursery.cancel_scope.cancel()
    assert len(captured) > 1000
    for secret in (b"first-agent", b"second-agent", b"a-payload"):
        assert secret not in captured


async def test_what_a_member_forges_about_the_node_of_another_changes_nothing(users: Users) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "mallory")
    users.invite(anna, "victim")
    users.act("anna")
    options = {**OPTIONS, "in_loop": True}
    async with meshp2p.open_node(id="one", **options) as one:
        users.act("victim")
        async with meshp2p.open_node(id="victim", join=seed(one), **options) as victim:
            users.act("mallory")
            async with meshp2p.open_node(id="mallory", join=seed(one), **options) as mallory:
                for node in (one, victim, mallory):
                    await node.wait_for_members(3, timeout=60)
                leader = (await one.wait_for_leader(timeout=60)).id
                driver, target = mallory._node._driver, one._node._driver.machine
                own, signer = target.claim_of("victim"), driver.machine._state.signer
                assert isinstance(own, SignedRecord)
                assert signer is not None
                stolen = {"incarnation": own.incarnation + 5, "addresses": mallory.addresses}
                forged: list[Item] = [
                    signer.sign_rumour(Rumour("victim", own.incarnation, State.LEFT, author))
                    for author in ("mallory", "victim", "one")
                ]
                forged += [
                    signer.sign_rumour(Rumour("victim", own.incarnation, State.DEAD, "one")),
                    signer.sign_record(msgspec.structs.replace(own, **stolen)),
                    signer.sign_record(msgspec.structs.replace(own, epoch=1 << 60, epoch_since=1, **stolen)),
                    msgspec.structs.replace(own, **stolen),
                ]
                refused_before = refused(one).get(Refusal.UNTRUSTED, 0)
                for item in forged:
                    push = Call(0, one.addresses, Push(0, (item,)), 30.0, "one", target.own.boot)
                    assert isinstance(await driver._caller.call(push), Done)
                known = target.claim_of("victim")
                assert isinstance(known, SignedRecord)
                assert (known.addresses, known.state, known.proof.owner) == (
                    own.addresses,
                    State.ALIVE,
                    own.proof.owner,
                )
                assert known.incarnation < own.incarnation + 5
                assert (await one.wait_for_leader(timeout=60)).id == leader
                assert len(one.members()) == 3
                assert refused(one).get(Refusal.UNTRUSTED, 0) >= refused_before + 4


async def test_an_agent_of_another_machine_cannot_take_an_id_that_is_in_use(users: Users) -> None:
    async with two_nodes(users) as (one, two):
        users.act("anna")
        with pytest.raises(IdConflict, match="belongs to an agent of another machine"):
            async with meshp2p.open_node(id="second-agent", join=seed(one), **OPTIONS) as thief:
                await thief.wait_for_members(3, timeout=60)
        for node in (one, two):
            assert {member.id for member in node.members()} == {"first-agent", "second-agent"}
        assert await two.wait_for_members(2, timeout=60)


async def test_a_node_without_room_for_pairs_of_keys_renews_its_own(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "CROWDED_SECONDS", 0.05)
    users.found("anna")
    async with two_of_one_user() as (one, two):
        driver = one._node._driver
        guard = driver._guard
        assert isinstance(guard, NodeGuard)
        guard._datagrams.is_crowded = True
        await until(lambda: not guard.is_crowded)
        assert guard._datagrams._keys.number == 1
        assert not guard._datagrams._keys.has(0)
        opened = driver.stats.datagrams_received - sum(driver.stats.refused.values())
        await until(lambda: driver.stats.datagrams_received - sum(driver.stats.refused.values()) > opened + 5)
        assert all(member.state is State.ALIVE for node in (one, two) for member in node.members())


async def test_a_second_process_that_loses_the_id_does_not_shut_out_the_first(users: Users) -> None:
    """Its certificate is the newer one, so the nodes that it had connected to took the first for an old process."""
    async with two_nodes(users, in_loop=True) as (one, two):
        users.act("anna")
        with pytest.raises(IdConflict, match="belongs to another live node"):
            async with meshp2p.open_node(id="first-agent", join=seed(two), **OPTIONS):
                await trio.sleep_forever()
        for node in (one, two):
            peers = node._node._driver._caller
            assert isinstance(peers, Peers)
            former = peers.connections
            for connection in former:
                connection.close("a cable was pulled")
            await until(lambda former=former, peers=peers: not set(former) & set(peers.connections))  # type: ignore[misc]

        @two.handler("Query")
        async def answer(message: meshp2p.ReceivedMessage) -> object:
            return message.payload

        assert await one.query("second-agent", "hello", timeout=60) == "hello"


async def test_nodes_that_slept_through_two_renewals_find_back_to_each_other(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_cut = False
    send = DatagramSocket.send_nowait

    def send_unless_cut(self: DatagramSocket, data: bytes, address: Address) -> None:
        if not is_cut:
            send(self, data, address)

    monkeypatch.setattr(DatagramSocket, "send_nowait", send_unless_cut)
    users.found("anna")
    async with two_of_one_user() as (one, two):
        drivers = [node._node._driver for node in (one, two)]
        is_cut = True
        for driver in drivers:
            for _ in range(2):
                driver.renew_keys()
            assert driver._guard is not None
            driver._guard.retire_keys()
        is_cut = False
        await until(lambda: all(refused(node).get(Refusal.NOT_OPENED) for node in (one, two)))
        opened = [driver.stats.datagrams_received - sum(driver.stats.refused.values()) for driver in drivers]
        await until(
            lambda: all(
                driver.stats.datagrams_received - sum(driver.stats.refused.values()) > before + 5
                for driver, before in zip(drivers, opened, strict=True)
            )
        )
        for node in (one, two):
            assert all(member.state is State.ALIVE for member in node.members())
