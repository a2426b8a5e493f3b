"""The command ``python -m simulations chaos``: break real nodes at random, and check that no accepted message is
lost."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import trio
import trio.lowlevel

from simulations.chaos.ledger import Ledger
from simulations.chaos.traffic import Traffic
from simulations.chaos.world import Node, World, open_world

__all__ = ["add_chaos"]

NODES: Final = 4
HOSTED: Final = ["agent-0", "agent-1"]
SETTLE_SECONDS: Final = 120.0
"""How long it may take to read everything that was accepted, once all faults are over."""
SAMPLE: Final = 200
_INSIDE: Final = "CHAOS_INSIDE"


def add_chaos(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("chaos", help="kill, stop, cut and fill real nodes while messages are sent")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of faults (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (default: 0)")
    parser.set_defaults(run=_run_command)


def _run_command(given: argparse.Namespace) -> int:
    """Return exit status 1 if a guarantee was broken, 2 if it cannot be run here."""
    if os.environ.get(_INSIDE) is None:
        if os.geteuid() != 0:
            print("chaos needs root, for namespaces and disks of its own", file=sys.stderr)
            return 2
        os.environ[_INSIDE] = "1"
        command = ["unshare", "--net", "--mount", sys.executable, "-m", "simulations", "chaos"]
        sys.stdout.flush()
        os.execvp("unshare", [*command, f"--minutes={given.minutes}", f"--seed={given.seed}"])
    with tempfile.TemporaryDirectory(prefix="meshp2p-chaos-", ignore_cleanup_errors=True) as directory:
        problems = trio.run(_run, given.minutes * 60, given.seed, Path(directory))
    for problem in problems:
        print(f"VIOLATION {problem}")
    return int(bool(problems))


async def _run(seconds: float, seed: int, directory: Path) -> list[str]:
    draw = random.Random(seed)
    ledger = Ledger([f"n{number}" for number in range(NODES)], HOSTED)
    async with open_world(NODES, directory) as world, trio.open_nursery() as nursery:
        for node in world.nodes:
            await world.start(node)
        if problems := await _until_ready(world):
            nursery.cancel_scope.cancel()
            return [*problems, *(end for node in world.nodes for end in node.ended_alone)]
        traffic = Traffic({node.id: node.url for node in world.nodes}, HOSTED, ledger, random.Random(seed + 1))
        nursery.start_soon(traffic.run)
        faults = Faults(world, draw, ledger)
        with trio.move_on_after(seconds):
            await faults.run()
        await faults.end()
        traffic.is_sending = False
        problems += await _until_ready(world)
        with trio.move_on_after(SETTLE_SECONDS):
            while not traffic.is_read:  # noqa: ASYNC110  # the ledger has no event
                await trio.sleep(0.2)
        problems += [f"{id_} for {ledger.accepted[id_]} was accepted and not read" for id_ in ledger.missing]
        sample = draw.sample([*ledger.accepted], min(SAMPLE, len(ledger.accepted)))
        problems += [f"status of {text}" for text in await traffic.unknown_statuses(sample)]
        for line in (*_report(ledger, faults, traffic), *world.errors()):
            print(line, flush=True)
        nursery.cancel_scope.cancel()
    return [*problems, *ledger.violations, *(end for node in world.nodes for end in node.ended_alone)]


async def _until_ready(world: World) -> list[str]:
    """Wait up to a minute until each node is ready and lists all others. Return those that are not."""
    waiting = {node.id: "" for node in world.nodes}
    async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
        with trio.move_on_after(60):
            while waiting:
                for node in world.nodes:
                    try:
                        answer = await client.get(f"{node.url}/readyz")
                        listed = (await client.get(f"{node.url}/registry/agents")).json()["instances"]
                    except httpx.HTTPError as error:
                        waiting[node.id] = repr(error)
                        continue
                    ids = {one["instance_id"] for one in listed}
                    if answer.status_code == 200 and ids >= {other.id for other in world.nodes}:
                        waiting.pop(node.id, None)
                    else:
                        waiting[node.id] = f"{answer.text}, lists {sorted(ids)}"
                await trio.sleep(0.2)
    return [f"{node_id} is not ready: {why}" for node_id, why in waiting.items()]


class Faults:
    """One fault after another, and now and then two at once."""

    def __init__(self, world: World, draw: random.Random, ledger: Ledger) -> None:
        self.counts: dict[str, int] = {}
        self._ledger = ledger
        self._world = world
        self._draw = draw
        kinds = {
            "kill one": self._kill_one,
            "kill all": self._kill_all,
            "restart": self._restart,
            "stop": self._stop,
            "cut": self._cut,
            "full disk": self._fill,
        }
        if world.has_clocks:
            kinds["clock step"] = self._step
        self._kinds = kinds

    async def run(self) -> None:
        """Until it is cancelled, in which case a node may still be stopped, cut, or not there: see :meth:`end`."""
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(self._run_one_after_another)

    async def _run_one_after_another(self) -> None:
        while True:
            await trio.sleep(3 * self._draw.random())
            name = self._draw.choice([*self._kinds])
            self.counts[name] = self.counts.get(name, 0) + 1
            node = self._draw.choice(self._world.nodes)
            self._ledger.faults.append((trio.current_time(), f"{name} {node.id}"))
            await self._kinds[name](node)
            self._ledger.faults.append((trio.current_time(), f"end of {name} {node.id}"))

    async def end(self) -> None:
        """Everything is well again: all nodes run, all links and disks are whole."""
        for node in self._world.nodes:
            node.heal()
            node.empty()
            self._ledger.contacts.note_disk(node.id, is_full=False)
            node.resume()
            if node.process is None or node.process.returncode is not None:
                await self._world.start(node)

    async def _kill_one(self, node: Node) -> None:
        await self._end_and_start([node], signal.SIGKILL)

    async def _kill_all(self, _node: Node) -> None:
        await self._end_and_start(self._world.nodes, signal.SIGKILL)

    async def _restart(self, node: Node) -> None:
        await self._end_and_start([node], signal.SIGTERM)

    async def _end_and_start(self, nodes: list[Node], number: signal.Signals) -> None:
        with trio.CancelScope(shield=True):
            async with AsyncExitStack() as held:
                for node in nodes:
                    await held.enter_async_context(node.lock)
                for node in nodes:
                    await node.end(number)
                await trio.sleep(self._draw.choice([0.0, 0.5, 4.0]) * self._draw.random())
                for node in nodes:
                    await self._world.start(node)

    async def _stop(self, node: Node) -> None:
        node.stop()
        try:
            await trio.sleep(6 * self._draw.random())
        finally:
            node.resume()

    async def _cut(self, node: Node) -> None:
        node.cut()
        try:
            await trio.sleep(15 * self._draw.random())
        finally:
            node.heal()

    async def _fill(self, node: Node) -> None:
        self._ledger.contacts.note_disk(node.id, is_full=True)
        node.fill()
        await trio.sleep(8 * self._draw.random())
        node.empty()
        self._ledger.contacts.note_disk(node.id, is_full=False)

    async def _step(self, node: Node) -> None:
        days = self._draw.choice([0, 3, -3, 400, -400, 7000])
        node.set_clock(days * 86_400 + self._draw.randrange(-3600, 3600))
        await trio.lowlevel.checkpoint()


def _report(ledger: Ledger, faults: Faults, traffic: Traffic) -> Iterator[str]:
    tally = ledger.tally
    yield "faults: " + ", ".join(f"{count} x {name}" for name, count in sorted(faults.counts.items()))
    yield f"sent: {tally.accepted} accepted, {tally.refused} refused, {tally.unanswered} without an answer"
    yield f"read: {tally.read}; {len(ledger.missing)} accepted and not read"
    yield (
        f"acknowledged: {tally.acknowledged}; {tally.acknowledgements_refused} requests refused,"
        f" {tally.acknowledgements_unanswered} without an answer; {tally.moved} messages read again as documented"
    )
    yield f"longest time without an answer to an agent: {traffic.longest_wait:.1f} s"
