"""Whole nodes of a secured mesh: who meets whom, by the credentials that their users have."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p import MeshNode
from meshp2p.errors import Revoked, StartError, StoreError
from meshp2p.node import self_check
from meshp2p.node.config import NodeConfig
from meshp2p.node.platform import SystemPlatform
from meshp2p.node.secured_meshes import announced_mesh
from tests.node.users import Users

OPTIONS: dict[str, Any] = {"port": 0, "mdns": False, "mesh": "studio"}


def seed(node: MeshNode) -> list[str]:
    return [str(node.addresses[0])]


async def test_members_meet_and_ask_one_another(users: Users) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:

        @one.handler("Query")
        async def answer(message: meshp2p.ReceivedMessage) -> str:
            return f"{message.payload}, {message.source}"

        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await two.wait_for_members(2, timeout=60)
            await one.wait_for_members(2, timeout=60)
            assert await two.query("one", "hello", timeout=60) == "hello, two"


async def test_a_member_that_finds_nobody_calls_its_mesh_by_the_name_that_users_know(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: queue.SimpleQueue[str] = queue.SimpleQueue()

    def why_alone(search: self_check.Search) -> tuple[str, str]:
        named.put(search.mesh)
        return "", ""

    monkeypatch.setattr(self_check, "ALONE_SECONDS", 0.01)
    monkeypatch.setattr(self_check, "why_alone", why_alone)
    users.found("anna")
    async with meshp2p.open_node(id="one", **OPTIONS):
        assert await trio.to_thread.run_sync(named.get) == "studio"


@pytest.mark.parametrize("stranger", ["uninvited", "of another mesh of that name"])
async def test_strangers_and_members_do_not_meet(users: Users, stranger: str) -> None:
    users.found("anna")
    async with meshp2p.open_node(id="member", **OPTIONS) as member:
        if stranger == "uninvited":
            users.act("nobody")
        else:
            users.found("impostor")
        # A third node of the stranger's own mesh shows that it does find whom it may find.
        async with (
            meshp2p.open_node(id="stranger", join=seed(member), **OPTIONS) as one,
            meshp2p.open_node(id="friend", join=[*seed(member), *seed(one)], **OPTIONS) as friend,
        ):
            await friend.wait_for_members(2, timeout=60)
            await one.wait_for_members(2, timeout=60)
            assert {each.id for each in friend.members()} == {"stranger", "friend"}
            assert {each.id for each in member.members()} == {"member"}


async def test_another_mesh_of_this_user_is_open_as_before(users: Users) -> None:
    users.found("anna")
    async with meshp2p.open_node(id="one", **{**OPTIONS, "mesh": "office"}) as one:
        users.act("nobody")
        async with meshp2p.open_node(id="two", join=seed(one), **{**OPTIONS, "mesh": "office"}) as two:
            await two.wait_for_members(2, timeout=60)


async def test_a_machine_that_knows_that_it_was_revoked_starts_nothing(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert = users.invite(anna, "bert")
    credential = bert.load()
    credential.trust.revoke(root_key, credential.key.fingerprint)
    bert.update_trust(credential)
    with pytest.raises(Revoked, match=r"revoked by the root.*meshp2p join"):
        async with meshp2p.open_node(**OPTIONS):
            pass


@pytest.mark.parametrize("home", ["", "/dev/null/nowhere", "/nonexistent"])
async def test_a_user_without_a_usable_home_opens_open_meshes(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(Path, "home", no_home)
    async with meshp2p.open_node(id="one", **OPTIONS) as node:
        assert node.id == "one"


async def test_a_home_that_may_not_be_read_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert announced_mesh(NodeConfig(mesh="studio")) == "studio"


async def test_a_node_goes_on_if_its_trust_map_can_be_neither_read_nor_kept(
    users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        (anna.path / "trust").write_bytes(b"damaged")
        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await two.wait_for_members(2, timeout=60)
    assert "is not used" in caplog.text


async def test_an_id_that_the_machine_may_not_use_is_refused(users: Users) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "bert", ids="worker-*")
    with pytest.raises(StartError, match="may not use the id 'leader'"):
        async with meshp2p.open_node(id="leader", **OPTIONS):
            pass
    async with meshp2p.open_node(id="worker-1", **OPTIONS) as node:
        assert node.id == "worker-1"


async def test_a_credential_that_others_may_read_starts_nothing(users: Users) -> None:
    _, anna = users.found("anna")
    (anna.path / "machine.key").chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        async with meshp2p.open_node(**OPTIONS):
            pass


async def test_a_node_learns_from_its_peers_what_is_revoked_and_keeps_it(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert, lost = users.invite(anna, "bert"), users.invite(anna, "lost")
    target = lost.load().key.fingerprint
    credential = anna.load()
    credential.trust.revoke(root_key, target)
    anna.update_trust(credential)
    assert bert.load().trust.machines.get(target) is None
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await two.wait_for_members(2, timeout=60)
    known = bert.load().trust
    assert target in known.machines
    assert not known.is_trusted(target)


@pytest.mark.parametrize("years", [-50, 40])
async def test_a_node_whose_clock_is_wrong_is_a_member_and_stays_one_when_it_is_corrected(
    users: Users, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    ahead_ms = [0]

    class Skewed(SystemPlatform):
        def __init__(self) -> None:
            super().__init__()
            self._ahead_ms = ahead_ms[0]

        def wall_ms(self) -> int:
            return max(0, super().wall_ms() + self._ahead_ms)

    monkeypatch.setattr("meshp2p.threaded.node_thread.SystemPlatform", Skewed)
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        for ahead_ms[0] in (years * 31_557_600_000, 0):
            async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
                await two.wait_for_members(2, timeout=60)
                await one.wait_for_members(2, timeout=60)
