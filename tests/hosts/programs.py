"""What tests with processes on hosts share: programs whose lines one reads, and networks that skip the test if they
cannot be made here."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import simulations.programs
from simulations.lan.network import Host, Network, open_router, open_switch
from simulations.namespaces import NamespacesUnavailable

__all__ = [
    "Program",
    "open_program",
    "open_programs",
    "open_ready",
    "peer_command",
    "router",
    "skip_without_namespaces",
    "switch",
    "two_hosts",
    "up",
    "up_command",
]

PEER = Path(__file__).with_name("mdns_peer.py")


class Program:
    """A process that was started here: its lines can be waited for."""

    def __init__(self, running: simulations.programs.Program, lines: trio.MemoryReceiveChannel[str]) -> None:
        self._running = running
        self._lines = lines
        self.pid = running.pid

    async def wait_for_line(self, *fragments: str) -> str:
        """Return the next line that contains all ``fragments``. Fails if the process ends without one."""
        skipped: list[str] = []
        async for line in self._lines:
            if all(fragment in line for fragment in fragments):
                return line
            skipped.append(line)
        pytest.fail(f"it ended without {fragments!r}:\n" + "\n".join(skipped))

    async def wait_for_sighting(self, instance_id: str) -> list[str]:
        """Return the addresses at which a peer program next saw this id."""
        event: dict[str, Any] = json.loads(await self.wait_for_line(f'"seen": "{instance_id}"'))
        addresses: list[str] = event["addresses"]
        return addresses

    async def wait_ended(self) -> None:
        """Return when it has ended by itself."""
        await self._running.ended.wait()

    def write(self, text: str) -> None:
        """Send it a line on its standard input."""
        self._running.tell(text)

    def send_signal(self, number: int) -> None:
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does."""
        self._running.kill()


@asynccontextmanager
async def open_program(
    *command: str, env: Mapping[str, str] | None = None, log: Path | None = None
) -> AsyncIterator[Program]:
    """Run a command whose output is read; its standard error is ours, or goes to ``log``. It is killed when this
    ends."""
    send, receive = trio.open_memory_channel[str](100_000)
    async with trio.open_nursery() as nursery:
        running = simulations.programs.Program(command, log, lambda line, _: send.send_nowait(line), env)

        async def read() -> None:
            with send:
                await running.run()

        nursery.start_soon(read)
        try:
            yield Program(running, receive)
        finally:
            running.kill()
            nursery.cancel_scope.cancel()
            receive.close()


@asynccontextmanager
async def open_programs(*commands: Sequence[str]) -> AsyncIterator[list[Program]]:
    """Run these commands. See :func:`open_program`."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_program(*command)) for command in commands]


@asynccontextmanager
async def open_ready(*commands: Sequence[str]) -> AsyncIterator[list[Program]]:
    """Run nodes, and wait until each is ready."""
    async with open_programs(*commands) as nodes:
        for node in nodes:
            await node.wait_for_line('"ready"')
        yield nodes


def peer_command(instance_id: str, mesh: str, port: int, *addresses: str) -> tuple[str, ...]:
    """How to start ``mdns_peer.py``."""
    return (sys.executable, str(PEER), instance_id, mesh, str(port), *addresses)


def up_command(instance_id: str, *options: str) -> tuple[str, ...]:
    """How to start a node of the mesh ``lab``."""
    return (sys.executable, "-m", "meshp2p", "up", "--json", "--mesh", "lab", "--id", instance_id, *options)


def up(host: Host, instance_id: str, *options: str) -> list[str]:
    """How to start a node of the mesh ``lab`` on a host."""
    return host.command(*up_command(instance_id, *options))


@contextmanager
def switch(*names: str, ipv4: bool = True, ipv6: bool = False) -> Iterator[Network]:
    """See :func:`~simulations.lan.network.open_switch`."""
    with skip_without_namespaces(), open_switch(*names, ipv4=ipv4, ipv6=ipv6) as network:
        yield network


@contextmanager
def router(*names: str) -> Iterator[Network]:
    """See :func:`~simulations.lan.network.open_router`."""
    with skip_without_namespaces(), open_router(*names) as network:
        yield network


@asynccontextmanager
async def two_hosts(left: Sequence[str], right: Sequence[str]) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts on one switch, each with these addresses (``ADDRESS/BITS``)."""
    with switch("left", "right", ipv4=False) as network:
        for host, addresses in zip(network.hosts.values(), (left, right), strict=True):
            for address in addresses:
                host.namespace.ip(f"address add {address} {'' if ':' in address else 'broadcast +'} dev lan")
        yield network.hosts["left"], network.hosts["right"]


@contextmanager
def skip_without_namespaces() -> Iterator[None]:
    """Skip the test if network namespaces cannot be made here."""
    try:
        yield
    except NamespacesUnavailable as error:
        pytest.skip(str(error))
