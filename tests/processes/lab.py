"""Hosts on a router, in network namespaces: behind NAT, behind firewalls, or on a path with a black hole.

::

    10.9.1.2 (a) ──┐
    10.9.2.2 (b) ──┤ router      each host has a network of its own; what passes goes through the router
    10.9.3.2 (c) ──┘
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.processes.mdns_hosts import Host, Program, open_program

PORT = 7700
AGENT = Path(__file__).with_name("lab_agent.py")


class Agent:
    """An agent of the lab: ``lab_agent.py`` on a host."""

    def __init__(self, program: Program, name: str) -> None:
        self.name = name
        self.program = program

    async def do(self, **command: Any) -> dict[str, Any]:
        """Let it do something, and return what came of it."""
        await self.program.write(json.dumps(command) + "\n")
        return await self.hear("done")

    async def hear(self, what: str, **values: Any) -> dict[str, Any]:
        """The next line that tells of this, with these values."""
        while True:
            told: dict[str, Any] = json.loads(await self.program.wait_for_line(f'"{what}"'))
            if told.get("what") == what and all(told.get(key) == value for key, value in values.items()):
                return told

    async def kill(self) -> None:
        await self.program.kill()


class Lab:
    """The router, and the hosts by their names."""

    def __init__(self, router: Host, stack: AsyncExitStack) -> None:
        self.router = router
        self.hosts: dict[str, Host] = {}
        self._stack = stack

    def address(self, name: str) -> str:
        return f"10.9.{list(self.hosts).index(name) + 1}.2"

    def network(self, name: str) -> str:
        return f"10.9.{list(self.hosts).index(name) + 1}.0/24"

    async def start(self, name: str, *, join: str = "", options: dict[str, Any] | None = None) -> Agent:
        """Start an agent on this host, that joins the one on another; returns when it is open."""
        given = {
            "host": self.address(name),
            "join": [f"{self.address(join)}:{PORT}"] if join else [],
            **(options or {}),
        }
        command = (sys.executable, str(AGENT), name, json.dumps(given))
        agent = Agent(await self._stack.enter_async_context(open_program(*self.hosts[name].command(*command))), name)
        await agent.hear("open")
        return agent

    async def iptables(self, host: Host, *rules: str) -> None:
        for rule in rules:
            await host.run("iptables", *rule.split())

    async def admit_nothing(self, name: str, *, answers: bool = True) -> None:
        """A firewall on this host admits nothing from outside, but for what answers the host itself; or, without
        ``answers``, not even packets that do: only segments of TCP connections that it opened."""
        host = self.hosts[name]
        passing = (
            "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
            if answers
            else "-A INPUT -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT"
        )
        await self.iptables(host, "-A INPUT -i lo -j ACCEPT", passing, "-P INPUT DROP")

    async def hide(self, name: str) -> None:
        """This host is behind NAT: others see the router's addresses, and cannot begin anything with it."""
        network = self.network(name)
        await self.iptables(
            self.router,
            f"-t nat -A POSTROUTING -s {network} -j MASQUERADE",
            f"-A FORWARD -d {network} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            f"-A FORWARD -d {network} -j DROP",
        )

    async def narrow(self, name: str, mtu: int = 1280) -> None:
        """The path to this host takes no larger packets, and no one is told."""
        await self.router.run("ip", "link", "set", f"to-{name}", "mtu", str(mtu))
        await self.iptables(self.router, "-A OUTPUT -p icmp -j DROP")


@asynccontextmanager
async def open_lab(*names: str) -> AsyncIterator[Lab]:
    """A router with these hosts. Skips the test if that is not allowed."""
    try:
        await trio.run_process(["unshare", "--net", "--mount", "true"], capture_stderr=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs to make network namespaces (root, unshare and nsenter of util-linux, iproute2): {error}")
    if shutil.which("iptables") is None:
        pytest.skip("needs iptables")
    setup = "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec cat"
    async with AsyncExitStack() as stack:

        async def make() -> Host:
            holder = await stack.enter_async_context(open_program("unshare", "--net", "--mount", "sh", "-c", setup))
            await holder.wait_for_line("ready")
            return Host(holder)

        lab = Lab(await make(), stack)
        await lab.router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for number, name in enumerate(names, 1):
            host = lab.hosts[name] = await make()
            router = str(lab.router.pid)
            await host.run("ip", "link", "add", "out", "type", "veth", "peer", "name", f"to-{name}", "netns", router)
            await host.run("ip", "address", "add", f"10.9.{number}.2/24", "dev", "out")
            await host.run("ip", "link", "set", "out", "up")
            await lab.router.run("ip", "address", "add", f"10.9.{number}.1/24", "dev", f"to-{name}")
            await lab.router.run("ip", "link", "set", f"to-{name}", "up")
            await host.run("ip", "route", "add", "default", "via", f"10.9.{number}.1")
        yield lab
