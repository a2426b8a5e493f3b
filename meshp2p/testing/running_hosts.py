"""The programs on the hosts of a virtual mesh, and what a test can do with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Unpack

import trio

from meshp2p.client import client_transport
from meshp2p.errors import ConfigError, LocalProtocolError, NodeClosed
from meshp2p.node.config import NodeConfig
from meshp2p.node.handlers import HandlerFunction
from meshp2p.node.local_node import LocalNode
from meshp2p.node.options import NodeOptions
from meshp2p.node.runner import open_node_on
from meshp2p.node.settings import load_config
from meshp2p.testing.faults import NetworkFaults
from meshp2p.testing.host import LanHost
from meshp2p.testing.launched import Launched, Program
from meshp2p.testing.platform import Listeners, VirtualPlatform
from meshp2p.testing.process import Process
from meshp2p.testing.transport import VirtualTransport
from meshp2p.threaded.mesh_node import MeshNode
from meshp2p.threaded.opening import node_in_loop, node_opener, open_node
from meshp2p.virtual.trace import What

__all__ = ["RunningHosts"]

_DATA_DIR: Final = Path("/virtual")  # never opened: a name on a virtual disk


class RunningHosts(NetworkFaults):
    """The hosts of a virtual mesh: nodes and agents that start, stop, die and come back.

    Each method raises :class:`~meshp2p.errors.ConfigError` for an unknown host or a value out of range, and
    :class:`~meshp2p.errors.LocalProtocolError` for a call that is not possible now. Then nothing changed.
    """

    _nursery: trio.Nursery

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._launched: dict[str, Launched] = {}
        self._listeners = Listeners()

    def add_hosts(self, *names: str) -> None:
        """Create hosts without programs, so that faults can name them before anything starts. Existing ones are
        unchanged."""
        for name in names:
            if not 1 <= len(name) <= 63 or not name.isascii():
                raise ConfigError(f"host {name!r}: expected a name of 1 to 63 ASCII characters")
            if name not in self._lan.hosts:
                self._lan.add_host(name)

    async def start(self, *names: str, **options: Unpack[NodeOptions]) -> tuple[MeshNode, ...]:
        """Start a node on each of these hosts at the same time, and return the nodes when all are open.

        The node's id is the host's name; it has port 7700 and a disk. ``options`` are those of
        :func:`~meshp2p.open_node`; the environment is not read. Missing hosts are created. Raises the errors of opening
        a node.
        """
        config = load_config(environment={}, **_with_disk(options))
        if not names or len(dict.fromkeys(names)) != len(names):
            raise ConfigError(f"start{names!r}: expected names of hosts, each only once")
        if config.id is not None and len(names) > 1:
            raise ConfigError(f"id = {config.id!r} for {len(names)} nodes: start them one by one, each with its id")
        self._check_idle(*names)
        runs = [self._launch(name, _node_program(name, config), is_agent=False) for name in names]
        return tuple([await self._opened(name, run) for name, run in zip(names, runs, strict=True)])

    def launch(self, name: str, agent: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Run an agent on this host: ``await agent(*arguments)`` in its own task.

        Nodes that it opens with :func:`meshp2p.open_node`, and each ``MeshClient`` that it creates, use the virtual
        network. An exception of the agent ends the test. :meth:`kill`, :meth:`stop` and :meth:`restart` apply to the
        whole agent.
        """
        self._check_idle(name)

        async def program(_: Launched) -> None:
            await agent(*arguments)

        self._launch(name, program, is_agent=True)

    @contextmanager
    def host(self, name: str) -> Iterator[None]:
        """Let :func:`meshp2p.open_node` and ``MeshClient`` use this host of the virtual network in a ``with`` block.

        This also applies to tasks started in the block. :meth:`kill` and :meth:`stop` cancel the block: it ends there,
        and the code after it continues.
        """
        self.add_hosts(name)
        host, process = self._host(name), self._host(name).process
        if process.is_dead:
            raise LocalProtocolError(f"host {name!r} was killed: restart() it first")
        opener = node_opener.set(lambda config: self._open_node(host, process, config))
        transport = client_transport.set(lambda: VirtualTransport(self._lan, process))
        try:
            with process.run():
                yield
        finally:
            client_transport.reset(transport)
            node_opener.reset(opener)

    @asynccontextmanager
    async def node(
        self, name: str, *, handlers: Mapping[str, HandlerFunction] | None = None, **options: Unpack[NodeOptions]
    ) -> AsyncIterator[MeshNode]:
        """Run a node on this host for the duration of a block: :func:`meshp2p.open_node` in :meth:`host`."""
        with self.host(name):
            async with open_node(handlers=handlers, **_with_id(name, _with_disk(options))) as node:
                yield node

    def kill(self, name: str, *, silently: bool = False) -> None:
        """Kill everything on this host, as ``kill -9`` does: connections are reset, new ones refused.

        ``silently`` is like a power failure: nothing is reset or refused, and the host does not respond.
        """
        host = self._host(name)
        if host.process.is_dead:
            raise LocalProtocolError(f"host {name!r} is killed already: restart() it first")
        self._lan.log.add(name, What.STOP, detail="lost power" if silently else "killed")
        self._end(host, is_silent=silently)

    async def stop(self, name: str) -> None:
        """End the program that :meth:`start` or :meth:`launch` started here; its node leaves the mesh. Return when it
        has ended."""
        launched = self._launched.get(self._host(name).name)
        if launched is None or not launched.is_running:
            raise LocalProtocolError(f"host {name!r} runs nothing that start() or launch() started")
        self._lan.log.add(name, What.STOP, detail="asked to end")
        process = launched.process
        if launched.is_agent:
            process.do(process.terminate)
        else:
            process.do(launched.wants_stop.set)
        await launched.ended.wait()

    async def restart(self, name: str, *, keep_disk: bool = True) -> MeshNode | None:
        """Start again what :meth:`start` or :meth:`launch` started here, after killing it if it still runs.

        Without ``keep_disk`` its disk is empty. Returns the node when it is open; None for an agent's host.
        """
        host, launched = self._host(name), self._launched.get(name)
        if host.process.scopes and not host.process.is_dead:
            self.kill(name)
        host.boot()
        if not keep_disk:
            host.disks.clear()
        if launched is None:
            return None
        again = self._launch(name, launched.program, is_agent=launched.is_agent)
        return None if launched.is_agent else await self._opened(name, again)

    def pause(self, name: str, seconds: float | None = None) -> None:
        """Suspend the processes on this host (``SIGSTOP``) for this many virtual seconds, or until :meth:`resume`.

        Meanwhile nothing is read or sent and the node's timers are late. Packets queue up in the kernel's buffers, and
        connections in its backlog.
        """
        process = self._host(name).process
        if process.is_dead:
            raise LocalProtocolError(f"host {name!r} was killed, so it cannot be paused")
        if seconds is not None and not seconds > 0:
            raise ConfigError(f"seconds = {seconds!r}: expected a number above 0")
        stop = process.stop()
        self._lan.log.add(name, What.PAUSE, detail="stopped" if seconds is None else f"stopped for {seconds:g} s")
        if seconds is not None:
            self._lan.courier.at(trio.current_time() + seconds, self._resume, name, process, stop)

    def resume(self, name: str) -> None:
        """Resume the processes on this host. Does nothing if they run."""
        self._resume(name, self._host(name).process, None)

    def _resume(self, name: str, process: Process, stop: int | None) -> None:
        if process.resume(stop):
            self._lan.log.add(name, What.RESUME, detail="runs on")

    def clock_step(self, name: str, seconds: float) -> None:
        """Move this host's wall clock forward by so many seconds, or back. Timers do not use it."""
        self._host(name).wall_skew += seconds
        self._lan.log.add(name, What.FAULT, detail=f"clock set by {seconds:g} s")

    def readdress(self, name: str) -> str:
        """Give a host another address and return it, like a restarted router. The old address is then unused. The node
        notices within two seconds."""
        host = self._host(name)
        self._lan.readdress(host)
        self._lan.log.add(name, What.FAULT, detail=f"is at {host.ip} now")
        return host.ip

    def forget_writes(self, name: str, *, on: bool = True) -> None:
        """Let this host's disk lose from now on what is written, when the host is killed. With ``on=False`` it is
        honest again, and stores what it held back."""
        self._host(name).set_forgetful(on)
        self._lan.log.add(name, What.FAULT, detail=f"disk {'lies' if on else 'is honest'}")

    def __getitem__(self, name: str) -> MeshNode:
        """Return the open node on this host. Raises :class:`LocalProtocolError` if there is none."""
        nodes = self._host(name).process.nodes
        if not nodes:
            raise LocalProtocolError(f"no node is open on host {name!r}")
        return nodes[0]

    # Inside

    def _check_idle(self, *names: str) -> None:
        self.add_hosts(*names)
        for name in names:
            host, launched = self._host(name), self._launched.get(name)
            if host.process.nodes or (launched is not None and launched.is_running):
                raise LocalProtocolError(f"host {name!r} is already running: stop(), kill() or restart() it first")

    def _launch(self, name: str, program: Program, *, is_agent: bool) -> Launched:
        host = self._host(name)
        host.boot()
        launched = self._launched[name] = Launched(host.process, program, is_agent=is_agent)
        self._lan.log.add(name, What.START, detail="an agent" if is_agent else "a node")
        self._nursery.start_soon(self._run, name, launched)
        return launched

    async def _run(self, name: str, launched: Launched) -> None:
        try:
            if not launched.process.is_dead:
                with self.host(name):
                    await launched.program(launched)
        except Exception as error:
            if _was_raised_in_asyncio(error):
                error.add_note("a virtual mesh runs agents on trio: await anyio or trio functions, not asyncio's")
            if launched.is_agent or launched.begun.is_set():
                if not launched.process.is_dead:
                    raise
            else:
                launched.error = error  # start() raises it
        finally:
            launched.begun.set()
            launched.ended.set()

    async def _opened(self, name: str, launched: Launched) -> MeshNode:
        await launched.begun.wait()
        if launched.error is not None:
            raise launched.error
        return self[name]

    @asynccontextmanager
    async def _open_node(self, host: LanHost, process: Process, config: NodeConfig) -> AsyncIterator[LocalNode]:
        platform = VirtualPlatform(self._lan, self._listeners, host, process, self.seed)
        has_begun = False
        with process.run() as scope:
            async with open_node_on(platform, config) as node:
                shown = node_in_loop(node)
                process.nodes.append(shown)
                self._nursery.start_soon(self._follow, process, node)
                has_begun = True
                try:
                    yield node
                finally:
                    if shown in process.nodes:
                        process.nodes.remove(shown)
        if not has_begun and scope.cancelled_caught:
            raise NodeClosed(f"host {process.host_name!r} was killed or stopped before its node was open")

    async def _follow(self, process: Process, node: LocalNode) -> None:
        """Write a node's events to the trace, until it has left or is dead."""
        async for event in node.core_events():
            if process.is_dead:
                return
            self._lan.log.add(process.host_name, What.EVENT, detail=event)

    def _end(self, host: LanHost, *, is_silent: bool) -> None:
        if is_silent:
            host.is_on = False
        host.process.kill()
        host.process.nodes.clear()


def _with_disk(options: NodeOptions) -> NodeOptions:
    return {"data_dir": _DATA_DIR, **options}


def _with_id(name: str, options: NodeOptions) -> NodeOptions:
    return {"id": name, **options}


def _was_raised_in_asyncio(error: BaseException) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "asyncio"


def _node_program(name: str, config: NodeConfig) -> Program:
    async def program(launched: Launched) -> None:
        async with open_node(config, id=config.id or name):
            launched.begun.set()
            await launched.wants_stop.wait()

    return program
