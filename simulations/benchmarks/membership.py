"""How fast a mesh learns who is there, and what it costs to know: ours beside others, in one run on one machine.

Every node is a process of its own on a host of its own (a network namespace; packets pass a router), with the system's
defaults for a LAN, and all but the first join by way of the first. Times are from the moment the thing was done to the
moment a node told its agent. Processor time and memory are what the kernel says of each process. Packets are counted
at the router as the nodes send them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from simulations.benchmarks.hosts import HOSTS_MAX, HostsUnavailable, Lan, open_lan
from simulations.benchmarks.measures import (
    Pace,
    measure_idle,
    measure_kills,
    measure_leaves,
    measure_mdns_memory,
    measure_restarts,
    measure_silence,
    measure_spread,
    measure_start,
    profile_idle,
)
from simulations.benchmarks.mesh import MeshFailed, open_mesh
from simulations.benchmarks.report import Report, Row, Run, describe_machine, table
from simulations.benchmarks.systems import PEERS, Meshp2p, PeerUnavailable, System

__all__ = ["Options", "add_command", "run"]

ROWS: Final = (
    Row("start_full", "told to begin -> all views full, s", lambda nodes: "1" if nodes <= 16 else "2"),
    Row("spawn_full", "spawned -> all views full, s"),
    Row("kill_first", "killed (SIGKILL) -> first knows, s"),
    Row("kill_all", "killed (SIGKILL) -> all know, s", lambda nodes: "0.1" if nodes <= 16 else "0.2"),
    Row("silent_first", "silent host -> first knows, s"),
    Row("silent_all", "silent host -> all know, s", lambda _: "5 (8)"),
    Row("leave_first", "leaves -> first knows, s"),
    Row("leave_all", "leaves -> all know, s"),
    Row("spread_all", "a change -> all know, s", lambda _: "0.1 (0.5)"),
    Row("datagrams", "idle: datagrams a node and s", lambda _: "2.2"),
    Row("datagram_bytes", "idle: UDP bytes a node and s", lambda _: "300"),
    Row("tcp_bytes", "idle: TCP bytes a node and s"),
    Row("processor", "idle: CPU s a node and minute", lambda _: "0.6"),
    Row("resident", "resident memory of a node, MB", lambda _: "45"),
    Row("proportional", "the same, shared pages divided, MB"),
    Row("resident_mdns", "resident memory with mDNS, MB", lambda _: "45"),
    Row("false_deaths", "times a healthy node was held dead", lambda _: "0"),
)
"""The aims are the project's own; the worst allowed is in parentheses where there is one."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and how often."""

    nodes: tuple[int, ...] = (16, 64)
    repeats: int = 4
    peers: tuple[str, ...] = tuple(PEERS)
    idle: float = 30.0
    seed: int = 1
    is_quick: bool = False
    json: Path | None = None
    profile: Path | None = None
    python: str = sys.executable

    @property
    def pace(self) -> Pace:
        if self.is_quick:
            return Pace(calm=0.5, settle=0.5, idle=min(self.idle, 3.0))
        return Pace(calm=1.5, settle=5.0, idle=self.idle)


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "membership",
        help="detection, spread, start and idle cost, beside serf and memberlist",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--nodes", type=_counts, default=(16, 64), metavar="N,N", help="nodes of a mesh (16,64)")
    parser.add_argument("--repeats", type=_positive, default=4, help="of every thing that happens (%(default)s)")
    parser.add_argument(
        "--peers", type=_peers, default=tuple(PEERS), metavar="NAME,NAME", help=f"{','.join(PEERS)} (all), or none"
    )
    parser.add_argument("--idle", type=float, default=30.0, help="seconds of the idle window (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of who goes (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one repeat and a window of 3 s: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="write a cProfile of an idle node of ours, taken in a window of its own",
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        metavar="PATH",
        help="what runs our nodes: the Python of an environment (this one)",
    )
    parser.set_defaults(run=_run_command)


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(word) for word in text.split(","))
    if not all(2 <= count <= HOSTS_MAX for count in counts):
        raise argparse.ArgumentTypeError(f"{text}: expected numbers from 2 to {HOSTS_MAX}")
    return counts


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _peers(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(text.split(","))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name!r}: expected one of {', '.join(PEERS)}, or none")
    return names


