"""Agents on the hosts of a network: programs that embed a node, say what happens, and do what they are told."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from simulations.lan.network import Network
from tests.hosts.programs import Program, open_program, router

__all__ = ["Agent", "Lab", "open_lab"]

PORT = 7700
AGENT = Path(__file__).with_name("agent.py")


class Agent:
    """A running ``agent.py``."""

    def __init__(self, program: Program, name: str) -> None:
        self.name = name
        self.program = program

    async def do(self, **command: Any) -> dict[str, Any]:
        """Let it do something, and return what came of it."""
        self.program.write(json.dumps(command))
        return await self.hear("done")

    async def hear(self, what: str, **values: Any) -> dict[str, Any]:
        """The next line that tells of this, with these values."""
        while True:
            told: dict[str, Any] = json.loads(await self.program.wait_for_line(f'"{what}"'))
            if told.get("what") == what and all(told.get(key) == value for key, value in values.items()):
                return told

    def kill(self) -> None:
        self.program.kill()


class Lab:
    """A network with a router, and the agents that are started on its hosts."""

    def __init__(self, network: Network, stack: AsyncExitStack) -> None:
        self.network = network
        self._stack = stack

    async def start(self, name: str, *, join: str = "", options: dict[str, Any] | None = None) -> Agent:
        """Start an agent on this host, that joins the one on another; returns when it is open."""
        hosts = self.network.hosts
        given = {
            "host": hosts[name].address,
            "join": [f"{hosts[join].address}:{PORT}"] if join else [],
            **(options or {}),
        }
        command = hosts[name].command(sys.executable, str(AGENT), name, json.dumps(given))
        agent = Agent(await self._stack.enter_async_context(open_program(*command)), name)
        await agent.hear("open")
        return agent


@asynccontextmanager
async def open_lab(*names: str) -> AsyncIterator[Lab]:
    """A router with these hosts. Agents are killed at the end."""
    with router(*names) as network:
        async with AsyncExitStack() as stack:
            yield Lab(network, stack)
