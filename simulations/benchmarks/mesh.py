"""A mesh of real processes under measurement: what each node sees, and when it saw it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import trio

from simulations.benchmarks.hosts import Host, Lan
from simulations.benchmarks.programs import Program
from simulations.benchmarks.systems import Sighting, System

__all__ = ["Mesh", "MeshFailed", "Node", "Watch", "open_mesh"]

READY_TIMEOUT = 120.0
"""Seconds for all processes to be ready to begin; it ends a benchmark that hangs and says nothing of speed."""


class MeshFailed(Exception):
    """A mesh cannot be measured: a process of it does not run."""


class Node:
    """One node: a host that stays, and the process that runs on it now. ``view`` holds whom it lists."""

    def __init__(self, node_id: str, host: Host) -> None:
        self.id = node_id
        self.host = host
        self.program: Program | None = None
        self.view: dict[str, float] = {}
        self.is_ready = False
        self.is_live = False
        """Whether others should list it: it was begun, and neither killed nor cut off nor told to leave."""

    @property
    def pid(self) -> int:
        assert self.program is not None, f"{self.id} does not run"
        return self.program.pid


class Watch:
    """When each node first saw one thing of one other node, from the moment this was made. Times are of
    ``CLOCK_MONOTONIC``."""

    def __init__(self, kind: str, subject: str, value: str | None) -> None:
        self._wanted = (kind, subject, value)
        self.began = time.monotonic()
        self.seen: dict[str, float] = {}

    def take(self, observer: str, sighting: Sighting) -> None:
        kind, subject, value = self._wanted
        if sighting.kind == kind and sighting.subject == subject and value in (None, sighting.value):
            self.seen.setdefault(observer, sighting.time)


class Mesh:
    """Nodes ``n000``, ``n001``, ... of one system, one process and one host each. The first is the seed of all."""

    def __init__(self, system: System, lan: Lan, count: int, nursery: trio.Nursery, logs: Path) -> None:
        self.system = system
        self.lan = lan
        self.nodes = {f"n{number:03}": Node(f"n{number:03}", lan.hosts[number]) for number in range(count)}
        self.false_deaths = 0
        """How often a node that was well was said to be gone."""

        self._nursery = nursery
        self._logs = logs
        self._watches: list[Watch] = []
        self._changed = trio.Event()

    # Its life

    def spawn(self, node: Node) -> None:
        """Start the node's process; it is not yet told to begin."""
        first = next(iter(self.nodes.values()))
        seed = None if node is first else first.host.address
        node.view, node.is_ready = {}, self.system.begins_by_itself
        node.is_live = self.system.begins_by_itself
        program: Program | None = None

        def hear(line: str, arrived: float) -> None:
            if node.program is program:  # else it is what a killed one said last
                self._hear(node, line, arrived)

        command = self.system.command(node.id, node.host.address, seed)
        node.program = program = Program(
            node.host.command(*command), self._logs / f"{self.system.name}-{node.id}.log", hear
        )
        self._nursery.start_soon(program.run)

    async def spawn_all(self) -> None:
        """Start all processes, and wait until they are ready to begin. Raises :class:`MeshFailed` where one is not."""
        for node in self.nodes.values():
            self.spawn(node)
        if not await self.wait_until(lambda: all(node.is_ready for node in self.nodes.values()), READY_TIMEOUT):
            raise MeshFailed(f"{self.system.name}: a process did not start: see {self._logs}")

    def begin(self, node: Node) -> None:
        if not self.system.begins_by_itself and node.program is not None:
            node.program.tell("begin")
            node.is_live = True

    async def replace(self, node: Node, timeout: float) -> bool:
        """Start a node again whose process has ended. Whether all views were full in time."""
        self.spawn(node)
        if not await self.wait_until(lambda: node.is_ready, READY_TIMEOUT):
            raise MeshFailed(f"{self.system.name}: a process did not start again: see {self._logs}")
        self.begin(node)
        return await self.wait_full(timeout)

    def kill(self, node: Node) -> None:
        """SIGKILL its process. Its host, and so the kernel that answers for it, stays."""
        node.is_live = False
        assert node.program is not None
        node.program.kill()

    def cut(self, node: Node) -> None:
        """Have its host vanish from the network without a word, while its process runs on."""
        node.is_live = False
        self.lan.cut(node.host)

    def kill_all(self) -> None:
        for node in self.nodes.values():
            if node.program is not None:
                self.kill(node)
                node.program = None

    # What is seen

    def watch(self, kind: str, subject: str, value: str | None = None) -> Watch:
        """Note from now on when each node sees this of ``subject``; ``value`` only where the system tells it."""
        watch = Watch(kind, subject, value)
        self._watches.append(watch)
        return watch

    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_live]

    def is_full(self) -> bool:
        """Whether every live node lists exactly the live ones."""
        wanted = {node.id for node in self.live()}
        return all(node.view.keys() | {node.id} == wanted for node in self.live())

    def full_since(self) -> float:
        """When the last node came to see the last that it had to, where all views are full."""
        return max((seen for node in self.live() for seen in node.view.values()), default=-math.inf)

    async def wait_full(self, timeout: float) -> bool:
        return await self.wait_until(self.is_full, timeout)

    async def wait_seen(self, watch: Watch, observers: Collection[str], timeout: float) -> bool:
        """Wait until all ``observers`` have seen it. Whether they did in time."""
        return await self.wait_until(lambda: watch.seen.keys() >= set(observers), timeout)

    async def wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``holds()``, which is asked after each sighting. Whether it came in time."""
        with trio.move_on_after(timeout):
            while not holds():
                await self._changed.wait()
            return True
        return False

    def _hear(self, node: Node, line: str, arrived: float) -> None:
        sighting = self.system.parse(line, arrived)
        if sighting is None:
            return
        match sighting.kind:
            case "ready":
                node.is_ready = True
            case "joined":
                node.view[sighting.subject] = sighting.time
            case "gone":
                node.view.pop(sighting.subject, None)
                subject = self.nodes.get(sighting.subject)
                if subject is not None and subject.is_live and node.is_live and subject is not node:
                    self.false_deaths += 1
            case "left":
                node.view = {}
        for watch in self._watches:
            watch.take(node.id, sighting)
        self._changed.set()
        self._changed = trio.Event()


@contextlib.asynccontextmanager
async def open_mesh(system: System, lan: Lan, count: int, logs: Path) -> AsyncIterator[Mesh]:
    """A mesh whose processes are not yet started, and are all dead at the end of the block, whatever ends it."""
    async with trio.open_nursery() as nursery:
        mesh = Mesh(system, lan, count, nursery, logs)
        try:
            yield mesh
        finally:
            mesh.kill_all()
            nursery.cancel_scope.cancel()
