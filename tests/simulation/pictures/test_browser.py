"""The page in a real browser: Chromium without a window."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from meshp2p.core.events import InstanceDied, InstanceSuspected, LeadershipChanged
from meshp2p.simulation.pictures import render_html, write_html
from meshp2p.simulation.pictures.reasons import reasons_of
from meshp2p.virtual.describe import describe
from meshp2p.virtual.faults import Partition
from meshp2p.virtual.trace import What
from tests.browser import ARGUMENTS, CHROMIUM, home_in, needs_browser
from tests.simulation.chains import explain, view_at, why
from tests.simulation.pictures.images import count_colours
from tests.simulation.pictures.pages import Page
from tests.simulation.pictures.runs import Run, a_partition, by_hand, with_mail_and_maps

pytestmark = [pytest.mark.slow, needs_browser]

HOSTILE = "</script><img src=x onerror=\"document.documentElement.dataset.error='ran'\"><!--<script>"


def browse(run: Run, directory: Path, fragment: str, *arguments: str) -> str:
    """Open the page of a run at a fragment; what the browser wrote."""
    path = directory / "run.html"
    if not path.exists():
        write_html(run.trace, run.schedule, run.result, path)
    profile = directory / "profile"
    assert CHROMIUM is not None
    scale = "--force-device-scale-factor=1"
    done = subprocess.run(
        [CHROMIUM, *ARGUMENTS, scale, f"--user-data-dir={profile}", *arguments, f"{path.as_uri()}#{fragment}"],
        capture_output=True,
        check=True,
        env=home_in(directory),
        timeout=100,
    )
    return done.stdout.decode()


def opened(run: Run, directory: Path, fragment: str = "") -> Page:
    """The page after its script ran, which must have come to its end without an error."""
    page = Page(browse(run, directory, fragment, "--window-size=1200,800", "--dump-dom"))
    assert "data-error" not in page.root, page.root["data-error"]
    assert page.root.get("data-ready") == "yes"
    return page


def driven(run: Run, directory: Path, driver: str) -> Page:
    """The page after a script that drives it. Its policy lets no script run but its own, so the driver is put into that
    script and the policy taken out."""
    html = render_html(run.trace, run.schedule, run.result)
    html = re.sub(r"<meta http-equiv[^>]*>", "", html)
    head, end, tail = html.rpartition("</script>")
    (directory / "run.html").write_text(f"{head}{driver}{end}{tail}", encoding="utf-8")
    return opened(run, directory)


CHOOSER = """
for (let number = 1; number <= COUNT; number++) {
  select(number);
  if (number % 50 === 0) drawNow();
  if (/undefined|NaN|null|\\[object/.test(panel.textContent)) throw new Error(`entry ${number}: ${panel.textContent}`);
  document.documentElement.dataset.chosen = number;
}
"""


def test_a_click_on_a_death_tells_its_causal_chain(tmp_path: Path) -> None:
    run = a_partition()
    death = run.first(InstanceDied)
    page = opened(run, tmp_path, f"select={death.number}&every=1")
    assert page.root["data-selected"] == str(death.number)
    assert f"declares {death.detail.id} dead" in page.texts["panel"]

    every = [entry.number for entry in why(run.trace, death.number)]
    assert page.numbers["chain"] == every

    told = page.numbers["why"]
    assert told[0] == death.number
    assert told == sorted(told, reverse=True)
    suspicion = next(
        entry
        for entry in run.trace
        if entry.node == death.node
        and isinstance(entry.detail, InstanceSuspected)
        and entry.detail.id == death.detail.id
    )
    assert suspicion.number in told
    assert run.first(Partition, What.FAULT).number in told
    assert "lost: Partition" in page.texts["why"]


@pytest.mark.long
def test_the_panel_tells_the_view_of_that_moment(tmp_path: Path) -> None:
    run = a_partition()
    death = run.first(InstanceDied)
    page = opened(run, tmp_path, f"select={death.number}")
    for name in view_at(run.trace, death.node, death.number):
        assert name in page.texts["view"]
    assert f"{death.detail.id}dead" in page.texts["view"]
    leader = [
        entry.detail.leader_id
        for entry in run.trace.entries[: death.number]
        if entry.node == death.node and isinstance(entry.detail, LeadershipChanged)
    ][-1]
    assert page.texts["leader"].startswith(f"Leader: {leader}")


@pytest.mark.long
def test_every_entry_can_be_chosen_and_is_told_in_words(tmp_path: Path) -> None:
    runs = {"real": a_partition(), "by hand": by_hand(message="n0 misses n1"), "mail": with_mail_and_maps()}
    for name, run in runs.items():
        directory = tmp_path / name
        directory.mkdir()
        told = driven(run, directory, CHOOSER).root
        assert int(told["data-chosen"]) == len(run.trace)


@pytest.mark.long
def test_a_violation_can_be_chosen_and_stands_in_the_list(tmp_path: Path) -> None:
    run = by_hand(message="n0 misses n1")
    violation = next(entry for entry in run.trace if entry.what is What.VIOLATION)
    page = opened(run, tmp_path, f"select={violation.number}")
    assert "n0 misses n1" in page.texts["violations"]
    assert page.texts["panel"].count("n0 misses n1") >= 1


TICKS = """
const found = goods.map((own) => own.map(([, subject, isIn]) => `${subject} ${isIn}`));
document.documentElement.dataset.ticks = JSON.stringify(found);
document.documentElement.dataset.lines = JSON.stringify([...new Set(flights.kind)].sort());
"""


def test_messages_and_maps_are_marked_at_the_nodes_of_their_agents_and_drawn_between_them(tmp_path: Path) -> None:
    told = driven(with_mail_and_maps(), tmp_path, TICKS).root
    ticks = [set(own) for own in json.loads(told["data-ticks"])]
    assert ["mail false" in own for own in ticks] == [False, True, False]
    assert ["mail true" in own for own in ticks] == [False, False, True]
    assert all({"maps false", "maps true"} <= own for own in ticks)
    assert {4, 5} <= set(json.loads(told["data-lines"]))


def test_the_panel_gives_the_same_reason_for_a_death_as_the_text(tmp_path: Path) -> None:
    run = a_partition()
    reasons = reasons_of(run.trace)
    heard = next(each for each in run.trace if isinstance(each.detail, InstanceDied) and each.detail.grounds is None)
    for death in (run.first(InstanceDied), heard):
        page = opened(run, tmp_path, f"select={death.number}")
        assert describe(death) in page.texts["panel"]
        told = set(page.numbers["why"])
        packets = {each for each in explain(reasons, death.number) if run.trace[each].what in (What.RECEIVE, What.DROP)}
        assert told - packets == set(explain(reasons, death.number)) - packets


def test_hostile_ids_are_shown_and_do_nothing(tmp_path: Path) -> None:
    run = by_hand("n0", HOSTILE, f"{HOSTILE}2", message=HOSTILE)
    number = run.first(InstanceDied).number
    page = opened(run, tmp_path, f"select={number}&every=1")
    assert page.count("img") == 0
    assert page.count("script") == 2
    assert f"declares {HOSTILE}2 dead" in page.texts["panel"]
    assert HOSTILE in page.texts["violations"]


DRIVER = """
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const mouse = (target, type, x, y) =>
  target.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x, clientY: y, bubbles: true }));
