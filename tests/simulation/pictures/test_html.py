from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshp2p.simulation.pictures import render_html, timeline, write_html
from meshp2p.simulation.schedule import load_schedule
from tests.simulation.pictures.pages import Page
from tests.simulation.pictures.runs import a_partition, by_hand

HOSTILE = "</script><img src=x onerror=\"document.documentElement.dataset.error='ran'\"><!--<script>"


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    run = a_partition()
    html = render_html(run.trace, run.schedule, run.result)
    assert "://" not in html
    assert not re.search(r"@import|url\(", html)
    page = Page(html)
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "action"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
    policies = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policies[0].startswith("default-src 'none'; ")


def test_the_title_tells_scenario_seed_nodes_and_verdict_and_the_page_how_to_replay_it() -> None:
    run = a_partition()
    page = Page(render_html(run.trace, run.schedule, run.result))
    html = render_html(run.trace, run.schedule, run.result)
    assert "<title>partition, seed 3, 5 nodes: no violation</title>" in html
    assert page.texts["verdict"] == "no violation"
    assert page.texts["command"] == "meshp2p simulate --replay FILE"


def test_the_command_of_the_caller_is_told_where_it_is_given() -> None:
    run = by_hand()
    page = Page(render_html(run.trace, run.schedule, run.result, "meshp2p simulate --replay <it>"))
    assert page.texts["command"] == "meshp2p simulate --replay <it>"


def test_violations_are_counted_in_the_title() -> None:
    run = by_hand(message="n0 misses n1")
    page = Page(render_html(run.trace, run.schedule, run.result))
    assert page.texts["verdict"] == "1 violation"


def test_a_recording_is_not_told_as_a_simulated_run() -> None:
    run = a_partition()
    html = render_html(run.trace, run.schedule, run.result, is_recording=True)
    assert "<title>partition: replayed exactly</title>" in html
    heading = html.partition("<h1>")[2].partition("</h1>")[0]
    assert heading.endswith("<span>120.0 s as one node saw them</span>")
    assert "seed" not in heading
    assert timeline(run.trace, run.schedule, is_recording=True).startswith("partition: ")
    run = by_hand(message="the effects differ")
    assert (
        Page(render_html(run.trace, run.schedule, run.result, is_recording=True)).texts["verdict"]
        == "replayed differently"
    )


@pytest.mark.parametrize("part", ["one", "two", "three", "message"])
def test_hostile_text_ends_no_element(part: str) -> None:
    run = by_hand(**{part: HOSTILE})
    page = Page(render_html(run.trace, run.schedule, run.result))
    assert page.count("img") == 0
    assert page.count("script") == 2
    assert page.texts["run"].startswith("{")


def test_text_that_looks_like_a_mark_of_the_template_stays_text() -> None:
    run = by_hand("@@SCRIPT@@", "@@DATA@@", "@@COMMAND@@", message="@@STYLE@@")
    page = Page(render_html(run.trace, run.schedule, run.result, "@@SUMMARY@@"))
    assert page.texts["command"] == "@@SUMMARY@@"
    assert page.count("script") == 2


def test_the_page_carries_the_schedule_to_replay_it() -> None:
    import json

    run = a_partition()
    page = Page(render_html(run.trace, run.schedule, run.result))
    assert load_schedule(json.loads(page.texts["run"])["file"]) == run.schedule


def test_the_file_holds_what_is_rendered(tmp_path: Path) -> None:
    run = by_hand()
    path = tmp_path / "run.html"
    write_html(run.trace, run.schedule, run.result, path)
    assert path.read_text(encoding="utf-8") == render_html(run.trace, run.schedule, run.result)


def test_the_same_run_makes_the_same_page() -> None:
    one, other = by_hand(), by_hand()
    assert render_html(one.trace, one.schedule, one.result) == render_html(other.trace, other.schedule, other.result)
