"""The frontier of detection: what is measured, what is chosen, and how it is shown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from simulations.__main__ import main
from simulations.frontier import DEFAULTS, SWIM, Frontier, Goals, Larger, Row, Setting, grid, marked, measure
from simulations.frontier_picture import picture
from simulations.frontier_report import table_lines, verdict_lines, write_docs

DOCS = Path(__file__).parents[2] / "docs"
GOALS = Goals()


def a_row(name: str = "", *, confirmed: float = 2.0, **given: Any) -> Row:
    """A row that reaches all, unless it is given what does not."""
    values = {"known": (4.0, 4.5), "unknown": 0, "lossy": (0.0, 0.0, 0.0), "starved": 0.0, "paused": 0.0, **given}
    setting = Setting(name, ProtocolConfig(suspicion_confirmed_multiplier=confirmed))
    return Row(setting=setting, **{"idle_bytes": 200.0, "idle_packets": 2.0, **values})


def test_a_measured_row_has_all_figures() -> None:
    setting = marked()[0]
    row = measure(setting, 8, 1)
    shortest = setting.config.suspicion_confirmed_multiplier * setting.config.probe_interval
    assert (len(row.known), row.unknown) == (2, 0)
    assert all(shortest < seconds < 4 * shortest for seconds in row.known)
    assert (row.lossy, row.paused) == ((0.0, 0.0, 0.0), 0.0)
    assert 1.5 < row.idle_packets < 3.0
    assert 28 * row.idle_packets < row.idle_bytes < 400.0


@pytest.mark.long
def test_a_suspicion_that_is_too_short_kills_who_only_pauses() -> None:
    (hasty,) = grid([1.0], [4.0], [0.3])
    assert measure(hasty, 8, 1).paused > 0


def test_the_first_interval_has_all_pairs_the_others_one_row_and_the_defaults_none_again() -> None:
    config = ProtocolConfig()
    default = config.suspicion_multiplier, config.suspicion_confirmed_multiplier
    settings = grid([config.probe_interval, 0.5], [default[0], 3.0], [default[1], 2.0])
    found = [
        (each.config.probe_interval, each.config.suspicion_multiplier, each.config.suspicion_confirmed_multiplier)
        for each in settings
    ]
    assert found == [(1.0, default[0], 2.0), (1.0, 3.0, default[1]), (1.0, 3.0, 2.0), (0.5, *default)]
    assert all(each.config.probe_timeout < each.config.probe_interval for each in settings)


def test_what_others_do_has_no_confirmers_and_waits_as_lifeguard_or_swim_says() -> None:
    _, memberlist, swim = marked()
    assert (memberlist.config.confirmers, swim.config.confirmers) == (0, 0)
    assert (memberlist.config.suspicion_max_multiplier, swim.config.suspicion_max_multiplier) == (6.0, 1.0)
    assert (memberlist.config.local_health_max, swim.config.local_health_max) == (8, 0)


def test_each_goal_that_is_missed_is_named() -> None:
    swim = a_row(SWIM, starved=10.0)
    assert a_row(starved=0.17).reaches(GOALS, swim)
    assert a_row(starved=0.21).misses(GOALS, swim) == ["starved: more than 0.18"]
    assert a_row(starved=0.17).misses(GOALS, a_row(SWIM, starved=1.0)) == ["starved: more than 0.02"]
    assert a_row(known=(6.0, 9.0)).misses(GOALS, None) == ["median over 5 s", "p99 over 8 s"]
    assert a_row(lossy=(0.0, 0.0, 0.5), paused=0.1).misses(GOALS, None) == ["false deaths by loss", "a pause kills"]
    assert "p99 over 8 s" in a_row(unknown=1).misses(GOALS, None)


def test_the_proposal_is_the_most_patient_of_the_cheapest_that_reach_all_in_the_larger_mesh_too() -> None:
    hasty, patient, slow = a_row(confirmed=1.5), a_row(confirmed=2.0), a_row(confirmed=3.0)
    dear = a_row(confirmed=2.5, idle_bytes=400.0)
    rows = [a_row(DEFAULTS, confirmed=4.0, known=(7.0, 9.0)), a_row(SWIM, starved=10.0), hasty, patient, slow, dear]
    frontier = Frontier(32, 1, rows)
    frontier.larger = [Larger(row.setting, 128, (4.0, 4.5), 0) for row in (hasty, patient, dear)]
    frontier.larger.append(Larger(slow.setting, 128, (7.0, 9.0), 0))
    assert frontier.proposed(GOALS) is patient
    said = list(verdict_lines(frontier, GOALS))
    assert "The defaults miss: median over 5 s; p99 over 8 s." in said
    assert said[-1] == "Proposed: a probe every 1 s, multiplier 4, confirmed multiplier 2."


def test_where_no_row_reaches_all_none_is_proposed() -> None:
    frontier = Frontier(32, 1, [a_row(known=(9.0, 9.0))])
    assert frontier.proposed(GOALS) is None
    assert list(verdict_lines(frontier, GOALS))[-1].startswith("No row meets all")


def test_the_docs_get_table_and_picture_and_keep_their_words(tmp_path: Path) -> None:
    frontier = Frontier(32, 1, [a_row(DEFAULTS), a_row(SWIM, starved=4.0, lossy=(0.0, 0.0, 1.0)), a_row()])
    page = (DOCS / "frontier.md").read_text()
    (tmp_path / "frontier.md").write_text(page)
    for _ in range(2):
        write_docs(frontier, GOALS, tmp_path)
    written = (tmp_path / "frontier.md").read_text()
    assert all(line in written for line in table_lines(frontier, GOALS))
    for part in (page.split("<!-- measured: begin -->")[0], page.split("<!-- measured: end -->")[1]):
        assert part in written
    assert (tmp_path / "frontier.svg").read_text() == picture(frontier, GOALS)


def test_the_picture_has_a_titled_line_for_each_row_the_fastest_first() -> None:
    frontier = Frontier(32, 1, [a_row(DEFAULTS, known=(7.0, 9.0)), a_row(SWIM, starved=9.0), a_row(paused=0.5)])
    titles = [title.text for title in ET.fromstring(picture(frontier, GOALS)).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        f"{SWIM}: starved: more than 0.18",
        "probe 1 s, 4 / 2: a pause kills",
        f"{DEFAULTS}: median over 5 s; p99 over 8 s",
    ]


def test_the_page_shows_a_picture_that_is_there() -> None:
    assert "(frontier.svg)" in (DOCS / "frontier.md").read_text()
    assert ET.parse(DOCS / "frontier.svg").getroot().tag.endswith("svg")


@pytest.mark.long
def test_the_command_prints_the_table_and_writes_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--nodes", "8", "--larger", "9", "--seeds", "1"]
    one = ["--intervals", "1", "--multipliers", "3", "--confirmed", "2"]
    assert main(["frontier", *small, *one, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    frontier = msgspec.json.decode((tmp_path / "out" / "frontier.json").read_bytes(), type=Frontier)
    assert len(frontier.rows) == 4
    assert list(table_lines(frontier, GOALS)) == shown.out.splitlines()[:6]
    assert "4/4 rows" in shown.err
    assert (tmp_path / "out" / "frontier.svg").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--nodes", "4"], "--nodes 4"),
        (["--seeds", "0"], "--seeds 0"),
        (["--larger", "3"], "--larger 3"),
        (["--multipliers", "2,0"], "suspicion_multiplier = 0"),
        (["--confirmed", "0"], "suspicion_confirmed_multiplier = 0"),
    ],
)
def test_wrong_input_is_one_line_before_anything_runs(
    given: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frontier", *given]) == 2
    shown = capsys.readouterr().err
    assert named in shown
    assert len(shown.splitlines()) == 1
