"""The page on events has every type with its fields, in the words of the code.

``python tests/docs/test_events_page.py`` writes the table anew.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

from meshp2p.core.events import Evidence
from meshp2p.node.event_log import EVENTS_BYTES_MAX, EVENTS_MAX
from meshp2p.wire.event_contract import HEARTBEAT_SECONDS, StreamedEvent

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "events.md"
TABLE = re.compile(r"<!-- table: events -->\n.*?<!-- end -->\n", re.DOTALL)


def render(page: str) -> str:
    lines = ["| type | fields | what it is |", "|---|---|---|"]
    for shape in get_args(StreamedEvent):
        fields = ", ".join(f"`{name}`" for name in shape.__struct_fields__ if name != "at")
        what = " ".join((inspect.getdoc(shape) or "").split()).replace("``", "`")
        lines.append(f"| `{shape.__struct_config__.tag}` | {fields} | {what} |")
    return TABLE.sub("<!-- table: events -->\n\n" + "\n".join(lines) + "\n\n<!-- end -->\n", page)


def test_the_page_has_every_type_in_the_words_of_the_code() -> None:
    page = PAGE.read_text()
    assert page == render(page), "run: python tests/docs/test_events_page.py"


def test_the_page_has_every_kind_of_evidence() -> None:
    shown = re.findall(r"^\| `(\w+)` \| [^`\n]*(?:`by`[^\n]*)?\|$", PAGE.read_text(), re.MULTILINE)
    assert set(get_args(Evidence)) <= set(shown)


def test_the_bounds_of_the_stream_are_those_of_the_code() -> None:
    page = (DOCS / "http.md").read_text()
    assert f"last {EVENTS_MAX:,} events, at most {EVENTS_BYTES_MAX >> 20} MiB" in page
    assert f"a comment every {HEARTBEAT_SECONDS:g} s" in page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
