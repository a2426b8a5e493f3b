"""A node's messages in its data directory: there again after a restart, and what is damaged is refused at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import meshp2p
from meshp2p import MeshNode, ProtocolConfig, StoreError
from meshp2p.core.message import CUSTOM
from meshp2p.testing import VirtualMesh

OPTIONS: dict[str, Any] = {
    "id": "node",
    "port": 0,
    "mdns": False,
    "protocol": ProtocolConfig(settle_timeout=0.05),
}


async def send(node: MeshNode, target: str, text: str) -> str:
    return (await node._node.send_message("sender", target, CUSTOM, "n", f'"{text}"'.encode(), None)).message_id


async def read(node: MeshNode, recipient: str) -> list[str]:
    return [message.payload.decode().strip('"') for message in await node._node.fetch(recipient, 100, wait=5.0)]


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_what_was_accepted_is_there_after_a_restart_and_what_was_acknowledged_is_not(
    tmp_path: Path, durability: str
) -> None:
    options = {**OPTIONS, "data_dir": tmp_path, "durability": durability}
    async with meshp2p.open_node(in_loop=True, **options) as node:
        done = await send(node, "node", "one")
        await send(node, "node", "two")
        await node._node.acknowledge("node", (done,))
    async with meshp2p.open_node(in_loop=True, **options) as node:
        assert await read(node, "node") == ["two"]


async def test_a_damaged_store_is_refused_at_the_start_by_its_name_and_the_directory_is_free_again(
    tmp_path: Path,
) -> None:
    store = tmp_path / "messages.sqlite3"
    store.write_bytes(b"something else")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"messages\.sqlite3"):
            async with meshp2p.open_node(in_loop=True, **OPTIONS, data_dir=tmp_path):
                pass
        assert store.read_bytes() == b"something else"
    store.unlink()
    async with meshp2p.open_node(in_loop=True, **OPTIONS, data_dir=tmp_path):
        pass


@pytest.mark.parametrize("disk", ["honest", "lying"])
async def test_what_both_ends_kept_survives_the_crash_of_both_unless_the_disks_lie(
    virtual_mesh: VirtualMesh, disk: str
) -> None:
    a, _ = await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    if disk == "lying":
        virtual_mesh.forget_writes("a")
        virtual_mesh.forget_writes("b")
    await send(a, "b", "one")
    virtual_mesh.kill("a")
    virtual_mesh.kill("b")
    await virtual_mesh.restart("a")
    b = await virtual_mesh.restart("b")
    assert b is not None
    await virtual_mesh.wait_until_whole()
    assert await read(b, "b") == (["one"] if disk == "honest" else [])
