"""Whole nodes on hosts in network namespaces: multicast is blocked, or there is but loopback, or interfaces change."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import trio

from simulations.lan.network import Host
from tests.hosts.programs import Program, open_program, open_programs, two_hosts, up, up_command

CABLE = (["10.9.0.1/24"], ["10.9.0.2/24"])
CABLE6 = (["fd00:9::1/64"], ["fd00:9::2/64"])
BEACON_ALONE = ("--no-mdns", "--beacon")


async def meet(one: Program, other: Program) -> None:
    """Wait until each has listed the other: ``one`` and ``other``."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait_for_line, '"member_joined"', '"instance":{"instance_id":"other"')
        nursery.start_soon(other.wait_for_line, '"member_joined"', '"instance":{"instance_id":"one"')


def block_multicast(*hosts: Host) -> None:
    for host in hosts:
        host.firewall(*(f"-A {chain} -d 224.0.0.0/4 -j DROP" for chain in ("INPUT", "OUTPUT")))


@pytest.mark.parametrize("cable", [CABLE, CABLE6], ids=["ipv4", "ipv6"])
async def test_two_hosts_meet_by_the_beacon_alone(cable: tuple[list[str], list[str]]) -> None:
    with trio.fail_after(60):
        async with (
            two_hosts(*cable) as (left, right),
            open_programs(
                up(left, "one", "--insecure-lan", *BEACON_ALONE), up(right, "other", "--insecure-lan", *BEACON_ALONE)
            ) as (one, other),
        ):
            await meet(one, other)


async def test_two_hosts_between_which_no_multicast_passes_meet_by_broadcast() -> None:
    with trio.fail_after(60):
        async with two_hosts(*CABLE) as (left, right):
            block_multicast(left, right)
            async with open_programs(up(left, "one", "--insecure-lan"), up(right, "other", "--insecure-lan")) as nodes:
                await meet(*nodes)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="loopback"),
        pytest.param(("--insecure-lan",), id="lan", marks=pytest.mark.long),
        pytest.param(BEACON_ALONE, id="beacon", marks=pytest.mark.long),
    ],
)
async def test_two_processes_of_a_machine_without_a_network_meet(options: tuple[str, ...]) -> None:
    with trio.fail_after(60):
        async with (
            two_hosts([], []) as (left, _),
            open_programs(up(left, "one", *options), up(left, "other", *options)) as nodes,
        ):
            await meet(*nodes)


