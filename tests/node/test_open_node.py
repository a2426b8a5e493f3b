"""Opening a node, its sockets, and every way out of its block."""

from __future__ import annotations

import gc
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

import meshp2p
from meshp2p import Instance, MeshNode, NodeClosed, ProtocolConfig, StartError, StorageFailed
from meshp2p.node import platform
from tests.http.meshes import QUICK, open_mesh

OPTIONS: dict[str, Any] = {"port": 0, "mdns": False, "protocol": QUICK}


async def open_and_close(**options: Any) -> None:
    async with meshp2p.open_node(in_loop=True, **{**OPTIONS, **options}):
        pass


async def until_gone(node: MeshNode, instance_id: str) -> None:
    """Wait until ``node`` no longer lists it."""
    with trio.fail_after(30):
        async for _ in node.events():
            if node.member(instance_id) is None:
                return


# Sockets


async def test_a_node_serves_when_its_block_begins_and_no_longer_when_it_has_ended() -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        async with meshp2p.open_node(in_loop=True, **OPTIONS) as node:
            assert (await client.get(node.url + "/readyz")).status_code == 200
            assert node.url == f"http://{node.addresses[0]}"
            assert repr(node) == f"<MeshNode {node.id!r} of mesh 'default' at {node.url}>"
        with pytest.raises(httpx.ConnectError):
            await client.get(node.url + "/readyz")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
async def test_a_port_that_was_asked_for_and_is_taken_is_refused(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} .* is in use: choose another"):
            async with meshp2p.open_node(in_loop=True, **{**OPTIONS, "port": port}):
                pytest.fail("it was opened")


async def test_a_port_is_free_again_when_the_node_has_ended() -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS) as node:
        port = node.addresses[0].port
    async with meshp2p.open_node(in_loop=True, **{**OPTIONS, "port": port}) as node:
        assert node.addresses[0].port == port


async def test_where_the_default_port_is_taken_and_none_was_asked_for_another_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(platform, "DEFAULT_PORT", taken.getsockname()[1])
        async with meshp2p.open_node(in_loop=True, **{**OPTIONS, "port": None}) as node:
            assert node.addresses[0].port != taken.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("203.0.113.1", "no address of this machine"),
        ("2001:db8::1", "no address of this machine"),
        ("name.invalid", "expected an address or a name of this machine"),
        ("x" * 100, "expected an address or a name of this machine"),
        ("a\0b", "expected an address or a name of this machine"),
        ("224.0.0.251", "not an address that other nodes can use"),
        ("255.255.255.255", "not an address that other nodes can use"),
        ("ff02::1", "not an address that other nodes can use"),
        ("fe80::1%lo", "link-local IPv6 address, which other machines cannot use"),
        ("fe80::1", "link-local IPv6 address, which other machines cannot use"),
    ],
)
async def test_a_host_that_is_none_of_this_machine_is_refused_by_its_name(host: str, message: str) -> None:
    with pytest.raises(StartError) as caught:
        async with meshp2p.open_node(in_loop=True, **OPTIONS, host=host):
            pytest.fail("it was opened")
    assert message in str(caught.value)
    assert repr(host) in str(caught.value)


async def test_what_could_not_be_started_leaves_nothing_open(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for _ in range(2):  # the second time nobody else holds the directory
            with pytest.raises(StartError, match="in use"):
                async with meshp2p.open_node(
                    in_loop=True, **{**OPTIONS, "port": taken.getsockname()[1]}, data_dir=tmp_path
                ):
                    pytest.fail("it was opened")
    gc.collect()  # a socket that was left open would warn, and a warning is an error


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
async def test_a_node_is_reached_at_the_host_it_was_given(host: str) -> None:
    async with (
        meshp2p.open_node(in_loop=True, **OPTIONS, host=host) as node,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(node.url + "/health")).status_code == 200


# Ways out


async def fails(_: MeshNode) -> None:
    raise KeyError("mine")


async def fails_in_a_group(_: MeshNode) -> None:
    raise ExceptionGroup("mine", [KeyError("one"), ValueError("two")])


async def is_interrupted(_: MeshNode) -> None:
    raise KeyboardInterrupt


async def exits(_: MeshNode) -> None:
    raise SystemExit(3)


async def times_out(_: MeshNode) -> None:
    with trio.fail_after(0.01):
        await trio.sleep_forever()


async def lets_an_error_of_the_node_through(node: MeshNode) -> None:
    await node.leave()
    await node.set_status("late")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (fails, KeyError),
        (is_interrupted, KeyboardInterrupt),
        (exits, SystemExit),
        (times_out, trio.TooSlowError),
        (lets_an_error_of_the_node_through, NodeClosed),
    ],
)
async def test_what_the_block_raises_comes_out_as_it_is_and_the_node_has_left(
    body: Callable[[MeshNode], Awaitable[None]], error: type[BaseException]
) -> None:
    async with open_mesh("a") as (other,):
        join = [str(other.addresses[0])]

        async def open_and_run() -> None:
            async with meshp2p.open_node(in_loop=True, **OPTIONS, id="b", join=join) as node:
                await other.wait_for_members(2)
                await body(node)

        with pytest.raises(error) as caught:
            await open_and_run()
        assert not isinstance(caught.value, BaseExceptionGroup)
        assert other.member("b") is None


