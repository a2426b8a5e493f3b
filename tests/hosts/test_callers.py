"""Programs on another machine that call a node of a secured mesh over HTTP."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import trio

from tests.hosts.programs import open_program, switch

pytestmark = pytest.mark.slow

CALL = """
import asyncio, sys
from meshp2p.client import MeshClient

async def call(name, url, **how):
    try:
        async with MeshClient(url, **how) as client:
            await client.register("painter", "eve", 1)
            print(name, "registered", len(await client.members()), flush=True)
    except Exception as error:
        print(name, type(error).__name__, error, flush=True)

async def main(address, token, ca):
    await call("plain", f"http://{address}")
    await call("unknown", f"https://{address}", ca=ca)
    await call("right", f"https://{address}", ca=ca, token=token)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_another_machine_needs_https_and_a_token(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "anna"), "PYTHONUNBUFFERED": "1"}
    with switch("anna", "eve") as network, trio.fail_after(100):
        anna, eve = network.hosts.values()

        def command(*words: str) -> list[str]:
            return anna.command(sys.executable, "-m", "meshp2p", *words)

        async with open_program(*command("init", "studio"), env=env) as init:
            await init.wait_for_line("is made")
        async with open_program(*command("token", "--agent", "painter"), env=env) as made:
            token = await made.wait_for_line(".")
        ca = tmp_path / "studio.pem"
        (root,) = (tmp_path / "anna" / "meshp2p" / "meshes").glob("*/root.pem")
        ca.write_bytes(root.read_bytes())
        up = command("up", "--json", "--mesh", "studio", "--id", "one", "--insecure-lan", "--no-mdns")
        async with open_program(*up, env=env) as node:
            address = json.loads(await node.wait_for_line('"ready"'))["addresses"][0]
            calls = eve.command(sys.executable, "-c", CALL, address, token, str(ca))
            nobody = {**env, "XDG_DATA_HOME": str(tmp_path / "eve")}
            async with open_program(*calls, env=nobody) as caller:
                assert "403: this node is in a secured mesh" in await caller.wait_for_line("plain")
                assert "401: an HTTPS request needs a token" in await caller.wait_for_line("unknown")
                assert await caller.wait_for_line("right") == "right registered 2"
