"""A mesh of real nodes through what can happen to it. What the docs promise, an agent's test may rely on."""

from __future__ import annotations

import pytest
import trio

import meshp2p
from meshp2p import MemberEvent
from meshp2p.testing import VirtualMesh


async def test_each_side_of_a_partition_has_a_leader_and_a_healed_mesh_has_one(virtual_mesh: VirtualMesh) -> None:
    a, b, c = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.partition(["a"], ["b", "c"])
    await virtual_mesh.sleep(30)
    assert a.leader is not None
    assert b.leader is not None
    assert a.leader.id == "a"
    assert b.leader.id == "b"
    assert [member.id for member in c.members()] == ["b", "c"]
    virtual_mesh.heal()
    await virtual_mesh.wait_until_whole()
    assert b.leader.id == "a"


async def test_a_fault_ends_with_its_block(virtual_mesh: VirtualMesh) -> None:
    a, _ = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    with virtual_mesh.partition("a"):
        await virtual_mesh.wait_until(lambda: len(a.members()) == 1)
    await virtual_mesh.wait_until_whole(timeout=10)


async def test_when_the_leader_is_killed_the_next_leads_and_its_events_end(virtual_mesh: VirtualMesh) -> None:
    a, b, c = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    events = a.events()
    virtual_mesh.kill("a")
    assert list(virtual_mesh.nodes) == ["b", "c"]
    await virtual_mesh.wait_until_whole()
    assert b.leader is not None
    assert c.leader is not None
    assert b.leader.id == c.leader.id == "b"
    assert [type(event).__name__ async for event in events][:3] == ["MemberJoined"] * 3


async def test_a_kill_ends_a_node_that_was_opened_without_a_block(virtual_mesh: VirtualMesh) -> None:
    virtual_mesh.add_hosts("a")
    with virtual_mesh.host("a"):
        node = await meshp2p.open_node(id="a").start()
    with trio.fail_after(5):
        virtual_mesh.kill("a")
        with pytest.raises(meshp2p.NodeClosed):
            await node.wait_for_members(2)
        await node.close()


async def test_a_kill_ends_a_start_that_is_under_way(virtual_mesh: VirtualMesh) -> None:
    errors: list[meshp2p.NodeClosed] = []

    async def start() -> None:
        with pytest.raises(meshp2p.NodeClosed, match="killed") as raised:
            await meshp2p.open_node(id="a").start()
        errors.append(raised.value)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            with virtual_mesh.host("a"):
                nursery.start_soon(start)
            await trio.sleep(0.2)
            virtual_mesh.kill("a")
    assert len(errors) == 1


async def test_a_killed_node_is_known_to_all_at_once_and_the_next_leads(virtual_mesh: VirtualMesh) -> None:
    nodes = await virtual_mesh.start("a", "b", "c", "d", "e")
    await virtual_mesh.wait_until_whole()
    await trio.sleep(2.0)  # until each has its watches
    virtual_mesh.kill("a")
    await trio.sleep(0.1)
    assert all(node.member("a") is None for node in nodes[1:])
    assert {node.leader.id for node in nodes[1:] if node.leader is not None} == {"b"}


