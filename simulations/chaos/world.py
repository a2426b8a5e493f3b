"""Nodes as processes, each with a network namespace, a small disk and, if libfaketime is there, a clock of its own.

All of it lives in one network and mount namespace of this process, and is gone with it.
"""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

__all__ = ["Node", "World", "open_world"]

PORT: Final = 7700
DISK_BYTES: Final = 32 * 2**20
FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class Node:
    """One machine, and the process on it while there is one."""

    def __init__(self, number: int, directory: Path, mesh: str) -> None:
        self.id: str = f"n{number}"
        self.host: str = f"10.77.0.{10 + number}"
        self.url: str = f"http://{self.host}:{PORT}"
        self.is_stopped: bool = False
        self.process: trio.Process | None = None
        self.lock: trio.Lock = trio.Lock()
        """Held by whoever ends and starts the process."""
        self.ended_alone: list[str] = []
        """How the process ended each time that nobody had ended it."""
        self._link = f"v{number}"
        self._space = f"c{number}"
        self._disk = directory / self.id
        self._clock = directory / f"{self.id}.clock"
        self._log = directory / f"{self.id}.log"
        self._mesh = mesh
        self._ended: set[int] = set()

    def make(self) -> None:
        """The machine: its network, its disk and its clock."""
        run("ip", "netns", "add", self._space)
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        run("ip", "link", "set", self._link, "master", "br0", "up")
        run("ip", "-n", self._space, "addr", "add", f"{self.host}/24", "dev", "eth0")
        run("ip", "-n", self._space, "link", "set", "eth0", "up")
        run("ip", "-n", self._space, "link", "set", "lo", "up")
        self._disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(self._disk))
        self._clock.write_text("+0")

    async def start(self, others: list[Node]) -> None:
        """Let a process begin; it need not serve yet."""
        command = ["ip", "netns", "exec", self._space, sys.executable, "-m", "meshp2p", "up", "--json"]
        command += ["--no-mdns", "--mesh", self._mesh, "--id", self.id, "--host", self.host, "--port", str(PORT)]
        command += ["--data-dir", str(self._disk / "data"), *(f"--join={other.host}:{PORT}" for other in others)]
        clock = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        environment = {**os.environ, **(clock if FAKETIME.exists() else {})}
        with self._log.open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment
            )

    def log_lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    async def watch(self) -> None:
        """Note an end that nobody asked for. Runs until it is cancelled."""
        while True:
            process = self.process
            if process is not None:
                status = await process.wait()
                if process.pid not in self._ended:
                    self._ended.add(process.pid)
                    tail = self._log.read_text(errors="replace")[-400:]
                    self.ended_alone.append(f"{self.id} ended with status {status}: {tail}")
            await trio.sleep(0.1)

    async def end(self, number: signal.Signals) -> None:
        process = self.process
        if process is not None:
            self._ended.add(process.pid)
            self.resume()
            process.send_signal(number)
            with trio.move_on_after(20) as patience:
                await process.wait()
            if patience.cancelled_caught:
                self.ended_alone.append(f"{self.id} did not end within 20 s of {number.name}")
                process.kill()
                await process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGSTOP)
            self.is_stopped = True

    def resume(self) -> None:
        if self.is_stopped and self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def cut(self) -> None:
        run("ip", "link", "set", self._link, "down")

    def heal(self) -> None:
        run("ip", "link", "set", self._link, "up")

    def fill(self) -> None:
        """Leave no room on the disk."""
        with (self._disk / "filler").open("ab", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def empty(self) -> None:
        (self._disk / "filler").unlink(missing_ok=True)

    def set_clock(self, seconds: int) -> None:
        """Let its clock show so much more, or less, than the true time."""
        self._clock.write_text(f"{seconds:+d}")


class World:
    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def has_clocks(self) -> bool:
        return FAKETIME.exists()

    def errors(self) -> list[str]:
        """What the nodes logged as errors, each line once, and how often."""
        lines = collections.Counter(
            f"{node.id}: {line.partition(' ERROR ')[2]}"
            for node in self.nodes
            for line in node.log_lines()
            if " ERROR " in line
        )
        return [f"{count} x {line}" for line, count in lines.items()]

    async def start(self, node: Node) -> None:
        await node.start([other for other in self.nodes if other is not node])


@asynccontextmanager
async def open_world(count: int, directory: Path) -> AsyncIterator[World]:
    """So many machines with a node each, which are ended with the block. This process has namespaces of its own."""
    run("mount", "--make-rprivate", "/")
    run("mkdir", "-p", "/run/netns")
    run("mount", "-t", "tmpfs", "none", "/run/netns")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "addr", "add", "10.77.0.1/24", "dev", "br0")
    run("ip", "link", "set", "br0", "up")
    world = World([Node(number, directory, f"chaos-{os.getpid()}") for number in range(count)])
    for node in world.nodes:
        node.make()
    async with trio.open_nursery() as nursery:
        for node in world.nodes:
            nursery.start_soon(node.watch)
        try:
            yield world
        finally:
            with trio.CancelScope(shield=True):
                for node in world.nodes:
                    await node.end(signal.SIGKILL)
            nursery.cancel_scope.cancel()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
