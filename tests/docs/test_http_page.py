"""The page on HTTP has every status and every limit that there is, with the code's numbers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import meshp2p.http
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.plain_json import PAYLOAD_DEPTH_MAX
from meshp2p.core.record import ID_BYTES_MAX, NAMES_MAX, SHORT_MAX
from meshp2p.http.app import _STATUS_OF
from meshp2p.http.limits import HttpLimits
from meshp2p.http.routes import BODY_REFUSALS, REFUSALS, ROUTES
from meshp2p.wire.contract import FETCH_MAX, WAIT_SECONDS_MAX

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
SOURCES = sorted(Path(meshp2p.http.__path__[0]).glob("*.py"))
ANSWERS = {"BadRequest": 0, "RequestRejected": 0, "Response": 0, "json_response": 1}
"""What makes an answer, and which of its arguments is the status."""

FIXED: dict[str, tuple[int, str]] = {
    "an id": (ID_BYTES_MAX, " bytes"),
    "names in a list": (NAMES_MAX, ""),
    "characters in a name or field": (SHORT_MAX, ""),
    "levels of a payload": (PAYLOAD_DEPTH_MAX, ""),
    "`limit` of a read": (FETCH_MAX, ""),
    "`wait` of a read": (int(WAIT_SECONDS_MAX), " s"),
}
OF_THE_MESH = (
    *("waits_max", "fetch_bytes_max", "metrics_bytes_max", "record_bytes_max", "members_max", "members_size_max"),
    *("instance_timeout", "mailbox_messages_max", "mailbox_bytes_max", "outbox_copies_max", "outbox_bytes_max"),
    "message_timeout",
)
"""The options of the protocol that bound what a client may ask for."""


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {index - 1 for index, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [row for index, row in enumerate(cells) if index not in heads and set("".join(row)) != {"-"}]


def numbers(node: ast.expr) -> Iterator[int]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, int) and not isinstance(each.value, bool):
            yield each.value


def statuses_in_code() -> set[int]:
    found = set(_STATUS_OF.values()) | {200}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = ANSWERS.get(name)
            if place is not None and len(node.args) > place:
                found |= {number for number in numbers(node.args[place]) if 100 <= number <= 599}
    return found


def test_the_page_has_every_status_that_the_code_answers_with_and_no_other() -> None:
    wrong = {int(row[0]) for row in rows(section("Errors"))}
    right = {int(number) for row in rows(section("Routes")) for number in re.findall(r"\b[23]\d\d\b", row[1])}
    assert wrong | right == statuses_in_code()
    assert min(wrong) >= 400


def test_the_table_of_requests_is_that_of_the_code() -> None:
    shown: dict[str, set[int]] = {}
    for requests, right, wrong in rows(section("Routes")):
        for request in re.findall(r"`([^`]+)`", requests):
            shown[request] = {int(number) for number in re.findall(r"\b[2-5]\d\d\b", f"{right} {wrong}")}
    assert shown == {f"{route.method} {route.path}": set(route.answers) for route in ROUTES}


def test_the_table_of_routes_has_every_status_that_the_page_explains_and_no_other() -> None:
    explained = {int(row[0]) for row in rows(section("Errors"))}
    declared = {status for route in ROUTES for status in route.answers} | {*REFUSALS, *BODY_REFUSALS}
    assert {status for status in declared if status >= 400} == explained


def written(value: Any, name: str) -> str:
    """A bound as the page writes it."""
    if value is None:
        return "none"
    if name.endswith(("_seconds", "_timeout")):
        return f"{value / 3600:g} h" if value >= 3600 else f"{value:g} s"
    if "bytes" in name or name == "members_size_max":
        return f"{value // 1024**2} MiB" if value >= 1024**2 else f"{value // 1024} KiB"
    return f"{value:,}"


LIMITS = rows(section("Limits"))


@pytest.mark.parametrize(
    ("shape", "names"), [(HttpLimits, HttpLimits.__struct_fields__), (ProtocolConfig, OF_THE_MESH)]
)
def test_the_page_has_every_limit_with_its_default(shape: type[Any], names: tuple[str, ...]) -> None:
    shown = {row[0].strip("`"): row[2] for row in LIMITS if row[0]}
    defaults = shape()
    assert {name: shown.get(name) for name in names} == {name: written(getattr(defaults, name), name) for name in names}


def test_the_page_has_no_limit_that_does_not_exist() -> None:
    shown = [row[0].strip("`") for row in LIMITS if row[0]]
    assert sorted(shown) == sorted([*HttpLimits.__struct_fields__, *OF_THE_MESH])


def test_the_limits_without_an_option_are_those_of_the_code() -> None:
    shown = {row[1]: row[2] for row in LIMITS if not row[0]}
    assert {name: shown.get(name) for name in FIXED} == {name: f"{n:,}{unit}" for name, (n, unit) in FIXED.items()}
