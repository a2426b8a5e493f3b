"""Virtual machines that change their address, and the beacon, with real nodes on virtual time."""

from __future__ import annotations

import meshp2p
from meshp2p.testing import VirtualMesh


async def test_nodes_find_each_other_by_the_beacon_alone(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c", mdns=False, beacon=True)
    await virtual_mesh.wait_until_whole(timeout=2)


async def test_a_node_that_was_cut_off_at_its_start_is_found_when_the_cut_ends(virtual_mesh: VirtualMesh) -> None:
    virtual_mesh.add_hosts("a", "b", "c")
    with virtual_mesh.partition(["a"], ["b", "c"]):
        await virtual_mesh.start("a", "b", "c", mdns=False, beacon=True)
        await virtual_mesh.wait_until_whole("b", "c", timeout=5)
        await virtual_mesh.sleep(60)
    await virtual_mesh.wait_until_whole(timeout=10)


async def test_two_meshes_that_formed_apart_become_one_by_the_beacon_alone(virtual_mesh: VirtualMesh) -> None:
    virtual_mesh.add_hosts("a", "b", "c", "d")
    with virtual_mesh.partition(["a", "b"], ["c", "d"]):
        await virtual_mesh.start("a", "b", "c", "d", mdns=False, beacon=True)
        await virtual_mesh.sleep(60)
        assert {len(node.members()) for node in virtual_mesh.nodes.values()} == {2}
    await virtual_mesh.wait_until_whole(timeout=240)


async def test_without_mdns_there_is_no_beacon_unless_it_is_asked_for(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", mdns=False)
    await virtual_mesh.sleep(120)
    assert {len(node.members()) for node in virtual_mesh.nodes.values()} == {1}


async def test_a_host_that_gets_another_address_stays_in_its_mesh(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    address = virtual_mesh.readdress("b")
    await virtual_mesh.wait_until(
        lambda: all(
            member.addresses[0].host == address
            for node in virtual_mesh.nodes.values()
            for member in node.members()
            if member.id == virtual_mesh["b"].id
        ),
        timeout=3,
    )
    assert virtual_mesh["b"].url == f"http://{address}:7700"
    await virtual_mesh.sleep(30)
    await virtual_mesh.wait_until_whole(timeout=5)
    assert "declares" not in virtual_mesh.story()
    async with virtual_mesh.client("b") as client:  # at the new address, under which it may be called
        assert len(await client.members()) == 3


async def test_all_hosts_that_get_other_addresses_at_once_are_one_mesh_again(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c", "d")
    await virtual_mesh.wait_until_whole()
    for name in "abcd":
        virtual_mesh.readdress(name)
    await virtual_mesh.sleep(2)
    await virtual_mesh.wait_until_whole(timeout=90)
    assert all(isinstance(node, meshp2p.MeshNode) for node in virtual_mesh.nodes.values())
