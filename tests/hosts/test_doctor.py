"""``meshp2p doctor`` on a host with a fault: each is made in a namespace, and found."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from simulations.lan.network import Host, Network
from tests.hosts.programs import open_program, open_ready, router, switch, up

pytestmark = pytest.mark.slow

ANY = "--insecure-lan"
SECONDS = 60
Report = dict[str, Any]


def long(*values: object) -> Any:
    """Only `make test-long` takes these values."""
    return pytest.param(*values, marks=pytest.mark.long)


async def examine(host: Host, *options: str) -> tuple[int, Report]:
    """The doctor's exit code and report."""
    command = (sys.executable, "-m", "meshp2p", "doctor", "--json", "--mesh", "lab", "--seconds", "2")
    code = 'code=0; "$@" || code=$?; echo "exit $code"'
    async with open_program(*host.command("sh", "-c", code, "sh", *command, *options)) as doctor:
        report: Report = json.loads(await doctor.wait_for_line('"is_well"'))
        return int((await doctor.wait_for_line("exit ")).split()[1]), report


def found(report: Report, name: str) -> dict[str, str]:
    """The texts of the checks of this name by their states; of several of one state the last."""
    return {check["state"]: check["text"] for check in report["checks"] if check["name"] == name}


def join(network: Network, name: str) -> tuple[str, str]:
    return "--join", f"{network.hosts[name].address}:7700"


async def test_a_healthy_lan_has_no_finding_and_the_node_of_another_host_is_seen() -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, ANY)
    assert (code, report["is_well"]) == (0, True), report
    states = {check["state"] for check in report["checks"] if check["name"] != "status"}
    assert states == {"ok"}, report  # a node that is alone for 10 s says so in its status
    (node,) = report["nodes"]
    assert (node["id"], node["is_reachable"], node["is_here"]) == ("a", True, False)
    assert {*node["sources"]} == {"beacon", "mdns"}
    assert "other machines answer multicast and broadcast" in found(report, "passage")["ok"]
    texts = [check["text"] for check in report["checks"] if check["name"] == "inbound"]
    assert texts == ["TCP port 7700 is reached by a", "UDP port 7700 is reached by a"]
    assert "1 node of mesh 'lab' on other machines" in report["verdict"]


async def test_a_host_that_is_not_of_this_machine() -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, "--host", "10.9.0.99")
    assert (code, report["is_well"]) == (1, False)
    assert "'10.9.0.99' is no address of this machine" in found(report, "host")["broken"]
    (hint,) = [check["hint"] for check in report["checks"] if check["name"] == "host"]
    assert b.address in hint
    assert "is no address of this machine" in report["verdict"]
    assert [node["id"] for node in report["nodes"]] == ["a"], "the rest is looked at all the same"


@pytest.mark.parametrize("chains", [long("INPUT"), long("OUTPUT"), "INPUT OUTPUT"])
async def test_the_port_of_mdns_is_dropped(chains: str) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        b.firewall(*(f"-A {chain} -p udp --dport 5353 -j DROP" for chain in chains.split()))
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, ANY)
    assert code == 1
    assert "UDP 5353" in found(report, "mdns port")["broken"]
    assert found(report, "link").keys() == {"ok"}, "the beacon's port is open"
    assert report["nodes"][0]["sources"] == ["beacon"]


@pytest.mark.parametrize(("protocol", "open_one"), [("tcp", "UDP"), long("udp", "TCP")])
async def test_an_inbound_port_is_closed(protocol: str, open_one: str) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        b.firewall(f"-A INPUT -i lan -p {protocol} --dport 7700 -j DROP")
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, ANY)
    assert code == 1
    inbound = found(report, "inbound")
    assert inbound["broken"].startswith(f"{protocol.upper()} port 7700 is not reached: a ")
    assert inbound["ok"] == f"{open_one} port 7700 is reached by a"
    assert "1 node of mesh 'lab' on other machines can be reached, and this is broken" in report["verdict"]


HOLD = """
import socket, sys
held = socket.create_server(("", 7700)) if sys.argv[1] == "tcp" else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == "udp": held.bind(("", 7700))
print("held", flush=True)
input()
"""


@pytest.mark.parametrize("holder", [long("tcp"), "udp", long("another mesh")])
async def test_the_own_port_is_taken(holder: str) -> None:
    with trio.fail_after(SECONDS), switch("a") as network:
        (a,) = network.hosts.values()
        command = a.command(sys.executable, "-c", HOLD, holder)
        ready = "held"
        if holder == "another mesh":
            command, ready = up(a, "a", ANY, "--mesh", "other"), '"ready"'
        async with open_program(*command) as holding:
            await holding.wait_for_line(ready)
            code, report = await examine(a, ANY, "--port", "7700")
            any_code, any_report = await examine(a, ANY)
    who = "a node of another mesh has it" if holder == "another mesh" else "another program has it"
    assert (code, any_code) == (1, 0)
    assert who in found(report, "port")["broken"]
    assert who in found(any_report, "port")["warning"]


async def test_another_mesh_is_present() -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        async with open_ready(up(a, "a", ANY, "--mesh", "other")):
            code, report = await examine(b, ANY)
            seed_code, by_seed = await examine(b, ANY, *join(network, "a"))
    assert (code, report["nodes"], report["other_names"]) == (0, [], ["other"])
    assert "nodes of other meshes are here: 'other'" in found(report, "mesh")["warning"]
    assert "is the name right?" in report["verdict"]
    assert seed_code == 1
    assert "a node of another mesh answers, and none of 'lab'" in found(by_seed, "seed")["broken"]


