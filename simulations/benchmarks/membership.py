"""The speed and cost of membership: meshp2p beside other systems, in one run on one machine.

Every node is a process on its own host (a network namespace; packets pass a router), with the system's defaults for a
LAN. All but the first join through the first. Times run from the moment of the event to the moment at which a node
reported it. Processor time and memory are the kernel's figures for each process. Packets are counted at the router. A
healthy node that is declared dead counts once, however many nodes do so, and once more if all of them listed it again
in between.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from simulations.benchmarks.cold_starts import measure_discovery
from simulations.benchmarks.command_line import add_benchmark, add_names, positive, run_until_signal
from simulations.benchmarks.costs import free_memory
from simulations.benchmarks.hosts import HOSTS_MAX, Lan, open_lan
from simulations.benchmarks.impaired_mesh import measure_loss, measure_partition, measure_starved
from simulations.benchmarks.measures import (
    measure_idle,
    measure_kills,
    measure_leader,
    measure_leaves,
    measure_restarts,
    measure_silence,
    measure_spread,
    measure_start,
    profile_idle,
)
from simulations.benchmarks.membership_peers import PEERS
from simulations.benchmarks.membership_rows import ROWS
from simulations.benchmarks.mesh import MeshFailed, open_mesh
from simulations.benchmarks.picture import picture
from simulations.benchmarks.report import Report, Run, describe_machine, table
from simulations.benchmarks.switch import open_switch
from simulations.benchmarks.systems import Meshp2p, System, available
from simulations.benchmarks.trial import Pace, Trial
from simulations.namespaces import NamespacesUnavailable

__all__ = ["MEASURES", "Options", "add_command", "run", "that_fit"]

MEASURES: Final[dict[str, Callable[[Trial], Awaitable[None]]]] = {
    "idle": measure_idle,
    "spread": measure_spread,
    "leave": measure_leaves,
    "kill": measure_kills,
    "leader": measure_leader,
    "silence": measure_silence,
    "partition": measure_partition,
    "loss": measure_loss,
    "starved": measure_starved,
    "restart": measure_restarts,
}
"""The measures of a mesh after its start, in this order."""

DISCOVERY: Final = "discovery"
NAMES: Final = (*MEASURES, DISCOVERY)

NODE_BYTES: Final = 64e6
"""The free memory that each node needs. Chosen, with some room, from the memory of a meshp2p node."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The measures and their number."""

    sizes: tuple[int, ...] = (3, 16, 64, 128)
    repeats: int = 4
    only: tuple[str, ...] = NAMES
    peers: tuple[str, ...] = tuple(PEERS)
    pace: Pace = Pace()
    seed: int = 1
    json: Path | None = None
    svg: Path | None = None
    profile: Path | None = None
    python: str = sys.executable


_QUICK: Final = Pace(calm=0.5, settle=0.5, idle=3.0, cut=12.0, trouble=6.0)


