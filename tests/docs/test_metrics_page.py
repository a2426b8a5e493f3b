"""The page on metrics has every metric with the code's words, and the dashboard uses only what exists.

``python tests/docs/test_metrics_page.py`` writes the table anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from meshp2p.node.metrics import METRICS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "metrics.md"
TABLE = re.compile(r"<!-- table: metrics -->\n.*?<!-- end -->\n", re.DOTALL)
NAME = re.compile(r"\bmeshp2p_\w+")
SUFFIXES = ("_bucket", "_sum", "_count")
"""Of a histogram's series."""


def render(page: str) -> str:
    lines = ["| metric | kind | labels | what it is |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.what} |")
    return TABLE.sub("<!-- table: metrics -->\n\n" + "\n".join(lines) + "\n\n<!-- end -->\n", page)


def base_of(name: str) -> str:
    """The metric of a series."""
    for metric in METRICS:
        if metric.kind == "histogram" and name in (metric.name + suffix for suffix in SUFFIXES):
            return metric.name
    return name


def test_the_page_has_every_metric_in_the_words_of_the_code() -> None:
    page = PAGE.read_text()
    assert page == render(page), "run: python tests/docs/test_metrics_page.py"


def test_the_page_and_the_dashboard_name_no_metric_or_label_that_does_not_exist() -> None:
    labels = {metric.name: {*metric.labels, "instance", "job", "le"} for metric in METRICS}
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [query["query"] for query in dashboard["templating"]["list"] if query["type"] == "query"]
    expressions += PAGE.read_text().splitlines()
    named: set[str] = set()
    for expression in expressions:
        names = {base_of(name) for name in NAME.findall(expression)}
        assert names <= labels.keys(), expression
        named |= names
        used = set(re.findall(r"(\w+)=~?\"", expression))
        for group in re.findall(r"by \(([\w, ]+)\)", expression):
            used |= set(re.split(r", ?", group))
        for name in names:
            assert used <= labels[name] or not used, (expression, used)
    assert {target for target in named if target.startswith("meshp2p_")} == labels.keys()


def test_each_panel_of_the_dashboard_has_a_title_a_place_of_its_own_and_a_query() -> None:
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert all(panel["targets"] for panel in panels)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
