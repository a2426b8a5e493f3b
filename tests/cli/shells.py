"""Commands that are run against a real node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from meshp2p import MeshClient
from meshp2p.cli import main
from tests.http.meshes import open_mesh


class Shell:
    """Runs commands against one node, each in a thread of its own."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    async def run(self, *words: str) -> tuple[int, str, str]:
        """The exit code, and what was printed."""
        code = await trio.to_thread.run_sync(main, [*words, "--node", self.url])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    async def json(self, *words: str) -> Any:
        code, out, err = await self.run(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@asynccontextmanager
async def shell(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Shell]:
    """A node, and an instance ``agent`` that it hosts."""
    async with open_mesh("node") as (node,), MeshClient(node.url) as client:
        await client.register("agent", "h", 1)
        yield Shell(node.url, capsys)
