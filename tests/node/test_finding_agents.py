"""Waiting for agents that can do something, delegating to whoever comes, and the ways to name a node."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import meshp2p
from meshp2p.core.address import Address, parse_endpoint
from meshp2p.errors import ConfigError, DelegationFailed, DelegationState, DelegationTimeout, WaitTimeout
from meshp2p.testing import VirtualMesh, run


def test_agents_are_waited_for_by_what_they_can_do() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a", capabilities=["read"], profiles=["p"])
        assert [one.id for one in await a.wait_for(capability="read")] == ["a"]
        assert [one.id for one in await a.wait_for()] == ["a"]
        with pytest.raises(WaitTimeout, match="there was no instance with capability 'paint' within 5 s"):
            await a.wait_for(capability="paint", timeout=5)
        found: list[Any] = []

        async def wait(**wanted: Any) -> None:
            found.append([one.id for one in await a.wait_for(**wanted)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: wait(capability="paint", count=2))
            await mesh.start("b", capabilities=["paint"], profiles=["p"])
            await mesh.sleep(5)
            assert found == []
            await mesh.start("c", capabilities=["paint"])
        assert found == [["b", "c"]]
        assert [one.id for one in await a.wait_for(capability="paint", profile="p", timeout=1)] == ["b"]

    run(main)


def test_a_task_waits_for_whoever_comes_and_for_the_next_one() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        with pytest.raises(DelegationFailed, match="no live instance has capability 'paint'"):
            await a.delegate(1, capability="paint")
        with pytest.raises(DelegationTimeout, match="within 3 s"):
            await a.delegate(1, capability="paint", wait=True, timeout=3)
        results: list[Any] = []

        async def delegate() -> None:
            async with a.delegation(1, capability="paint", wait=True) as task:
                results.append(await task.result())
                results.append(task.tried)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delegate)
            await mesh.sleep(10)
            (b,) = await mesh.start("b", capabilities=["paint"])

            @b.handler("TaskDelegation")
            async def decline(_message: Any) -> None:
                raise meshp2p.Declined("not today")

            await mesh.sleep(10)
            assert results == []
            (c,) = await mesh.start("c", capabilities=["paint"])

            @c.handler("TaskDelegation")
            async def paint(number: int) -> int:
                return number + 1

        assert results == [2, ["b", "c"]]

    run(main)


def test_a_node_delegates_to_itself_only_if_it_is_told_to() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a", capabilities=["paint"])

        @a.handler("TaskDelegation")
        async def paint(number: int) -> int:
            return number + 1

        with pytest.raises(DelegationFailed) as caught:
            await a.delegate(1, capability="paint")
        assert caught.value.state is DelegationState.ORPHANED
        assert await a.delegate(1, capability="paint", include_self=True) == 2
        async with a.delegation(2, capability="paint", include_self=True) as task:
            assert (await task.result(), task.agent) == (3, "a")

    run(main)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:7701", "10.0.0.1", 7701),
        ("http://10.0.0.1:7701", "10.0.0.1", 7701),
        ("HTTP://10.0.0.1:7701/", "10.0.0.1", 7701),
        ("host.example", "host.example", 7700),
        ("http://host.example", "host.example", 7700),
        ("http://[::1]:7702/", "::1", 7702),
        ("[::1]:7702", "::1", 7702),
    ],
)
def test_a_node_is_named_by_a_url_or_by_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_endpoint(text) == Address(host, port)
    assert meshp2p.NodeConfig(join=(text,)).join == (text,)
    meshp2p.MeshClient(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://10.0.0.1:7701",
        "http://",
        "http://a:b@c:1",
        "http://a:1/path",
        "http://a:1?x=1",
        "tcp://a:1",
        "http://a:0",
        "http://a:1 ",
        "a:1/",
        "://a:1",
    ],
)
def test_what_names_no_node_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected .*HOST:PORT"):
        parse_endpoint(text)
    with pytest.raises(ConfigError, match=r"join\[0\]: .*expected"):
        meshp2p.NodeConfig(join=(text,))


def test_a_node_joins_by_the_url_of_another() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a", mdns=False)
        (b,) = await mesh.start("b", mdns=False, join=[a.url])
        await b.wait_for_members(2, timeout=30)

    run(main)


def test_errors_of_time_and_of_what_is_not_there_are_the_builtin_ones_too() -> None:
    for error in (meshp2p.QueryTimeout, meshp2p.WaitTimeout, meshp2p.DelegationTimeout):
        assert issubclass(error, TimeoutError)
    assert issubclass(meshp2p.DelegationTimeout, meshp2p.DelegationFailed)
    assert issubclass(meshp2p.UnknownInstance, LookupError)
