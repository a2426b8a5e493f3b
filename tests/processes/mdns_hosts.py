"""What the tests of discovery share: processes whose lines one reads, and hosts in network namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

ROOT = Path(__file__).parents[2]
PEER = Path(__file__).with_name("mdns_peer.py")


class Program:
    """A process that was started here: its lines can be waited for."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = self._read()
        self.pid = process.pid

    async def _read(self) -> AsyncGenerator[str, None]:
        assert self._process.stdout is not None
        text = b""
        async for data in self._process.stdout:
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                yield line.decode()

    async def wait_for_line(self, fragment: str) -> str:
        """Return the next line that contains ``fragment``. Fails where the process ends without one."""
        skipped: list[str] = []
        async for line in self._lines:
            if fragment in line:
                return line
            skipped.append(line)
        pytest.fail(f"{self._process.args!r} ended without {fragment!r}:\n" + "\n".join(skipped))

    async def wait_for_sighting(self, instance_id: str) -> list[str]:
        """Return the addresses at which a peer program next saw this id."""
        event: dict[str, Any] = json.loads(await self.wait_for_line(f'"seen": "{instance_id}"'))
        addresses: list[str] = event["addresses"]
        return addresses

    async def write(self, text: str) -> None:
        """Send it text on its standard input."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(text.encode())

    async def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        await self._process.wait()

    async def aclose(self) -> None:
        """Ask it to end and then kill it, whatever it does."""
        with trio.CancelScope(shield=True):
            assert self._process.stdin is not None
            await self._process.stdin.aclose()
            self._process.terminate()
            with trio.move_on_after(5):
                await self._process.wait()
            await self.kill()
            await self._lines.aclose()
            assert self._process.stdout is not None
            await self._process.stdout.aclose()


@asynccontextmanager
async def open_program(*command: str, env: dict[str, str] | None = None) -> AsyncIterator[Program]:
    """Run a command whose output is read and whose standard error is ours; it has ended when this ends."""
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.aclose()


def peer_command(instance_id: str, mesh: str, port: int, *addresses: str) -> tuple[str, ...]:
    """How to start ``mdns_peer.py``."""
    return (sys.executable, str(PEER), instance_id, mesh, str(port), *addresses)


class Host:
    """A network namespace, held by a process: it is gone when that is."""

    def __init__(self, holder: Program) -> None:
        self.pid = holder.pid

    def command(self, *command: str) -> tuple[str, ...]:
        """How to run ``command`` on this host."""
        return ("nsenter", f"--target={self.pid}", "--net", "--mount", "--", *command)

    async def run(self, *command: str) -> None:
        """Run it to its end; it must succeed."""
        await trio.run_process(self.command(*command), capture_stderr=True)


@asynccontextmanager
async def open_hosts(left: Sequence[str], right: Sequence[str]) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts on one cable, each with these addresses (``ADDRESS/BITS``). Skips the test where that is not allowed.

    The interface of each is called ``cable``. Each has a ``/run`` of its own.
    """
    try:
        await trio.run_process(["unshare", "--net", "--mount", "true"], capture_stderr=True)
        await trio.run_process(["nsenter", "--version"], capture_stdout=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs to make network namespaces (root, unshare and nsenter of util-linux, iproute2): {error}")
    setup = "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec cat"
    async with AsyncExitStack() as stack:
        hosts = []
        for _ in range(2):
            holder = await stack.enter_async_context(open_program("unshare", "--net", "--mount", "sh", "-c", setup))
            await holder.wait_for_line("ready")
            hosts.append(Host(holder))
        one, other = hosts
        await one.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(other.pid))
        for host, addresses in ((one, left), (other, right)):
            for address in addresses:
                # An address that is being verified unique (nodad: it is not) cannot be bound to for a second or two.
                await host.run("ip", "address", "add", address, "dev", "cable", *(["nodad"] if ":" in address else []))
            await host.run("ip", "link", "set", "cable", "up")
        yield one, other
