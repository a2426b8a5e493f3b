"""Pages and pictures that are made from the code are complete, and the front page leads to every page."""

from __future__ import annotations

import re

import pytest

from docs.generated import DOCS, describe_http, write_llms
from docs.pictures import DIRECTORY, draw_pictures
from meshp2p.http.openapi import describe
from meshp2p.node import settings

PAGES = sorted(
    str(path.relative_to(DOCS))
    for path in DOCS.rglob("*.md")
    if path.parent.name not in ("adr", "changes") and path.name != "index.md"
)


def test_the_page_of_routes_has_each_route_and_each_type_and_its_links_lead_to_types() -> None:
    page, api = describe_http(), describe("0")
    titles = set(re.findall(r"^#+ (.+)$", page, re.MULTILINE))
    routes = {f"{method.upper()} {path}" for path, methods in api["paths"].items() for method in methods}
    types = api["components"]["schemas"].keys()
    assert titles == routes | types | {"Any request", "Types"}
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= {name.lower() for name in types}


def test_the_front_page_has_a_sentence_and_a_place_in_the_menu_for_each_page() -> None:
    front = (DOCS / "index.md").read_text()
    told = re.findall(r"^- \[[^]]+\]\(([\w/-]+\.md)\): [^\n]+\.$", front, re.MULTILINE)
    assert sorted(told) == sorted([*PAGES, "adr/index.md"])
    menu = re.findall(r"^```\{toctree\}\n.*?\n\n(.*?)^```", front, re.MULTILINE | re.DOTALL)
    assert sorted(f"{name}.md" for part in menu for name in part.split()) == sorted(told)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md"])
def test_links_of_pages_outside_of_the_site_lead_to_files_and_titles(name: str) -> None:
    page = DOCS.parent / name
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#([\w-]+))?\)", page.read_text()):
        target = page.parent / path
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (
                path,
                anchor,
            )


def test_llms_txt_has_a_title_a_summary_and_each_page() -> None:
    title, summary, *_ = write_llms().split("\n\n")
    assert title == "# meshp2p"
    assert summary.startswith("> meshp2p connects")
    assert "{" not in write_llms()
    links = re.findall(r"^- \[[^]]+\]\(([\w/-]+)\.html\): ", write_llms(), re.MULTILINE)
    assert sorted(f"{name}.md" for name in links) == sorted([*PAGES, "adr/index.md"])


@pytest.mark.parametrize("name", sorted(draw_pictures()))
def test_a_picture_is_as_the_script_draws_it(name: str) -> None:
    assert (DIRECTORY / name).read_text() == draw_pictures()[name], "run: python docs/pictures.py"


def test_the_configuration_page_has_every_variable_that_is_no_option() -> None:
    page = (DOCS / "configuration.md").read_text()
    for variable in (*settings._OTHER_VARIABLES, "MESHP2P_PRESET", "XDG_DATA_HOME"):
        assert f"| `{variable}` |" in page, variable
