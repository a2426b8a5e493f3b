"""A whole mesh of real nodes in one process, in virtual time and on a virtual network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import trio
import trio.testing

from meshp2p.client import MeshClient
from meshp2p.errors import LocalProtocolError
from meshp2p.node.config import DEFAULT_PORT
from meshp2p.testing.convergence import NotConverged, report, why_not_converged
from meshp2p.testing.courier import Courier
from meshp2p.testing.faults import CLIENT_HOST
from meshp2p.testing.lan import Lan
from meshp2p.testing.log import Log
from meshp2p.testing.running_hosts import RunningHosts
from meshp2p.threaded.mesh_node import MeshNode
from meshp2p.virtual.links import LinkOptions
from meshp2p.virtual.trace import Trace

__all__ = ["VirtualMesh"]

_POLL_SECONDS: Final = 0.05  # virtual, between two looks at what is waited for: chosen, not measured


class VirtualMesh(RunningHosts):
    """A virtual LAN with hosts ``"a"``, ``"b"``, ... and the programs that run on them. An async context manager.

    ::

        a, b, c = await mesh.start("a", "b", "c")
        await mesh.wait_until_whole()
        with mesh.partition(["a"], ["b", "c"]):
            await mesh.sleep(30)
        await mesh.wait_until_whole()

    The nodes are real: protocol, driver, HTTP server and client are those used in production. The network, the clocks,
    multicast and the disks are virtual, and the same ``seed`` repeats a run exactly. Get a mesh from the pytest fixture
    ``virtual_mesh`` or from :func:`meshp2p.testing.run`, which also set up virtual time.

    ``link`` describes the network without faults. The run ends with :class:`NotConverged` after ``seconds_max`` virtual
    seconds, so that every test ends. With ``keeps_packets`` the trace contains every datagram.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        link: LinkOptions | None = None,
        seconds_max: float = 3600.0,
        keeps_packets: bool = False,
    ) -> None:
        super().__init__(seed)
        self._link = link or LinkOptions()
        self._seconds_max = seconds_max
        self._keeps_packets = keeps_packets
        self._exit = AsyncExitStack()

    def __repr__(self) -> str:
        if self._lan_or_none is None:
            return f"<VirtualMesh seed={self.seed}: not running>"
        return f"<VirtualMesh seed={self.seed} at {self.now:.3f} s: {', '.join(self._lan.hosts) or 'no hosts'}>"

    async def __aenter__(self) -> Self:
        if self._lan_or_none is not None:
            raise LocalProtocolError("a virtual mesh can be opened only once: make a new one")
        if not isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock):
            raise LocalProtocolError(
                "a virtual mesh needs virtual time: use the pytest fixture virtual_mesh, or meshp2p.testing.run"
            )
        await self._exit.enter_async_context(self._open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> bool | None:
        return await self._exit.__aexit__(kind, error, at)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        """Run the courier and the launched programs. An error of the block is raised directly, not in a group."""
        courier = Courier()
        log = Log(courier, keeps_packets=self._keeps_packets)
        self._lan_or_none = Lan(courier, log, self._link, self.seed)
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(courier.run)
                courier.at(trio.current_time() + self._seconds_max, self._give_up)
                try:
                    yield
                except trio.Cancelled:
                    raise
                except BaseException as error:
                    if _has_cancelled(error):
                        raise
                    failure = error
                finally:
                    for host in self._lan.hosts.values():
                        self._end(host, is_silent=True)
                    self._nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if failure is None:
                if len(group.exceptions) != 1:
                    raise
                failure = group.exceptions[0]
        if failure is not None:
            raise failure

    def _give_up(self) -> None:
        raise NotConverged(f"still running after {self._seconds_max:g} s of virtual time\n{self._report()}")

    # State

    @property
    def has_begun(self) -> bool:
        """Whether the mesh was opened. It may have ended since."""
        return self._lan_or_none is not None

    @property
    def now(self) -> float:
        """Virtual seconds since the mesh began."""
        return self._lan.log.now

    @property
    def nodes(self) -> dict[str, MeshNode]:
        """The open nodes, by the names of their hosts. If a host has several, it is the first."""
        return {name: host.process.nodes[0] for name, host in self._lan.hosts.items() if host.process.nodes}

    def client(self, *names: str, at: str | None = None, **options: Any) -> MeshClient:
        """Return a client for the nodes on these hosts, or on all; use it as an async context manager.

        It runs on the host ``at``, or on its own host named ``"client"``. ``options`` are those of
        :class:`~meshp2p.client.MeshClient`.
        """
        chosen = names or tuple(name for name in self._lan.hosts if name != CLIENT_HOST)
        urls = [self.url(name) for name in chosen]
        self.add_hosts(at or CLIENT_HOST)
        with self.host(at or CLIENT_HOST):
            return MeshClient(urls, **options)

    def url(self, name: str) -> str:
        """Return the base URL of the node on this host, even before it is started."""
        host = self._host(name)
        return host.process.nodes[0].url if host.process.nodes else f"http://{host.ip}:{DEFAULT_PORT}"

    async def sleep(self, seconds: float) -> None:
        """Let this many virtual seconds pass."""
        self._lan  # noqa: B018  # raises where the mesh is not running
        await trio.sleep(seconds)

    async def wait_until(
        self, holds: Callable[[], object], *, timeout: float = 60.0, what: str = "the condition"
    ) -> None:
        """Wait until ``holds()`` is true; it is checked every 50 virtual milliseconds.

        Raises :class:`NotConverged` after ``timeout`` virtual seconds.
        """
        deadline = trio.current_time() + timeout
        while not holds():
            if trio.current_time() >= deadline:
                raise NotConverged(f"{what} is not true after {timeout:g} s of virtual time\n{self._report()}")
            await trio.sleep(_POLL_SECONDS)

    async def wait_until_whole(self, *names: str, timeout: float = 60.0) -> None:
        """Wait until the nodes on these hosts agree: each lists all the others as alive, and no other node; all list
        the same hosted instances; all name the same leader and epoch.

        Without names, this applies to all hosts with an open node, and those that were started and not killed. Nodes of
        several meshes must agree within each mesh. Raises :class:`NotConverged`, which shows the view of each node,
        after ``timeout`` virtual seconds.
        """
        for name in names:
            self._host(name)
        deadline = trio.current_time() + timeout
        while why := why_not_converged(self._expected(names)):
            if trio.current_time() >= deadline:
                raise NotConverged(
                    f"the mesh did not converge in {timeout:g} s of virtual time: {why}\n{self._report()}"
                )
            await trio.sleep(_POLL_SECONDS)

    @property
    def trace(self) -> Trace:
        """The events of the run: starts, ends, faults and each node's events; also datagrams, with
        ``keeps_packets``."""
        return self._lan.log.trace

    def story(self, last: int | None = None) -> str:
        """Return the trace as text, one line per event, or its last lines."""
        return self._lan.log.story(last)

    def digest(self) -> str:
        """Return a hash of everything that happened until now, to the last packet. The same seed gives the same
        hash."""
        return self._lan.log.digest()

    def _expected(self, names: tuple[str, ...]) -> dict[str, list[MeshNode]]:
        """Return the hosts that must agree, each with its open nodes."""
        chosen = names or tuple(
            name
            for name, host in self._lan.hosts.items()
            if host.process.nodes or (name in self._launched and self._launched[name].is_running)
        )
        return {name: self._lan.hosts[name].process.nodes for name in chosen}

    def _report(self) -> str:
        return f"(seed {self.seed})\n{report(self.nodes)}\nlast events:\n{self.story(last=12)}"


def _has_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_has_cancelled(inner) for inner in error.exceptions)
    return isinstance(error, trio.Cancelled)