@pytest.mark.parametrize("drops", ["multicast", long("broadcast"), long("both")])
async def test_a_switch_drops_what_goes_to_all(drops: str) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        if drops != "broadcast":
            network.stop_multicast()
        if drops != "multicast":
            network.stop_broadcast()
        async with open_ready(up(a, "a", ANY)):
            _, report = await examine(b, ANY, *join(network, "a"))
    assert found(report, "link").keys() == {"ok"}, "this machine is not to blame"
    text = found(report, "passage")["warning"]
    if drops == "both":
        assert "a at 10.9.0.1 answers calls and neither multicast nor broadcast" in text
    else:
        assert f"the network does not pass {drops}" in text


@pytest.mark.parametrize("is_named", [True, long(False)])
async def test_a_firewall_of_this_host_admits_nothing(is_named: bool) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        b.admit_nothing()
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, ANY, *(join(network, "a") if is_named else ()))
    assert code == 1
    assert "10.9.0.2 (lan): multicast: sent, not heard" in found(report, "link")["broken"]
    assert "5353" in found(report, "mdns port")["broken"]
    assert ("broken" in found(report, "inbound")) == is_named


@pytest.mark.long
async def test_multicast_is_refused_by_a_firewall_here_and_tcp_by_one_there() -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        b.firewall("-A OUTPUT -d 224.0.0.0/4 -j DROP")
        a.firewall("-A INPUT -i lan -p tcp -j DROP")
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, ANY)
    assert code == 1
    assert found(report, "link")["warning"].endswith("Operation not permitted; broadcast passes")
    assert found(report, "node")["broken"] == "a is seen by beacon; at 10.9.0.1:7700 nobody answers"


async def test_a_seed_does_not_answer_though_another_node_does() -> None:
    with trio.fail_after(SECONDS), switch("a", "b", "c") as network:
        a, b, c = network.hosts.values()
        c.firewall("-A INPUT -i lan -p tcp -j DROP")
        async with open_ready(up(a, "a", ANY)):
            code, report = await examine(b, ANY, *join(network, "a"), *join(network, "c"))
            refused_code, refused = await examine(b, ANY, "--join", f"{a.address}:7701")
    assert (code, refused_code) == (1, 1)
    assert found(report, "seed") == {"ok": "10.9.0.1:7700: node a answers", "broken": "10.9.0.3:7700: no answer in 2 s"}
    assert "nothing listens at this port" in found(refused, "seed")["broken"]


async def test_a_node_that_runs_here_hides_none_of_that() -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        b.firewall("-A INPUT -i lan -p tcp --dport 7700 -j DROP", "-A INPUT -p udp --dport 5353 -j DROP")
        async with open_ready(up(b, "b", ANY)):
            lone_code, lone = await examine(b, ANY, *join(network, "a"))
            async with open_ready(up(a, "a", ANY)):
                code, report = await examine(b, ANY)
    assert (lone_code, code) == (1, 1)
    assert "1 node of mesh 'lab' of this machine can be reached, and none of another" in lone["verdict"]
    assert "nothing listens at this port" in found(lone, "seed")["broken"]
    assert "UDP 5353" in found(report, "mdns port")["broken"]
    assert "TCP port 7700 is not reached: a tried" in found(report, "inbound")["broken"]
    assert "port 7700 is that of node b of this mesh" in found(report, "port")["ok"]
    assert {(node["id"], node["is_here"]) for node in report["nodes"]} == {("a", False), ("b", True)}


@pytest.mark.parametrize("fault", [long("down"), "no carrier"])
async def test_no_network_is_up(fault: str) -> None:
    with trio.fail_after(SECONDS), switch("a") as network:
        (a,) = network.hosts.values()
        if fault == "down":
            a.namespace.ip("link set lan down", "link set lo down")
        else:
            await network.unplug("a")
        code, report = await examine(a, ANY)
    assert code == 1
    assert ("broken" in found(report, "loopback")) == (fault == "down")
    word = "lan is down" if fault == "down" else "lan has no carrier"
    assert word in found(report, "network")["broken"]


@pytest.mark.long
async def test_nat_hides_this_host() -> None:
    with trio.fail_after(SECONDS), router("a", "b") as network:
        network.hide("b")
        async with open_ready(up(network.hosts["a"], "a", ANY)):
            code, report = await examine(network.hosts["b"], ANY, *join(network, "a"))
    assert code == 1
    texts = [check["text"] for check in report["checks"] if check["name"] == "inbound"]
    assert texts[0].startswith("TCP port 7700 is not reached: a tried 10.9.")
    assert texts[1] == "UDP port 7700 is not reached: a sent a datagram"


async def test_the_printed_report_says_the_same(tmp_path: Path) -> None:
    with trio.fail_after(SECONDS), switch("a", "b") as network:
        a, b = network.hosts.values()
        command = (sys.executable, "-m", "meshp2p", "doctor", "--mesh", "lab", "--seconds", "1", ANY)
        async with (
            open_ready(up(a, "a", ANY)),
            open_program(*b.command(*command), log=tmp_path / "log") as doctor,
        ):
            await doctor.wait_for_line("ok       inbound: UDP port 7700 is reached by a")
            await doctor.wait_for_line("answers  a at 10.9.0.1:7700 (by beacon, mdns)")
            await doctor.wait_for_line("1 node of mesh 'lab' on other machines can be reached; nothing is broken.")
    assert await trio.Path(tmp_path / "log").read_text() == ""
