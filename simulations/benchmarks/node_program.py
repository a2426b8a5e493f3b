"""One meshp2p node in its own process. Commands are lines: ``begin``, ``status TEXT``, ``leave``, ``profile`` and
``profile PATH`` (begin, and write the profile).

It prints ``{"event": "ready"}`` after all imports, and one JSON object for each event of the node, with ``t``, the time
of ``CLOCK_MONOTONIC`` in seconds. It ends at the end of its input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import trio

import meshp2p
from meshp2p import open_node  # names are loaded when first used, and it is ready only after that
from simulations.benchmarks.lines import tell


async def read_lines() -> AsyncIterator[str]:
    text = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        async for data in stream:
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                yield line.decode()


class Agent:
    """Runs the node, several times if told so."""

    def __init__(self, config: meshp2p.NodeConfig) -> None:
        self._config = config
        self._node: meshp2p.MeshNode | None = None
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with trio.CancelScope() as self._scope:
            async with open_node(self._config, in_loop=True) as self._node:
                async for event in self._node.events():
                    match event:
                        case meshp2p.MemberJoined(instance=instance):
                            tell("joined", instance.id, instance.status)
                        case meshp2p.MemberUpdated(instance=instance):
                            tell("updated", instance.id, instance.status)
                        case meshp2p.MemberSuspected():
                            tell("suspected", event.id)
                        case meshp2p.MemberRecovered():
                            tell("recovered", event.id)
                        case meshp2p.MemberDied() | meshp2p.MemberLeft():
                            tell("gone", event.id)
                        case meshp2p.LeaderChanged(leader=leader):
                            tell("leader", *("", "0") if leader is None else (leader.id, str(leader.epoch)))
                        case meshp2p.EventsLost(count=count):
                            sys.exit(f"{count} events were lost")
                        case _:
                            pass
        tell("left")

    async def set_status(self, text: str) -> None:
        assert self._node is not None
        await self._node.set_status(text)

    def leave(self) -> None:
        self._scope.cancel()


async def obey(config: meshp2p.NodeConfig) -> None:
    agent = Agent(config)
    profiles: list[Any] = []
    tell("ready")
    async with trio.open_nursery() as nursery:
        async for line in read_lines():
            word, _, rest = line.partition(" ")
            match word:
                case "begin":
                    nursery.start_soon(agent.run)
                case "status":
                    await agent.set_status(rest)
                case "leave":
                    agent.leave()
                case "profile" if not rest:
                    import cProfile  # noqa: PLC0415  # seldom used, and the start is measured

                    profiles.append(cProfile.Profile())
                    profiles[-1].enable()
                case "profile":
                    profile = profiles.pop()
                    profile.disable()
                    profile.dump_stats(rest)
                    tell("profiled")
                case _:
                    sys.exit(f"unknown command {line!r}")
        nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--id", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--join")
    parser.add_argument("--mdns", action="store_true")
    parser.add_argument("--beacon", action="store_true")
    options = parser.parse_args()
    config = meshp2p.NodeConfig(
        id=options.id,
        host=options.host,
        mesh="benchmark",
        join=(options.join,) if options.join else (),
        mdns=options.mdns,
        beacon=options.beacon,
    )
    trio.run(obey, config)


if __name__ == "__main__":
    main()
