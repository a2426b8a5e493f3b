"""Schedules, scenarios and replay files: what is accepted, and that a file is a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError
from meshp2p.simulation.oracle import MEETING
from meshp2p.simulation.replay import read_replay, write_replay
from meshp2p.simulation.scenarios import Options, build_schedule, scenarios
from meshp2p.simulation.schedule import NodePlan, dump_schedule, load_schedule
from meshp2p.simulation.simulation import run
from meshp2p.virtual.faults import Crash, Leave, Lossy, Moved, Partition, Slow
from tests.simulation.simulated import a_schedule


def test_the_issue_s_scenarios_are_there_with_a_line_about_each() -> None:
    wanted = ["partition", "one-way", "bridge", "startup-split", "flapping", "lossy", "crash", "restart", "sleep"]
    for name in (*wanted, "join-storm", "swarm"):
        assert scenarios()[name]
    assert all("\n" not in about for about in scenarios().values())


@pytest.mark.parametrize("name", scenarios())
def test_a_written_schedule_is_read_as_it_was(name: str) -> None:
    schedule = build_schedule(name, Options(seed=11, nodes=7))
    assert load_schedule(dump_schedule(schedule)) == schedule


def test_a_file_holds_every_option_so_that_a_new_default_changes_nothing() -> None:
    written = json.loads(dump_schedule(a_schedule()))["schedule"]
    assert set(written["config"]) == set(ProtocolConfig.__struct_fields__)
    assert written["link"] == {"delay": 0.0002, "jitter": 0.0002}
    assert written["calm"] == 5.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (b"", "not a replay file"),
        (b"[1]", "not a replay file"),
        (b'{"schedule": {"format": 99}}', "format 99"),
        (b'{"schedule": {"format": 1}}', "replay file"),
    ],
)
def test_a_file_that_is_no_replay_gets_one_clear_line(change: bytes, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        load_schedule(change)
    assert "\n" not in str(caught.value)


def test_a_field_that_is_not_known_is_refused() -> None:
    written = json.loads(dump_schedule(a_schedule()))
    written["schedule"]["surprise"] = 1
    with pytest.raises(ConfigError, match="surprise"):
        load_schedule(json.dumps(written))


def test_a_replay_file_runs_again_to_the_same_digest(tmp_path: Path) -> None:
    schedule = build_schedule("partition", Options(seed=5))
    result = run(schedule)
    write_replay(tmp_path / "run.json", schedule, result)
    read, outcome = read_replay(tmp_path / "run.json")
    assert run(read).digest == outcome.digest == result.digest


def test_a_missing_replay_file_gets_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_replay(tmp_path / "none.json")


def test_in_a_swarm_the_node_that_all_were_told_of_is_not_gone_for_good_before_they_met_it() -> None:
    for seed in range(3000):
        schedule = build_schedule("swarm", Options(seed=seed))
        last_start = max(plan.at for plan in schedule.nodes)
        for fault in schedule.faults:
            is_first = getattr(fault, "node", "") == schedule.nodes[0].id
            if is_first and (isinstance(fault, Moved) or (isinstance(fault, Crash | Leave) and fault.end is None)):
                assert fault.begin >= last_start + MEETING


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("nonsense", Options(), "scenario 'nonsense': expected one of calm, partition"),
        ("partition", Options(nodes=1), "nodes = 1"),
        ("partition", Options(nodes=100_000), "nodes = 100000"),
        ("partition", Options(duration=-1.0), "duration = -1.0"),
        ("partition", Options(duration=float("nan")), "duration = nan"),
        ("swarm", Options(nodes=1), "nodes = 1"),
        ("swarm", Options(duration=0.0), "duration = 0.0"),
        ("partition", Options(loss=1.5), "loss = 1.5"),
        ("partition", Options(delay=-1.0), "delay = -1.0"),
        ("partition", Options(checks=("nonsense",)), "check 'nonsense'"),
    ],
)
def test_impossible_options_get_one_clear_line(name: str, options: Options, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_schedule(name, options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schedule_refuses_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no node 'n9'"):
        a_schedule(Crash(begin=1.0, node="n9"))
    with pytest.raises(ConfigError, match="begin = 5"):
        a_schedule(Crash(begin=5.0, end=4.0, node="n1"))
    with pytest.raises(ConfigError, match="begin = 99"):
        a_schedule(Crash(begin=99.0, node="n1"))
    with pytest.raises(ConfigError, match="two have the same id"):
        msgspec.structs.replace(a_schedule(), nodes=(NodePlan(id="a"), NodePlan(id="a")))


def test_a_fault_refuses_values_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"probability = 1\.5"):
        Lossy(probability=1.5)
    with pytest.raises(ConfigError, match="two groups"):
        Partition(groups=(("a",), ("a", "b")))
    with pytest.raises(ConfigError, match="at least two groups"):
        Partition(groups=(("a",),))
    with pytest.raises(ConfigError, match="seconds = -1"):
        Slow(node="a", seconds=-1.0)


def test_options_are_what_the_run_has() -> None:
    schedule = build_schedule("partition", Options(seed=3, nodes=9, duration=60.0, loss=0.05, delay=0.01))
    assert (schedule.seed, len(schedule.nodes), schedule.duration, schedule.link.delay) == (3, 9, 60.0, 0.01)
    assert schedule.faults[-1] == Lossy(begin=0.0, probability=0.05)
