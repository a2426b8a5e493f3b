"""The page docs/configuration.md is the code's own words: its tables are made from the fields and their docstrings.

``python tests/docs/test_configuration_page.py`` writes the tables anew.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import msgspec

from meshp2p import HttpLimits, NodeConfig, ProtocolConfig
from meshp2p.core import config as protocol_config
from meshp2p.core.presets import PRESETS
from meshp2p.node.settings import variable_of

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
TABLE = re.compile(r"<!-- table: (?P<name>\w+) -->\n.*?<!-- end -->\n", re.DOTALL)
CONFIGURATIONS: dict[str, type[msgspec.Struct]] = {
    shape.__name__: shape for shape in (NodeConfig, ProtocolConfig, HttpLimits)
}
PRESETS_NAME = "presets"
GROUPS = {NodeConfig: "", ProtocolConfig: "protocol.", HttpLimits: "limits."}


def docstrings_of(shape: type[msgspec.Struct]) -> dict[str, tuple[str, str]]:
    """The type and the docstring of each field, as they stand in the source, in its order."""
    [definition] = ast.parse(inspect.getsource(shape)).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, tuple[str, str]] = {}
    for field, after in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = " ".join(str(after.value.value).split())
            kind = ast.unparse(field.annotation)
            found[field.target.id] = (re.sub(r"Annotated\[(\w+), .*\]", r"\1", kind), text)
    return found


def as_markdown(text: str) -> str:
    """A docstring as the text of a cell."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", "\\|")


def as_number(value: float) -> str:
    """A bound as people write it."""
    return f"{int(value):,}" if value == int(value) else str(value)


def render_table(shape: type[msgspec.Struct]) -> str:
    """One row a field: its name and type, its variable, its default, what may be given, what it is."""
    ranges = {name: f"{as_number(low)} to {as_number(high)}" for name, (low, high) in protocol_config.RANGES.items()}
    has_ranges = shape is ProtocolConfig
    lines = ["| field and TOML key | environment | default |" + (" allowed |" if has_ranges else "") + " what it is |"]
    lines.append("|---|---|---|" + ("---|" if has_ranges else "") + "---|")
    defaults: Any = shape()
    for name, (kind, text) in docstrings_of(shape).items():
        value = getattr(defaults, name)
        shown = f"{type(value).__name__}()" if isinstance(value, msgspec.Struct) else repr(value)
        allowed = f" {ranges[name]} |" if has_ranges else ""
        variable = f"`{variable_of(GROUPS[shape] + name)}`"
        what = as_markdown(text)
        if not what:
            what, variable = f"See {kind} below; in TOML a table, `[{name}]`.", f"`{variable_of(name)}_...`"
        lines.append(f"| `{name}`: `{as_markdown(kind)}` | {variable} | `{shown}` |{allowed} {what} |")
    return "\n".join(lines) + "\n"


def render_presets() -> str:
    """A section for each preset, with a row for each value that it chooses."""
    text: list[str] = []
    for preset in PRESETS:
        text.append(f"### `{preset.name}`\n\n{preset.what}")
        rows = [f"| `{one.key}` | `{one.value!r}` | {one.why} |" for one in preset.choices]
        if rows:
            text.append("\n".join(["| key | value | why |", "|---|---|---|", *rows]))
    return "\n\n".join(text) + "\n"


def render_page(page: str) -> str:
    """The page with its tables made anew."""

    def render(match: re.Match[str]) -> str:
        name = match["name"]
        made = render_presets() if name == PRESETS_NAME else render_table(CONFIGURATIONS[name])
        return f"<!-- table: {name} -->\n\n{made}\n<!-- end -->\n"

    return TABLE.sub(render, page)


def test_the_configuration_page_says_what_the_code_says() -> None:
    page = PAGE.read_text()
    assert {match["name"] for match in TABLE.finditer(page)} == {*CONFIGURATIONS, PRESETS_NAME}
    assert page == render_page(page), "run: python tests/docs/test_configuration_page.py"


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text()))
