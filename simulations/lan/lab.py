"""A mesh on a LAN, watched from outside while a scenario disturbs it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from simulations.lan.network import Network
from simulations.lan.nodes import Meshp2pNode, Node

__all__ = ["SEEN_TIMEOUT", "Lab", "NeverSeen", "open_lab"]

LOOK_INTERVAL: Final = 0.1
"""Seconds between two looks at all nodes, and so the precision of times. Chosen, not measured."""

SEEN_TIMEOUT: Final = 300.0
"""Seconds after which a condition counts as never seen. Chosen, not measured: serf needs 69 s for one row."""

Views = Mapping[str, frozenset[str] | None]


class NeverSeen(Exception):
    """The nodes never reached the awaited views. The text says who listed whom."""


class Lab:
    """The nodes by the names of their hosts. ``times`` are the measured seconds by condition."""

    def __init__(self, network: Network, system: type[Node], directory: Path, nursery: trio.Nursery) -> None:
        self.network = network
        self.system = system
        self.nodes: dict[str, Node] = {}
        self.directory = directory
        self.times: dict[str, float] = {}
        self.wrongly_dead: set[str] = set()
        """Those whom a node did not list while :meth:`watch` looked on."""
        self._nursery = nursery

    @property
    def names(self) -> list[str]:
        return list(self.network.hosts)

    def start(self, *names: str, seeds: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        """Start a node on each of these hosts, that joins those on other hosts; without seeds it looks around."""
        for name in names:
            assert name not in self.nodes, name
            addresses = [self.network.hosts[seed].address for seed in seeds if seed != name]
            node = self.nodes[name] = self.system(
                self.network.hosts[name], addresses, options, self.directory / f"{name}.log"
            )
            node.start(self._nursery)

    def restart(self, name: str) -> None:
        """Start a node that was killed as it was started before."""
        self.nodes[name].start(self._nursery)

    def kill_all(self) -> None:
        for node in self.nodes.values():
            node.kill()

    # What is seen

    async def views(self, names: Collection[str]) -> Views:
        found: dict[str, frozenset[str] | None] = {}

        async def look(name: str) -> None:
            found[name] = await self.nodes[name].view()

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(look, name)
        return found

    async def reach(self, what: str, *sides: Collection[str]) -> None:
        """Wait until all nodes of each side list that side and nobody else, and note how long that took.

        Raises :class:`NeverSeen` if they do not.
        """
        wanted = {name: frozenset(side) for side in sides for name in side}
        began = trio.current_time()
        views: Views = {}
        with trio.move_on_after(SEEN_TIMEOUT):
            while True:
                views = await self.views(wanted)
                if views == wanted:
                    self.times[what] = trio.current_time() - began
                    return
                await trio.sleep(LOOK_INTERVAL)
        wrong = [f"{name} lists {sorted(views.get(name) or ())}" for name in wanted if views.get(name) != wanted[name]]
        raise NeverSeen(f"{what}: after {SEEN_TIMEOUT:.0f} s " + "; ".join(wrong))

    async def watch(self, seconds: float, names: Collection[str]) -> None:
        """Look on for so long, and note in ``wrongly_dead`` whom of these any of these did not list."""
        with trio.move_on_after(seconds):
            while True:
                for view in (await self.views(names)).values():
                    if view is not None:
                        self.wrongly_dead |= {*names} - view
                await trio.sleep(LOOK_INTERVAL)


@contextlib.asynccontextmanager
async def open_lab(network: Network, system: type[Node] = Meshp2pNode) -> AsyncIterator[Lab]:
    """Open a lab. Nodes are killed at the end, and their error output is shown if the block fails."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            async with trio.open_nursery() as nursery:
                lab = Lab(network, system, Path(directory), nursery)
                try:
                    yield lab
                finally:
                    lab.kill_all()
                    nursery.cancel_scope.cancel()
        except BaseException as error:
            for note in _errors_in(Path(directory)):
                error.add_note(note)
            raise


def _errors_in(directory: Path) -> Iterator[str]:
    for log in sorted(directory.glob("*.log")):
        text = log.read_text(errors="replace")[-2000:].strip()
        if text:
            yield f"{log.name}:\n{text}"
