"""The page of decisions lists every decision with its status.

``python tests/docs/test_decisions_page.py`` writes the table anew.
"""

from __future__ import annotations

import re
from pathlib import Path

DECISIONS = Path(__file__).parents[2] / "docs" / "adr"
PAGE = DECISIONS / "index.md"
TABLE = re.compile(r"<!-- table: decisions -->\n.*?<!-- end -->\n", re.DOTALL)
HEAD = re.compile(r"# (\d{4})\. (.+)\n\n- Status: (.+)\n")


def render(page: str) -> str:
    rows = ["| decision | status |", "|---|---|"]
    for path in sorted(DECISIONS.glob("[0-9]*.md")):
        head = HEAD.match(path.read_text())
        assert head, f"{path.name}: expected a title, and a status of one line"
        number, title, status = head.groups()
        rows.append(f"| [{number}. {title}]({path.name}) | {status} |")
    table = "\n".join(rows)
    return TABLE.sub(lambda _: f"<!-- table: decisions -->\n\n{table}\n\n<!-- end -->\n", page)


def test_the_page_lists_every_decision_with_its_status() -> None:
    page = PAGE.read_text()
    assert TABLE.search(page)
    assert page == render(page), "run: python tests/docs/test_decisions_page.py"


def test_a_status_names_only_decisions_that_exist() -> None:
    numbers = {path.name[:4] for path in DECISIONS.glob("[0-9]*.md")}
    statuses = re.findall(r"\| ([^|]+) \|$", render(PAGE.read_text()), re.MULTILINE)
    assert len(statuses) > len(numbers)  # with the head of the table
    assert {number for status in statuses for number in re.findall(r"\b\d{4}\b", status)} <= numbers


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
