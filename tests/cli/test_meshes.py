"""``meshp2p meshes``: which meshes are announced, and which of them this user is in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshp2p.cli import main, meshes
from meshp2p.node.secured_meshes import split_announced
from tests.node.users import Users


@pytest.mark.parametrize(
    ("announced", "mesh_id", "name"),
    [
        ("default", None, "default"),
        ("a b", None, "a b"),
        (f"{'0f' * 16} studio", "0f" * 16, "studio"),
        (f"{'0f' * 16} two words", "0f" * 16, "two words"),
        (f"{'0F' * 16} studio", None, f"{'0F' * 16} studio"),
        (f"{'0f' * 16} ", None, f"{'0f' * 16} "),
        ("0f" * 16, None, "0f" * 16),
    ],
)
def test_an_announced_name_says_whether_the_mesh_is_secured(announced: str, mesh_id: str | None, name: str) -> None:
    assert split_announced(announced) == (mesh_id, name)


def test_meshes_are_listed_with_their_kind_and_whether_they_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users = Users(tmp_path, monkeypatch)
    _, studio = users.found("anna", "studio")
    users.found("anna", "attic")
    asked: list[set[str]] = []

    async def look(known: set[str]) -> dict[str, set[str]]:
        asked.append(known)
        return {
            studio.load_announced_name(): {"1", "2"},
            f"{'0f' * 16} studio": {"3"},
            "lab\x1b[2J": {"a", "b", "c"},
            "meshp2p join 7": {"x"},
        }

    monkeypatch.setattr(meshes, "_look", look)
    monkeypatch.setenv("MESHP2P_MESH", "lab")
    assert main(["meshes"]) == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert rows[0] == ["NAME", "NODES", "KIND", "JOINED", "ID"]
    found = {(row[0], row[1], row[2], row[3]) for row in rows[1:]}
    assert found == {
        ("studio", "2", "secured", "yes"),
        ("studio", "1", "secured", "no:"),
        ("attic", "0", "secured", "yes"),
        ("lab\\x1b[2J", "3", "open", "-"),
    }
    assert printed.err == "meshp2p: 1 open invitation(s): `meshp2p join` takes the code\n"
    assert len(asked[0]) == 3
    assert "lab" in asked[0]
    assert main(["meshes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["invitations"] == 1
    assert {(one["name"], one["nodes"], one["is_joined"], one["id"] is None) for one in told["meshes"]} == {
        ("studio", 2, True, False),
        ("studio", 1, False, False),
        ("attic", 0, True, False),
        ("lab\x1b[2J", 3, False, True),
    }


def test_a_network_without_a_mesh_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def look(known: set[str]) -> dict[str, set[str]]:
        return {}

    Users(tmp_path, monkeypatch).act("nobody")
    monkeypatch.setattr(meshes, "_look", look)
    assert main(["meshes"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "start a node with `meshp2p up`" in printed.err
