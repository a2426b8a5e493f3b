"""Which mesh a node is in that names none, and credentials that are given to a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import meshp2p
from meshp2p import ConfigError, NodeConfig
from meshp2p.cli import ask, main
from meshp2p.discovery import mdns
from meshp2p.discovery.advertisement import Advertisement
from meshp2p.errors import StartError, StoreError
from meshp2p.node.secured_meshes import announced_mesh, choose_mesh, count_secured, is_secured_as
from meshp2p.store.credential_bundle import bundle_of
from tests.node.test_secured import seed
from tests.node.users import Users

OPTIONS: dict[str, Any] = {"port": 0, "mdns": False}


async def test_a_node_that_names_no_mesh_is_in_the_one_that_its_user_joined(users: Users) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        assert one.config.mesh == "studio"
        users.act("bert")
        async with meshp2p.open_node(id="two", mesh="studio", join=seed(one), **OPTIONS) as two:
            await two.wait_for_members(2, timeout=60)
        users.act("nobody")
        async with meshp2p.open_node(id="three", join=seed(one), **OPTIONS) as three:
            assert three.config.mesh == "default"


def test_of_several_meshes_one_has_to_be_named(users: Users) -> None:
    users.found("anna")
    users.found("anna", "office")
    with pytest.raises(ConfigError, match=r"in 2 secured meshes: 'office', 'studio'\. Name one"):
        choose_mesh(NodeConfig())
    assert choose_mesh(NodeConfig(mesh="office")).mesh == "office"
    assert choose_mesh(NodeConfig(mesh="elsewhere")).mesh == "elsewhere"


@pytest.mark.parametrize("form", ["bytes", "file", "text", "directory"])
async def test_a_node_takes_the_credentials_that_it_is_given(users: Users, tmp_path: Path, form: str) -> None:
    _, anna = users.found("anna")
    service = users.invite(anna, "service")
    file = tmp_path / "service.pem"
    file.write_bytes(bundle_of(service.load()))
    file.chmod(0o600)
    given: Any = {"bytes": file.read_bytes(), "file": file, "text": str(file), "directory": service.path}[form]
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("nobody")
        for _ in range(2):  # the second life has a later boot
            async with meshp2p.open_node(id="two", credentials=given, join=seed(one), **OPTIONS) as two:
                assert two.config.mesh == "studio"
                await two.wait_for_members(2, timeout=60)
                await one.wait_for_members(2, timeout=60)
                assert announced_mesh(two.config) != "studio"


def test_credentials_that_cannot_be_used_are_refused_and_never_shown(users: Users, tmp_path: Path) -> None:
    _, anna = users.found("anna")
    pem = bundle_of(anna.load())
    file = tmp_path / "service.pem"
    with pytest.raises(StoreError, match="cannot be read"):
        choose_mesh(NodeConfig.of(credentials=file))
    file.write_bytes(pem)
    file.chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        choose_mesh(NodeConfig.of(credentials=file))
    with pytest.raises(ConfigError, match="the credentials are of mesh 'studio'"):
        choose_mesh(NodeConfig.of(credentials=pem, mesh="office"))
    _, other = users.found("other")
    stranger = pem.split(b"-----END PRIVATE KEY-----\n")[0] + b"-----END PRIVATE KEY-----\n"
    for wrong in (
        b"x",
        pem[:500],
        pem[300:],
        stranger + bundle_of(other.load()).partition(b"KEY-----\n")[2],
        b"\xff" * 9,
    ):
        with pytest.raises(StoreError, match=r"is no credential|holds no certificate|does not hold"):
            choose_mesh(NodeConfig.of(credentials=wrong))
    config = NodeConfig.of(credentials=pem)
    assert "PRIVATE" not in repr(config)
    assert f"<{len(pem)} secret bytes>" in repr(config)


@pytest.mark.parametrize("wrong", ["", b"", 7, ["x"]])
def test_credentials_are_a_path_or_bytes(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="credentials = "):
        NodeConfig.of(credentials=wrong)


# Meshes that this machine is not in

STUDIO = f"{'0' * 31}a studio"


def test_only_a_mesh_id_before_the_name_makes_a_secured_mesh() -> None:
    assert is_secured_as(STUDIO, "studio")
    for announced in ("studio", "my studio", f"{'0' * 31} studio", f"{STUDIO} two", f"{'0' * 32}", STUDIO.upper()):
        assert not is_secured_as(announced, "studio")


async def test_nodes_of_a_secured_mesh_of_the_same_name_are_counted_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async def browse(*_: object, **__: object) -> list[Advertisement]:
        return [Advertisement(mesh, one, 1, ()) for mesh in (STUDIO, "studio", "x") for one in ("a", "b", "a")]

    monkeypatch.setattr(mdns, "browse_once", browse)
    assert await count_secured("studio") == 2
    assert await count_secured("x") == 0


async def test_a_network_that_cannot_be_browsed_shows_no_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    async def browse(*_: object, **__: object) -> list[Advertisement]:
        raise StartError("no multicast")

    monkeypatch.setattr(mdns, "browse_once", browse)
    assert await count_secured("studio") == 0


@pytest.mark.parametrize("command", ["agents", "leader"])
def test_who_is_not_in_a_mesh_that_is_seen_is_told_how_to_join(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    async def nobody(mesh: str, *, enough: int | None = 1) -> list[object]:
        return []

    async def three(mesh: str) -> int:
        return 3

    monkeypatch.setattr(ask, "find_announced", nobody)
    monkeypatch.setattr(ask, "count_secured", three)
    assert main([command, "--mesh", "studio"]) == 2
    assert capsys.readouterr().err == (
        "meshp2p: mesh 'studio' is on this network (3 nodes), and this machine is not in it;"
        " to join, run `meshp2p invite` on a member and `meshp2p join` here\n"
    )
