"""Several meshp2p nodes in one process on loopback, told what to do line by line: ``begin`` and ``begin HOST:PORT``
(the seed of all), ``wait N`` (say ``reached`` once each of these nodes lists exactly N).

It prints ``ready`` when all is imported, ``begun`` with the address of the first node, and ``reached`` with N and the
leader that all of them name (empty where they differ), as ``node_program`` prints what it sees.
"""

from __future__ import annotations

import argparse
import sys

import trio

import meshp2p
from simulations.benchmarks.lines import tell
from simulations.benchmarks.node_program import read_lines


class Crowd:
    """The nodes of this process. ``first`` is the number of the first in the mesh."""

    def __init__(self, first: int, count: int, nursery: trio.Nursery) -> None:
        self._ids = [f"n{number:04}" for number in range(first, first + count)]
        self._nursery = nursery
        self._listed: dict[str, set[str]] = {}
        self._leaders: dict[str, str] = {}
        self._wanted: int | None = None

    async def begin(self, seed: str | None) -> None:
        """Start all nodes, the first before the others where nobody else is there to join."""
        for node_id in self._ids:
            address: str = await self._nursery.start(self._run, node_id, seed)
            if node_id == self._ids[0]:
                tell("begun", "", address)
                seed = seed or address

    def wait(self, wanted: int) -> None:
        self._wanted = wanted
        self._look()

    def _look(self) -> None:
        if (
            self._wanted is not None
            and len(self._listed) == len(self._ids)
            and all(len(listed) == self._wanted for listed in self._listed.values())
        ):
            leaders = set(self._leaders.values())
            tell("reached", leaders.pop() if len(leaders) == 1 else "", str(self._wanted))
            self._wanted = None

    async def _run(
        self, node_id: str, seed: str | None, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        config = meshp2p.NodeConfig(id=node_id, port=0, mesh="benchmark", join=(seed,) if seed else (), mdns=False)
        async with meshp2p.open_node(config, in_loop=True) as node:
            task_status.started(str(node.addresses[0]))
            listed: set[str] = {node_id}
            self._listed[node_id] = listed
            async for event in node.events():
                match event:
                    case meshp2p.MemberJoined():
                        listed.add(event.id)
                    case meshp2p.MemberDied() | meshp2p.MemberLeft():
                        listed.discard(event.id)
                    case meshp2p.LeaderChanged():
                        self._leaders[node_id] = "" if event.leader is None else event.leader.id
                    case meshp2p.EventsLost(count=count):
                        sys.exit(f"{count} events were lost")
                    case _:
                        pass
                self._look()


async def obey(first: int, count: int) -> None:
    tell("ready")
    async with trio.open_nursery() as nursery:
        crowd = Crowd(first, count, nursery)
        async for line in read_lines():
            word, _, rest = line.partition(" ")
            match word:
                case "begin":
                    nursery.start_soon(crowd.begin, rest or None)
                case "wait":
                    crowd.wait(int(rest))
                case _:
                    sys.exit(f"unknown command {line!r}")
        nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    trio.run(obey, options.first, options.count)


if __name__ == "__main__":
    main()
