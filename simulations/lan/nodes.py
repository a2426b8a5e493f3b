"""A node of a system on a host: started, signalled, and observed from outside."""

from __future__ import annotations

import abc
import contextlib
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import trio

from simulations.lan.http import ask
from simulations.lan.network import Host
from simulations.programs import Program

__all__ = ["SYSTEMS", "Meshp2pNode", "Node", "SerfNode"]


class Node(abc.ABC):
    """One node, named like its host. ``seeds`` are addresses of hosts; without them it finds others on the LAN. Its
    errors go to ``log``."""

    system: ClassVar[str]

    def __init__(self, host: Host, seeds: Sequence[str], options: Sequence[str], log: Path) -> None:
        self.host = host
        self.seeds = tuple(seeds)
        self.options = tuple(options)
        self.is_running = False
        self._log = log
        self._program: Program | None = None

    @abc.abstractmethod
    def command(self) -> list[str]:
        """How it is started on its host."""

    @abc.abstractmethod
    def hear(self, line: str) -> None:
        """It printed this."""

    @abc.abstractmethod
    async def view(self) -> frozenset[str] | None:
        """The names of the live nodes that it lists; None if it does not say."""

    def start(self, nursery: trio.Nursery) -> None:
        program: Program | None = None

        def take(line: str, _arrived: float) -> None:
            if self._program is program:  # else it is what a killed one said last
                self.hear(line)

        self._program = program = Program(self.host.command(*self.command()), self._log, take)
        self.is_running = True
        nursery.start_soon(program.run)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._program is not None:
            self._program.kill()
        self._program, self.is_running = None, False

    def stop(self) -> None:
        """Stop the process where it is (SIGSTOP), until :meth:`resume`."""
        self._signal(signal.SIGSTOP)
        self.is_running = False

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self.is_running = True

    def _signal(self, number: int) -> None:
        if self._program is not None:
            self._program.send_signal(number)


class Meshp2pNode(Node):
    """``meshp2p up``, seen over HTTP."""

    system = "meshp2p"

    def command(self) -> list[str]:
        joins = [word for seed in self.seeds for word in ("--join", f"{seed}:7700")]
        node = [sys.executable, "-m", "meshp2p", "up", "--json", "--id", self.host.name, "--mesh", "lan"]
        return [*node, "--insecure-lan", "--port", "7700", *joins, *self.options]

    def hear(self, line: str) -> None:
        pass

    async def view(self) -> frozenset[str] | None:
        with contextlib.suppress(OSError):
            status, answer = await ask(self.host, "GET", "/registry/agents")
            if status == 200:
                return frozenset(instance["instance_id"] for instance in answer["instances"])
        return None


class SerfNode(Node):
    """``serf agent``, observed by its output about each member."""

    system = "serf"
    _event: Final = re.compile(r"serf: EventMember(Join|Failed|Leave|Reap): (\S+)")

    def __init__(self, host: Host, seeds: Sequence[str], options: Sequence[str], log: Path) -> None:
        super().__init__(host, seeds, options, log)
        self._view: set[str] = set()

    def command(self) -> list[str]:
        self._view = set()
        joins = [word for seed in self.seeds for word in (f"-retry-join={seed}", "-retry-interval=200ms")]
        agent = ["serf", "agent", f"-node={self.host.name}", f"-bind={self.host.address}"]
        return [*agent, *(joins or ["-discover=lan"]), *self.options]

    def hear(self, line: str) -> None:
        for kind, name in self._event.findall(line):
            if kind == "Join":
                self._view.add(name)
            else:
                self._view.discard(name)

    async def view(self) -> frozenset[str] | None:
        await trio.lowlevel.checkpoint()
        return frozenset(self._view)

    @staticmethod
    def is_here() -> bool:
        return shutil.which("serf") is not None


SYSTEMS: Final[dict[str, type[Node]]] = {system.system: system for system in (Meshp2pNode, SerfNode)}
