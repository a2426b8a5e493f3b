"""A node says what is wrong with its network: the faults are made on hosts of their own."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from simulations.lan.network import Network
from tests.hosts.programs import Program, open_program, router, switch, up

pytestmark = pytest.mark.slow

ANY = "--insecure-lan"
SECONDS = 90


@asynccontextmanager
async def open_ups(network: Network, log: Path, *options: Sequence[str]) -> AsyncIterator[list[Program]]:
    """A node on each host, with these options each."""
    async with AsyncExitStack() as stack:
        programs = []
        for host, given in zip(network.hosts.values(), options, strict=True):
            command = up(host, host.name, *given)
            programs.append(await stack.enter_async_context(open_program(*command, log=log / f"{host.name}.log")))
            await programs[-1].wait_for_line('"ready"')
        yield programs


async def problem(program: Program) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await program.wait_for_line('"network_problem_found"'))
    return told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param([], "bound to 127.0.0.1", marks=pytest.mark.long),
        pytest.param([ANY, "--no-mdns"], "mDNS and the beacon are off", marks=pytest.mark.long),
        ([ANY, "--join", "10.9.0.2:7700"], "no node of mesh 'lab' answers at 10.9.0.2:7700"),
    ],
)
async def test_a_lone_node_says_why_it_is_alone(tmp_path: Path, options: list[str], reason: str) -> None:
    with trio.fail_after(SECONDS), switch("a") as network:
        async with open_ups(network, tmp_path, options) as (node,):
            told = await problem(node)
    assert (told["problem"], reason in told["reason"]) == ("alone", True), told
    assert (tmp_path / "a.log").read_text().count("found no other") == 1


@pytest.mark.long
async def test_a_node_without_a_carrier_says_so(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS), switch("a") as network:
        await network.unplug("a")
        async with open_ups(network, tmp_path, [ANY]) as (node,):
            assert "lan has no carrier" in (await problem(node))["reason"]


@pytest.mark.long
async def test_two_meshes_of_different_names_say_so(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        async with open_ups(network, tmp_path, [ANY], [ANY, "--mesh", "other"]) as nodes:
            for node, mesh in zip(nodes, ("lab", "other"), strict=True):
                assert f"none of mesh '{mesh}'" in (await problem(node))["reason"]


@pytest.mark.long
async def test_a_node_whose_peers_are_seen_and_do_not_answer_says_so(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        for host in network.hosts.values():
            host.firewall("-A INPUT -i lan -p tcp -j DROP")
        async with open_ups(network, tmp_path, [ANY], [ANY]) as nodes:
            for node in nodes:
                told = await problem(node)
                assert "none answers at its address" in told["reason"]
                assert "firewalls of both machines" in told["advice"]


async def test_a_node_behind_a_firewall_or_nat_says_that_nobody_reaches_it_and_who_tried(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS), router("a", "b", "c") as network:
        network.hosts["b"].admit_nothing()
        network.hide("c")
        join = [ANY, "--join", f"{network.hosts['a'].address}:7700"]
        async with (
            open_ups(network, tmp_path, [ANY], join, join) as (open_to_all, *hidden),
            open_program(*up(network.hosts["b"], "beside-b", ANY)),  # which reaches b, and says nothing of others
        ):
            for node in hidden:
                told = await problem(node)
                assert told["problem"] == "unreachable"
                assert "a tried 10.9." in told["reason"]
                assert "TCP port 7700" in told["advice"]
            open_to_all.kill()
    assert "network_problem_found" not in (tmp_path / "a.log").read_text()
    assert "cannot connect" not in (tmp_path / "a.log").read_text()


@pytest.mark.long
async def test_a_node_whose_udp_is_dropped_says_so(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS), switch("a", "b", "c") as network:
        network.hosts["c"].firewall("-A INPUT -i lan -p udp --dport 7700 -j DROP")
        async with open_ups(network, tmp_path, [ANY], [ANY], [ANY]) as (*_, node):
            told = await problem(node)
    assert (told["problem"], "UDP port 7700" in told["advice"]) == ("no-udp", True)


HOLD = """
import socket, time
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind(("", 5353))
print("held", flush=True)
input()
"""


@pytest.mark.parametrize(
    "fault",
    [
        "port 5353 is taken",
        pytest.param("sending is refused", marks=pytest.mark.long),
        pytest.param("no memberships", marks=pytest.mark.long),
    ],
)
async def test_a_broken_mdns_is_logged_once_however_often_it_is_tried(tmp_path: Path, fault: str) -> None:
    """By the time that the node says it is alone, it was tried four times."""
    with trio.fail_after(SECONDS), switch("a") as network:
        (host,) = network.hosts.values()
        async with AsyncExitStack() as stack:
            match fault:
                case "port 5353 is taken":
                    holder = await stack.enter_async_context(open_program(*host.command(sys.executable, "-c", HOLD)))
                    await holder.wait_for_line("held")
                case "sending is refused":
                    host.firewall("-A OUTPUT -p udp --dport 5353 -j DROP")
                case _:
                    host.namespace.set_option("net/ipv4/igmp_max_memberships", "0")
            (node,) = await stack.enter_async_context(open_ups(network, tmp_path, [ANY, "--no-beacon"]))
            await problem(node)
    lines = [line for line in (tmp_path / "a.log").read_text().splitlines() if "found no other" not in line]
    assert len(lines) == 1, lines
    assert "multicast DNS" in lines[0]


def test_the_port_of_multicast_dns_is_shared() -> None:
    """By the socket that tries it, which is closed before zeroconf opens its own."""
    from meshp2p.discovery.mdns_port import MDNS_PORT, try_multicast

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("", MDNS_PORT))
        assert try_multicast(["127.0.0.1"]) == {"127.0.0.1": None}
        assert try_multicast(["::1"]) == {}
