"""Where nodes are reached: IPv4, IPv6, both, and meshes that must not meet."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
import trio

import meshp2p
from tests.http.meshes import QUICK, open_mesh

OPTIONS: dict[str, Any] = {"port": 0, "mdns": False, "protocol": QUICK}


@pytest.fixture(autouse=True)
def _needs_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"needs IPv6 on the loopback interface: {error}")


async def test_nodes_at_ipv6_loopback_form_a_mesh() -> None:
    async with (
        meshp2p.open_node(in_loop=True, **OPTIONS, id="a", host="::1") as one,
        meshp2p.open_node(in_loop=True, **OPTIONS, id="b", host="::1", join=[str(one.addresses[0])]) as other,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert one.url.startswith("http://[::1]:")
        with trio.fail_after(30):
            assert len(await one.wait_for_members(2)) == len(await other.wait_for_members(2)) == 2
        assert len((await client.get(one.url + "/registry/agents")).json()["instances"]) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_node_of_both_families_meets_peers_of_either(host: str) -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS, id="both", host="::") as both:
        port = both.addresses[0].port
        join = [f"[::1]:{port}" if ":" in host else f"127.0.0.1:{port}"]
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="peer", host=host, join=join) as peer:
            with trio.fail_after(30):
                await both.wait_for_members(2)
                await peer.wait_for_members(2)
                # heard in both directions by UDP: the address is a plain one of the peer's own family
                async for _ in both.events():
                    member = both.member("peer")
                    if member is not None and member.addresses[0] == peer.addresses[0]:
                        break
            assert peer.addresses[0].host == host
        assert {member.id for member in both.members()} <= {"both", "peer"}


async def test_peers_of_both_families_see_one_another_through_a_node_of_both() -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS, id="both", host="::") as both:
        port = both.addresses[0].port
        async with (
            meshp2p.open_node(in_loop=True, **OPTIONS, id="four", host="127.0.0.1", join=[f"127.0.0.1:{port}"]) as four,
            meshp2p.open_node(in_loop=True, **OPTIONS, id="six", host="::1", join=[f"[::1]:{port}"]) as six,
        ):
            with trio.fail_after(30):
                for node in (both, four, six):
                    assert {member.id for member in await node.wait_for_members(3)} == {"both", "four", "six"}


async def test_meshes_of_different_names_never_mix() -> None:
    async with open_mesh("a", "b", mesh="one") as (a, b):
        join = [str(node.addresses[0]) for node in (a, b)]
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="a", mesh="two", join=join) as c:
            with trio.fail_after(30):
                while sum(c._node._driver.stats.refused.values()) + c._node._driver.stats.calls_failed == 0:
                    await c._node._driver.wait_until(lambda: c._node._driver.stats.calls_failed > 0)
            assert [member.id for member in c.members()] == ["a"]
            assert [member.id for member in a.members()] == [member.id for member in b.members()] == ["a", "b"]
            assert {reason.value for node in (a, b) for reason in node._node._driver.stats.refused} == {"other_mesh"}


async def test_a_port_that_another_mesh_had_is_not_taken_for_the_old_peer() -> None:
    async with open_mesh("a", mesh="one") as (a,):
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="b", mesh="one", join=[str(a.addresses[0])]) as b:
            await a.wait_for_members(2)
            port = b.addresses[0].port
        async with meshp2p.open_node(in_loop=True, **{**OPTIONS, "port": port}, id="b", mesh="two") as stranger:
            a._node._driver.perform(a._node._machine.offer("seed", stranger.addresses, None, trio.current_time()))
            with trio.fail_after(30):
                await a._node._driver.wait_until(lambda: a._node._driver.stats.calls_failed > 0)
            assert [member.id for member in a.members()] == ["a"]