def add_command(commands: Any) -> None:
    parser = add_benchmark(
        commands, "membership", "start, detection, healing, false deaths and idle cost, beside others", __doc__
    )
    defaults = Options()
    parser.add_argument(
        "--sizes", type=_sizes, default=defaults.sizes, metavar="N,N", help="nodes of a mesh (3,16,64,128)"
    )
    parser.add_argument("--repeats", type=positive, default=4, help="of every thing that happens (%(default)s)")
    add_names(parser, "--only", NAMES, about="the start, and: ")
    add_names(parser, "--peers", PEERS, may_be_none=True)
    parser.add_argument("--idle", type=float, help=f"seconds of the idle window ({Pace().idle:g})")
    parser.add_argument("--cut", type=float, help=f"seconds of a partition ({Pace().cut:g})")
    parser.add_argument("--trouble", type=float, help=f"seconds of each loss, and of starving ({Pace().trouble:g})")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of who goes (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one repeat and short windows: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the table there")
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


def _sizes(text: str) -> tuple[int, ...]:
    counts = tuple(int(word) for word in text.split(","))
    if not all(2 <= count <= HOSTS_MAX for count in counts):
        raise argparse.ArgumentTypeError(f"{text}: expected numbers from 2 to {HOSTS_MAX}")
    return counts


def _run_command(parsed: argparse.Namespace) -> int:
    given = {name: getattr(parsed, name) for name in ("idle", "cut", "trouble") if getattr(parsed, name) is not None}
    options = Options(
        sizes=parsed.sizes,
        repeats=1 if parsed.quick else parsed.repeats,
        only=parsed.only,
        peers=parsed.peers,
        pace=msgspec.structs.replace(_QUICK if parsed.quick else Pace(), **given),
        seed=parsed.seed,
        json=parsed.json,
        svg=parsed.svg,
        python=parsed.python,
        profile=parsed.profile.absolute() if parsed.profile else None,
    )
    return trio.run(run, options)


def that_fit(sizes: Sequence[int], free_bytes: float) -> tuple[list[int], list[str]]:
    """Return the sizes for which this much memory is enough, and a note about the others."""
    fit = [size for size in sizes if size * NODE_BYTES <= free_bytes]
    said = [
        f"{size} nodes: they need {size * NODE_BYTES / 1e9:.1f} GB of memory, and {free_bytes / 1e9:.1f} GB are free"
        for size in sizes
        if size not in fit
    ]
    return fit, said


async def run(options: Options) -> int:
    """Measure, print and write. Return the exit code: 0, 1 if something could not be measured, 130 if a signal ended
    it.

    Nothing that it made remains but the report, however it ends.
    """
    report = Report(
        "membership",
        describe_machine(),
        {
            "sizes": list(options.sizes),
            "repeats": options.repeats,
            "only": list(options.only),
            "peers": list(options.peers),
            "seed": options.seed,
            **msgspec.structs.asdict(options.pace),
        },
    )
    sizes, absent = that_fit(options.sizes, free_memory())
    for text in absent:
        print(f"absent: {text}", flush=True)
    report.absent += absent
    systems = available([Meshp2p(options.python), *(PEERS[name]() for name in options.peers)], report)
    logs = Path(tempfile.mkdtemp(prefix="meshp2p-benchmark-"))
    code = await run_until_signal(_compare_all, systems, sizes, options, report, logs)
    report.is_complete = code == 0
    report.machine.load_after = os.getloadavg()
    if options.json is not None:
        report.write(options.json)
    if options.svg is not None:
        options.svg.write_text(picture(report, ROWS, "Who is there, and how soon all know"))
    if code != 1:  # else they may say why
        shutil.rmtree(logs)
    return code


async def _compare_all(systems: list[System], sizes: list[int], options: Options, report: Report, logs: Path) -> int:
    """Measure all sizes. Return 1 if one could not be measured."""
    code = 0
    try:
        with open_lan(max(sizes, default=1)) as lan:
            for count in sizes:
                await _compare(systems, lan, count, options, report, logs)
    except* (NamespacesUnavailable, MeshFailed) as errors:
        for error in errors.exceptions:
            print(f"error: {error}", file=sys.stderr)
        code = 1
    return code


async def _compare(systems: list[System], lan: Lan, count: int, options: Options, report: Report, logs: Path) -> None:
    """Measure each system in turn, and print the results, however it ends."""
    runs: list[Run] = []
    try:
        for system in systems:
            run = Run(system.name, system.version, count)
            if system.about:
                run.notes.append(system.about)
            runs.append(run)
            report.runs.append(run)
            try:
                await _measure(system, lan, run, options, logs)
            except* MeshFailed as errors:
                if system is systems[0]:
                    raise
                run.notes.append(f"given up: {errors.exceptions[0]}")
    finally:
        _print(runs, options, report)


def _print(runs: Sequence[Run], options: Options, report: Report) -> None:
    print(
        f"\n{runs[0].nodes} nodes, one process and one host each; {report.machine.processors} processors;"
        f" medians of {options.repeats} (worst, or p99); cut for {options.pace.cut:g} s;"
        f" each trouble for {options.pace.trouble:g} s"
    )
    print(table(ROWS, runs))
    for run in runs:
        for note in run.notes:
            print(f"{run.system} {run.version}: {note}")
    for absence in report.absent:
        print(f"absent: {absence}")
    sys.stdout.flush()


async def _measure(system: System, lan: Lan, run: Run, options: Options, logs: Path) -> None:
    """Take all measures of one system with one number of nodes."""
    async with open_mesh(system, lan.hosts[: run.nodes], logs) as mesh:
        trial = Trial(mesh, lan, run, options.pace, options.repeats, random.Random(options.seed))
        _say(run, "start")
        await measure_start(trial)
        for name, measure in MEASURES.items():
            if name in options.only and (name != "leader" or "leader" in system.features):
                _say(run, name)
                try:
                    await measure(trial)
                except NamespacesUnavailable as error:
                    run.notes.append(f"{name}: not measured: {error}")
            if name == "idle" and options.profile is not None and isinstance(system, Meshp2p):
                await profile_idle(trial, options.profile.with_stem(f"{options.profile.stem}-{run.nodes}"))
        run.add("false_deaths", len(mesh.false_deaths))
    if DISCOVERY in options.only and "mdns" in system.features:
        _say(run, DISCOVERY)
        try:
            with open_switch(run.nodes) as switch:
                await measure_discovery(system, switch, run, options.pace, options.repeats, logs)
        except NamespacesUnavailable as error:
            run.notes.append(f"{DISCOVERY}: not measured: {error}")


def _say(run: Run, what: str) -> None:
    print(f"# {run.system}, {run.nodes} nodes: {what}", file=sys.stderr, flush=True)