async def test_two_users_of_one_machine_meet() -> None:
    """They share the beacon's port, which a system may keep to one user."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (util-linux)")
    with trio.fail_after(60):
        async with (
            two_hosts([], []) as (left, _),
            open_programs(
                up(left, "one", *BEACON_ALONE),
                left.command(
                    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
                    *up_command("other", *BEACON_ALONE),
                ),
            ) as nodes,
        ):
            await meet(*nodes)


async def test_a_machine_with_no_interface_up_does_not_end_a_node_that_meets_others_when_there_is_one() -> None:
    with trio.fail_after(60):
        async with two_hosts(["10.9.0.1/24"], []) as (left, right):
            right.namespace.ip("link set lo down")
            right.namespace.ip("link set lan down")
            async with open_programs(up(left, "one", "--insecure-lan"), up(right, "other", "--insecure-lan")) as nodes:
                one, other = nodes
                await one.wait_for_line("ready")
                await other.wait_for_line('"ready"')
                right.namespace.ip("link set lo up")
                right.namespace.ip("link set lan up")
                right.namespace.ip("address add 10.9.0.2/24 dev lan")
                await meet(one, other)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="both"),
        pytest.param(("--no-beacon",), id="mdns", marks=pytest.mark.long),
        pytest.param(BEACON_ALONE, id="beacon", marks=pytest.mark.long),
    ],
)
async def test_a_node_whose_address_changes_is_told_of_at_the_new_one(options: tuple[str, ...]) -> None:
    with trio.fail_after(60):
        async with (
            two_hosts(*CABLE) as (left, right),
            open_programs(
                up(left, "one", "--insecure-lan", *options), up(right, "other", "--insecure-lan", *options)
            ) as nodes,
        ):
            one, other = nodes
            await meet(one, other)
            right.namespace.ip("address del 10.9.0.2/24 dev lan")
            right.namespace.ip("address add 10.9.0.3/24 dev lan")
            # an update, or a recovery: it may have been suspected meanwhile
            await one.wait_for_line('"addresses":["10.9.0.3:7700"]')
            url = "http://10.9.0.3:7700/health"  # where it may be called by this name, too
            code = "import httpx, sys; print(httpx.get(sys.argv[1], timeout=5, trust_env=False).status_code)"
            async with open_program(*left.command(sys.executable, "-c", code, url)) as asker:
                await asker.wait_for_line("200")


async def test_two_meshes_that_formed_before_their_network_came_up_are_one_then() -> None:
    """Two nodes on each host, who know each other by loopback, so that none of them is alone."""
    with trio.fail_after(100):
        async with two_hosts([], []) as (left, right):
            names = (("one", left), ("two", left), ("other", right), ("another", right))
            async with open_programs(*(up(host, name, "--insecure-lan") for name, host in names)) as nodes:
                one, _, other, another = nodes
                await one.wait_for_line('"member_joined"', '"instance":{"instance_id":"two"')
                await other.wait_for_line('"member_joined"', '"instance":{"instance_id":"another"')
                left.namespace.ip("address add 10.9.0.1/24 dev lan")
                right.namespace.ip("address add 10.9.0.2/24 dev lan")
                await one.wait_for_line('"member_joined"', '"instance":{"instance_id":"other"')
                await another.wait_for_line('"member_joined"', '"instance":{"instance_id":"two"')


async def test_two_hosts_meet_by_a_link_local_address_with_its_zone() -> None:
    with trio.fail_after(60):
        async with two_hosts([], []) as (left, right):
            shown = json.loads(
                right.namespace.run("ip", "-json", "-6", "address", "show", "dev", "lan", "scope", "link")
            )
            address = shown[0]["addr_info"][0]["local"]
            async with open_programs(up(right, "other", "--insecure-lan", "--no-mdns")) as (other,):
                await other.wait_for_line('"ready"')
                seed = f"[{address}%lan]:7700"
                async with open_programs(up(left, "one", "--insecure-lan", "--no-mdns", "--join", seed)) as (one,):
                    await meet(one, other)


async def addresses_of(host: Host) -> list[str]:
    """What a node that starts there says where it is reached."""
    async with open_programs(up(host, "one", "--insecure-lan")) as (node,):
        told: list[str] = json.loads(await node.wait_for_line('"ready"'))["addresses"]
        return told


async def test_bridges_that_a_person_named_are_advertised_and_those_of_an_engine_are_not() -> None:
    with trio.fail_after(60):
        async with two_hosts(["10.9.0.1/24"], []) as (left, _):
            left.namespace.ip("link set lan down", "link set lan name br-lan", "link set br-lan up")
            await left.wait_for_link("state UP", "br-lan")
            others = {"br-mgmt": "10.9.1.1", "docker0": "172.17.0.1", "br-0123456789ab": "172.18.0.1"}
            for number, (name, address) in enumerate(others.items()):
                left.namespace.ip(
                    f"link add {name} type veth peer name far{number}",
                    f"address add {address}/24 dev {name}",
                    f"link set {name} up",
                    f"link set far{number} up",
                )
            assert await addresses_of(left) == ["10.9.0.1:7700", "10.9.1.1:7700"]


async def test_an_interface_without_carrier_is_advertised_once_it_has_one() -> None:
    with trio.fail_after(60):
        async with two_hosts(["10.9.0.1/24"], []) as (left, _):
            left.namespace.ip(
                "link add eth9 type veth peer name far", "address add 10.9.5.1/24 dev eth9", "link set eth9 up"
            )
            async with open_programs(up(left, "one", "--insecure-lan")) as (node,):
                assert json.loads(await node.wait_for_line('"ready"'))["addresses"] == ["10.9.0.1:7700"]
                left.namespace.ip("link set far up")
                while (
                    "10.9.5.1:7700"
                    not in json.loads(await node.wait_for_line('"member_updated"'))["instance"]["addresses"]
                ):
                    pass
