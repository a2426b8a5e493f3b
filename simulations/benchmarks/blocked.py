"""How other nodes see an agent that blocks: how long its node takes to answer, and whether they suspect it.

Two nodes of this process watch the agent. Pings of the protocol, sent from a separate socket, are timed.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

import meshp2p
from meshp2p.core.datagrams import Ack, Datagram, Ping
from meshp2p.core.record import tag_of
from meshp2p.wire.codec import Codec
from simulations.benchmarks.blocked_program import KINDS
from simulations.programs import Program

__all__ = ["Outcome", "add_command", "measure"]

RUNGS: Final = ("trio", "thread", "aio", "blocking")
PING_INTERVAL: Final = 0.02
CALM: Final = 3.0
"""Seconds between two blocks, for the consequences of the first to show."""
TIMEOUT: Final = 60.0


class Outcome(msgspec.Struct):
    """One way to block, with one way to run the node. ``worst`` and ``median`` are seconds until a ping was answered.
    ``seen`` is what the two watchers reported of the agent: ``suspected``, ``dead``."""

    rung: str
    kind: str
    seconds: float
    worst: float = 0.0
    median: float = 0.0
    seen: list[str] = msgspec.field(default_factory=list)


class Pinger:
    """Sends a ping each ``PING_INTERVAL`` and notes how long each answer took."""

    def __init__(self, rung: str, port: int) -> None:
        self._codec = Codec("blocked")
        self._target = tag_of(rung)
        self._port = port
        self._sent: dict[int, float] = {}
        self._sequence = 0
        self.times: list[float] = []

    async def run(self) -> None:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, sock)
                while True:
                    self._sequence += 1
                    self._sent[self._sequence] = time.monotonic()
                    ping = Datagram(Ping(self._sequence, 1, self._target, 0))
                    await sock.sendto(self._codec.encode(ping), ("127.0.0.1", self._port))
                    await trio.sleep(PING_INTERVAL)

    async def _receive(self, sock: Any) -> None:
        while True:
            data, _ = await sock.recvfrom(65536)
            body = self._codec.decode_datagram_untrusted(data).body
            if isinstance(body, Ack) and body.sequence in self._sent:
                self.times.append(time.monotonic() - self._sent.pop(body.sequence))


class _Watch:
    """Collect the reports about one agent while ``outcome`` is set."""

    def __init__(self, node: meshp2p.MeshNode, rung: str) -> None:
        self._node = node
        self._rung = rung
        self.outcome: Outcome | None = None

    async def run(self) -> None:
        async for event in self._node.events():
            if self.outcome is None or getattr(event, "id", None) != self._rung:
                continue
            match event:
                case meshp2p.MemberSuspected():
                    self.outcome.seen.append("suspected")
                case meshp2p.MemberDied():
                    self.outcome.seen.append("dead")
                case _:
                    pass


async def measure(rung: str, kinds: list[str], seconds: float) -> list[Outcome]:
    """Measure one way to run the node, blocked in each way in turn."""
    outcomes: list[Outcome] = []
    send, lines = trio.open_memory_channel[str](100)
    options: dict[str, Any] = {"mesh": "blocked", "port": 0, "mdns": False}
    async with (
        meshp2p.open_node(in_loop=True, id="watcher-1", **options) as one,
        meshp2p.open_node(in_loop=True, id="watcher-2", join=[str(one.addresses[0])], **options) as other,
        trio.open_nursery() as nursery,
    ):
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory) / "log"
            command = [sys.executable, "-m", "simulations.benchmarks.blocked_program", "--rung", rung, "--join"]
            program = Program([*command, str(one.addresses[0])], log, lambda line, _: send.send_nowait(line))
            try:
                nursery.start_soon(program.run)
                with trio.fail_after(TIMEOUT):
                    port = int((await lines.receive()).split()[1])
                    await one.wait_for_members(3)
                    await other.wait_for_members(3)
                watches = [_Watch(node, rung) for node in (one, other)]
                for watch in watches:
                    nursery.start_soon(watch.run)
                for kind in kinds:
                    await trio.sleep(CALM)
                    outcome = Outcome(rung, kind, seconds)
                    pinger = Pinger(rung, port)
                    async with trio.open_nursery() as pinging:
                        pinging.start_soon(pinger.run)
                        for watch in watches:
                            watch.outcome = outcome
                        program.tell(f"{kind} {seconds}")
                        with trio.fail_after(TIMEOUT + seconds):
                            for expected in ("began", "ended"):
                                line = await lines.receive()
                                assert line == expected, line
                        await trio.sleep(1.0)  # what was sent to the last is answered
                        pinging.cancel_scope.cancel()
                    for watch in watches:
                        watch.outcome = None
                    times = sorted(pinger.times)
                    outcome.worst, outcome.median = times[-1], times[len(times) // 2]
                    outcome.seen = sorted(set(outcome.seen))
                    outcomes.append(outcome)
            finally:
                program.kill()
                nursery.cancel_scope.cancel()
    return outcomes


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``python -m simulations.benchmarks blocked``."""
    parser = commands.add_parser("blocked", help="agents that block: do they stay alive to the others?")
    parser.add_argument("--rungs", nargs="+", choices=RUNGS, default=list(RUNGS), metavar="RUNG")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each block is (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    outcomes: list[Outcome] = []
    for rung in given.rungs:
        for outcome in trio.run(measure, rung, given.kinds, given.seconds):
            outcomes.append(outcome)
            if not given.json:
                print(
                    f"{rung:10} {outcome.kind:10} worst {outcome.worst * 1000:8.1f} ms,"
                    f" median {outcome.median * 1000:6.1f} ms  {', '.join(outcome.seen) or 'never suspected'}",
                    flush=True,
                )
    if given.json:
        print(json.dumps([msgspec.to_builtins(outcome) for outcome in outcomes]))
    return 0
