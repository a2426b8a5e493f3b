"""The fixture ``virtual_mesh`` in a project of somebody else, with pytest-trio and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TEST = """
import pytest

async def test_my_agent(virtual_mesh):
    a, b, c = await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.partition(["a"], ["b", "c"])
    await virtual_mesh.sleep(30)
    assert a.leader.id == "a" and b.leader.id == "b"
    virtual_mesh.heal()
    await virtual_mesh.wait_until_whole()

@pytest.mark.virtual_mesh(seed=9, seconds_max=50)
async def test_the_seed_and_options_of_the_mark_are_taken(virtual_mesh):
    assert virtual_mesh.seed == 9

async def test_the_seed_of_the_command_line_is_taken(virtual_mesh):
    assert virtual_mesh.seed == 5

@pytest.mark.xfail(strict=True)
async def test_that_fails(virtual_mesh):
    await virtual_mesh.start("a")
    assert False
"""

FAILS = """
async def test_that_fails(virtual_mesh):
    await virtual_mesh.start("a")
    assert virtual_mesh.nodes == {}
"""

WITH_TRIO_FIXTURE = """
import pytest

@pytest.fixture
async def pair(virtual_mesh):
    return await virtual_mesh.start("a", "b")

async def test_an_async_fixture_uses_the_mesh(pair, virtual_mesh, autojump_clock):
    await virtual_mesh.wait_until_whole()
    assert len(pair[0].members()) == 2
"""

PLUGIN = "meshp2p.testing.pytest_plugin"


def run_pytest(directory: Path, sources: dict[str, str], *options: str) -> str:
    for name, source in sources.items():
        (directory / f"test_{name}.py").write_text(source)
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *options, str(directory)]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("options", [[], ["-o", "trio_mode=true"], ["-p", "no:trio"]], ids=["trio", "mode", "alone"])
def test_the_ten_line_test_passes_and_a_failed_one_shows_the_seed_and_the_story(
    tmp_path: Path, options: list[str]
) -> None:
    sources = {"agent": TEST, "that_fails": FAILS}
    if "trio_mode=true" in options:
        sources["with_a_fixture_of_pytest_trio"] = WITH_TRIO_FIXTURE
    output = run_pytest(tmp_path, sources, "--mesh-seed=5", *options)
    assert f"1 failed, {len(sources) + 1} passed, 1 xfailed" in output, output
    assert "E       AssertionError: assert {'a': <MeshNo" in output, output
    assert "<VirtualMesh seed=5 at" in output, output
    assert "  a  starts (a node)" in output, output
    assert "_run" not in output, output