def _run_command(parsed: argparse.Namespace) -> int:
    options = Options(
        nodes=parsed.nodes,
        repeats=1 if parsed.quick else parsed.repeats,
        peers=parsed.peers,
        idle=parsed.idle,
        seed=parsed.seed,
        is_quick=parsed.quick,
        json=parsed.json,
        python=parsed.python,
        profile=parsed.profile.absolute() if parsed.profile else None,
    )
    return trio.run(run, options)


async def run(options: Options) -> int:
    """Measure, print and write. The exit code: 0, 1 where it could not be measured, 130 where a signal ended it.

    Whatever ends it, nothing that it made is left but the report.
    """
    report = Report(
        "membership",
        describe_machine(),
        {
            "nodes": list(options.nodes),
            "repeats": options.repeats,
            "peers": list(options.peers),
            "idle": options.pace.idle,
            "seed": options.seed,
        },
    )
    systems = _find_systems(options, report)
    logs = Path(tempfile.mkdtemp(prefix="meshp2p-benchmark-"))
    code = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                nonlocal code
                async for _ in signals:
                    code = 130
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop_on_signal)
            try:
                with open_lan(max(options.nodes)) as lan:
                    for count in options.nodes:
                        await _compare(systems, lan, count, options, report, logs)
                report.is_complete = True
            except* (HostsUnavailable, MeshFailed) as errors:
                for error in errors.exceptions:
                    print(f"error: {error}", file=sys.stderr)
                code = 1
            nursery.cancel_scope.cancel()
    report.machine.load_after = os.getloadavg()
    if options.json is not None:
        report.write(options.json)
    if code != 1:  # else they may say why
        shutil.rmtree(logs)
    return code


def _find_systems(options: Options, report: Report) -> list[System]:
    systems: list[System] = [Meshp2p(options.python)]
    for name in options.peers:
        system = PEERS[name]()
        try:
            system.prepare()
        except PeerUnavailable as error:
            print(f"absent: {error}", flush=True)
            report.absent.append(str(error))
        else:
            systems.append(system)
    return systems


async def _compare(systems: list[System], lan: Lan, count: int, options: Options, report: Report, logs: Path) -> None:
    runs: list[Run] = []
    for system in systems:
        run = Run(system.name, system.version, count)
        runs.append(run)
        report.runs.append(run)
        await _measure(system, lan, run, options, logs)
    print(
        f"\n{count} nodes, one process and one host each; {report.machine.processors} processors;"
        f" medians of {options.repeats} (worst)"
    )
    print(table(ROWS, runs))
    for run in runs:
        for note in run.notes:
            print(f"{run.system} {run.version}: {note}")
    for absence in report.absent:
        print(f"absent: {absence}")
    sys.stdout.flush()


async def _measure(system: System, lan: Lan, run: Run, options: Options, logs: Path) -> None:
    """All measures of one system at one number of nodes."""
    pace, repeats, dice = options.pace, options.repeats, random.Random(options.seed)
    async with open_mesh(system, lan, run.nodes, logs) as mesh:
        _say(run, "start")
        await measure_start(mesh, run)
        _say(run, "idle")
        await measure_idle(mesh, run, pace)
        if options.profile is not None and isinstance(system, Meshp2p):
            await profile_idle(mesh, pace, options.profile.with_stem(f"{options.profile.stem}-{run.nodes}"))
        _say(run, "spread")
        await measure_spread(mesh, run, repeats, pace, dice)
        _say(run, "leave")
        await measure_leaves(mesh, run, repeats, pace, dice)
        _say(run, "kill")
        await measure_kills(mesh, run, repeats, pace, dice)
        _say(run, "silence")
        await measure_silence(mesh, run, repeats, pace, dice)
        _say(run, "start again")
        await measure_restarts(mesh, run, repeats - 1)
        run.add("false_deaths", mesh.false_deaths)
    if isinstance(system, Meshp2p):
        await measure_mdns_memory(lan, run, pace, logs, options.python)


def _say(run: Run, what: str) -> None:
    print(f"# {run.system}, {run.nodes} nodes: {what}", file=sys.stderr, flush=True)
