"""Who a node is: kept across restarts, made anew where a directory was copied, refused where another holds it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p import ConfigError, IdConflict, MeshNode, ProtocolConfig, StartError, StoreError
from tests.http.meshes import QUICK, open_mesh

OPTIONS: dict[str, Any] = {"port": 0, "mdns": False, "protocol": QUICK}
PATIENT = ProtocolConfig(settle_timeout=60)
"""For a node that must meet a peer before its block begins."""


async def incarnation_of(node: MeshNode, at: MeshNode) -> int:
    """The incarnation under which ``at`` lists a node that it must list."""
    member = at.member(node.id)
    assert member is not None
    return member.incarnation


async def open_and_close(**options: Any) -> None:
    async with meshp2p.open_node(in_loop=True, **{**OPTIONS, **options}):
        pass


async def test_a_made_id_is_a_tilde_a_uuid7_and_the_hosts_name_and_greater_than_those_before() -> None:
    ids = []
    for _ in range(3):
        async with meshp2p.open_node(in_loop=True, **OPTIONS, hostname="desk") as node:
            ids.append(node.id)
    assert all(made[0] == "~" and made[15] == "7" and made[37:] == "-desk" for made in ids)
    assert ids == sorted(ids, key=str.encode)
    assert len({*ids}) == 3


async def test_a_restart_keeps_the_id_and_raises_the_incarnation_and_the_epoch(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    for _ in range(3):
        async with meshp2p.open_node(in_loop=True, **OPTIONS, data_dir=tmp_path) as node:
            leader = await node.wait_for_leader()
            seen.append((node.id, await incarnation_of(node, node), leader.epoch))
    assert len({made for made, _, _ in seen}) == 1
    assert [incarnation for _, incarnation, _ in seen] == sorted({incarnation for _, incarnation, _ in seen})
    assert [epoch for _, _, epoch in seen] == sorted({epoch for _, _, epoch in seen})


async def test_a_restart_is_listed_again_by_those_who_saw_it_leave(tmp_path: Path) -> None:
    async with open_mesh("other") as (other,):
        seen = []
        for directory in (tmp_path, tmp_path, None):
            join = [str(other.addresses[0])]
            async with meshp2p.open_node(in_loop=True, **OPTIONS, id="node", data_dir=directory, join=join) as node:
                with trio.fail_after(30):
                    await other.wait_for_members(2)
                    await node.wait_for_members(2)
                seen.append(await incarnation_of(node, other))
        assert seen == sorted({*seen})


async def test_a_second_node_with_an_id_is_refused_and_the_first_stays() -> None:
    async with open_mesh("node", "other") as (first, other):
        before = other.member("node")
        for peer in (first, other):
            with pytest.raises(IdConflict, match=r"'node' belongs to another live node, at 127\.0\.0\.1:"):
                await open_and_close(id="node", join=[str(peer.addresses[0])], protocol=PATIENT)
        after = other.member("node")
        assert before is not None
        assert after is not None
        assert (after.addresses, after.state) == (before.addresses, before.state)
        assert len(other.members()) == len(first.members()) == 2


async def test_of_two_meshes_that_meet_the_newer_node_of_one_id_ends() -> None:
    async with open_mesh("node") as (first,):
        outcome: list[BaseException] = []

        async def run_second(*, task_status: trio.TaskStatus[MeshNode]) -> None:
            try:
                async with meshp2p.open_node(in_loop=True, **OPTIONS, id="node") as node:
                    task_status.started(node)
                    await trio.sleep_forever()
            except IdConflict as error:
                outcome.append(error)

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                second: MeshNode = await nursery.start(run_second)
                # a third brings them together
                join = [str(first.addresses[0]), str(second.addresses[0])]
                async with meshp2p.open_node(in_loop=True, **OPTIONS, id="third", join=join) as third:
                    while not outcome:
                        await trio.testing.wait_all_tasks_blocked(0.01)
                    await third.wait_for_members(2)
        assert len(outcome) == 1
        assert first.member("node") is not None


async def test_a_node_whose_directory_was_copied_takes_a_new_id(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    await open_and_close(data_dir=original)
    shutil.copytree(original, copy)
    async with meshp2p.open_node(in_loop=True, **OPTIONS, data_dir=original) as first:
        join = [str(first.addresses[0])]
        async with meshp2p.open_node(
            in_loop=True, **{**OPTIONS, "protocol": PATIENT}, data_dir=copy, join=join
        ) as second:
            made = second.id
            assert made != first.id
            with trio.fail_after(30):
                assert len(await first.wait_for_members(2)) == 2
        async with meshp2p.open_node(
            in_loop=True, **{**OPTIONS, "protocol": PATIENT}, data_dir=copy, join=join
        ) as second:
            assert second.id == made


async def test_a_chosen_id_in_a_copied_directory_is_refused(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    await open_and_close(data_dir=original, id="node")
    shutil.copytree(original, copy)
    async with meshp2p.open_node(in_loop=True, **OPTIONS, data_dir=original) as first:
        assert first.id == "node"
        with pytest.raises(IdConflict):
            await open_and_close(data_dir=copy, join=[str(first.addresses[0])], protocol=PATIENT)


async def test_a_directory_of_another_id_is_refused(tmp_path: Path) -> None:
    await open_and_close(data_dir=tmp_path, id="one")
    with pytest.raises(ConfigError, match=r"id = 'two', but data directory .* belongs to node 'one'"):
        await open_and_close(data_dir=tmp_path, id="two")
    await open_and_close(data_dir=tmp_path, id="one")


async def test_a_directory_that_a_running_node_uses_is_refused(tmp_path: Path) -> None:
    async with meshp2p.open_node(in_loop=True, **OPTIONS, data_dir=tmp_path):
        with pytest.raises(StartError, match="used by another running node"):
            await open_and_close(data_dir=tmp_path)
    await open_and_close(data_dir=tmp_path)


async def test_a_damaged_identity_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await open_and_close(data_dir=tmp_path)
    path = tmp_path / "identity.json"
    path.write_bytes(b'{"id": "half')
    for _ in range(2):
        with pytest.raises(StoreError, match=r"identity\.json.* remove it to start with a new identity"):
            await open_and_close(data_dir=tmp_path)
        assert path.read_bytes() == b'{"id": "half'
    path.unlink()
    await open_and_close(data_dir=tmp_path)


async def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="file"):
        await open_and_close(data_dir=tmp_path / "file" / "below")


async def test_a_damaged_cache_of_peers_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "peers.json").write_bytes(b"\xff")
    await open_and_close(data_dir=tmp_path)
