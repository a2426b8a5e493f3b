"""The benchmarks: that they measure, that what they print is what they found, and that nothing of them is left."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import trio

from simulations.benchmarks.__main__ import main
from simulations.benchmarks.costs import Traffic, count_packet, memory_of, processor_seconds_of
from simulations.benchmarks.hosts import Host, open_lan
from simulations.benchmarks.impaired_mesh import measure_partition
from simulations.benchmarks.measures import measure_idle, measure_start
from simulations.benchmarks.membership import that_fit
from simulations.benchmarks.membership_peers import PEERS, Serf
from simulations.benchmarks.mesh import Mesh, Node, open_mesh
from simulations.benchmarks.picture import picture
from simulations.benchmarks.report import Figure, Report, Row, Run, describe_machine, table
from simulations.benchmarks.switch import open_switch
from simulations.benchmarks.systems import Meshp2p, PeerUnavailable, Sighting
from simulations.benchmarks.trial import Pace, Trial
from simulations.namespaces import Namespace, NamespacesUnavailable
from tests.simulation.refusals import assert_refused

ROOT = Path(__file__).parents[2]
NOWHERE = Namespace.__new__(Namespace)
"""That of hosts on which nothing is started."""
COMMAND = [sys.executable, "-m", "simulations.benchmarks", "membership"]


@pytest.fixture
def namespaces() -> None:
    try:
        with open_lan(1):
            pass
    except NamespacesUnavailable as error:
        pytest.skip(str(error))


# The report


def test_a_sample_that_never_came_counts_as_endless() -> None:
    figure = Figure()
    for value in (1.0, 2.0, None):
        figure.add(value)
    assert figure.median == 2.0
    assert figure.worst == math.inf


def test_the_p99_of_few_samples_is_the_greatest_and_of_many_is_not() -> None:
    few, many = Figure([1.0, 3.0, 2.0]), Figure([float(number) for number in range(1, 201)])
    assert few.p99 == 3.0
    assert many.p99 == 198.0
    assert Figure([1.0], missed=1).p99 == math.inf


def test_a_row_has_the_tail_that_it_asks_for() -> None:
    run = Run("ours", "1", 16)
    run.add("known", *(float(number) for number in range(1, 201)))
    rows = [Row("known", "known, s"), Row("known", "known, s (p99)", tail="p99")]
    assert [line.rpartition("(")[2] for line in table(rows, [run]).splitlines()[1:]] == ["200)", "198)"]


def test_the_picture_has_each_system_and_says_what_never_came_and_what_is_absent() -> None:
    rows = [Row("kill_all", "killed -> all < 1 s", panel="time"), Row("dead", "held dead", panel="count")]
    ours, theirs = Run("ours", "1", 16), Run("theirs", "2", 16)
    ours.add("kill_all", 0.1, 0.2)
    theirs.add("kill_all", None)
    ours.add("dead", 0)
    theirs.add("dead", 3)
    drawn = picture(Report("membership", describe_machine(), {}, [ours, theirs], ["others: not here"]), rows, "Title")
    root = ET.fromstring(drawn)
    said = [node.text for node in root.iter() if node.text]
    for expected in ("Title", "16 nodes", "killed -> all < 1 s", "ours: 0.15 (0.2)", "theirs: never (never)", "3"):
        assert expected in said
    assert "absent: others: not here" in said


def test_sizes_for_which_there_is_not_enough_memory_are_left_out_and_named() -> None:
    fit, said = that_fit((3, 64, 128), 5e9)
    assert fit == [3, 64]
    assert [text.partition(":")[0] for text in said] == ["128 nodes"]


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
    assert figure == {"values": [1.0], "missed": 2, "median": None, "p99": None, "least": 1.0, "worst": None}


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


@pytest.mark.parametrize("name", sorted(PEERS.keys() - {"meshp2p-secured"}))
def test_a_peer_that_is_not_installed_says_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PeerUnavailable, match=rf"^{name}: not installed \((Debian|PyPI): "):
        PEERS[name]().prepare()


async def test_a_false_death_counts_once_for_all_who_hold_it_and_again_after_a_return(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        mesh = Mesh(Meshp2p(), [Host(number, NOWHERE) for number in range(3)], nursery, tmp_path)
        one, two, three = mesh.nodes.values()
        for node in mesh.nodes.values():
            node.is_live = True

        def hear(event: str, *observers: Node) -> None:
            for observer in observers:
                mesh.hear(observer, json.dumps({"event": event, "id": three.id, "value": "", "t": 1.0}), 1.0)

        hear("joined", one, two)
        hear("gone", one, two)
        hear("joined", one)
        hear("gone", one)
        assert mesh.false_deaths == [three.id]
        hear("joined", one, two)
        with mesh.counting_apart() as apart:
            hear("gone", two)
        assert apart == [three.id]
        assert mesh.false_deaths == [three.id]
        three.is_live = False
        hear("joined", two)
        hear("gone", one, two)
        assert mesh.false_deaths == [three.id]


async def test_a_mesh_is_led_where_all_name_the_lowest_under_one_epoch(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        mesh = Mesh(Meshp2p(), [Host(number, NOWHERE) for number in range(2)], nursery, tmp_path)
        one, two = mesh.nodes.values()

        def name(node: Node, leader: Node, epoch: int, at: float) -> None:
            line = {"event": "leader", "id": leader.id, "value": str(epoch), "t": at}
            mesh.hear(node, json.dumps(line), at)

        one.is_live = two.is_live = True
        name(one, one, 2, 1.0)
        name(two, one, 1, 2.0)
        assert not mesh.is_led()
        name(two, one, 2, 3.0)
        assert mesh.is_led()
        assert mesh.led_since() == 3.0
        one.is_live = False
        assert not mesh.is_led()


# The command


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sizes", "1"], "1"),
        (["--peers", "consul"], "consul"),
        (["--repeats", "0"], "0"),
        (["--only", "weather"], "weather"),
    ],
    ids=["sizes", "peers", "repeats", "only"],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(main, ["membership", *arguments], named, capsys)


@pytest.mark.usefixtures("namespaces")
async def test_three_real_nodes_become_a_mesh_and_their_cost_is_measured(tmp_path: Path) -> None:
    run = Run("meshp2p", "", 3)
    pace = Pace(calm=0, settle=0, idle=2)
    with trio.fail_after(60), open_lan(3) as lan:
        async with open_mesh(Meshp2p(), lan.hosts, tmp_path) as mesh:
            trial = Trial(mesh, lan, run, pace, 1, random.Random(1))
            await measure_start(trial)
            pids = [node.pid for node in mesh.live()]
            await measure_idle(trial)
    assert len(pids) == 3
    assert run.figures["start_full"].missed == 0
    for key in ("datagrams", "datagram_bytes", "processor", "resident"):
        assert run.figures[key].median > 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.long
@pytest.mark.usefixtures("namespaces")
async def test_what_was_cut_in_two_becomes_whole_under_one_leader(tmp_path: Path) -> None:
    run = Run("meshp2p", "", 4)
    with trio.fail_after(110), open_lan(4) as lan:
        async with open_mesh(Meshp2p(), lan.hosts, tmp_path) as mesh:
            trial = Trial(mesh, lan, run, Pace(calm=0, settle=0, cut=20), 1, random.Random(1))
            await measure_start(trial)
            await measure_partition(trial)
    assert run.notes == []
    assert run.figures["heal_all"].missed == run.figures["heal_leader"].missed == 0
    assert mesh.false_deaths == []


@pytest.mark.long
@pytest.mark.usefixtures("namespaces")
async def test_hosts_on_a_switch_find_one_another_though_multicast_is_blocked(tmp_path: Path) -> None:
    try:
        with open_switch(1):
            pass
    except NamespacesUnavailable as error:
        pytest.skip(str(error))
    with trio.fail_after(110), open_switch(3) as switch, switch.without_multicast():
        async with open_mesh(Meshp2p(), switch.hosts, tmp_path, "lan") as mesh:
            await mesh.spawn_and_begin_all()
            assert await mesh.wait_full(100)


@pytest.mark.slow
@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("only", "keys"),
    [
        pytest.param("kill,leader", ("kill_all", "leader_all"), id="killed"),
        pytest.param("spread,leave", ("spread_all", "leave_all"), id="told", marks=pytest.mark.long),
        pytest.param("silence", ("silent_first", "silent_each", "silent_all"), id="silent", marks=pytest.mark.long),
        pytest.param(
            "loss,starved",
            ("dead_at_5", "dead_at_10", "dead_at_25", "dead_healthy", "dead_starved"),
            id="trouble",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "discovery",
            ("cold_mdns_ready", "cold_beacon_ready", "cold_blocked_ready", "cold_blocked_spawned"),
            id="discovery",
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_quick_benchmark_finds_every_figure(only: str, keys: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    arguments = ["--sizes", "3", "--quick", "--only", only, "--peers", "none", "--json", str(path)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report["is_complete"]
    [run] = report["runs"]
    for key in ("start_full", *keys):
        assert run["figures"][key]["missed"] == 0, key
        assert run["figures"][key]["values"], key
    assert run["figures"]["false_deaths"]["values"] == [0]


# Revocation


@pytest.mark.long
def test_a_revocation_is_measured_on_nodes_that_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revocation", "--nodes", "2", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["running  2 nodes, 1 times", "stopped  2 nodes, 1 times"]
    assert all("median" in line for line in lines)
