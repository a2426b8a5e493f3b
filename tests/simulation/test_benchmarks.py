"""The benchmarks: that they measure, that what they print is what they found, and that nothing of them is left."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from simulations.benchmarks.costs import Traffic, count_packet, memory_of, processor_seconds_of
from simulations.benchmarks.hosts import HostsUnavailable, open_lan
from simulations.benchmarks.measures import Pace, measure_idle, measure_start
from simulations.benchmarks.mesh import open_mesh
from simulations.benchmarks.report import Figure, Report, Row, Run, describe_machine, table
from simulations.benchmarks.systems import Meshp2p, Serf, Sighting

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "simulations.benchmarks", "membership"]


@pytest.fixture
def namespaces() -> None:
    try:
        with open_lan(1):
            pass
    except HostsUnavailable as error:
        pytest.skip(str(error))


# The report


def test_a_sample_that_never_came_counts_as_endless() -> None:
    figure = Figure()
    for value in (1.0, 2.0, None):
        figure.add(value)
    assert figure.median == 2.0
    assert figure.worst == math.inf


def test_the_table_shows_ours_beside_each_peer_with_the_ratio_of_the_medians() -> None:
    rows = [Row("kill_all", "killed -> all know, s", lambda nodes: f"0.1 at {nodes}"), Row("absent", "not measured")]
    runs = []
    for system, values in (("ours", (1.0, 2.0, 3.0)), ("theirs", (4.0,))):
        run = Run(system, "1", 16)
        run.add("kill_all", *values)
        runs.append(run)
    header, line = table(rows, runs).splitlines()
    assert header.split() == ["ours", "theirs", "ratio", "aim"]
    assert line.split("  ")[0] == "killed -> all know, s"
    assert line.endswith("2 (3)       4    0.5  0.1 at 16")


def test_the_json_has_the_samples_their_median_and_null_for_what_never_came(tmp_path: Path) -> None:
    run = Run("ours", "1", 16)
    run.add("kill_all", 1.0, None, None)
    report = Report("membership", describe_machine(), {}, [run], is_complete=True)
    report.write(tmp_path / "report.json")
    figure = json.loads((tmp_path / "report.json").read_text())["runs"][0]["figures"]["kill_all"]
    assert figure == {"values": [1.0], "missed": 2, "median": None, "least": 1.0, "worst": None}


# What is counted


def test_packets_are_counted_by_protocol_with_all_their_headers() -> None:
    traffic = Traffic()
    for protocol, size in ((17, 128), (17, 60), (6, 52), (1, 84)):
        count_packet(bytes([0x45, 0, 0, size, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]), traffic)
    assert traffic == Traffic(datagrams=2, datagram_bytes=188, tcp_packets=1, tcp_bytes=52)


def test_the_kernel_says_what_this_process_costs() -> None:
    before = processor_seconds_of(os.getpid())
    sum(range(1_000_000))
    assert processor_seconds_of(os.getpid()) > before > 0
    memory = memory_of(os.getpid())
    assert memory.resident >= memory.proportional > 0


def test_a_line_of_serf_says_who_joined_changed_failed_and_left() -> None:
    said = "    2024/01/01 00:00:00 [INFO] serf: EventMember{}: n003 10.77.0.4"
    serf = Serf()
    for word, kind in (("Join", "joined"), ("Update", "updated"), ("Failed", "gone"), ("Leave", "gone")):
        assert serf.parse(said.format(word), 7.0) == Sighting(kind, "n003", 7.0)  # type: ignore[arg-type]
    assert serf.parse("    2024/01/01 00:00:00 [INFO] agent: joined: 1 nodes", 7.0) is None


# The command


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--nodes", "1"], "1"), (["--peers", "consul"], "consul"), (["--repeats", "0"], "0")],
    ids=["nodes", "peers", "repeats"],
)
def test_a_wrong_option_is_named_with_what_is_allowed(arguments: list[str], named: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert named in done.stderr
    assert "expected" in done.stderr


@pytest.mark.usefixtures("namespaces")
async def test_three_real_nodes_become_a_mesh_and_their_cost_is_measured(tmp_path: Path) -> None:
    run = Run("meshp2p", "", 3)
    with trio.fail_after(60), open_lan(3) as lan:
        async with open_mesh(Meshp2p(), lan, 3, tmp_path) as mesh:
            await measure_start(mesh, run)
            pids = [node.pid for node in mesh.live()]
            await measure_idle(mesh, run, Pace(calm=0, settle=0, idle=2))
    assert len(pids) == 3
    assert run.figures["start_full"].missed == 0
    for key in ("datagrams", "datagram_bytes", "processor", "resident"):
        assert run.figures[key].median > 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
def test_the_quick_benchmark_finds_every_figure(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    arguments = ["--nodes", "3", "--quick", "--peers", "none", "--json", str(path)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "killed (SIGKILL) -> all know, s" in done.stdout
    report = json.loads(path.read_text())
    assert report["is_complete"]
    [run] = report["runs"]
    for key in ("start_full", "spread_all", "leave_all", "kill_all", "silent_all"):
        assert run["figures"][key]["missed"] == 0, key
        assert run["figures"][key]["values"], key
    assert run["figures"]["false_deaths"]["values"] == [0]
