"""The speed of messages and the cost of waiting ones: meshp2p beside other systems, in one run on one machine.

Every client is a separate Python process on this machine, and messages have 1 KB. A repeat starts all processes of a
system afresh, measures everything, and ends them. Systems take turns, so that other load on the machine affects all of
them alike. Brokers run on loopback with their defaults, except as noted.

Unless noted, a rate is counted from the first message that is sent to the last that the recipient acknowledged. The
time until a message is handed out starts before it is sent, by the clock that all processes share. A mailbox of N
pending messages has N waiting, unacknowledged messages while a page of the oldest 100 is read (of all ten, if 10 are
pending), while single ones are acknowledged one after another, and while as many are taken as new ones come.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from simulations.benchmarks.command_line import add_benchmark, add_names, positive, run_until_signal
from simulations.benchmarks.costs import fsync_seconds
from simulations.benchmarks.message_measures import (
    IN_FLIGHT,
    PAGE,
    SENDERS,
    Amounts,
    measure_http,
    measure_mailbox,
    measure_messages,
    measure_requests,
    measure_senders,
)
from simulations.benchmarks.message_parties import PartyFailed, open_parties
from simulations.benchmarks.message_systems import (
    FEATURES,
    MESSAGE_PEERS,
    Feature,
    MeshMessages,
    MeshOnAsyncio,
    MessageSystem,
)
from simulations.benchmarks.report import Report, Row, Run, describe_machine, table
from simulations.benchmarks.systems import available

__all__ = ["Options", "add_command", "rows", "run"]

_CLIENTS: Final = 2
_QUICK: Final = Amounts(sequential=50, in_flight=200, paced=20, pending=(10, 200), throughput=100, requests=50)


def rows(pending: tuple[int, ...]) -> list[Row]:
    """The rows of the table. The aims are those of the project."""

    def aim(text: str) -> Any:
        return lambda _: text

    flat = aim("the same at all")
    return [
        Row("publish", "published one after another, /s", is_rate=True),
        Row("publish_acknowledged", "the same, acknowledged by the recipient, /s", aim("jetstream's"), is_rate=True),
        Row("in_flight", f"{IN_FLIGHT} in flight, acknowledged, /s", aim("15000"), is_rate=True),
        Row("processor", "the same, CPU of all processes, µs a message"),
        Row("in_flight_many", f"{IN_FLIGHT} in flight, from {SENDERS} senders together, /s", is_rate=True),
        Row("handed_p50", "published -> handed to another process, p50 ms"),
        Row("handed_p99", "published -> handed to another process, p99 ms"),
        Row("http_p50", "the same by HTTP at both ends, p50 ms", aim("3")),
        Row("http_p99", "the same by HTTP at both ends, p99 ms", aim("15")),
        *(Row(f"acknowledge_{count}", f"{count} pending: one acknowledged, ms", flat) for count in pending),
        *(Row(f"page_{count}", f"{count} pending: {min(PAGE, count)} read, ms", flat) for count in pending),
        *(Row(f"throughput_{count}", f"{count} pending: taken as they come, /s", flat, True) for count in pending),
        Row("request_p50", "request and reply, p50 ms", aim("1.1, 3 x jetstream's")),
        Row("request_p99", "request and reply, p99 ms"),
        Row("request_processor", "the same, CPU of all processes, µs a request"),
    ]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The measures, their number, and the folder of files."""

    repeats: int = 3
    peers: tuple[str, ...] = tuple(MESSAGE_PEERS)
    only: tuple[Feature, ...] = FEATURES
    amounts: Amounts = Amounts()
    directory: Path = Path(tempfile.gettempdir())
    json: Path | None = None


def add_command(commands: Any) -> None:
    """``python -m simulations.benchmarks messages``."""
    parser = add_benchmark(
        commands, "messages", "durable messages, request and reply, beside Redis, NATS and zenoh", __doc__
    )
    parser.add_argument("--repeats", type=positive, default=3, help="of everything (%(default)s)")
    add_names(parser, "--peers", MESSAGE_PEERS, may_be_none=True)
    add_names(parser, "--only", FEATURES)
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="PATH",
        help="where all keep their files, each in a new one that is removed: its disk is measured (%(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="one repeat of little: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.set_defaults(run=_run_command)


