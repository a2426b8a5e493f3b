"""The command line of developers: sweeps, replays, shrinking, regressions."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

from meshp2p.simulation.replay import write_replay
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import run
from meshp2p.simulation.swarm import draw_swarm
from simulations.__main__ import main
from simulations.ablations.safeguards import ablation
from simulations.regressions import read_regressions, run_regression
from simulations.sweep import CHUNK, sweep
from simulations.varied_seeds import CANDIDATES, varied_seeds


def test_a_sweep_of_well_seeds_ends_with_status_0_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--scenario", "crash", "--seeds", "3", "--duration", "30", "--failures", str(tmp_path / "failures")]
    reports = ["--json", str(tmp_path / "report.json"), "--junit", str(tmp_path / "report.xml")]
    assert main(["sweep", *options, *reports]) == 0
    shown = capsys.readouterr()
    assert "crash: 3 seeds from 0, 0 failed" in shown.out
    assert "3/3 seeds, 0 failed" in shown.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["seeds"], report["failed"], report["faults"]) == (3, [], {"Crash": 3})
    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), len(suite)) == ("3", "0", 3)


def test_a_failure_ends_with_status_1_and_a_line_to_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_refutation(name: str, options: Options) -> object:
        return build_schedule(name, Options(seed=options.seed, ablations=("refutation",)))

    monkeypatch.setattr("simulations.sweep.build_schedule", without_refutation)
    given = [
        "sweep",
        "--scenario",
        "partition",
        "--seeds",
        "2",
        "--failures",
        str(tmp_path),
        "--junit",
        str(tmp_path / "j"),
    ]
    assert main(given) == 1
    shown = capsys.readouterr().out
    assert "FAILED seed 0: " in shown
    line = next(line for line in shown.splitlines() if line.startswith("python -m simulations replay"))
    assert ET.parse(tmp_path / "j").getroot().get("failures") == "2"
    assert main(line.split()[3:]) == 1
    assert "the same run as the file's" in capsys.readouterr().out


@pytest.mark.long
def test_a_sweep_that_is_interrupted_has_told_which_seeds_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_interrupted(name: str, options: Options) -> object:
        if options.seed == CHUNK:
            raise KeyboardInterrupt
        return build_schedule(name, Options(seed=options.seed, ablations=("refutation",)))

    monkeypatch.setattr("simulations.sweep.build_schedule", until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["sweep", "--scenario", "partition", "--seeds", str(2 * CHUNK), "--failures", str(tmp_path)])
    told = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("FAILED")]
    assert told == [f"FAILED seed {number}" for number in range(CHUNK)]


def test_a_sweep_on_two_processes_is_the_sweep_on_one() -> None:
    options = Options(seed=4, duration=20.0)
    one, two = (sweep("partition", options, 6, jobs=jobs) for jobs in (1, 2))
    assert [seed.seed for seed in two.seeds] == list(range(4, 10))
    digests = [[seed.result.digest for seed in outcome.seeds if seed.result is not None] for outcome in (one, two)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["sweep", "--scenario", "nonsense"], "scenario 'nonsense'"),
        (["sweep", "--seeds", "0"], "--seeds 0"),
        (["replay", "no-such-file.json"], "no-such-file.json"),
    ],
)
def test_wrong_input_gets_one_line_and_status_2(
    given: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    shown = capsys.readouterr().err
    assert named in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.long
def test_a_failure_can_be_shrunk_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = build_schedule("partition", Options(seed=1, ablations=("refutation",)))
    path = tmp_path / "failure.json"
    write_replay(path, schedule, run(schedule, ablate=ablation))
    assert main(["shrink", str(path), "--runs", "40"]) == 1
    assert "python -m simulations replay" in capsys.readouterr().out
    assert path.with_suffix(".least.json").exists()


def test_what_does_not_fail_is_not_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = build_schedule("calm", Options(duration=5.0))
    write_replay(tmp_path / "well.json", schedule, run(schedule))
    assert main(["shrink", str(tmp_path / "well.json")]) == 2
    assert "no violation" in capsys.readouterr().err


@pytest.mark.parametrize("regression", read_regressions(), ids=lambda regression: regression.name)
def test_what_was_mended_stays_mended(regression: object) -> None:
    result = run_regression(regression)  # type: ignore[arg-type]
    assert result.violations == ()


# Seeds that are chosen


def pairs_of(seeds: list[int]) -> set[tuple[str, str]]:
    """The pairs of kinds of faults that the schedules of these seeds have."""
    drawn = (draw_swarm(seed, nodes=5, duration=40.0) for seed in seeds)
    kinds = (sorted({type(fault).__name__ for fault in schedule.faults}) for schedule in drawn)
    return {pair for names in kinds for pair in combinations(names, 2)}


def test_varied_seeds_combine_more_than_consecutive_ones() -> None:
    options = Options(seed=100, nodes=5, duration=40.0)
    chosen = varied_seeds(options, 20)
    assert chosen == varied_seeds(options, 20)
    assert [(seed - 100) // CANDIDATES for seed in chosen] == list(range(20))
    assert len(pairs_of(chosen)) > 1.5 * len(pairs_of(list(range(100, 120))))


def test_a_varied_sweep_runs_the_chosen_seeds_of_the_swarm() -> None:
    options = Options(seed=8, nodes=3, duration=10.0)
    outcome = sweep("swarm", options, 2, is_varied=True)
    assert [seed.seed for seed in outcome.seeds] == varied_seeds(options, 2)


def test_only_seeds_of_the_swarm_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--varied", "--scenario", "crash"]) == 2
    assert "--varied: expected the scenario 'swarm', not 'crash'" in capsys.readouterr().err