canvas.setPointerCapture = map.setPointerCapture = () => {};
const told = document.documentElement.dataset;
const keys = ["+", "-", "n", "N", "p", "P", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "?", "0", "Escape"];
for (const key of keys) {
  press(key);
  drawNow();
}
const box = canvas.getBoundingClientRect();
mouse(canvas, "pointerdown", box.x + xOf(5), box.y + axisOf(1));
mouse(canvas, "pointerup", box.x + xOf(5), box.y + axisOf(1));
told.clicked = choice.number;
mouse(canvas, "pointermove", box.x + xOf(5), box.y + axisOf(1));
told.tip = byId("tip").textContent;
const before_zoom = view.to - view.from;
canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -400, clientX: box.x + xOf(5), cancelable: true }));
told.zoomed = view.to - view.from < before_zoom;
const from = view.from;
mouse(canvas, "pointerdown", box.x + 400, box.y + 300);
mouse(canvas, "pointermove", box.x + 300, box.y + 300);
mouse(canvas, "pointerup", box.x + 300, box.y + 300);
told.panned = view.from > from;
mouse(map, "pointerdown", mapX(9), 5);
mouse(map, "pointermove", mapX(8), 5);
mouse(map, "pointerup", mapX(8), 5);
told.moved = view.from < 8 && view.to > 8;
const buttons = "#kinds button, #verdict, #out, #in, #fit, #next, #previous, #copy";
for (const each of document.querySelectorAll(buttons)) each.click();
told.hidden_kinds = document.querySelectorAll('#kinds [aria-pressed="false"]').length;
document.querySelector("#violations button").click();
told.violation = what(choice.number);
document.querySelectorAll("#why button")[1].click();
told.followed = choice.number;
drawNow();
told.driven = "yes";
"""


@pytest.mark.long
def test_keys_mouse_and_buttons_do_what_they_say(tmp_path: Path) -> None:
    run = by_hand(message="n0 misses n1")
    told = driven(run, tmp_path, DRIVER).root
    assert told["data-driven"] == "yes"
    band = run.trace[int(told["data-clicked"])]
    assert (band.node, band.at <= 5.001) == ("n1", True)
    assert told["data-tip"]
    assert (told["data-zoomed"], told["data-panned"], told["data-moved"]) == ("true", "true", "true")
    assert told["data-hidden_kinds"] == "10"  # all but the one that was hidden before
    assert told["data-violation"] == "V"
    assert run.trace[int(told["data-followed"])].node == "n0"


@pytest.mark.long
def test_a_fragment_that_makes_no_sense_is_ignored(tmp_path: Path) -> None:
    page = opened(by_hand(), tmp_path, "select=99999999&from=x&to=-1")
    assert page.root["data-selected"] == "0"


def test_the_picture_is_not_blank(tmp_path: Path) -> None:
    run = a_partition()
    picture = tmp_path / "picture.png"
    browse(
        run, tmp_path, f"select={run.first(InstanceDied).number}", "--window-size=900,600", f"--screenshot={picture}"
    )
    colours = count_colours(picture.read_bytes())
    assert sum(colours.values()) == 900 * 600
    assert len(colours) > 100
    assert max(colours.values()) < 0.7 * 900 * 600
    blue = (61, 115, 194)  # hsl(215 52% 50%): the band of the leader that led the longest
    assert sum(count for colour, count in colours.items() if _is_near(colour, blue)) > 2000


def _is_near(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(one, other, strict=True))