async def test_a_node_that_stops_well_is_nowhere_held_dead_for_its_connections(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await virtual_mesh.start("a", "b", "c", "d")
    await virtual_mesh.wait_until_whole()
    await trio.sleep(2.0)
    events = a.events()
    began = trio.current_time()
    await virtual_mesh.stop("b")
    assert trio.current_time() - began < 1.0
    await trio.sleep(2.0)
    await virtual_mesh.stop("a")
    told = [(type(event).__name__, event.id) async for event in events if isinstance(event, MemberEvent)]
    assert ("MemberLeft", "b") in told
    assert not [name for name, _ in told if name in ("MemberSuspected", "MemberDied")]


async def test_a_host_whose_power_went_is_silent_and_not_refusing(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b")
    async with virtual_mesh.client("b", timeout=2.0) as client:
        virtual_mesh.kill("b", silently=True)
        began = virtual_mesh.now
        with pytest.raises(meshp2p.Unreachable):
            await client.health()
        assert virtual_mesh.now - began == pytest.approx(2.0)
    await virtual_mesh.restart("b")
    virtual_mesh.kill("b")
    async with virtual_mesh.client("b", timeout=2.0) as client:
        began = virtual_mesh.now
        with pytest.raises(meshp2p.Unreachable, match="refused"):
            await client.health()
        assert virtual_mesh.now - began < 0.1


async def test_a_restarted_node_has_a_greater_incarnation_also_with_its_clock_back(virtual_mesh: VirtualMesh) -> None:
    a, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    before = b.member("a")
    virtual_mesh.clock_step("a", -3600)
    restarted = await virtual_mesh.restart("a")
    assert restarted is not None
    assert restarted is not a
    await virtual_mesh.wait_until_whole(timeout=5)
    after = b.member("a")
    assert before is not None
    assert after is not None
    assert after.incarnation > before.incarnation
    await virtual_mesh.restart("a", keep_disk=False)
    await virtual_mesh.wait_until_whole(timeout=5)


async def test_a_generated_id_is_kept_on_the_disk_and_lost_with_it(virtual_mesh: VirtualMesh) -> None:
    async def ids() -> str:
        with virtual_mesh.host("a"):
            async with meshp2p.open_node(data_dir="/anywhere") as node:
                return node.id
        raise AssertionError

    first = await ids()
    assert first.endswith("-a")
    assert await ids() == first
    virtual_mesh.forget_writes("a")
    virtual_mesh.kill("a")
    await virtual_mesh.restart("a", keep_disk=False)
    second = await ids()
    assert second != first


async def test_a_disk_that_lies_loses_what_was_written_since(virtual_mesh: VirtualMesh) -> None:
    virtual_mesh.add_hosts("a")
    virtual_mesh.forget_writes("a")
    with virtual_mesh.host("a"):
        async with meshp2p.open_node(data_dir="/data") as node:
            first = node.id
            virtual_mesh.kill("a")
            await trio.sleep_forever()
    await virtual_mesh.restart("a")
    with virtual_mesh.host("a"):
        async with meshp2p.open_node(data_dir="/data") as node:
            assert node.id != first


async def test_who_is_paused_for_a_moment_is_missed_by_nobody_and_reads_all_that_was_sent(
    virtual_mesh: VirtualMesh,
) -> None:
    nodes = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    deaths = len([line for line in virtual_mesh.story().splitlines() if "declares" in line])
    received = nodes[1]._node._driver.stats.datagrams_received
    virtual_mesh.pause("b", 3)
    await virtual_mesh.sleep(2.9)
    assert nodes[1]._node._driver.stats.datagrams_received == received
    await virtual_mesh.sleep(0.2)
    assert nodes[1]._node._driver.stats.datagrams_received > received
    await virtual_mesh.wait_until_whole(timeout=5)
    assert deaths == len([line for line in virtual_mesh.story().splitlines() if "declares" in line])


async def test_who_is_paused_for_a_minute_is_given_up_and_comes_back(virtual_mesh: VirtualMesh) -> None:
    a, b, c = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.pause("a")
    virtual_mesh.pause("a", 5)
    virtual_mesh.pause("a")
    await virtual_mesh.sleep(60)
    assert [member.id for member in b.members()] == ["b", "c"]
    assert [member.id for member in a.members()] == ["a", "b", "c"], "it was stopped and cannot know"
    assert c.leader is not None
    assert c.leader.id == "b"
    virtual_mesh.resume("a")
    await virtual_mesh.wait_until_whole(timeout=10)


async def test_a_client_of_a_paused_node_connects_and_waits(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a")
    virtual_mesh.pause("a", 4)
    async with virtual_mesh.client("a", timeout=10.0) as client:
        began = virtual_mesh.now
        await client.health()
        assert 4 <= virtual_mesh.now - began < 4.1


async def test_an_instance_registered_over_http_survives_its_home(virtual_mesh: VirtualMesh) -> None:
    _, b, c = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    async with virtual_mesh.client("a", "b", "c") as client:
        await client.register("worker", "elsewhere", 9000, ["summarise"])
        await virtual_mesh.wait_until(lambda: c.member("worker"))
        virtual_mesh.kill("a")
        for _ in range(10):
            await client.heartbeat("worker")
            await virtual_mesh.sleep(3)
    found = b.member("worker")
    assert found is not None
    assert found.home in ("b", "c")
    await virtual_mesh.wait_until_whole()


@pytest.mark.parametrize("down", [0.0, 1.0, 4.0])
async def test_an_instance_gets_its_messages_after_its_home_was_restarted(
    virtual_mesh: VirtualMesh, down: float
) -> None:
    a, b, _ = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    async with virtual_mesh.client("c") as client:
        await client.register("worker", "elsewhere", 9000)
        await virtual_mesh.wait_until(lambda: a.member("worker") and b.member("worker"))
        virtual_mesh.kill("c")
        await virtual_mesh.sleep(down)
        await virtual_mesh.restart("c")
        for number in range(3):
            await (a, b)[number % 2].send("worker", {"number": number})
            await client.heartbeat("worker")
            await virtual_mesh.sleep(2)
        got = await client.messages("worker")
    assert [message.payload for message in got] == [{"number": number} for number in range(3)]


async def test_a_client_is_cut_off_with_the_host_on_which_it_stands(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    async with virtual_mesh.client("b", at="a") as cut, virtual_mesh.client("b") as free:
        await cut.health()
        with virtual_mesh.isolate("a"):
            await free.health()
            with pytest.raises(meshp2p.Unreachable):
                await cut.health()
        await cut.health()


async def test_with_udp_dead_the_tcp_probe_keeps_everybody_alive(virtual_mesh: VirtualMesh) -> None:
    a, b, c = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    with virtual_mesh.block_udp():
        await virtual_mesh.sleep(30)
        assert [len(node.members()) for node in (a, b, c)] == [3, 3, 3]


async def test_without_multicast_nobody_is_found_but_by_join(virtual_mesh: VirtualMesh) -> None:
    virtual_mesh.block_multicast()
    a, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.sleep(20)
    assert len(a.members()) == len(b.members()) == 1
    await virtual_mesh.start("c", join=["a:7700", "10.0.0.2:7700"])
    await virtual_mesh.wait_until_whole()


async def test_a_cut_in_one_direction_leaves_the_other_open(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.cut("a", to=["b"])
    await virtual_mesh.sleep(30)
    assert [len(node.members()) for node in virtual_mesh.nodes.values()] == [3, 3, 3], "c stands between them"


async def test_a_mesh_bears_loss_duplicates_and_late_packets(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c", "d", "e")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.loss(0.1)
    virtual_mesh.duplicate(0.2)
    virtual_mesh.reorder(0.2)
    virtual_mesh.delay(0.01, jitter=0.01)
    await virtual_mesh.sleep(60)
    assert "declares" not in virtual_mesh.story()


async def test_a_stopped_node_leaves_and_may_be_started_again(virtual_mesh: VirtualMesh) -> None:
    _, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    await virtual_mesh.stop("a")
    await virtual_mesh.wait_until_whole()
    assert [member.id for member in b.members()] == ["b"]
    assert "no longer lists a: it left" in virtual_mesh.story()
    await virtual_mesh.restart("a")
    await virtual_mesh.wait_until_whole()
    assert len(b.members()) == 2


async def test_a_block_ends_where_its_host_is_killed(virtual_mesh: VirtualMesh) -> None:
    reached: list[str] = []
    async with virtual_mesh.node("a", capabilities=["translate"]) as node:
        assert node.id == "a"
        virtual_mesh.kill("a")
        await trio.sleep_forever()
        reached.append("never")
    assert reached == []
    assert virtual_mesh.nodes == {}


async def test_an_agent_that_opens_its_own_node_is_on_the_virtual_network(virtual_mesh: VirtualMesh) -> None:
    led: list[str] = []

    async def agent(capability: str) -> None:
        async with meshp2p.open_node(capabilities=[capability]) as node:
            await node.wait_for_members(2)
            led.append((await node.wait_for_leader()).id)
            await trio.sleep_forever()

    virtual_mesh.launch("x", agent, "read")
    virtual_mesh.launch("y", agent, "write")
    await virtual_mesh.wait_until_whole("x", "y")
    await virtual_mesh.wait_until(lambda: len(led) == 2)
    x, y = virtual_mesh["x"], virtual_mesh["y"]
    assert led == [min(x.id, y.id)] * 2
    assert [instance.id for instance in x.find(capability="write")] == [y.id]
    virtual_mesh.kill("x")
    await virtual_mesh.wait_until(lambda: len(y.members()) == 1)
    await virtual_mesh.restart("x")
    await virtual_mesh.wait_until(lambda: len(led) == 3)
    await virtual_mesh.stop("y")
    await virtual_mesh.wait_until(lambda: len(virtual_mesh["x"].members()) == 1, timeout=2)


async def test_two_nodes_with_one_id_conflict_and_the_older_keeps_it(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    with pytest.raises(meshp2p.IdConflict):
        await virtual_mesh.start("c", id="a")
    await virtual_mesh.wait_until_whole("a", "b")


async def test_two_nodes_on_one_host_have_two_ports(virtual_mesh: VirtualMesh) -> None:
    async with virtual_mesh.node("a") as first:
        with virtual_mesh.host("a"), pytest.raises(meshp2p.StartError, match=r"port 7700 of 10\.0\.0\.1 is in use"):
            async with meshp2p.open_node(port=7700):
                pass
        with virtual_mesh.host("a"), pytest.raises(meshp2p.StartError, match="used by another running node"):
            async with meshp2p.open_node(data_dir="/virtual"):
                pass
        with virtual_mesh.host("a"):
            async with meshp2p.open_node(id="second") as second:
                await virtual_mesh.wait_until_whole()
                assert first.addresses != second.addresses


async def test_meshes_of_two_names_do_not_mix(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", mesh="red")
    await virtual_mesh.start("c", "d", mesh="blue")
    await virtual_mesh.wait_until_whole()
    assert [len(node.members()) for node in virtual_mesh.nodes.values()] == [2, 2, 2, 2]


async def test_hosts_that_never_met_are_two_meshes_until_the_network_heals(virtual_mesh: VirtualMesh) -> None:
    virtual_mesh.add_hosts("a", "b")
    virtual_mesh.partition("a", "b")
    a, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.sleep(10)
    assert a.leader is not None
    assert b.leader is not None
    assert (a.leader.id, b.leader.id) == ("a", "b")
    virtual_mesh.heal()
    await virtual_mesh.wait_until_whole(timeout=60)


async def test_a_message_for_the_other_side_of_a_cut_is_refused_or_waits_as_its_sender_says(
    virtual_mesh: VirtualMesh,
) -> None:
    a, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.partition("a")
    await virtual_mesh.wait_until(lambda: len(a.members()) == 1)
    with pytest.raises(meshp2p.UnknownInstance):
        await a.send("b", 1)
    with pytest.raises(meshp2p.ConfigError, match="if_absent"):
        await a.send("b", 1, if_absent="wait")  # type: ignore[arg-type]
    message_id = await a.send("b", 2, if_absent="queue")
    [receipt] = await a.message_status(message_id)
    assert (receipt.recipient, receipt.status) == ("b", "queued")
    assert "held to be dead" in receipt.reason
    virtual_mesh.heal()
    message = await anext(b.inbox())
    assert (message.id, message.payload) == (message_id, 2)
