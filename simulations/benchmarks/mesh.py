"""A measured mesh of real processes: the sightings of each node and their times."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path

import trio

from simulations.benchmarks.hosts import Host
from simulations.benchmarks.systems import Sighting, Source, System
from simulations.programs import Program

__all__ = ["Mesh", "MeshFailed", "Node", "Watch", "open_mesh"]

READY_TIMEOUT = 120.0
"""The timeout in seconds for all processes to become ready. It ends a benchmark that hangs, and says nothing about
speed."""


class MeshFailed(Exception):
    """A mesh cannot be measured, because one of its processes does not run."""


class Node:
    """One node: a host, and the process that runs on it now. ``view`` holds the ids that it lists."""

    def __init__(self, node_id: str, host: Host) -> None:
        self.id = node_id
        self.host = host
        self.program: Program | None = None
        self.view: dict[str, float] = {}
        self.is_ready = False
        self.is_live = False
        """Whether others should list it: it was begun, and was neither killed nor cut off nor told to leave."""
        self.leader: tuple[str, str] = ("", "")
        """The leader that it names, and its epoch."""
        self.led_since = -math.inf
        self.ready_at = -math.inf
        self.held_dead_by: set[str] = set()

    @property
    def pid(self) -> int:
        assert self.program is not None, f"{self.id} does not run"
        return self.program.pid


class Watch:
    """The times at which each node first saw one event about one other node, since this was made. Times are of
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
    """Nodes ``n000``, ``n001``, ... of one system, one process and one host each. They find one another by ``source``:
    if that is the seed, the first node is the seed of all others."""

    def __init__(
        self, system: System, hosts: Sequence[Host], nursery: trio.Nursery, logs: Path, source: Source = "seed"
    ) -> None:
        self.system = system
        self.nodes = {f"n{host.number:03}": Node(f"n{host.number:03}", host) for host in hosts}
        self.false_deaths: list[str] = []
        """Healthy nodes that were declared dead: each once, and once more if all nodes listed it again in between."""

        self._source = source
        self._nursery = nursery
        self._logs = logs
        self._watches: list[Watch] = []
        self._changed = trio.Event()
        self._begins_when_ready = False

    # Its life

    def spawn(self, node: Node) -> None:
        """Start the node's process; it is not yet told to begin."""
        node.view, node.is_ready = {}, self.system.begins_by_itself
        node.is_live = self.system.begins_by_itself
        node.leader, node.held_dead_by = ("", ""), set()
        for other in self.nodes.values():
            other.held_dead_by.discard(node.id)
        program: Program | None = None

        def take(line: str, arrived: float) -> None:
            if node.program is program:  # else it is what a killed one said last
                self.hear(node, line, arrived)

        command = self.system.command(node.id, node.host.address, self._seed_of(node), self._source)
        node.program = program = Program(
            node.host.command(*command), self._logs / f"{self.system.name}-{node.id}.log", take
        )
        self._nursery.start_soon(program.run)

    def _seed_of(self, node: Node) -> str | None:
        """Return the address through which it joins: the first node's, or another node's for the first node."""
        if self._source != "seed":
            return None
        first, *others = self.nodes.values()
        if node is not first:
            return first.host.address
        return next((other.host.address for other in others if other.is_live), None)

    async def spawn_all(self) -> None:
        """Start all processes, and wait until they are ready. Raises :class:`MeshFailed` if one does not become
        ready."""
        await self._spawn_all()

    async def spawn_and_begin_all(self) -> None:
        """Start all processes, each of which begins as soon as it is ready. Raises :class:`MeshFailed`."""
        self._begins_when_ready = True
        await self._spawn_all()
        self._begins_when_ready = False

    async def _spawn_all(self) -> None:
        for node in self.nodes.values():
            self.spawn(node)
        if not await self.wait_until(lambda: all(node.is_ready for node in self.nodes.values()), READY_TIMEOUT):
            raise MeshFailed(f"{self.system.name}: a process did not start: see {self._logs}")

    def begin(self, node: Node) -> None:
        if not self.system.begins_by_itself and node.program is not None:
            node.is_live = True
            node.program.tell("begin")

    async def replace(self, node: Node, timeout: float) -> bool:
        """Restart a node whose process has ended. Return whether every node listed every other in time."""
        self.spawn(node)
        if not await self.wait_until(lambda: node.is_ready, READY_TIMEOUT):
            raise MeshFailed(f"{self.system.name}: a process did not start again: see {self._logs}")
        self.begin(node)
        return await self.wait_full(timeout)

    def kill(self, node: Node) -> None:
        """Kill its process with SIGKILL. Its host remains, and so does the kernel that answers for it."""
        node.is_live = False
        assert node.program is not None
        node.program.kill()

    def kill_all(self) -> None:
        for node in self.nodes.values():
            if node.program is not None:
                self.kill(node)
                node.program = None

    async def renew(self, timeout: float) -> bool:
        """Kill all processes and start again. Return whether every node listed every other in time. Raises
        :class:`MeshFailed`."""
        self.kill_all()
        await self.spawn_all()
        for node in self.nodes.values():
            self.begin(node)
        return await self.wait_full(timeout)

    # What is seen

    @contextlib.contextmanager
    def counting_apart(self) -> Iterator[list[str]]:
        """Collect the false deaths during a fault separately."""
        apart: list[str] = []
        kept, self.false_deaths = self.false_deaths, apart
        try:
            yield apart
        finally:
            self.false_deaths = kept

    def watch(self, kind: str, subject: str, value: str | None = None) -> Watch:
        """Note from now on when each node sees this event about ``subject``. ``value`` is used only if the system
        reports it."""
        watch = Watch(kind, subject, value)
        self._watches.append(watch)
        return watch

    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_live]

    def is_full(self) -> bool:
        """Return whether every live node lists exactly the live nodes."""
        wanted = {node.id for node in self.live()}
        return all(node.view.keys() | {node.id} == wanted for node in self.live())

    def full_since(self) -> float:
        """Return when the last node listed the last of the others, if every node lists every other."""
        return max((seen for node in self.live() for seen in node.view.values()), default=-math.inf)

    def is_led(self) -> bool:
        """Return whether all live nodes name the lowest of them as leader, with one epoch."""
        lowest = min(node.id for node in self.live())
        named = {node.leader for node in self.live()}
        return len(named) == 1 and next(iter(named))[0] == lowest

    def led_since(self) -> float:
        """Return when the last node named its present leader."""
        return max((node.led_since for node in self.live()), default=-math.inf)

    async def wait_full(self, timeout: float) -> bool:
        return await self.wait_until(self.is_full, timeout)

    async def wait_seen(self, watch: Watch, observers: Collection[str], timeout: float) -> bool:
        """Wait until all ``observers`` have seen it. Return whether they did in time."""
        return await self.wait_until(lambda: watch.seen.keys() >= set(observers), timeout)

    async def wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``holds()`` is true; it is called after each sighting. Return whether that happened in time."""
        with trio.move_on_after(timeout):
            while not holds():
                await self._changed.wait()
            return True
        return False

    def hear(self, node: Node, line: str, arrived: float) -> None:
        """Process a line of a node's output."""
        sighting = self.system.parse(line, arrived)
        if sighting is None:
            return
        match sighting.kind:
            case "ready":
                node.is_ready = True
                node.ready_at = sighting.time
                if self._begins_when_ready:
                    self.begin(node)
            case "joined":
                node.view[sighting.subject] = sighting.time
                if (subject := self.nodes.get(sighting.subject)) is not None:
                    subject.held_dead_by.discard(node.id)
            case "gone":
                node.view.pop(sighting.subject, None)
                subject = self.nodes.get(sighting.subject)
                if subject is not None and subject.is_live and node.is_live and subject is not node:
                    if not subject.held_dead_by:
                        self.false_deaths.append(subject.id)
                    subject.held_dead_by.add(node.id)
            case "leader":
                node.leader = (sighting.subject, sighting.value)
                node.led_since = sighting.time
            case "left":
                node.view = {}
        for watch in self._watches:
            watch.take(node.id, sighting)
        self._changed.set()
        self._changed = trio.Event()


@contextlib.asynccontextmanager
async def open_mesh(system: System, hosts: Sequence[Host], logs: Path, source: Source = "seed") -> AsyncIterator[Mesh]:
    """A mesh whose processes are not started yet. All are killed at the end of the block."""
    async with trio.open_nursery() as nursery:
        mesh = Mesh(system, hosts, nursery, logs, source)
        try:
            yield mesh
        finally:
            mesh.kill_all()
            nursery.cancel_scope.cancel()