def _run_command(parsed: argparse.Namespace) -> int:
    options = Options(
        repeats=1 if parsed.quick else parsed.repeats,
        peers=parsed.peers,
        only=parsed.only,
        amounts=_QUICK if parsed.quick else Amounts(),
        directory=parsed.directory.absolute(),
        json=parsed.json,
    )
    return trio.run(run, options)


async def run(options: Options) -> int:
    """Measure, print and write. Return the exit code: 0, 1 if an available system could not be measured, 130 if a
    signal ended it.

    Nothing that it started runs on, however it ends. Its files are removed, except after a failure.
    """
    file_system = _file_system(options.directory)
    fsync = 1000 * fsync_seconds(options.directory)
    report = Report(
        "messages",
        describe_machine(),
        {
            "repeats": options.repeats,
            "peers": list(options.peers),
            "only": [str(feature) for feature in options.only],
            "file_system": file_system,
            "fsync_ms": fsync,
            **msgspec.to_builtins(options.amounts),
        },
    )
    known = (MeshMessages(), MeshOnAsyncio(), *(MESSAGE_PEERS[name] for name in options.peers))
    systems = available([system for system in known if system.features & set(options.only)], report)
    runs = {system.name: Run(system.name, system.version, _CLIENTS, notes=[system.about]) for system in systems}
    report.runs.extend(runs.values())
    code = await run_until_signal(_measure_all, systems, runs, options)
    report.is_complete = code == 0
    report.machine.load_after = os.getloadavg()
    _show(report, options)
    if options.json is not None:
        report.write(options.json)
    return code


async def _measure_all(systems: Sequence[MessageSystem], runs: Mapping[str, Run], options: Options) -> int:
    """Run all repeats. Return 1 if a system failed in one of them."""
    code = 0
    for repeat in range(options.repeats):
        for system in systems:
            say = f"# {system.name}, repeat {repeat + 1} of {options.repeats}"
            print(say, file=sys.stderr, flush=True)
            code = await _measure(system, runs[system.name], options) or code
    return code


async def _measure(system: MessageSystem, run: Run, options: Options) -> int:
    """Run one repeat of one system. Return 1 if it failed: that is noted, and the others continue."""
    directory = Path(tempfile.mkdtemp(prefix=f"meshp2p-benchmark-{system.name}-", dir=options.directory))
    has_failed = False
    try:
        async with open_parties(system, directory) as parties:
            features = system.features & set(options.only)
            if "messages" in features:
                await measure_messages(parties, run, options.amounts)
            if "http" in features:
                await measure_http(parties, run, options.amounts)
            if "requests" in features:
                await measure_requests(parties, run, options.amounts)
            if "messages" in features:
                await measure_mailbox(parties, run, options.amounts)
                await measure_senders(parties, run, options.amounts)
    except* PartyFailed as errors:
        has_failed = True
        for error in errors.exceptions:
            print(f"error: {error}", file=sys.stderr)
            run.notes.append(f"failed: {error}")
    finally:
        if not has_failed:  # else it may say why
            shutil.rmtree(directory)
    return int(has_failed)


def _show(report: Report, options: Options) -> None:
    machine = report.machine
    print(
        f"\n1 KB messages between Python processes of one machine; {machine.system}, {machine.python},"
        f" {machine.processors} processors, load {machine.load_before[0]:.1f} before; files on"
        f" {report.options['file_system']}, where appending 1 KB and fsync take {report.options['fsync_ms']:.3g} ms;"
        f" medians of {options.repeats} (worst)"
    )
    if report.runs:
        print(table(rows(options.amounts.pending), report.runs))
    for run in report.runs:
        for note in run.notes:
            print(f"{run.system} {run.version}: {note}")
    for absence in report.absent:
        print(f"absent: {absence}")
    sys.stdout.flush()


def _file_system(directory: Path) -> str:
    done = subprocess.run(["df", "--output=fstype", str(directory)], capture_output=True, text=True, check=False)
    return done.stdout.split()[-1] if done.returncode == 0 else "an unknown file system"