async def test_a_group_that_the_block_raises_comes_out_as_that_group() -> None:
    with pytest.RaisesGroup(KeyError, ValueError):
        async with meshp2p.open_node(in_loop=True, **OPTIONS) as node:
            await fails_in_a_group(node)


async def test_a_node_that_is_cancelled_from_outside_says_farewell() -> None:
    async with open_mesh("a") as (other,):
        with trio.CancelScope() as scope:
            async with meshp2p.open_node(in_loop=True, **OPTIONS, id="b", join=[str(other.addresses[0])]):
                await other.wait_for_members(2)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        await until_gone(other, "b")
        assert [type(event).__name__ for event in snapshot_of(other)] == ["MemberJoined", "LeaderChanged"]


def snapshot_of(node: MeshNode) -> list[Any]:
    return list(node._node.events()._buffer)


async def test_a_start_in_what_is_cancelled_already_ends() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with meshp2p.open_node(in_loop=True, **OPTIONS):
            pytest.fail("it was opened")
    assert scope.cancelled_caught


async def test_a_part_that_cannot_be_made_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such part")

    for name in ("look_around", "sources"):
        with monkeypatch.context() as patch, trio.fail_after(30):
            patch.setattr(platform.SystemPlatform, name, fail)
            with pytest.raises(RuntimeError, match="no such part"):
                await open_and_close()
    gc.collect()


async def test_a_start_that_is_cancelled_ends() -> None:
    never = ProtocolConfig(settle_timeout=3600)
    with trio.move_on_after(0.05) as scope:
        async with meshp2p.open_node(in_loop=True, **{**OPTIONS, "protocol": never}):
            pytest.fail("it was opened")
    assert scope.cancelled_caught


async def test_what_fails_inside_the_node_ends_the_block_and_comes_out_as_it_is() -> None:
    async def open_and_break() -> None:
        async with meshp2p.open_node(in_loop=True, **OPTIONS) as node:
            await node.wait_for_leader()

            async def fail() -> None:
                raise LookupError("broken")

            node._node._driver._datagrams.wait_readable = fail  # type: ignore[method-assign]
            await trio.sleep_forever()

    with pytest.raises(LookupError, match="broken"):
        await open_and_break()


async def test_a_node_whose_directory_is_gone_serves_on_and_says_so(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with (
        meshp2p.open_node(in_loop=True, **OPTIONS, id="b", data_dir=directory) as node,
        httpx.AsyncClient() as client,
    ):
        await node.wait_for_leader()
        events = node.events()
        shutil.rmtree(directory)
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="a", join=[str(node.addresses[0])]) as lower:
            await lower.wait_for_members(2)
        with trio.fail_after(30):
            async for event in events:  # "a" left: this node leads again, and cannot keep its claim
                if isinstance(event, StorageFailed):
                    break
        assert isinstance(event, StorageFailed)
        assert "was removed or replaced" in event.reason
        answer = await client.get(node.url + "/readyz")
        assert answer.status_code == 503
        assert "was removed or replaced" in answer.json()["error"]
        assert (await client.get(node.url + "/health")).status_code == 200
        assert (await node.wait_for_members(1))[0].id == "b"


