"""Figures of fixed runs are compared with recorded ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options, build_schedule
from simulations import baseline
from simulations.__main__ import main
from simulations.baseline import CASES, TOLERANCES, Case, Figure, compare, measure, read_baseline, write_baseline


def differing(case: str, config: ProtocolConfig) -> str:
    """What is said of a case where its nodes have another configuration."""
    recorded = [figure for figure in read_baseline() if figure.case == case]
    return "\n".join(compare(measure((case,), config=config), recorded))


def test_each_figure_that_is_recorded_has_a_case_and_a_tolerance() -> None:
    recorded = read_baseline()
    assert {figure.case for figure in recorded} == set(CASES)
    assert {figure.name for figure in recorded} == set(TOLERANCES)


def test_a_quarter_more_probes_are_seen() -> None:
    said = differing("calm", ProtocolConfig(probe_interval=0.8))
    assert "calm (nothing happens for three minutes): datagrams a node and second went from" in said
    assert "bytes a node and second went from" in said


@pytest.mark.long
def test_crashes_that_are_found_half_a_period_later_are_seen() -> None:
    said = differing("silent", ProtocolConfig(suspicion_confirmed_multiplier=3.5))
    assert "seconds until a crash is known, median went from" in said


def test_a_crash_that_only_probes_find_is_seen() -> None:
    assert "killed (a process dies, and its machine lives)" in differing("killed", ProtocolConfig(watches=0))


def test_a_run_with_a_violation_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(ablations=("refutation",))
    monkeypatch.setitem(CASES, "cut", Case("it never heals", 1, lambda _seed: build_schedule("partition", options)))
    with pytest.raises(ConfigError, match="case 'cut', seed 9000"):
        measure(("cut",))


@pytest.mark.parametrize(("value", "seen"), [(1.0, ""), (2.4, ""), (4.5, "false deaths went from 1 to 4.5"), (0.0, "")])
def test_false_deaths_may_become_fewer_and_not_many_more(value: float, seen: str) -> None:
    was, found = (Figure("lossy", "false deaths", deaths) for deaths in (1.0, value))
    said = "\n".join(compare([found], [was]))
    assert seen in said
    assert bool(seen) == bool(said)


def test_figures_that_are_new_or_gone_are_told() -> None:
    new, gone = Figure("calm", "false deaths", 0.0), Figure("calm", "calls a node and second", 0.1)
    one, other = compare([new], [gone])
    assert "false deaths is 0, and was not recorded" in one
    assert "calls a node and second was recorded, and is no figure any more" in other


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    figures = read_baseline()
    write_baseline(figures, tmp_path / "baseline.toml")
    assert read_baseline(tmp_path / "baseline.toml") == figures


def test_the_command_compares_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "baseline.toml"
    monkeypatch.setattr(baseline, "FILE", path)
    monkeypatch.setattr(baseline.read_baseline, "__defaults__", (path,))
    monkeypatch.setattr(baseline.write_baseline, "__defaults__", (path,))
    monkeypatch.setattr(baseline.measure, "__defaults__", (("calm",),))
    assert main(["baseline"]) == 2
    assert "--record" in capsys.readouterr().err
    assert main(["baseline", "--record"]) == 0
    assert main(["baseline"]) == 0
    altered = [msgspec.structs.replace(figure, value=figure.value * 2 + 5) for figure in read_baseline(path)]
    write_baseline(altered, path)
    assert main(["baseline"]) == 1
    assert "CHANGED calm" in capsys.readouterr().out
