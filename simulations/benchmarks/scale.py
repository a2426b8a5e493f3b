"""Large meshes: hundreds of real nodes on one machine, several in each process, and a thousand in the simulator, with
hosted instances.

The real nodes are on the loopback of a separate host (a network namespace), so that no other packets are counted. The
first of them is the seed of all. Then one process is killed with all its nodes. The simulated nodes join one after
another, and instances register with each in turn. The traffic of an idle node must not depend on the number of nodes:
the smaller simulated mesh, with as many instances per node, is for comparison.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

import meshp2p
from simulations.benchmarks.command_line import INTERRUPTED, add_benchmark, positive, run_until_signal
from simulations.benchmarks.hosts import open_lan
from simulations.benchmarks.mesh import MeshFailed
from simulations.benchmarks.node_groups import measure_crowds
from simulations.benchmarks.picture import picture
from simulations.benchmarks.report import Report, Row, Run, describe_machine, table
from simulations.benchmarks.simulated_scale import Measured, measure_each
from simulations.namespaces import NamespacesUnavailable

__all__ = ["SAME_WITHIN", "Options", "add_command", "is_flat", "run"]

SAME_WITHIN: Final = 0.1
"""The share by which the bytes of two sizes may differ and still count as equal. Chosen, not measured."""

INSTANCES_PER_NODE: Final = 5

ROWS: Final = (
    Row("start_full", "told to begin -> all views full, s"),
    Row("kill_all", "a process killed -> all list none of its nodes, s"),
    Row("datagrams", "idle: datagrams a node and s", lambda _: "2.2", panel="cost"),
    Row("datagram_bytes", "idle: UDP bytes a node and s", lambda _: "300", panel="cost"),
    Row("tcp_bytes", "idle: TCP bytes a node and s", panel="cost"),
    Row("processor", "idle: CPU s a node and minute", lambda _: "0.6", panel="cost"),
    Row("resident", "resident memory a node, MB", panel="cost"),
    Row("whole", "last change -> whole, virtual s"),
    Row("simulated_datagrams", "idle: datagrams a node and virtual s", lambda _: "2.2", panel="cost"),
    Row("simulated_bytes", "idle: UDP bytes a node and virtual s", lambda _: "300", panel="cost"),
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The measured meshes: ``processes`` of ``each`` nodes, and simulated meshes of these sizes; either may be none."""

    processes: int = 10
    each: int = 20
    simulated: tuple[int, ...] = (100, 1000)
    idle: float = 30.0
    json: Path | None = None
    svg: Path | None = None


def add_command(commands: Any) -> None:
    parser = add_benchmark(
        commands, "scale", "hundreds of real nodes on one machine, a thousand in the simulator", __doc__
    )
    defaults = Options()
    parser.add_argument(
        "--processes", type=int, default=defaults.processes, help="of real nodes; 0: none (%(default)s)"
    )
    parser.add_argument("--each", type=positive, default=defaults.each, help="nodes in each process (%(default)s)")
    parser.add_argument(
        "--simulated",
        type=_sizes,
        default=defaults.simulated,
        metavar="N,N",
        help=f"simulated meshes, with {INSTANCES_PER_NODE} instances a node (100,1000), or none",
    )
    parser.add_argument("--idle", type=float, default=defaults.idle, help="seconds of the idle window (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the table there")
    parser.set_defaults(run=_run_command)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = () if text == "none" else tuple(int(word) for word in text.split(","))
    if not all(size >= 2 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text}: expected numbers of at least 2, or none")
    return sizes


def _run_command(parsed: argparse.Namespace) -> int:
    if parsed.processes == 1 or parsed.processes < 0:
        print("--processes: expected 2 or more, for one of them is killed, or 0", file=sys.stderr)
        return 2
    return run(
        Options(
            processes=parsed.processes,
            each=parsed.each,
            simulated=parsed.simulated,
            idle=parsed.idle,
            json=parsed.json,
            svg=parsed.svg,
        )
    )


def run(options: Options) -> int:
    """Measure, print and write. Return the exit code: 0, 1 if something could not be measured or bytes grow with the
    mesh, 130 if a signal ended it. Nothing that it made remains but the report, however it ends."""
    report = Report(
        "scale",
        describe_machine(),
        {
            "processes": options.processes,
            "each": options.each,
            "simulated": list(options.simulated),
            "idle": options.idle,
        },
    )
    code = trio.run(_run_real, options, report) if options.processes else 0
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if code == 0 and options.simulated:
            code = _run_simulated(options.simulated, report)
        report.is_complete = code == 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    report.machine.load_after = os.getloadavg()
    if options.json is not None:
        report.write(options.json)
    if options.svg is not None:
        options.svg.write_text(picture(report, ROWS, "Large meshes"))
    return code


async def _run_real(options: Options, report: Report) -> int:
    nodes = options.processes * options.each
    run = Run("meshp2p", meshp2p.__version__, nodes)
    report.runs.append(run)
    logs = Path(tempfile.mkdtemp(prefix="meshp2p-benchmark-"))
    code = await run_until_signal(_measure_real, options, run, logs)
    if code != 1:  # else they may say why
        shutil.rmtree(logs)
    if code == 0:
        print(f"\n{nodes} nodes in {options.processes} processes on {report.machine.processors} processors")
        print(table(ROWS, [run]))
        for note in run.notes:
            print(note)
        sys.stdout.flush()
    return code


async def _measure_real(options: Options, run: Run, logs: Path) -> int:
    """1 where they could not be measured."""
    code = 0
    try:
        with open_lan(1) as lan:
            await measure_crowds(lan.hosts[0], options.processes, options.each, options.idle, run, logs)
    except* (NamespacesUnavailable, MeshFailed) as errors:
        for error in errors.exceptions:
            print(f"error: {error}", file=sys.stderr)
        code = 1
    return code


def _run_simulated(sizes: Sequence[int], report: Report) -> int:
    found: list[Measured] = []
    for measured in measure_each([(size, INSTANCES_PER_NODE * size) for size in sizes]):
        found.append(measured)
        run = Run("simulator", meshp2p.__version__, measured.nodes)
        report.runs.append(run)
        run.add("whole", measured.whole_after)
        if measured.whole_after is not None:
            run.add("simulated_datagrams", measured.idle_datagrams)
            run.add("simulated_bytes", measured.idle_bytes)
        run.notes.append(
            f"{measured.instances} instances; {measured.violations} violations;"
            f" {measured.processor_seconds:.0f} s of processor time"
            + (f"; not whole: {measured.missing}" if measured.missing else "")
        )
        print(f"\n{measured.nodes} simulated nodes with {measured.instances} instances")
        print(table(ROWS, [run]))
        print(run.notes[-1], flush=True)
    if not all(measured.is_well for measured in found):
        return 1
    if len(found) > 1:
        flat = is_flat(found)
        said = "the same" if flat else "NOT the same"
        print(f"\nbytes a node and second at {' and '.join(str(size) for size in sizes)} nodes: {said}")
        return 0 if flat else 1
    return 0


def is_flat(found: Sequence[Measured]) -> bool:
    """Whether an idle node sends as much in each of these meshes, within :data:`SAME_WITHIN`."""
    each = [measured.idle_bytes for measured in found]
    return max(each) <= (1 + SAME_WITHIN) * min(each)