async def test_nodes_may_be_opened_inside_one_another() -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS, id="a") as outer:
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="b", join=[str(outer.addresses[0])]) as inner:
            assert [member.id for member in await outer.wait_for_members(2)] == ["a", "b"]
            assert [member.id for member in await inner.wait_for_members(2)] == ["a", "b"]
        await until_gone(outer, "b")


async def test_a_node_alone_below_the_quorum_begins_and_names_no_leader() -> None:
    with trio.fail_after(30):
        async with meshp2p.open_node(
            in_loop=True, **{**OPTIONS, "protocol": ProtocolConfig(settle_timeout=0.05, quorum=2)}
        ) as node:
            assert node.leader is None


# After the end


async def test_a_node_that_has_left_refuses_what_it_is_asked_for() -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS) as node:
        subscription = node.events()
    with pytest.raises(NodeClosed, match="open a new one"):
        await node.set_status("late")
    with pytest.raises(NodeClosed):
        await node._node.heartbeat("x", "late", "")
    with pytest.raises(NodeClosed):
        await node._node.deregister("x")
    with pytest.raises(NodeClosed):
        await node.wait_for_members(2)
    assert [event async for event in subscription]
    assert [event async for event in node.events()]
    await node.leave()


async def test_whoever_waits_when_the_node_leaves_is_told() -> None:
    raised: list[BaseException] = []

    async def wait(what: Callable[[], Awaitable[object]]) -> None:
        try:
            await what()
        except NodeClosed as error:
            raised.append(error)

    options = {**OPTIONS, "protocol": ProtocolConfig(settle_timeout=0.05, quorum=2)}
    async with meshp2p.open_node(in_loop=True, **options) as node, trio.open_nursery() as nursery:
        nursery.start_soon(wait, lambda: node.wait_for_members(2))
        nursery.start_soon(wait, node.wait_for_leader)
        await trio.testing.wait_all_tasks_blocked()
        await node.leave()
    assert len(raised) == 2


async def test_leaving_is_seen_by_the_others_at_once() -> None:
    async with open_mesh("a", "b") as (one, other):
        await other.leave()
        await until_gone(one, "b")
        with trio.fail_after(30):
            assert (await one.wait_for_leader()).id == "a"


async def test_a_leader_that_leaves_is_followed_by_the_next() -> None:
    async with open_mesh("b") as (other,):
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="a", join=[str(other.addresses[0])]):
            with trio.fail_after(30):
                async for _ in other.events():
                    if other.leader is not None and other.leader.id == "a":
                        break
        with trio.fail_after(30):
            async for _ in other.events():
                if other.leader is not None and other.leader.id == "b":
                    break


# What it reports


async def test_a_status_that_is_set_is_seen_at_the_other_node() -> None:
    async with open_mesh("a", "b") as (one, other):
        await one.set_status("busy", {"load": 0.5, "n": 2**70})
        member: Instance | None = None
        with trio.fail_after(30):
            async for _ in other.events():
                member = other.member("a")
                if member is not None and member.status == "busy":
                    break
        assert member is not None
        assert member.metrics == {"load": 0.5, "n": 2**70}


@pytest.mark.parametrize(
    "arguments",
    [
        ("x" * 1025,),
        ("\ud800",),
        (7,),
        (None,),
        ("ok", {"a": object()}),
        ("ok", {"a": "\ud800"}),
        ("ok", {"a": "x" * 8192}),
        ("ok", [1]),
        ("ok", "abc"),
        ("ok", {(1, 2): 3}),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_a_status_that_other_nodes_would_refuse_is_refused_here(arguments: Any) -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS) as node:
        with pytest.raises(meshp2p.ConfigError, match=r"status|metrics"):
            await node.set_status(*arguments)
        member = node.member(node.id)
        assert member is not None
        assert (member.status, member.metrics) == ("", {})


async def test_members_are_found_by_what_they_can_do() -> None:
    async with open_mesh("a") as (one,):
        options = {**OPTIONS, "join": [str(one.addresses[0])], "capabilities": ["draw"], "profiles": ["p"]}
        async with meshp2p.open_node(in_loop=True, **options, id="b", hostname="desk"):
            await one.wait_for_members(2)
            (found,) = one.find(capability="draw", profile="p")
            assert (found.id, found.hostname, found.is_hosted) == ("b", "desk", False)
            assert one.find(capability="draw", profile="q") == []
            assert len(one.find()) == 2
