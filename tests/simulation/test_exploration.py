"""The comparison of consecutive and varied seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from meshp2p.simulation.scenarios import Options
from simulations import exploration, sweep
from simulations.__main__ import main
from simulations.exploration import FAULTS, runs_to_find
from simulations.mutants.planted import read_mutants
from simulations.sweep import Seed


def test_the_planted_faults_are_of_ten_modules() -> None:
    modules = {(mutant.package, mutant.module) for mutant in read_mutants() if mutant.name in FAULTS}
    assert len(modules) == len(FAULTS) == 10


def test_a_planted_fault_is_found_by_runs_in_a_copy_of_the_sources() -> None:
    assert runs_to_find("answered-calls-are-kept", list(range(10))) is not None
    assert runs_to_find("order-is-lost-when-a-home-moves", [0]) is None


def test_a_run_that_fails_without_the_fault_does_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_failed(_copy: Path, seeds: Sequence[int], _options: Options) -> int | None:
        return next((seed for seed in seeds if seed in (6, 8)), None)

    def run_seed(_scenario: str, options: Options) -> Seed:
        return Seed(options.seed, None if options.seed == 6 else run_without_fault)

    run_without_fault = sweep.run_seed("calm", Options(duration=5.0)).result
    monkeypatch.setattr(exploration, "first_failed", first_failed)
    monkeypatch.setattr(exploration, "run_seed", run_seed)
    assert runs_to_find(FAULTS[0], [5, 6, 7, 8, 9]) == 4
    assert runs_to_find(FAULTS[0], [5, 6, 7]) is None


def test_the_command_prints_the_medians(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def found(_fault: str, seeds: Sequence[int]) -> int | None:
        series = seeds[0] // exploration.SERIES_SEEDS
        is_consecutive = list(seeds) == list(range(seeds[0], seeds[0] + 4))
        return (3 if is_consecutive else 1) if series == 2 else None if series == 3 else 2

    monkeypatch.setattr(exploration, "runs_to_find", found)
    assert main(["exploration", "--series", "3", "--runs", "4", "--only", "one", "two"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == [["one", "3", "2"], ["two", "3", "2"]]
    assert lines[3] == ["median", "of", "all", "3", "2"]


@pytest.mark.parametrize("given", [["--only", "nonsense"], ["--runs", "0"], ["--series", "0"], ["--first", "0"]])
def test_wrong_input_gets_one_line_and_status_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exploration", *given]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("simulations: ")
    assert len(shown.splitlines()) == 1
