"""A client that a standard generator makes from ``/openapi.json`` compiles strictly and talks to real nodes, in a test
and in the tutorial. What is generated and fetched stays in a temporary directory."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.docs.test_code_blocks import BLOCKS
from tests.docs.test_console_blocks import steps
from tests.http.meshes import open_mesh

pytestmark = pytest.mark.long

SOURCES = Path(__file__).parent / "typescript"
PAGE = "docs/tutorials/another-language.md"
PINNED = ("openapi-fetch", "openapi-typescript", "typescript")
SHOWN_URL = "http://127.0.0.1:7700"


async def run(*command: str, directory: Path) -> str:
    """Return what it prints; it must end with exit status 0."""
    if shutil.which(command[0]) is None:
        pytest.fail(f"make test-long needs {command[0]}: install Node.js 20 or newer with npm, from https://nodejs.org")
    result = await trio.run_process(list(command), cwd=directory, capture_stdout=True, capture_stderr=True, check=False)
    printed = (result.stdout + result.stderr).decode()
    assert result.returncode == 0, f"{' '.join(command)}: {printed}"
    return printed


async def test_a_generated_client_compiles_strictly_and_holds_the_conversation_with_two_nodes(tmp_path: Path) -> None:
    directory = tmp_path / "client"
    shutil.copytree(SOURCES, directory)
    await run("npm", "install", "--no-audit", "--no-fund", directory=directory)
    async with open_mesh("a", "b") as nodes, httpx.AsyncClient(trust_env=False) as client:
        (directory / "openapi.json").write_bytes((await client.get(f"{nodes[0].url}/openapi.json")).content)
        for script in ("generate", "compile"):
            await run("npm", "run", script, directory=directory)
        printed = await run("node", "conversation.js", *(node.url for node in nodes), directory=directory)
    assert printed == "both agents had the whole conversation\n"


async def test_the_typescript_of_the_tutorial_works_as_it_is_shown(tmp_path: Path) -> None:
    blocks = [block for block in BLOCKS if block.place.startswith(f"{PAGE}:")]
    (program,) = (block.source for block in blocks if block.language == "typescript")
    shown = dict(step for block in blocks if block.language == "console" for step in steps(block))
    install, generate, compile_ = (command for command in shown if command.startswith(("npm ", "npx ")))
    (query,) = (command for command in shown if command.startswith("meshp2p query"))
    pinned = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    assert {name: pinned[name] for name in PINNED} == dict(word.split("@") for word in install.split()[2:])
    async with open_mesh("painter-1") as [node], trio.open_nursery() as nursery:

        async def work(command: str) -> str:
            return await run(*shlex.split(command.replace(SHOWN_URL, node.url)), directory=tmp_path)

        (tmp_path / "agent.mts").write_text(program.replace(SHOWN_URL, node.url))
        for command in (install, generate, compile_):
            await work(command)
        agent: trio.Process = await nursery.start(
            partial(trio.run_process, ["node", "agent.mjs"], cwd=tmp_path, stdout=subprocess.PIPE)
        )
        assert agent.stdout is not None
        async with agent.stdout:
            first = await agent.stdout.receive_some()
            assert first.decode().splitlines() == shown["node agent.mjs"]
            printed = await work(f"{sys.executable} -m {query} --node {node.url}")
            assert printed.splitlines() == shown[query]
            await agent.wait()
        assert [member.id for member in node.members()] == ["painter-1"]
