"""A run as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from importlib import resources
from pathlib import Path

from meshp2p.errors import check
from meshp2p.simulation.pictures.encoding import encode_run
from meshp2p.simulation.pictures.text import describe_run, outcome
from meshp2p.simulation.schedule import Schedule, dump_schedule
from meshp2p.simulation.simulation import Result
from meshp2p.virtual.describe import printable
from meshp2p.virtual.trace import Trace

__all__ = ["render_html", "write_html"]

_SCRIPTS = (
    "model.js",
    "words.js",
    "story.js",
    "picture.js",
    "layers.js",
    "minimap.js",
    "panel.js",
    "input.js",
    "main.js",
)

REPLAY = "meshp2p simulate --replay FILE"


@functools.cache
def _read(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def render_html(
    trace: Trace, schedule: Schedule, result: Result, command: str = REPLAY, *, is_recording: bool = False
) -> str:
    """Return the page. ``command`` repeats the run. The page offers the schedule as a file, except for a recording,
    which has none.

    Ids and messages are arbitrary text and are shown as such. A content security policy allows only the page's own
    script, and forbids loading anything.
    """
    script = "\n".join(_read(name) for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    seconds = f"{result.virtual_seconds:.1f}"
    if is_recording:
        facts = [f"{seconds} s as one node saw them"]
        verdict = "replayed differently" if result.violations else "replayed exactly"
        file = ""
    else:
        facts = [f"seed {schedule.seed}", f"{len(schedule.nodes)} nodes", f"{seconds} virtual seconds"]
        verdict = outcome(result)
        file = dump_schedule(schedule).decode()
    title = ", ".join([schedule.scenario, *facts[:-1]])
    replacements = {
        "@@POLICY@@": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "@@TITLE@@": html.escape(printable(f"{title}: {verdict}")),
        "@@STYLE@@": _read("page.css"),
        "@@SCENARIO@@": html.escape(printable(schedule.scenario)),
        "@@FACTS@@": " ".join(f"<span>{fact}</span>" for fact in facts),
        "@@GOOD@@": "no" if result.violations else "yes",
        "@@VERDICT@@": html.escape(verdict),
        "@@COMMAND@@": html.escape(command),
        "@@SUMMARY@@": html.escape(describe_run(trace, result)),
        "@@DATA@@": encode_run(trace, schedule, result.violations, command, file),
        "@@SCRIPT@@": script,
    }
    page: list[str] = []
    rest = _read("page.html")
    for mark, text in replacements.items():  # in the order of the template, so that nothing that is put in is read
        before, found, rest = rest.partition(mark)
        check(bool(found), f"the page's template has no {mark} where it is expected")
        page += [before, text]
    return "".join([*page, rest])


def write_html(
    trace: Trace, schedule: Schedule, result: Result, path: Path, command: str = REPLAY, *, is_recording: bool = False
) -> None:
    """Write :func:`render_html` to this path. Raises :class:`OSError`."""
    path.write_text(render_html(trace, schedule, result, command, is_recording=is_recording), encoding="utf-8")
