"""Every option of a node is a typed keyword: type checkers refuse one that is misspelt or of the wrong type."""

from __future__ import annotations

import subprocess
import sys
import typing
from pathlib import Path

import pytest

import meshp2p
import meshp2p.blocking
from meshp2p.testing import VirtualMesh

PROGRAM = """
import meshp2p
import meshp2p.blocking
from meshp2p.testing import VirtualMesh

meshp2p.open_node(id="a", capabilities=["x"], port=0, data_dir="state", join=("h:1",), preset="lan")
meshp2p.blocking.open_node(id="a", mdns=False)
meshp2p.load_config("agent.toml", id="a")
node = meshp2p.blocking.open_node()
node.send("a", {"n": 1}, kind="work", timeout=3)

async def use(mesh: VirtualMesh) -> int:
    await mesh.start("a", mdns=False)
    async with meshp2p.open_node() as node:
        return len(await node.wait_for_members(2, timeout=3))

# wrong from here
meshp2p.open_node(capabilites=["x"])
meshp2p.open_node(port="7700")
meshp2p.open_node(mdns="no")
meshp2p.blocking.open_node(capabilites=["x"])
meshp2p.load_config(capabilites=["x"])
node.send("a", {"n": 1}, kinds="work")
node.wait_for_members("two")

async def misuse(mesh: VirtualMesh) -> None:
    await mesh.start("a", capabilites=["x"])
"""


def test_the_typed_keywords_are_the_fields_of_a_configuration_and_a_preset() -> None:
    assert {*meshp2p.NodeConfig.__struct_fields__, "preset"} == set(meshp2p.NodeOptions.__annotations__)
    assert len(meshp2p.NodeOptions.__annotations__) <= 21
    for function in (meshp2p.open_node, meshp2p.blocking.open_node, meshp2p.load_config, VirtualMesh.start):
        assert typing.get_type_hints(function)["options"] == typing.Unpack[meshp2p.NodeOptions], function


@pytest.mark.slow
def test_a_type_checker_refuses_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), "agent.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = PROGRAM.split("\n")
    begin = lines.index("# wrong from here") + 1
    wrong = {number for number, line in enumerate(lines, 1) if number > begin and "(" in line and "def" not in line}
    reported = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert reported == wrong, done.stdout
