"""A node that finds nobody, is not reached, or hears no UDP says so once."""

from __future__ import annotations

import logging

import pytest

import meshp2p
from meshp2p.core.swim.candidates import SourceStats
from meshp2p.node.self_check import ALONE_SECONDS, Search, why_alone
from meshp2p.testing import VirtualMesh
from meshp2p.virtual.faults import Kind, OneWay

SILENT, ANSWERS = SourceStats(1, 0, 1), SourceStats(1, 1, 0)
FINE = Search(
    mesh="lab",
    bound_host="::",
    has_mdns=True,
    has_beacon=True,
    seeds=(),
    sources={},
    hears_other_meshes=False,
    secured_nodes=0,
    no_network="",
)


def differing(**values: object) -> Search:
    fields = {name: getattr(FINE, name) for name in Search.__struct_fields__}
    return Search(**{**fields, **values})


@pytest.mark.parametrize(
    ("search", "reason", "advice"),
    [
        (
            differing(bound_host="::1", secured_nodes=3),
            "mesh 'lab' is on this network (3 nodes)",
            "`meshp2p join` here",
        ),
        (differing(bound_host="127.0.0.1"), "bound to 127.0.0.1", "--insecure-lan"),
        (differing(bound_host="::1", no_network="no network"), "bound to ::1", "--insecure-lan"),
        (differing(no_network="no network is up: eth0 has no carrier"), "eth0 has no carrier", "cable"),
        (differing(sources={"mdns": SILENT}), "mdns found nodes, but none answers", "firewalls"),
        (differing(sources={"mdns": SILENT, "beacon": SILENT}), "mdns and beacon found nodes", "firewalls"),
        (differing(seeds=("a:1",), sources={"seed": SILENT}), "no node of mesh 'lab' answers at a:1", "runs there"),
        (differing(seeds=("a:1",)), "a:1 has no address", "check the name"),
        (differing(hears_other_meshes=True), "none of mesh 'lab'", "--mesh"),
        (differing(has_mdns=False, has_beacon=False), "mDNS and the beacon are off", "--join"),
        (FINE, "no node of mesh 'lab' is heard", "--join"),
    ],
)
def test_the_likely_reason_comes_with_the_next_step(search: Search, reason: str, advice: str) -> None:
    told_reason, told_advice = why_alone(search)
    assert reason in told_reason
    assert advice in told_advice


async def problems(virtual_mesh: VirtualMesh, node: meshp2p.MeshNode, seconds: float) -> list[str]:
    """What the node tells in so many seconds."""
    events = node._node.events()
    await virtual_mesh.sleep(seconds)
    told: list[str] = []
    while (event := events.receive_nowait()) is not None:
        if isinstance(event, meshp2p.NetworkProblemFound):
            told.append(event.problem)
    return told


async def test_a_node_that_found_nobody_says_so_once_by_event_and_log(
    virtual_mesh: VirtualMesh, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "meshp2p.node"):
        (node,) = await virtual_mesh.start("a")
        assert await problems(virtual_mesh, node, ALONE_SECONDS - 2) == []
        assert await problems(virtual_mesh, node, 100) == ["alone"]
    (line,) = (record.message for record in caplog.records if "found no other" in record.message)
    assert "--join HOST:PORT" in line
    assert "meshp2p doctor" in line


async def test_a_node_that_found_somebody_says_nothing_even_when_it_is_alone_again(virtual_mesh: VirtualMesh) -> None:
    a, b = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    assert await problems(virtual_mesh, a, 30) == []
    await virtual_mesh.stop("b")
    assert await problems(virtual_mesh, a, 30) == []
    assert b.id == "b"


@pytest.mark.parametrize("hosts", [(), ("a",)])
async def test_a_node_that_hears_no_udp_says_so_once(virtual_mesh: VirtualMesh, hosts: tuple[str, ...]) -> None:
    nodes = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    with virtual_mesh.block_udp(*hosts):
        told = {node.id: await problems(virtual_mesh, node, 60) for node in nodes}
    assert told["a"] == ["no-udp"]
    assert told["b"] == ([] if hosts else told["b"])


@pytest.mark.parametrize("is_outgoing", [True, False])
async def test_a_node_whose_udp_passes_in_one_direction_only_says_so(
    virtual_mesh: VirtualMesh, is_outgoing: bool
) -> None:
    a, b, *_ = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    one, others = ("a",), ("b", "c")
    senders, receivers = (one, others) if is_outgoing else (others, one)
    with virtual_mesh.fault(OneWay(senders=senders, receivers=receivers, kinds=(Kind.UDP,))):
        assert await problems(virtual_mesh, a, 60) == ["no-udp"]
    assert await problems(virtual_mesh, b, 1) == []


async def test_a_node_that_is_cut_off_or_sleeps_does_not_blame_udp(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await virtual_mesh.start("a", "b", "c", "d", "e")
    await virtual_mesh.wait_until_whole()
    await virtual_mesh.sleep(15)
    with virtual_mesh.isolate("a"):
        assert await problems(virtual_mesh, a, 100) == []
    virtual_mesh.pause("a")
    await virtual_mesh.sleep(100)
    virtual_mesh.resume("a")
    assert await problems(virtual_mesh, a, 60) == []
